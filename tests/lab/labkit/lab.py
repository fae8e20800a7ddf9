# SPDX-License-Identifier: Apache-2.0
"""Raises what a plan says, and takes it away again. The plan is on disk before the first device
exists, so `down` removes everything after a crash, too. Labs live side by side.

    /run/metatap-lab/<id>/lab.json        the plan, with the names of all there is to remove
    /run/metatap-lab/<id>/inventory.json  what metatapd shall know
    /run/metatap-lab/<id>/metatapd.conf   a configuration with paths of this lab's own
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time

from . import process, topologies
from .host import BIN, LabError, inside, ip_batch, namespaces_present
from .plan import STATE, Guest, Network, Plan, guest_commands


class Lab:
    def __init__(self, id="demo", topology="tap", **options):
        if not id.isalnum() or not 0 < len(id) <= 8:
            raise LabError(f"a lab's id is 1 to 8 letters and digits, not '{id}'")
        self.id = id
        self.plan = Plan(id, topology, options)
        self.state = self.plan.state

    @classmethod
    def load(cls, id):
        """The lab that is up under this id."""
        lab = cls(id)
        try:
            saved = json.loads((lab.state / "lab.json").read_text())
        except FileNotFoundError:
            raise LabError(f"no lab '{id}' is up (scripts/lab.sh up --id {id})") from None
        saved["networks"] = {k: Network(**v) for k, v in saved["networks"].items()}
        saved["guests"] = {k: Guest(**v) for k, v in saved["guests"].items()}
        lab.plan = Plan(**saved)
        return lab

    # ---- queries

    @property
    def guests(self):
        return self.plan.guests

    def guest(self, name):
        try:
            return self.plan.guests[name]
        except KeyError:
            raise LabError(f"no guest '{name}' in lab {self.id}; there are: "
                           + ", ".join(self.plan.guests)) from None

    @property
    def inventory_file(self):
        return self.state / "inventory.json"

    @property
    def config_file(self):
        return self.state / "metatapd.conf"

    # ---- up

    def up(self):
        if os.geteuid() != 0:
            raise LabError("the lab needs root: it makes namespaces and devices")
        if (self.state / "lab.json").exists():
            self.down()
        topologies.build(self.plan)
        self.state.mkdir(parents=True, exist_ok=True, mode=0o755)
        (self.state / "run").mkdir(exist_ok=True)
        (self.state / "state").mkdir(exist_ok=True)
        self.save()
        try:
            self._make()
        except BaseException:
            self.down()
            raise
        return self

    def save(self):
        def write(path, text):
            fresh = path.with_suffix(".new")
            fresh.write_text(text)
            fresh.rename(path)
        write(self.state / "lab.json", json.dumps(dataclasses.asdict(self.plan), indent=1))
        write(self.inventory_file, json.dumps(self.plan.inventory(), indent=1) + "\n")
        write(self.config_file, self.plan.metatapd_config(self.state))

    def _make(self):
        plan = self.plan
        plan.make_devices()
        if plan.wires:
            self._start_tapwire()
            for wire in plan.wires:
                self.plug(*wire)
        for name, text in plan.files.items():
            (self.state / name).write_text(text)
        plan.configure()
        for name, namespace, argv in plan.processes:
            self.start(name, argv, namespace)

    def _start_tapwire(self):
        program = BIN / "metatap-tapwire"
        if not program.exists():
            raise LabError(f"{program} is not built (scripts/build.sh)")
        self.start("tapwire", [str(program), str(self.state / "tapwire.sock")])
        process.wait_for_socket(self.state / "tapwire.sock", self.state / "tapwire.log")

    def start(self, name, argv, namespace=None, environment=None):
        """A process of the lab: named, logged, ended by `down`. Its command line must hold the
        state directory or the lab's id: by that it is known again."""
        with open(self.state / f"{name}.log", "ab") as log:
            child = subprocess.Popen(inside(namespace) + argv, stdin=subprocess.DEVNULL,
                                     stdout=log, stderr=log, start_new_session=True,
                                     env={**os.environ, **(environment or {})})
        (self.state / f"{name}.pid").write_text(str(child.pid))
        return child

    # ---- cables, at any time

    def tapwire(self, command):
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(10)
            wire.connect(str(self.state / "tapwire.sock"))
            wire.sendall(command.encode() + b"\n")
            answer = wire.makefile().readline().strip()
        if not answer.startswith("ok"):
            raise LabError(f"tapwire {command}: {answer}")
        return answer[3:].split()

    def plug(self, host, namespace, device, options, attach):
        words = " ".join(f"{key}={value}" for key, value in options.items() if value)
        self.tapwire(f"add {host} {namespace} {device} {words}")
        for vlan, tagged, mac in attach.get("tags", []):
            self.tapwire(f"tag {host} {vlan} {tagged} mac={mac}")
        # IPv6 is off on the host's end, as Neutron's agents set it.
        lines = [f"link set {host} addrgenmode none mtu {attach['mtu']}"]
        if attach.get("bridge"):
            lines.append(f"link set {host} master {attach['bridge']}")
        ip_batch(lines + [f"link set {host} up"])

    def wire_of(self, guest):
        device = self.guest(guest).host_device
        return next(wire for wire in self.plan.wires if wire[0] == device)

    def unplug(self, guest):
        self.tapwire(f"del {self.guest(guest).host_device}")

    def replug(self, guest, *, host_device=None, ifindex=0):
        """The guest's cable again (after unplug), under another name or with an ifindex wished."""
        host, namespace, device, options, attach = self.wire_of(guest)
        self.plug(host_device or host, namespace, device, {**options, "ifindex": ifindex}, attach)
        for spec in self.guests.values():
            if spec.netns == namespace:
                ip_batch(guest_commands(spec, self.plan.networks[spec.network]), namespace)

    # ---- down

    def down(self):
        """Removes all there is, whatever of it exists; says what it could not remove."""
        try:
            plan = Lab.load(self.id).plan
        except (LabError, ValueError, TypeError):
            plan = self.plan  # never came up, or not to the point of having a plan on disk
        pids = []
        for file in self.state.glob("*.pid"):
            with contextlib.suppress(ValueError, OSError):
                pids.append(int(file.read_text()))
        process.end(lambda: [pid for pid in pids if process.carries(pid, self.id)])
        shutil.rmtree(f"/sys/fs/bpf/{self.id}", ignore_errors=True)
        devices = [*reversed(plan.links), *[wire[0] for wire in plan.wires]]
        spaces = [*plan.namespaces, f"{self.id}-metatap"]
        deadline = time.monotonic() + 5
        while True:
            # A tap goes when the last of its file descriptors does, which may take a moment.
            left = [name for name in devices if pathlib.Path("/sys/class/net", name).exists()]
            ip_batch([f"link del {name}" for name in left], force=True)
            present = namespaces_present()
            doomed = [name for name in spaces if name in present]
            ip_batch([f"netns del {name}" for name in doomed], force=True)
            if not left and not doomed:
                break
            if time.monotonic() > deadline:
                raise LabError(f"could not remove: {', '.join(left + doomed)}")
            time.sleep(0.01)
        shutil.rmtree(self.state, ignore_errors=True)

    def __enter__(self):
        return self.up()

    def __exit__(self, *_):
        self.down()


def labs_up():
    return sorted(path.parent.name for path in STATE.glob("*/lab.json"))

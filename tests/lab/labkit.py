# SPDX-License-Identifier: Apache-2.0
"""A lab: tenants, networks and guests as network namespaces on this machine.

A *plan* says what there shall be (a topology module fills it in), and `Lab` makes it so and takes
it away again. The plan is on disk before the first device exists, so `down` removes everything
after a crash, too. Every name carries the lab's id; labs live side by side.

    /run/metatap-lab/<id>/lab.json        the plan, with the names of all there is to remove
    /run/metatap-lab/<id>/inventory.json  what metatapd shall know
    /run/metatap-lab/<id>/metatapd.conf   a configuration with paths of this lab's own
"""

import base64
import ctypes
import dataclasses
import hashlib
import ipaddress
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
STATE = pathlib.Path("/run/metatap-lab")
NETNS = pathlib.Path("/run/netns")
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """One sentence for the person at the terminal."""


# --------------------------------------------------------------------------- the plan

@dataclasses.dataclass
class Network:
    name: str
    tenant: str
    cidr4: str
    cidr6: str
    mtu: int = 1500
    gateway: bool = True
    id: str = ""
    project_id: str = ""
    bridge: str = ""
    subnet4: str = ""
    subnet6: str = ""

    @property
    def gateway4(self):
        return str(next(ipaddress.ip_network(self.cidr4).hosts())) if self.gateway else None

    @property
    def gateway6(self):
        return str(next(ipaddress.ip_network(self.cidr6).hosts())) if self.gateway else None


@dataclasses.dataclass
class Guest:
    name: str
    network: str
    ip4: str
    ip6: str
    mac: str
    kind: str = "tap"  # tap: a true TAP; veth: a veth pair; vlan: a tag on `parent`'s tap
    device: str = "eth0"  # its name inside the guest
    netns: str = ""
    port_id: str = ""
    host_device: str = ""
    queues: int = 1
    parent: str = ""
    vlan: int = 0
    link_route: bool = False  # 169.254.0.0/16 on the link, no gateway at all
    instance_id: str = ""
    instance: dict = dataclasses.field(default_factory=dict)  # overrides; None: unknown to the API
    port: dict = dataclasses.field(default_factory=dict)  # further keys of the port


@dataclasses.dataclass
class Plan:
    """What a topology asks for. The helpers below name things; the lists are carried out in order."""

    id: str
    topology: str
    options: dict
    networks: dict = dataclasses.field(default_factory=dict)
    guests: dict = dataclasses.field(default_factory=dict)
    namespaces: list = dataclasses.field(default_factory=list)
    links: list = dataclasses.field(default_factory=list)  # devices in the root namespace
    root_commands: list = dataclasses.field(default_factory=list)  # lines of `ip -batch`
    wires: list = dataclasses.field(default_factory=list)  # [host device, namespace, device, options]
    commands: dict = dataclasses.field(default_factory=dict)  # namespace -> lines of `ip -batch`
    sysctls: dict = dataclasses.field(default_factory=dict)  # namespace -> {key: value}, before links
    setups: list = dataclasses.field(default_factory=list)  # [namespace, argv, stdin], run once
    files: dict = dataclasses.field(default_factory=dict)  # name in the state directory -> text
    processes: list = dataclasses.field(default_factory=list)  # [name, namespace, argv]
    devices: list = dataclasses.field(default_factory=list)  # patterns metatapd shall steer
    objects: dict = dataclasses.field(default_factory=dict)  # inventory rows of the topology's own
    config: dict = dataclasses.field(default_factory=dict)  # section -> {option: value}
    ports_named: int = 0

    # ---- names

    @property
    def tag(self):
        """Six hex digits that all port ids of this lab begin with, so its taps share a pattern."""
        return hashlib.sha256(self.id.encode()).hexdigest()[:6]

    def uuid(self, kind, name):
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"metatap-lab/{self.id}/{kind}/{name}"))

    def port_uuid(self, name):
        """Unique in its first 11 characters, which is all that Neutron's device names keep."""
        number, self.ports_named = self.ports_named, self.ports_named + 1
        rest = self.uuid("port", name)
        return f"{self.tag}{number >> 8:02x}-{number & 255:02x}{rest[11:]}"

    # ---- building blocks

    def namespace(self, name, **sysctls):
        self.namespaces.append(name)
        self.commands[name] = ["link set lo up"]
        self.sysctls[name] = {"net/ipv6/conf/all/accept_dad": 0,
                              "net/ipv6/conf/default/accept_dad": 0,
                              "net/ipv6/conf/default/accept_ra": 0,
                              "net/ipv4/ip_forward": 0, **sysctls}
        return name

    def ip(self, namespace, *lines):
        self.commands[namespace].extend(lines)

    def root(self, *lines):
        self.root_commands.extend(lines)

    def bridge(self, name, mtu=1500):
        self.links.append(name)
        self.root(f"link add {name} type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
                  f"link set {name} addrgenmode none",
                  f"link set {name} mtu {mtu} up")
        return name

    def veth(self, host, namespace, device, *, bridge="", mtu=1500, mac=""):
        """A pair: `host` in the root namespace (on `bridge`), `device` in `namespace`."""
        address = f" address {mac}" if mac else ""
        self.links.append(host)
        self.root(f"link add {host} mtu {mtu} type veth"
                  f" peer name {device}{address} mtu {mtu} netns {namespace}",
                  f"link set {host} addrgenmode none")
        if bridge:
            self.root(f"link set {host} master {bridge}")
        self.root(f"link set {host} up")

    def network(self, name, tenant, cidr4, cidr6, **more):
        """A tenant's network: a bridge without addresses, and a gateway in a namespace."""
        mtu = int(self.options.get("mtu") or 1500)
        net = Network(name, tenant, cidr4, cidr6, **{"mtu": mtu, **more})
        net.id = self.uuid("network", name)
        net.project_id = self.uuid("project", tenant).replace("-", "")
        net.subnet4 = self.uuid("subnet4", name)
        net.subnet6 = self.uuid("subnet6", name)
        net.bridge = self.bridge(f"{self.id}-{name}"[:15], net.mtu)
        self.networks[name] = net
        if net.gateway:
            space = self.namespace(f"{self.id}-gw-{name}")
            self.veth(f"{self.id}g{len(self.networks)}", space, "eth0", bridge=net.bridge,
                      mtu=net.mtu)
            self.ip(space, "link set eth0 up",
                    f"addr add {net.gateway4}/{prefix(cidr4)} dev eth0",
                    f"addr add {net.gateway6}/{prefix(cidr6)} dev eth0 nodad")
        return net

    def guest(self, name, network, ip4, ip6, mac, **more):
        net = self.networks[network]
        guest = Guest(name, network, ip4, ip6, mac, **more)
        guest.port_id = self.port_uuid(name)
        guest.instance_id = guest.instance_id or self.uuid("instance", name)
        if guest.kind == "vlan":
            parent = self.guests[guest.parent]
            guest.netns, guest.host_device = parent.netns, parent.host_device
            guest.device = f"{parent.device}.{guest.vlan}"
            # The tag is made by the wire: not every kernel has VLAN devices.
            wire = next(wire for wire in self.wires if wire[0] == guest.host_device)
            wire[4].setdefault("tags", []).append([guest.vlan, guest.device, mac])
        else:
            guest.netns = self.namespace(f"{self.id}-{name}")
            guest.host_device = "tap" + guest.port_id[:11]
            if guest.kind == "tap":
                self.wires.append([guest.host_device, guest.netns, guest.device,
                                   {"mac": mac, "queues": guest.queues},
                                   {"bridge": net.bridge, "mtu": net.mtu}])
            else:
                self.veth(guest.host_device, guest.netns, guest.device, bridge=net.bridge,
                          mtu=net.mtu, mac=mac)
        self.ip(guest.netns, *guest_commands(guest, net))
        self.guests[name] = guest
        return guest

    # ---- what metatapd is told

    def inventory(self):
        rows = {"format": "metatap-inventory/1", "networks": [], "subnets": [], "routers": [],
                "ports": [], "instances": []}
        for net in self.networks.values():
            rows["networks"].append({"id": net.id, "name": net.name, "mtu": net.mtu,
                                     "project_id": net.project_id})
            for version, key, cidr, gateway in ((4, net.subnet4, net.cidr4, net.gateway4),
                                                (6, net.subnet6, net.cidr6, net.gateway6)):
                subnet = {"id": key, "network_id": net.id, "cidr": cidr, "ip_version": version,
                          "gateway_ip": gateway, "enable_dhcp": False}
                if version == 4:
                    subnet["dns_nameservers"] = ["192.0.2.53"]
                rows["subnets"].append(subnet)
        instances = {}
        for guest in self.guests.values():
            net = self.networks[guest.network]
            port = {"id": guest.port_id, "network_id": net.id, "mac_address": guest.mac,
                    "device_id": guest.instance_id, "device_owner": "compute:nova",
                    "project_id": net.project_id,
                    "fixed_ips": [{"subnet_id": net.subnet4, "ip_address": guest.ip4},
                                  {"subnet_id": net.subnet6, "ip_address": guest.ip6}]}
            if guest.kind == "vlan":
                port["device"] = guest.host_device
                port["vlan"] = guest.vlan
            rows["ports"].append({**port, **guest.port})
            if guest.instance is not None:
                instances.setdefault(guest.instance_id, self.instance(guest, net))
        rows["instances"] = list(instances.values())
        for kind, objects in self.objects.items():
            rows[kind].extend(objects)
        return rows

    def instance(self, guest, net):
        user_data = ("#cloud-config\n"
                     f"hostname: {guest.name}\n"
                     f"write_files:\n- {{path: /etc/tenant, content: {net.tenant}}}\n")
        key = f"ssh-ed25519 {base64.b64encode(guest.name.encode() * 4).decode()} {guest.name}@{net.tenant}\n"
        return {"uuid": guest.instance_id, "project_id": net.project_id,
                "user_id": self.uuid("user", net.tenant).replace("-", ""),
                "display_name": guest.name, "hostname": guest.name,
                "availability_zone": "nova", "flavor": {"name": "m1.small"},
                "root_device_name": "/dev/vda",
                "image_ref": self.uuid("image", "debian-12"),
                "key_name": f"{net.tenant}-key", "key_data": key,
                "keypairs": [{"name": f"{net.tenant}-key", "type": "ssh", "public_key": key}],
                "metadata": {"tenant": net.tenant, "role": guest.name},
                "user_data": base64.b64encode(user_data.encode()).decode(),
                "security_groups": ["default", net.tenant], **guest.instance}

    def metatapd_config(self, state):
        """Private paths and names, so that the daemons of several labs do not meet."""
        sections = {
            "DEFAULT": {"state_path": f"{state}/state", "run_path": f"{state}/run",
                        "metadata_proxy_socket": f"{state}/run/metadata_proxy",
                        "metadata_proxy_shared_secret": f"secret-of-{self.id}",
                        "nova_metadata_host": "127.0.0.1",
                        "nova_metadata_port": str(self.api_port()),
                        "metadata_listen": "127.0.0.1",
                        "metadata_listen_port": str(self.api_port())},
            "inventory": {"file": f"{state}/inventory.json"},
            "api": {"dhcp_domain": "novalocal"},
            "dataplane": {"namespace": f"{self.id}-metatap", "pin_path": f"/sys/fs/bpf/{self.id}",
                          "devices": ",".join(self.devices or [f"tap{self.tag}*"]),
                          "slots": "256"},
        }
        for section, options in self.config.items():
            sections.setdefault(section, {}).update(options)
        lines = [f"# metatapd for the lab {self.id}"]
        for section, options in sections.items():
            lines += [f"[{section}]"] + [f"{key} = {value}" for key, value in options.items()] + [""]
        return "\n".join(lines)

    def api_port(self):
        return 20000 + int(self.tag, 16) % 10000


def prefix(cidr):
    return cidr.split("/")[1]


def guest_commands(guest, net):
    """What a guest's own network configuration would do."""
    device = guest.device
    lines = [f"link set {device} mtu {net.mtu} up",
             f"addr add {guest.ip4}/{prefix(net.cidr4)} dev {device}",
             f"addr add {guest.ip6}/{prefix(net.cidr6)} dev {device} nodad"]
    if guest.link_route:
        lines.append(f"route add 169.254.0.0/16 dev {device}")
    elif net.gateway and guest.kind != "vlan":
        lines += [f"route add default via {net.gateway4} dev {device}",
                  f"route add default via {net.gateway6} dev {device}"]
    elif guest.kind == "vlan":
        # The parent's default route stays; what is bound to the tag's address leaves by the tag.
        table = 1000 + guest.vlan
        lines += [f"rule add from {guest.ip4} table {table}",
                  f"route add 169.254.0.0/16 dev {device} table {table}"]
    return lines


# --------------------------------------------------------------------------- carrying it out

def run(argv, stdin=None, check=True):
    done = subprocess.run(argv, input=stdin, text=True, capture_output=True)
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()}")
    return done


def ip_batch(lines, namespace=None, force=False):
    """Many `ip` commands in one process."""
    if not lines:
        return
    argv = ["ip"] + (["-n", namespace] if namespace else []) + (["-force"] if force else [])
    done = subprocess.run(argv + ["-batch", "-"], input="\n".join(lines) + "\n", text=True,
                          capture_output=True)
    if done.returncode != 0 and not force:
        where = f" in {namespace}" if namespace else ""
        failed = done.stderr.strip()
        for word in failed.replace("-:", ":").split(":"):
            if word.isdigit() and 0 < int(word) <= len(lines):
                failed += f" [{lines[int(word) - 1]}]"
                break
        raise LabError(f"ip{where}: {failed}")


def enter_netns(name):
    """Moves this thread into a network namespace."""
    fd = os.open(NETNS / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"enter namespace {name}")
    finally:
        os.close(fd)


def in_netns(name, work):
    """Calls work() in a child inside the namespace; its exception text comes back as LabError."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 0
        try:
            enter_netns(name)
            work()
        except BaseException as error:  # the child must never return into the caller's stack
            os.write(writer, str(error).encode())
            code = 1
        os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        message = pipe.read()
    if os.waitpid(child, 0)[1] != 0:
        raise LabError(f"in {name}: {message}")


def write_sysctls(values):
    for key, value in values.items():
        pathlib.Path("/proc/sys", key).write_text(str(value))


def alive(pid, mark):
    """Whether `pid` still is the process we started: its command line carries our mark."""
    try:
        return mark in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False


def stop(pid, mark, patience=3.0):
    if not alive(pid, mark):
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while alive(pid, mark):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            deadline += 2
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass
        time.sleep(0.01)


class Lab:
    def __init__(self, id="demo", topology="tap", **options):
        if not id.isalnum() or not 0 < len(id) <= 8:
            raise LabError(f"a lab's id is 1 to 8 letters and digits, not '{id}'")
        self.id = id
        self.state = STATE / id
        self.plan = Plan(id, topology, options)

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

    def up(self, tapwire=None):
        if os.geteuid() != 0:
            raise LabError("the lab needs root: it makes namespaces and devices")
        if (self.state / "lab.json").exists():
            self.down()
        import topologies  # the topologies import this module
        topologies.build(self.plan)
        self.state.mkdir(parents=True, exist_ok=True, mode=0o755)
        (self.state / "run").mkdir(exist_ok=True)
        (self.state / "state").mkdir(exist_ok=True)
        self.save()
        try:
            self._make(tapwire)
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

    def _make(self, tapwire):
        plan = self.plan
        ip_batch([f"netns add {name}" for name in plan.namespaces])
        for name, values in plan.sysctls.items():
            if values:
                in_netns(name, lambda values=values: write_sysctls(values))
        ip_batch(plan.root_commands)
        if plan.wires:
            self._start_tapwire(tapwire)
            for wire in plan.wires:
                self.plug(*wire)
        for name, lines in plan.commands.items():
            ip_batch(lines, name)
        for name, text in plan.files.items():
            (self.state / name).write_text(text)
        for namespace, argv, stdin in plan.setups:
            run(["nsenter", f"--net={NETNS / namespace}", *argv], stdin)
        for name, namespace, argv in plan.processes:
            self.start(name, argv, namespace)

    def _start_tapwire(self, tapwire):
        program = pathlib.Path(tapwire or os.environ.get("METATAP_BIN", ROOT / "build/bin"))
        if program.is_dir():
            program = program / "metatap-tapwire"
        if not program.exists():
            raise LabError(f"{program} is not built (scripts/build.sh)")
        self.start("tapwire", [str(program), str(self.state / "tapwire.sock")])
        deadline = time.monotonic() + 5
        while not (self.state / "tapwire.sock").exists():
            if time.monotonic() > deadline:
                raise LabError("tapwire does not start: " + (self.state / "tapwire.log").read_text())
            time.sleep(0.01)

    def start(self, name, argv, namespace=None):
        """A process of the lab: named, logged, ended by `down`. Its command line must hold the
        state directory or the lab's id: by that it is known again."""
        log = open(self.state / f"{name}.log", "ab")
        if namespace:
            argv = ["nsenter", f"--net={NETNS / namespace}"] + argv
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 start_new_session=True)
        log.close()
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
        for file in sorted(self.state.glob("*.pid")):
            try:
                stop(int(file.read_text()), str(self.id))
            except (ValueError, OSError):
                pass
        for pin in (f"/sys/fs/bpf/{self.id}",):
            shutil.rmtree(pin, ignore_errors=True)
        devices = [*reversed(plan.links), *[wire[0] for wire in plan.wires]]
        spaces = [*plan.namespaces, f"{self.id}-metatap"]
        deadline = time.monotonic() + 5
        while True:
            # A tap goes when the last of its file descriptors does, which may take a moment.
            left = [name for name in devices if pathlib.Path("/sys/class/net", name).exists()]
            ip_batch([f"link del {name}" for name in left], force=True)
            doomed = [name for name in spaces if (NETNS / name).exists()]
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

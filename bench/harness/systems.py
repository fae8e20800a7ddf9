# SPDX-License-Identifier: Apache-2.0
"""The systems that stand side by side. Each raises its own world and serves its guests."""

import json
import os
import socket
import subprocess
import time

from labkit import BIN, ROOT, ip_batch, neutron, run
from labkit.process import wait_for_socket

from .workspace import Process, Unavailable, unpin
from .world import GUEST_SYSCTLS, World

SECRET = "bench-shared-secret"
THREADS = 2  # Neutron starts haproxy with nbthread 2; everybody gets as many


class Backend:
    """The constant agent behind every proxy."""

    def __init__(self, workspace, body_file):
        self.socket = workspace.path("backend.sock")
        self.process = workspace.start([f"{BIN}/backend", self.socket, body_file, str(THREADS)])
        wait_for_socket(self.socket)

    @property
    def pids(self):
        return self.process.pids


class LogSink:
    """Where the tuned haproxy logs to: a socket that is read."""

    def __init__(self, workspace):
        self.path = workspace.path("log.sock")
        self.process = workspace.start(["/usr/bin/python3", "-c",
                                        "import socket,sys\n"
                                        "s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\n"
                                        "s.bind(sys.argv[1])\n"
                                        "b=bytearray(65536)\n"
                                        "while True: s.recv_into(b)\n", self.path])
        wait_for_socket(self.path, kind=socket.SOCK_DGRAM)
        os.chmod(self.path, 0o666)


class System:
    name = label = ""
    family = "reference"  # or theirs, ours
    qrouter = False
    rules = False

    def __init__(self, workspace, backend, body_file):
        self.workspace = workspace
        self.backend = backend
        self.body_file = body_file
        self.world = None
        self.processes = []
        self.cgroup = None

    def up(self, tag, networks=1, guests=1):
        self.tag = tag
        self.world = World(self.workspace, f"{self.name}{tag}", networks, guests, self.qrouter, self.rules)
        self.world.up()
        self.serve()
        self.check()
        return self

    def serve(self):
        raise NotImplementedError

    def check(self, guests=None):
        """The first and the last guest get an answer, or the system is out with a reason."""
        for guest in {one.netns for one in guests or (self.world.guests[0], self.world.guests[-1])}:
            done = subprocess.run([f"{BIN}/loadgen", "first", "--guest", guest, "--interval-us", "5000",
                                   "--timeout", str(15 + len(self.world.guests) / 20)], capture_output=True, text=True)
            if done.returncode != 0:
                raise Unavailable(f"no answer in guest {guest}: {done.stdout.splitlines()[-1:]} "
                                  f"{done.stderr.strip()} {self.last_words()}")

    def last_words(self):
        return ""

    @property
    def pids(self):
        return [pid for process in self.processes for pid in process.pids]

    def down(self):
        self.workspace.stop(*self.processes)
        self.processes = []
        if self.world:
            self.world.down()
            self.world = None


class Haproxy(System):
    """Neutron's set-up: rules and one haproxy a router, configured exactly as its L3 agent does."""

    name, label, family = "theirs", "Neutron: haproxy + REDIRECT", "theirs"
    qrouter = rules = True

    def config(self, network, pidfile):
        return neutron.haproxy_config(network.router, neutron.ROUTER_BINDS, "router", self.backend.socket, pidfile)

    def spawn(self, network):
        pidfile = self.workspace.path(self.world.name, f"{network.router}.pid.haproxy")
        config = self.workspace.write(f"{self.world.name}/{network.router}.conf", self.config(network, pidfile))
        log = self.workspace.path(self.world.name, "haproxy.log")
        environment = dict(os.environ, PROCESS_TAG=f"haproxy-{network.router}")
        launcher = self.workspace.start(["haproxy", "-f", config], network.router_netns, log, self.cgroup, environment)
        return launcher, pidfile

    def adopt(self, launcher, pidfile):
        """haproxy goes to the background by itself and leaves its pid in the file."""
        code = launcher.popen.wait(30)
        self.workspace.processes.remove(launcher)
        if code != 0:
            raise Unavailable(f"haproxy ended with {code}: {self.last_words()}")
        with open(pidfile) as file:
            process = Process(launcher.popen, [int(line) for line in file.read().split()])
        self.workspace.processes.append(process)
        self.processes.append(process)

    def serve(self):
        networks = self.world.networks
        for start in range(0, len(networks), 8):
            spawned = [self.spawn(network) for network in networks[start:start + 8]]
            for launcher, pidfile in spawned:
                self.adopt(launcher, pidfile)

    def last_words(self):
        try:
            with open(self.workspace.path(self.world.name, "haproxy.log")) as file:
                return file.read()[-400:]
        except OSError:
            return ""


class TunedHaproxy(Haproxy):
    """The best that haproxy can reasonably do in the same place: backend connections kept and
    shared (http-reuse safe: "always" measured worse with many routers), a log that is read, as many
    threads as ours."""

    name, label = "tuned", "haproxy tuned + REDIRECT"
    sink = None

    def config(self, network, pidfile):
        if TunedHaproxy.sink is None or TunedHaproxy.sink.process not in self.workspace.processes:
            TunedHaproxy.sink = LogSink(self.workspace)
        return (super().config(network, pidfile)
                .replace("/dev/log local0 info", f"{TunedHaproxy.sink.path} local0 info")
                .replace("nbthread    2", f"nbthread    {THREADS}")
                .replace("option http-server-close", "option http-keep-alive\n    http-reuse safe"))


class Metatap(System):
    family = "ours"
    binaries = BIN
    by_command = False  # the inventory comes by `metatap apply`, not from a file that is followed
    stages = "dataplane,proxy"
    steering = "bpf"

    def config(self):
        world = self.world
        state = self.workspace.path(world.name, "state", "")
        run_path = self.workspace.path(world.name, "run", "")
        fused = "api" in self.stages
        return f"""[DEFAULT]
state_path = {state.rstrip('/')}
run_path = {run_path.rstrip('/')}
user = root
metadata_proxy_socket = {self.workspace.path(world.name, 'agent.sock') if fused else self.backend.socket}
metadata_proxy_shared_secret = {SECRET}
metadata_workers = {THREADS}
[proxy]
workers = {THREADS}
max_connections_per_port = 1024
[neutron]
service_metadata_proxy = true
metadata_proxy_shared_secret = {SECRET}
[inventory]
file = {'' if self.by_command else self.inventory_file}
[dataplane]
namespace = {world.name}md
pin_path = /sys/fs/bpf/{world.name}
devices = {self.devices()}
syn_rate = 1000000
syn_burst = 1000000
"""

    def devices(self):
        return "tap*"

    def serve(self, extra_ports=0):
        if not os.path.exists(f"{self.binaries}/metatapd"):
            raise Unavailable("metatapd is not built")
        self.inventory_file = self.workspace.write(f"{self.world.name}/inventory.json",
                                                   json.dumps(self.world.inventory(extra_ports)))
        config = self.workspace.write(f"{self.world.name}/metatap.conf", self.config())
        self.log = self.workspace.path(self.world.name, "metatapd.log")
        process = self.workspace.start([f"{self.binaries}/metatapd", "--config-file", config, "--stages", self.stages,
                                        "--steering", self.steering], self.world.host, self.log, self.cgroup)
        self.processes.append(process)
        time.sleep(0.3)
        if process.popen.poll() is not None:
            raise Unavailable(f"metatapd ended with {process.popen.returncode}: {self.last_words()}")
        if self.by_command:
            until = time.monotonic() + 30
            while not os.path.exists(self.admin_socket) and process.popen.poll() is None and time.monotonic() < until:
                time.sleep(0.05)
            run(f"{self.binaries}/metatap", "--socket", self.admin_socket, "apply", self.inventory_file)

    @property
    def admin_socket(self):
        return self.workspace.path(self.world.name, "run", "admin.sock")

    def pin(self, *parts):
        return os.path.join("/sys/fs/bpf", self.world.name, *parts)

    def down(self):
        if self.world:
            pins, namespace = self.pin(), f"{self.world.name}md"
            super().down()
            unpin(pins)
            self.workspace.drop_namespaces([namespace])
        else:
            super().down()

    def last_words(self):
        try:
            with open(self.log) as file:
                return file.read()[-600:]
        except (OSError, AttributeError):
            return ""


class TapMode(Metatap):
    name, label = "tap", "metatap, tap mode"


class TapLedger(TapMode):
    """To be measured beside it: what it costs to keep who read what."""

    name, label = "ledger", "metatap, tap mode, access ledger"

    def config(self):
        where = self.workspace.path(self.world.name, "ledger", "")
        return super().config().replace("[proxy]\n", f"[proxy]\nledger = {where.rstrip('/')}\n")


class RouterMode(Metatap):
    name, label = "router", "metatap, router mode"
    qrouter = True

    def devices(self):
        return "none"  # nothing in the host's namespace: the routers' own ports only


class ListenMode(RouterMode):
    name, label = "listen", "metatap, no BPF (listen)"
    steering = "listen"


class FusedTap(TapMode):
    name, label = "fused", "metatap, all stages, from memory"
    stages = "dataplane,proxy,agent,api"


class FusedRouter(RouterMode):
    name, label = "fusedrouter", "metatap, all stages, router mode"
    stages = "dataplane,proxy,agent,api"


class Plain(System):
    """Guest, tap, bridge, router, minimal server: the same way, nobody steers, nobody proxies."""

    name, label = "plain", "no proxy: minimal server, same path"

    def serve(self):
        for network in self.world.networks:
            ip_batch(["addr add 169.254.169.254/32 dev lo"], network.router_netns)
            self.processes.append(self.workspace.start(
                [f"{BIN}/minimal_server", "169.254.169.254", "80", self.body_file, str(THREADS)],
                network.router_netns))


class Limit(System):
    """One veth pair and the minimal server at its other end: nobody can be faster."""

    name, label = "limit", "limit: veth + minimal server"

    def up(self, tag, networks=1, guests=1):
        self.tag = tag
        self.world = World(self.workspace, f"{self.name}{tag}", networks, guests, False, False)
        world = self.world
        layout = world.layout()
        layout.namespace(world.host)
        layout.ip(world.host, "addr add 169.254.169.254/32 dev lo")
        for i, guest in enumerate(world.guests):
            subnet = f"10.{i >> 8}.{i & 255}"
            guest.ip4 = f"{subnet}.2"
            layout.namespace(guest.netns, **GUEST_SYSCTLS)
            layout.on_host(f"link add v{i} type veth peer name eth0 netns {guest.netns}",
                           f"addr add {subnet}.1/24 dev v{i}", f"link set v{i} up")
            layout.ip(guest.netns, f"addr add {guest.ip4}/24 dev eth0", "link set eth0 up",
                      f"route add default via {subnet}.1")
        self.workspace.make(layout)
        self.serve()
        self.check()
        return self

    def serve(self):
        self.processes.append(self.workspace.start(
            [f"{BIN}/minimal_server", "169.254.169.254", "80", self.body_file, str(THREADS)],
            self.world.host))


ALL = [Haproxy, TunedHaproxy, RouterMode, ListenMode, TapMode, TapLedger, FusedTap, FusedRouter, Plain, Limit]
BY_NAME = {system.name: system for system in ALL}
OTHER = "other"


def add_other_build(directory):
    """Ours once more, each from the metatapd in that directory, to be measured beside it."""
    for system in [one for one in ALL if issubclass(one, Metatap)]:
        name = OTHER + system.name
        BY_NAME[name] = type(f"Other{system.__name__}", (system,),
                             {"name": name, "label": f"the other build: {system.label}", "binaries": directory})


def first_line(*command):
    try:
        return run(*command, check=False).splitlines()[0].strip()
    except (IndexError, OSError):
        return None


def read_line(path):
    try:
        with open(path) as file:
            return file.readline().strip()
    except OSError:
        return None


def mitigations():
    """What the processor's flaws cost here: every one that the kernel works around or leaves open."""
    base = "/sys/devices/system/cpu/vulnerabilities"
    found = {name: read_line(os.path.join(base, name)) for name in sorted(os.listdir(base))} \
        if os.path.isdir(base) else {}
    return "; ".join(f"{name}: {text}" for name, text in found.items() if text and text != "Not affected")


def versions():
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) // 1024
    return {"kernel": os.uname().release, "cpu": model, "cpus": os.cpu_count(), "memory_mb": memory,
            "governor": read_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            "mitigations": mitigations(),
            "haproxy": first_line("haproxy", "-v"), "iptables": first_line("iptables", "--version"),
            "wrk": first_line("dpkg-query", "-W", "-f", "${Version}", "wrk"),
            "iperf3": first_line("iperf3", "--version"),
            # With "-dirty" at its end: more than the commit was measured.
            "metatap": first_line("git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "describe", "--always",
                                  "--dirty", "--exclude=*"),
            "binaries": None if BIN == ROOT / "build/bin" else str(BIN),
            "dev_log": os.path.exists("/dev/log")}

# SPDX-License-Identifier: Apache-2.0
"""What it costs to be there: memory, start, attach, a change, a packet that is not metadata,
tenant traffic, SYN floods."""

import copy
import glob
import json
import os
import re
import resource
import statistics
import struct
import subprocess
import time

from .lab import BIN, Unavailable, batch, cpu_seconds, host_busy_seconds, inside, kernel_bytes, progress, \
    pss_bytes, run, together, unpin
from .loads import lower, raise_systems
from .measure import spread
from .systems import BY_NAME, FusedRouter, FusedTap, Haproxy, RouterMode, TapMode
from .world import GATEWAY_MAC, World

EMPTY_PROGRAM = os.path.join(os.path.dirname(BIN), "bench", "empty.bpf.o")
PAGE = os.sysconf("SC_PAGESIZE")


def wanted(context, name):
    return not context.options.systems or name in context.options.systems


def _memory_of(system):
    return {"pss": pss_bytes(system.pids), "kernel": kernel_bytes(system.cgroup) or 0}


def _settled(system):
    """Memory once it keeps still: what is freed after a grace period is gone by then, and cgroup v2
    has counted what every processor still had in its pocket (it does so every two seconds)."""
    quiet = 2.4 if system.cgroup and os.path.exists(os.path.join(system.cgroup, "memory.current")) else 0.6
    last, since, end = _memory_of(system), time.monotonic(), time.monotonic() + 10
    while time.monotonic() < end and time.monotonic() - since < quiet:
        time.sleep(0.1)
        now = _memory_of(system)
        if any(abs(now[key] - last[key]) > 4 * PAGE for key in now):
            last, since = now, time.monotonic()
    return _memory_of(system)


def _growth(system, unit, add, batches, size):
    """`add(numbers)` brings so many more into being. The first batch is the warm-up: code that is
    read in, tables that grow once. The others are told apart to see how much they differ."""
    looks = []
    for number in range(batches + 1):
        progress(f"  memory, {system.name}: batch {number}/{batches} of {size}", end="")
        add(range(number * size, (number + 1) * size))
        looks.append(_settled(system))
    steps = {key: [(b[key] - a[key]) / size for a, b in zip(looks, looks[1:])] for key in ("pss", "kernel")}
    both = [p + k for p, k in zip(steps["pss"], steps["kernel"])]
    return {f"pss_per_{unit}": statistics.mean(steps["pss"]),
            f"kernel_per_{unit}": statistics.mean(steps["kernel"]) if system.cgroup else None,
            "least": min(both), "most": max(both), "batches": steps, "batch": size, "looks": looks}


def _memory_haproxy(context, system, batches, size):
    system.world = World(context.lab, f"{system.name}f", (batches + 1) * size, 1, True, True)
    system.world.up()

    def add(numbers):
        networks = system.world.networks
        for launcher, pidfile in [system.spawn(networks[i]) for i in numbers]:
            system.adopt(launcher, pidfile)
        system.check(networks[numbers[-1]].guests)
    return _growth(system, "router", add, batches, size)


def _memory_router(context, system, batches, size):
    """Same process, same inventory: only the routers' namespaces appear."""
    system.world = world = World(context.lab, f"{system.name}f", (batches + 1) * size, 1, True, False)
    world.up(routers=False, guests=[network.guests[0] for network in world.networks[size - 1::size]])
    system.serve()

    def add(numbers):
        together(world.add_router, [world.networks[i] for i in numbers])
        system.check(world.networks[numbers[-1]].guests)
    return _growth(system, "router", add, batches, size)


def _memory_tap(context, system, batches, size):
    """Same process, same inventory: only the taps appear. Most have no guest at their other end."""
    system.world = world = World(context.lab, "tapf", 1, (batches + 1) * size, False, False)
    world.up(guests=world.guests[size - 1::size], taps=False)
    nobody = world.name + "n"
    context.lab.add_namespaces([nobody])
    system.serve()

    def add(numbers):
        *others, last = [world.guests[i] for i in numbers]
        batch([f"link add {g.tap} type veth peer name p{i} netns {nobody} address {g.mac}"
               for i, g in zip(numbers, others)]
              + [f"link set {g.tap} master {g.network.bridge} up" for g in others], world.host)
        world.plug(last)
        world.configure(last)
        system.check([last])
    try:
        return _growth(system, "tap", add, batches, size)
    finally:
        context.lab.drop_namespaces([nobody])


def memory(context):
    """What one more costs, process and kernel, after a first batch has warmed everything up."""
    quick = context.options.quick
    out = {"systems": {}}
    for kind, grow, batches, size in ((Haproxy, _memory_haproxy, 2 if quick else 4, 10),
                                      (RouterMode, _memory_router, 4 if quick else 8, 50 if quick else 100),
                                      (TapMode, _memory_tap, 4 if quick else 8, 50 if quick else 100)):
        if not wanted(context, kind.name):
            continue
        system = kind(context.lab, context.backend, context.body_file)
        try:
            system.cgroup = context.lab.memory_cgroup(system.name)
            out["systems"][system.name] = grow(context, system, batches, size)
        except Exception as error:
            progress(f"  memory, {system.name}: {error}")
            out["systems"][system.name] = {"error": str(error)}
        finally:
            system.down()
    progress("", end="")
    return out


def _probe(context, guest, interval_us, timeout=20):
    """A guest that asks over and over; returns once it has begun."""
    popen = context.lab.popen([f"{BIN}/loadgen", "first", "--guest", guest.netns, "--interval-us", str(interval_us),
                               "--timeout", str(timeout)])
    popen.stdout.readline()
    return popen


def _answered(popen):
    out, _ = popen.communicate()
    return json.loads(out.splitlines()[-1])["at_ns"]


def _set_up(netns, device):
    """The device's flag is the last thing missing; the time is the one just before it is set."""
    return json.loads(run(f"{BIN}/loadgen", "up", "--guest", netns, "--device", device))["up_ns"]


def _times(values):
    good = [value for value in values if value is not None]
    return {"ms": values, "median_ms": statistics.median(good) if good else None,
            "ms_spread": spread(good), "unanswered": len(values) - len(good)}


def start(context):
    """From the moment the router's port goes up, with all else there, to the first answer a guest
    gets. For Neutron: its rules and haproxy, started right then, without the agent's own time."""
    rounds = context.options.rounds
    out = {"systems": {}}
    systems = {}
    for kind in (Haproxy, FusedRouter, RouterMode):
        if not wanted(context, kind.name):
            continue
        system = kind(context.lab, context.backend, context.body_file)
        system.world = World(context.lab, f"{system.name}s", rounds + 1, 1, True, False)
        try:
            system.world.up(routers=False)
            if kind is not Haproxy:
                system.serve()
                time.sleep(1)
            systems[system.name] = system
        except Exception as error:
            out["systems"][system.name] = {"error": str(error)}
            system.down()
    times = {name: [] for name in systems}
    for number in range(rounds + 1):
        for name, system in systems.items():
            progress(f"  port up to first answer, round {number}/{rounds}, {name}", end="")
            network = system.world.networks[number]
            time.sleep(0.2)  # every daemon here has looked at the namespace of the one before
            system.world.add_router(network, up=False)
            # Ten thousand attempts a second would take 15 % off haproxy's speed on two cores, and a
            # millisecond is exact enough beside its hundred.
            popen = _probe(context, network.guests[0], 1000 if isinstance(system, Haproxy) else 100)
            begun = _set_up(network.gateway, network.qr)
            if isinstance(system, Haproxy):
                system.world.add_rules(network)
                system.adopt(*system.spawn(network))
            at = _answered(popen)
            if number:
                times[name].append((at - begun) / 1e6 if at else None)
    for name, values in times.items():
        out["systems"][name] = _times(values)
        systems[name].down()
    progress("", end="")
    return out


def attach(context):
    """From the moment a tap goes up to the first answer: devices are moved in and put into their
    bridge before, as libvirt and OVS do."""
    rounds = context.options.rounds
    system = FusedTap(context.lab, context.backend, context.body_file)
    system.world = world = World(context.lab, "attach", 1, rounds + 1, False, False)
    park = world.name + "park"
    try:
        context.lab.add_namespaces([world.host, park])
        batch(["link set lo up"] + [f"link add {n.bridge} type bridge" for n in world.networks]
              + [f"link set {n.bridge} up" for n in world.networks], world.host)
        context.lab.add_namespaces([g.netns for g in world.guests])
        for guest in world.guests:
            batch([f"link add {guest.tap} type veth peer name eth0 netns {guest.netns} address {guest.mac}"], park)
            world.configure(guest)
        for network in world.networks:
            world.add_router(network)
        system.serve()
        time.sleep(1)
        values = []
        for number, guest in enumerate(world.guests):
            progress(f"  tap up to first answer, round {number}/{rounds}", end="")
            batch([f"link set {guest.tap} netns {world.host}"], park)
            batch([f"link set {guest.tap} master {guest.network.bridge}"], world.host)
            popen = _probe(context, guest, 100)
            begun = _set_up(world.host, guest.tap)
            at = _answered(popen)
            if number:
                values.append((at - begun) / 1e6 if at else None)
        progress("", end="")
        return _times(values)
    finally:
        system.down()
        context.lab.drop_namespaces([park])


class Changes:
    """A daemon with so many ports, and the ways to give it one more."""

    WAYS = ("one", "apply")

    def __init__(self, context, count):
        self.context = context
        self.system = FusedTap(context.lab, context.backend, context.body_file)
        self.system.world = self.world = World(context.lab, f"change{count}", 1, 2, False, False)
        self.next = count
        try:
            self.world.up()
            begun = time.monotonic()
            self.system.serve(extra_ports=count)
            self.system.check()
            self.ready = time.monotonic() - begun
        except BaseException:
            self.system.down()
            raise
        self.document = self.world.inventory(count)
        self.walls = {way: [] for way in self.WAYS}
        self.cpus = {way: [] for way in self.WAYS}
        self.meanwhile = {}

    def command(self, way):
        """The command that adds the next port; its document is written before the clock runs."""
        port, instance = self.world.extra_port(self.next), self.world.extra_instance(self.next)
        self.next += 1
        self.document["ports"].append(port)
        self.document["instances"].append(instance)
        what = self.document if way == "apply" else \
            {"format": "metatap-inventory/1", "ports": [port], "instances": [instance]}
        verb = ["apply"] if way == "apply" else ["instance", "add"]
        return [f"{BIN}/metatap", "--socket", self.system.admin_socket, *verb,
                self.context.lab.write(f"{self.world.name}-{way}{self.next if way == 'one' else ''}.json",
                                       json.dumps(what))]

    def once(self, way):
        command = self.command(way)
        before = cpu_seconds(self.system.pids)
        begun = time.monotonic()
        run(*command)
        self.walls[way].append((time.monotonic() - begun) * 1e3)
        time.sleep(0.05)  # what the daemon does after its answer is its cost as well
        self.cpus[way].append((cpu_seconds(self.system.pids) - before) * 1e3)

    def with_load(self, way, times):
        """Connections that are open must live on, and their requests be answered."""
        commands = [self.command("one") for _ in range(times)] if way == "one" else None
        seconds = 0.3 + times * (statistics.median(self.walls[way]) / 1e3 + 0.1) * 2
        load = self.context.lab.popen(
            [f"{BIN}/loadgen", "load", "--guest", self.world.guests[0].netns, "--clients", "4", "--keep-alive",
             "--seconds", f"{seconds:.2f}", "--timeout", "5"])
        time.sleep(0.15)
        done = 0
        while done < times and load.poll() is None:
            run(*(commands[done] if commands else self.command(way)))
            done += 1
            time.sleep(0.05)
        answers = json.loads(load.communicate()[0])
        self.meanwhile[way] = {"changes": done, "failed": answers["failed"], "answered": answers["requests"],
                               "p99_us": answers["latency_us"]["p99"]}

    def result(self):
        out = {"first_answer_seconds": self.ready}
        for way in self.WAYS:
            out[way] = {"ms": statistics.median(self.walls[way]), "ms_spread": spread(self.walls[way]),
                        "all_ms": self.walls[way], "cpu_ms": statistics.median(self.cpus[way]),
                        "meanwhile": self.meanwhile.get(way)}
        return out


def _metatap_alone():
    begun = time.monotonic()
    run(f"{BIN}/metatap", "--help")
    return (time.monotonic() - begun) * 1e3


def change(context):
    """One port more with 10, 1 000 and 4 000 ports there: as one object, and by the whole document.
    What the command takes, what it takes to start the command at all, what it costs the daemon, and
    whether connections that are open live on."""
    rounds = context.options.rounds
    out = {"ports": {}, "command_ms": None}
    sizes = {}
    try:
        for count in (10, 1000, 4000):
            progress(f"  a change at {count} ports: raising", end="")
            try:
                sizes[count] = Changes(context, count)
            except Exception as error:
                progress(f"  {count} ports: {error}")
                out["ports"][str(count)] = {"error": str(error)}
        alone = []
        for number in range(-1, rounds):
            progress(f"  a change at {', '.join(map(str, sizes))} ports, round {number + 1}/{rounds}", end="")
            alone.append(_metatap_alone())
            for one in sizes.values():
                for way in one.WAYS:
                    one.once(way)
            if number < 0:
                for values in [alone] + [v for one in sizes.values() for v in (*one.walls.values(), *one.cpus.values())]:
                    values.clear()
        out["command_ms"] = statistics.median(alone)
        for count, one in sizes.items():
            progress(f"  a change at {count} ports, under load", end="")
            for way in one.WAYS:
                one.with_load(way, 5)
            out["ports"][str(count)] = one.result()
    finally:
        lower({count: one.system for count, one in sizes.items()})
    progress("", end="")
    return out


def _checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _frame(guest, destination, port, payload):
    """An Ethernet frame with a TCP segment from the guest."""
    mac = bytes.fromhex(GATEWAY_MAC.replace(":", "") + guest.mac.replace(":", ""))
    address = bytes(int(part) for part in guest.address.split("."))
    to = bytes(int(part) for part in destination.split("."))
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40 + payload, 1, 0, 64, 6, 0, address, to)
    head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
    tcp = struct.pack("!HHIIBBHHH", 40000, port, 1, 1, 0x50, 0x10, 64240, 0, 0)
    return mac + b"\x08\x00" + head + tcp + bytes(payload)


def _programs(system):
    """Ids of the daemon's programs by name, told from those of others by who holds them."""
    out = {}
    for line in json.loads(run("bpftool", "-j", "prog", "show")):
        if any(owner["pid"] in system.pids for owner in line.get("pids", [])):
            out.setdefault(line.get("name", ""), line["id"])
    if not out:
        for link in glob.glob(system.pin("**"), recursive=True):
            shown = run("bpftool", "-j", "link", "show", "pinned", link, check=False)
            try:
                program = json.loads(shown)
                program = program[0] if isinstance(program, list) else program
                shown = json.loads(run("bpftool", "-j", "prog", "show", "id", str(program["prog_id"])))
                out.setdefault(shown.get("name", ""), shown["id"])
            except (ValueError, KeyError, IndexError, RuntimeError):
                continue
    return out


class TestRun:
    """BPF_PROG_TEST_RUN by bpftool, in the namespace whose devices the frames name."""

    REPEAT = 1000000

    def __init__(self, context, netns):
        self.file = context.lab.path("frame.bin")
        self.netns = netns

    def nanoseconds(self, program, frame):
        with open(self.file, "wb") as sink:
            sink.write(frame)
        done = subprocess.run(inside(self.netns) + ["bpftool", "prog", "run", *program, "data_in", self.file,
                                                    "repeat", str(self.REPEAT)], capture_output=True, text=True)
        found = re.search(r"duration \(average\): (\d+)\s*ns", done.stdout)
        if not found:
            raise RuntimeError((done.stderr or done.stdout).strip()[-200:])
        return int(found.group(1))


def _net_of_empty(test, empty, programs, frames, rounds):
    """{program: frame: figures}. The empty program takes its turn in every round, before each."""
    taken = {}
    for _ in range(rounds):
        for kind, frame in frames:
            for name, program in programs.items():
                base = test.nanoseconds(["pinned", empty], frame)
                taken.setdefault(f"{name}: {kind}", []).append((test.nanoseconds(["id", str(program)], frame), base))
    out = {}
    for title, pairs in taken.items():
        net = [gross - base for gross, base in pairs]
        out[title] = {"gross": statistics.median(gross for gross, _ in pairs),
                      "empty": statistics.median(base for _, base in pairs),
                      "net": statistics.median(net), "net_low": min(net), "net_high": max(net)}
    return out


def packet(context):
    """Nanoseconds of our programs on a packet that is not metadata: BPF_PROG_TEST_RUN beside a
    program that does nothing, and the kernel's own statistics while a guest sends tenant traffic."""
    systems = raise_systems(context, ["tap", "router"], "p", 1, 2)
    out = {}
    empty = f"/sys/fs/bpf/{context.lab.prefix}empty"
    try:
        run("bpftool", "prog", "load", EMPTY_PROGRAM, empty)
        for name, system in systems.items():
            programs = {n: i for n, i in _programs(system).items() if n.startswith("mt_") and "return" not in n}
            guest = system.world.guests[0]
            frames = [("tcp, other address", _frame(guest, "10.0.0.3", 80, 64)),
                      ("tcp, full size", _frame(guest, "10.0.0.3", 80, 1400))]
            out[name] = {"programs": programs}
            usable = {}
            test = TestRun(context, system.world.host)
            for program, number in programs.items():
                try:  # also its warm-up
                    test.nanoseconds(["id", str(number)], frames[0][1])
                    usable[program] = number
                except RuntimeError as error:
                    out[name]["error"] = f"{program}: {error}"
            progress(f"  a packet that is not metadata, {', '.join(usable)}", end="")
            out[name]["test_run_ns"] = _net_of_empty(test, empty, usable, frames, context.options.rounds)
        if "tap" in systems:
            out["live"] = _live(context, systems["tap"])
    finally:
        unpin(empty)
        lower(systems)
    progress("", end="")
    return out


def _live(context, system):
    program = next((i for n, i in _programs(system).items() if n.startswith("mt_tap")), None)
    if program is None:
        return {"error": "mt_tap not found"}
    a, b = system.world.guests[:2]
    old = run("sysctl", "-n", "kernel.bpf_stats_enabled").strip()
    server = Iperf.serve(context, b)
    run("sysctl", "-q", "kernel.bpf_stats_enabled=1")
    try:
        def read():
            shown = json.loads(run("bpftool", "-j", "prog", "show", "id", str(program)))
            return shown.get("run_time_ns", 0), shown.get("run_cnt", 0)
        before = read()
        rate = Iperf(a, b, server, ["-u", "-b", "0", "-l", "64"]).run(["-t", "1"])
        after = read()
    finally:
        run("sysctl", "-q", f"kernel.bpf_stats_enabled={old}")
        context.lab.stop(server)
    packets = after[1] - before[1]
    return {"ns_per_packet": (after[0] - before[0]) / packets if packets else None, "packets": packets,
            "note": "the kernel's statistics add two clock reads to each run", "udp": rate}


def _softirq_threads():
    """The kernel's own, which go on with packets where a sender has had its share."""
    out = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm") as file:
                if file.read().startswith("ksoftirqd/"):
                    out.append(int(pid))
        except OSError:
            continue
    return out


class Iperf:
    """One guest sends to another. What it costs is the time of the sender, in which the packets
    pass the programs and the bridge, of the receiver, and of the kernel's threads for packets.
    Unlike the host's busy time it leaves out what else this machine does."""

    PORT = "5999"

    def __init__(self, sender, receiver, server, extra):
        self.sender, self.receiver, self.extra = sender, receiver, extra
        self.others = server.pids + _softirq_threads()

    @classmethod
    def serve(cls, context, guest):
        server = context.lab.start(["iperf3", "-s", "-p", cls.PORT], guest.netns)
        time.sleep(0.2)
        return server

    def _cpu(self):
        mine = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cpu_seconds(self.others) + mine.ru_utime + mine.ru_stime

    def run(self, how_much):
        before, cpu = host_busy_seconds(), self._cpu()
        done = subprocess.run(inside(self.sender.netns) + ["iperf3", "-c", self.receiver.address, "-p", self.PORT, "-J",
                                                           *how_much, *self.extra], capture_output=True, text=True)
        busy, cpu = host_busy_seconds() - before, self._cpu() - cpu
        result = json.loads(done.stdout)
        if "error" in result:
            raise RuntimeError(f"iperf3: {result['error']}")
        end = result["end"]
        total = end.get("sum_received") or end["sum"]
        sent = end.get("sum_sent") or end["sum"]
        # A datagram that the receiver had no room for has passed the programs all the same.
        return {"gbit": total["bits_per_second"] / 1e9, "bytes": sent["bytes"], "packets": end.get("sum", {}).get("packets"),
                "busy_seconds": busy, "ns_per_kb": cpu * 1e9 / (sent["bytes"] / 1000)}


TENANT_KINDS = (("tcp", False, ()), ("tcp, 1448-byte packets", True, ()),
                ("udp, 64 bytes", True, ("-u", "-b", "0", "-l", "64")))


def _quartiles(values):
    if len(values) < 4:
        return [min(values), max(values)]
    low, _, high = statistics.quantiles(values, n=4)
    return [low, high]


def _tenant_pairs(title, runs, seconds, pairs):
    """With and without in turn, first one ahead and then the other (A B B A): what drifts favours
    nobody. The same number of bytes each time, as many as take about `seconds`."""
    rate = {name: run(["-t", "1"]) for name, run in runs.items()}  # also the warm-up
    amount = ["-n", str(int(min(one["bytes"] for one in rate.values()) * seconds))]
    values = {name: [] for name in runs}
    for number in range(pairs):
        for name in ("tap", "plain") if number % 2 == 0 else ("plain", "tap"):
            progress(f"  tenant traffic, {title}, pair {number + 1}/{pairs}, {name}", end="")
            values[name].append(runs[name](amount))
    out = {"pairs": pairs, "all": values}
    for key, with_it, without in (("gbit", "with_gbit", "without_gbit"), ("ns_per_kb", "with_ns_kb", "without_ns_kb")):
        ratios = [a[key] / b[key] for a, b in zip(values["tap"], values["plain"]) if b[key]]
        out[with_it] = statistics.median(one[key] for one in values["tap"])
        out[without] = statistics.median(one[key] for one in values["plain"])
        name = "ratio" if key == "gbit" else "cpu_ratio"
        out[name] = statistics.median(ratios)
        out[name + "_quartiles"] = _quartiles(ratios)
    return out


def tenant(context):
    """Guest to guest through the bridge: with mt_tap on both taps, and without."""
    systems = raise_systems(context, ["tap", "plain"], "t", 1, 2)
    out = {}
    servers = []
    try:
        if len(systems) < 2:
            raise Unavailable("needs both: tap and plain")
        servers = [Iperf.serve(context, system.world.guests[1]) for system in systems.values()]
        for title, single, extra in TENANT_KINDS:
            if single:
                for guest in [guest for system in systems.values() for guest in system.world.guests[:2]]:
                    subprocess.run(inside(guest.netns) + ["ethtool", "-K", "eth0", "tso", "off", "gso", "off", "gro", "off"],
                                   capture_output=True)
            runs = {name: Iperf(*system.world.guests[:2], server, extra).run
                    for (name, system), server in zip(systems.items(), servers)}
            out[title] = _tenant_pairs(title, runs, 0.4 if context.options.quick else 2.0,
                                       8 if context.options.quick else 30)
    finally:
        context.lab.stop(*servers)
        lower(systems)
    progress("", end="")
    return out


def syn(context):
    """What one SYN costs the host, by the layer that deals with it. Bounded: 100 000 SYNs each,
    inside our own namespaces. The sender's time is the path's: veth hands packets over at once."""
    systems = raise_systems(context, ["theirs", "router", "tap", "plain"], "y", 1, 1)
    count = 30000 if context.options.quick else 100000
    cases = []
    for name, system in systems.items():
        guest = system.world.guests[0]
        cases.append((f"{name}: other address (no work)", system, guest.address, "10.0.0.77", 80))
        cases.append((f"{name}: to the listener", system, guest.address, "169.254.169.254", 80))
        if name == "tap":
            cases.append((f"{name}: forged source, dropped by the program", system, "10.0.0.99",
                          "169.254.169.254", 80))
    values = {title: [] for title, *_ in cases}
    try:
        for number in range(context.options.rounds):
            for title, system, source, destination, port in cases:
                progress(f"  SYN flood, round {number + 1}, {title}", end="")
                done = subprocess.run(
                    [f"{BIN}/loadgen", "syn", "--guest", system.world.guests[0].netns, "--source", source,
                     "--address", destination, "--port", str(port), "--destination-mac", GATEWAY_MAC,
                     "--count", str(count), "--timeout", "5"], capture_output=True, text=True)
                if done.returncode == 0:
                    values[title].append(json.loads(done.stdout)["ns_cpu"])
    finally:
        lower(systems)
    progress("", end="")
    return {"count": count, "ns_per_syn": {title: {"median": statistics.median(v), "spread": spread(v)}
                                           for title, v in values.items() if v}}

# SPDX-License-Identifier: Apache-2.0
"""What it costs to be there: memory, start, attach, a change, a packet that is not metadata,
tenant traffic, SYN floods."""

import copy
import glob
import json
import os
import re
import statistics
import struct
import subprocess
import time

from .lab import BIN, Unavailable, batch, cpu_seconds, inside, kernel_bytes, progress, pss_bytes, run
from .loads import lower, raise_systems
from .measure import spread
from .systems import BY_NAME, FusedRouter, FusedTap, Haproxy, RouterMode, TapMode
from .world import GATEWAY_MAC, World


def _memory_of(system):
    return {"pss": pss_bytes(system.pids), "kernel": kernel_bytes(system.cgroup) or 0}


def memory(context):
    """Per router: what N of them add. Neutron's: N haproxies. Ours: the one process with N
    routers' namespaces there, less the same process, same inventory, before they appeared."""
    count = 50 if context.options.quick else 200
    out = {"routers": count, "systems": {}}
    for kind in (Haproxy, RouterMode):
        system = kind(context.lab, context.backend, context.body_file)
        try:
            progress(f"  memory: {count} routers, {system.name}", end="")
            system.cgroup = context.lab.memory_cgroup(system.name)
            system.world = World(context.lab, f"{system.name}f", count, 1, system.qrouter, system.rules)
            if kind is Haproxy:
                system.world.up()
                before = {"pss": 0, "kernel": kernel_bytes(system.cgroup) or 0}
                system.serve()
                system.check()
            else:
                system.world.up(routers=False)
                system.serve()
                time.sleep(2)
                before = _memory_of(system)
                for network in system.world.networks:
                    system.world.add_router(network)
                system.check()
            time.sleep(1.5)
            after = _memory_of(system)
            out["systems"][system.name] = {
                "pss_per_router": (after["pss"] - before["pss"]) / count,
                "kernel_per_router": (after["kernel"] - before["kernel"]) / count if system.cgroup else None,
                "before": before, "after": after, "processes": len(system.pids)}
        except Exception as error:
            progress(f"  memory, {system.name}: {error}")
            out["systems"][system.name] = {"error": str(error)}
        finally:
            system.down()
    # Per tap: the same process, before and after its taps appear.
    system = TapMode(context.lab, context.backend, context.body_file)
    try:
        system.cgroup = context.lab.memory_cgroup("taps")
        system.world = World(context.lab, "tapf", 1, count, False, False)
        world = system.world
        context.lab.add_namespaces([world.host])
        batch(["link set lo up"] + [f"link add {n.bridge} type bridge" for n in world.networks]
              + [f"link set {n.bridge} up" for n in world.networks], world.host)
        context.lab.add_namespaces([g.netns for g in world.guests])
        system.serve()
        time.sleep(2)
        before = _memory_of(system)
        for guest in world.guests:
            world.plug(guest)
            world.configure(guest)
        for network in world.networks:
            world.add_router(network)
        system.check()
        time.sleep(1.5)
        after = _memory_of(system)
        out["systems"]["tap"] = {
            "pss_per_tap": (after["pss"] - before["pss"]) / count,
            "kernel_per_tap": (after["kernel"] - before["kernel"]) / count if system.cgroup else None,
            "before": before, "after": after}
    except Exception as error:
        progress(f"  memory, tap: {error}")
        out["systems"]["tap"] = {"error": str(error)}
    finally:
        system.down()
    return out


def _probe(context, guest, timeout=20):
    """A guest that asks every half millisecond; returns once it has begun."""
    popen = subprocess.Popen([f"{BIN}/loadgen", "first", "--guest", guest.netns, "--interval-us", "500",
                              "--timeout", str(timeout)], stdout=subprocess.PIPE, text=True)
    popen.stdout.readline()
    return popen


def _answered(popen):
    out, _ = popen.communicate()
    return json.loads(out.splitlines()[-1])["at_ns"]


def start(context):
    """From "the router's namespace and port are there" to the first answer a guest gets. For
    Neutron: its rules and haproxy, started at once, without the agent's own time."""
    rounds = context.options.rounds
    out = {"systems": {}}
    systems = {}
    for kind in (Haproxy, FusedRouter, RouterMode):
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
            progress(f"  namespace to first answer, round {number}/{rounds}, {name}", end="")
            network = system.world.networks[number]
            popen = _probe(context, network.guests[0])
            system.world.add_router(network)
            ready = time.monotonic_ns()
            if isinstance(system, Haproxy):
                system.world.add_rules(network)
                system.adopt(*system.spawn(network))
            at = _answered(popen)
            if number and at:
                times[name].append((at - ready) / 1e6)
            elif number:
                times[name].append(None)
    for name, values in times.items():
        good = [value for value in values if value is not None]
        out["systems"][name] = {"ms": values, "median_ms": statistics.median(good) if good else None,
                                "unanswered": len(values) - len(good)}
        systems[name].down()
    progress("", end="")
    return out


def attach(context):
    """From "the tap is up" to the first answer: devices are moved in, as libvirt and OVS do."""
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
            progress(f"  tap to first answer, round {number}/{rounds}", end="")
            popen = _probe(context, guest)
            batch([f"link set {guest.tap} netns {world.host}"], park)
            batch([f"link set {guest.tap} master {guest.network.bridge} up"], world.host)
            ready = time.monotonic_ns()
            at = _answered(popen)
            if number:
                values.append((at - ready) / 1e6 if at else None)
        good = [value for value in values if value is not None]
        progress("", end="")
        return {"ms": values, "median_ms": statistics.median(good) if good else None,
                "unanswered": len(values) - len(good)}
    finally:
        system.down()
        context.lab.drop_namespaces([park])


def change(context):
    """One port added by `metatap apply`, with 10, 1 000 and 4 000 ports there: how long the command
    takes, what it costs the daemon, and whether connections that are open live on."""
    out = {"ports": {}}
    rounds = context.options.rounds
    for count in (10, 1000, 4000):
        system = FusedTap(context.lab, context.backend, context.body_file)
        try:
            progress(f"  one change at {count} ports", end="")
            system.world = World(context.lab, f"change{count}", 1, 2, False, False)
            system.world.up()
            begun = time.monotonic()
            system.serve(extra_ports=count)
            system.check()
            ready = time.monotonic() - begun
            document = system.world.inventory(count)
            background = subprocess.Popen(
                [f"{BIN}/loadgen", "load", "--guest", system.world.guests[0].netns, "--clients", "4",
                 "--keep-alive", "--seconds", "6", "--timeout", "5"], stdout=subprocess.PIPE, text=True)
            walls, cpus = [], []
            for i in range(rounds):
                wanted = copy.deepcopy(document)
                wanted["ports"].append(system.world.extra_port(count + i))
                wanted["instances"].append(system.world._instance(wanted["ports"][-1]["device_id"]))
                file = context.lab.write("change.json", json.dumps(wanted))
                begun = time.monotonic()
                run(f"{BIN}/metatap", "--socket", system.admin_socket, "apply", file)
                walls.append((time.monotonic() - begun) * 1e3)
                document = wanted
            answers, _ = background.communicate()
            answers = json.loads(answers)
            one = _one_port(context, system, count + rounds)
            out["ports"][str(count)] = {
                "apply_ms": statistics.median(walls), "apply_ms_spread": spread(walls), "all_ms": walls,
                "first_answer_seconds": ready, "failed_meanwhile": answers["failed"],
                "answered_meanwhile": answers["requests"],
                "p99_us_meanwhile": answers["latency_us"]["p99"], **one}
        except Exception as error:
            progress(f"  {count} ports: {error}")
            out["ports"][str(count)] = {"error": str(error)}
        finally:
            system.down()
    return out


def _one_port(context, system, index):
    """The same change by the command for one object, where the document need not be sent."""
    walls = []
    try:
        before = cpu_seconds(system.pids)
        for i in range(7):
            port = system.world.extra_port(index + i)
            file = context.lab.write("port.json", json.dumps(port))
            begun = time.monotonic()
            run(f"{BIN}/metatap", "--socket", system.admin_socket, "port", "add", file)
            walls.append((time.monotonic() - begun) * 1e3)
        return {"one_ms": statistics.median(walls), "one_ms_spread": spread(walls),
                "one_cpu_ms": (cpu_seconds(system.pids) - before) / 7 * 1e3}
    except RuntimeError as error:
        return {"one_error": str(error)}


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


def packet(context):
    """Nanoseconds of mt_tap on a packet that is not metadata: BPF_PROG_TEST_RUN by itself, and
    the kernel's own statistics while a guest sends tenant traffic."""
    systems = raise_systems(context, ["tap", "router"], "p", 1, 2)
    out = {}
    repeat = 1000000
    try:
        for name, system in systems.items():
            programs = _programs(system)
            guest = system.world.guests[0]
            names = [n for n in programs if n.startswith("mt_")]
            out[name] = {"programs": programs, "test_run_ns": {}}
            for program in names:
                if "return" in program:
                    continue
                for kind, frame in (("tcp, other address", _frame(guest, "10.0.0.3", 80, 64)),
                                    ("tcp, full size", _frame(guest, "10.0.0.3", 80, 1400))):
                    file = context.lab.path("frame.bin")
                    with open(file, "wb") as sink:
                        sink.write(frame)
                    values = []
                    for _ in range(context.options.rounds):
                        done = subprocess.run(
                            inside(system.world.host) + ["bpftool", "prog", "run", "id", str(programs[program]),
                                                         "data_in", file, "repeat", str(repeat)],
                            capture_output=True, text=True)
                        found = re.search(r"duration \(average\): (\d+)\s*ns", done.stdout)
                        if found:
                            values.append(int(found.group(1)))
                        elif "error" not in out[name]:
                            out[name]["error"] = (done.stderr or done.stdout).strip()[-200:]
                    if values:
                        out[name]["test_run_ns"][f"{program}: {kind}"] = statistics.median(values)
        if "tap" in systems:
            out["live"] = _live(context, systems["tap"])
    finally:
        lower(systems)
    return out


def _live(context, system):
    program = next((i for n, i in _programs(system).items() if n.startswith("mt_tap")), None)
    if program is None:
        return {"error": "mt_tap not found"}
    a, b = system.world.guests[:2]
    old = run("sysctl", "-n", "kernel.bpf_stats_enabled").strip()
    run("sysctl", "-q", "kernel.bpf_stats_enabled=1")
    try:
        def read():
            shown = json.loads(run("bpftool", "-j", "prog", "show", "id", str(program)))
            return shown.get("run_time_ns", 0), shown.get("run_cnt", 0)
        before = read()
        rate = _iperf(context, a, b, 2, ["-u", "-b", "0", "-l", "64"])
        after = read()
    finally:
        run("sysctl", "-q", f"kernel.bpf_stats_enabled={old}")
    packets = after[1] - before[1]
    return {"ns_per_packet": (after[0] - before[0]) / packets if packets else None, "packets": packets,
            "note": "the kernel's statistics add two clock reads to each run", "udp": rate}


def _iperf(context, sender, receiver, seconds, extra=()):
    server = context.lab.start(["iperf3", "-s", "-1", "-p", "5999"], receiver.netns)
    time.sleep(0.15)
    done = subprocess.run(inside(sender.netns) + ["iperf3", "-c", receiver.address, "-p", "5999", "-t",
                                                  str(seconds), "-J", *extra], capture_output=True, text=True)
    context.lab.stop(server)
    result = json.loads(done.stdout)
    if "error" in result:
        raise RuntimeError(f"iperf3: {result['error']}")
    end = result["end"]
    total = end.get("sum_received") or end["sum"]
    return {"gbit": total["bits_per_second"] / 1e9, "packets": end.get("sum", {}).get("packets")}


def tenant(context):
    """Guest to guest through the bridge: with mt_tap on both taps, and without."""
    seconds = max(1, int(context.options.seconds))
    systems = raise_systems(context, ["tap", "plain"], "t", 1, 2)
    out = {}
    try:
        if len(systems) < 2:
            raise Unavailable("needs both")
        for kind, extra in (("tcp", []), ("tcp, 1448-byte packets", ["--no-gso"]), ("udp, 64 bytes", ["-u", "-b", "0", "-l", "64"])):
            values = {name: [] for name in systems}
            if extra == ["--no-gso"]:
                extra = []
                for system in systems.values():
                    for guest in system.world.guests[:2]:
                        subprocess.run(inside(guest.netns) + ["ethtool", "-K", "eth0", "tso", "off", "gso", "off", "gro", "off"],
                                       capture_output=True)
            for number in range(context.options.rounds):
                for name, system in systems.items():
                    progress(f"  tenant traffic, {kind}, round {number + 1}, {name}", end="")
                    a, b = system.world.guests[:2]
                    values[name].append(_iperf(context, a, b, seconds, extra)["gbit"])
            ratios = [x / y for x, y in zip(values["tap"], values["plain"])]
            out[kind] = {"with_gbit": statistics.median(values["tap"]), "without_gbit": statistics.median(values["plain"]),
                         "ratio": statistics.median(ratios), "ratio_spread": spread(ratios), "all": values}
    finally:
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

# SPDX-License-Identifier: Apache-2.0
"""What a packet costs that is not metadata, and what a SYN does."""

import glob
import json
import os
import re
import statistics
import struct
import subprocess

from labkit import BIN, inside, run

from .loads import lower, raise_systems
from .measure import spread
from .tenant import Iperf
from .workspace import progress, unpin
from .world import GATEWAY_MAC

EMPTY_PROGRAM = os.path.join(os.path.dirname(BIN), "bench", "empty.bpf.o")


def _checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _frame(guest, destination, port, payload):
    """An Ethernet frame with a TCP segment from the guest."""
    mac = bytes.fromhex(GATEWAY_MAC.replace(":", "") + guest.mac.replace(":", ""))
    address = bytes(int(part) for part in guest.ip4.split("."))
    to = bytes(int(part) for part in destination.split("."))
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40 + payload, 1, 0, 64, 6, 0, address, to)
    head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
    tcp = struct.pack("!HHIIBBHHH", 40000, port, 1, 1, 0x50, 0x10, 64240, 0, 0)
    return mac + b"\x08\x00" + head + tcp + bytes(payload)


def programs_of(system):
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
        self.file = context.workspace.path("frame.bin")
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
    empty = f"/sys/fs/bpf/{context.workspace.prefix}empty"
    try:
        run("bpftool", "prog", "load", EMPTY_PROGRAM, empty)
        for name, system in systems.items():
            programs = {n: i for n, i in programs_of(system).items() if n.startswith("mt_") and "return" not in n}
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
    program = next((i for n, i in programs_of(system).items() if n.startswith("mt_tap")), None)
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
        context.workspace.stop(server)
    packets = after[1] - before[1]
    return {"ns_per_packet": (after[0] - before[0]) / packets if packets else None, "packets": packets,
            "note": "the kernel's statistics add two clock reads to each run", "udp": rate}


def syn(context):
    """What one SYN costs the host, by the layer that deals with it. Bounded: 100 000 SYNs each,
    inside our own namespaces. The sender's time is the path's: veth hands packets over at once."""
    systems = raise_systems(context, ["theirs", "router", "tap", "plain"], "y", 1, 1)
    count = 30000 if context.options.quick else 100000
    cases = []
    for name, system in systems.items():
        guest = system.world.guests[0]
        cases.append((f"{name}: other address (no work)", system, guest.ip4, "10.0.0.77", 80))
        cases.append((f"{name}: to the listener", system, guest.ip4, "169.254.169.254", 80))
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

# SPDX-License-Identifier: Apache-2.0
"""What tenants' own traffic costs, with the program on their taps and without."""

import json
import os
import resource
import statistics
import subprocess
import time

from labkit import inside

from .loads import lower, raise_systems
from .resources import cpu_seconds, host_busy_seconds
from .workspace import Unavailable, progress


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
        server = context.workspace.start(["iperf3", "-s", "-p", cls.PORT], guest.netns)
        time.sleep(0.2)
        return server

    def _cpu(self):
        mine = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cpu_seconds(self.others) + mine.ru_utime + mine.ru_stime

    def run(self, how_much):
        before, cpu = host_busy_seconds(), self._cpu()
        done = subprocess.run(inside(self.sender.netns) + ["iperf3", "-c", self.receiver.ip4, "-p", self.PORT, "-J",
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
        context.workspace.stop(*servers)
        lower(systems)
    progress("", end="")
    return out

# SPDX-License-Identifier: Apache-2.0
"""What the design wants to reach, beside what a run has reached."""

import math

from .systems import BY_NAME

# What one more object may cost at 4 000 ports, of what it costs at 10, to be called constant.
CONSTANT = 1.5


class Target:
    """`met`: True, False, or None where this run cannot say: not measured, or the noise is larger
    than the difference."""

    def __init__(self, work, reach, section):
        self.work, self.reach = work, reach
        self.command = f"bench/run.sh --only {section}" if section else "–"
        self.reached, self.met = "not measured", None

    def says(self, met, reached):
        self.met, self.reached = met, reached
        return self

    @property
    def measured(self):
        return not self.reached.startswith("not measured")

    @property
    def verdict(self):
        return {True: "reached", False: "not reached", None: "undecided" if self.measured else "–"}[self.met]


def times(value):
    """Below one, a third digit: 0.697 is not 0.70."""
    return f"{value:.3f}x" if value < 1 else f"{value:.2f}x"


def get(report, *path):
    node = report["sections"]
    for key in path:
        if not isinstance(node, dict) or key not in node:
            return None
        node = node[key]
    return node


def _against(report, work, load, systems, other, least, most):
    """One target for each system that was measured beside `other`."""
    out = []
    for name in systems:
        target = Target(f"{work}: {BY_NAME[name].label}", f"≥ {least:g}x requests/s, ≤ {most:g}x CPU of {other}", "loads")
        entry = get(report, "loads", "loads", load, "systems") or {}
        ratios = entry.get(name, {}).get(f"vs_{other}")
        if ratios and None not in (ratios["rps"], ratios["cpu_proxy_us"]):
            limited = any(entry[one].get("client_saturated") for one in (name, other))
            target.says(ratios["rps"] >= least and ratios["cpu_proxy_us"] <= most,
                        f"{times(ratios['rps'])} requests/s, {times(ratios['cpu_proxy_us'])} CPU" + (" *" if limited else ""))
        out.append(target)
    # A mode that this run left out is no row of its own, unless all are.
    return [target for target in out if target.met is not None] or out[:1]


def _api(report):
    out = []
    for path in ("meta_data.json", "hostname"):
        for kind, word, least in (("new", "new connection", 0.9), ("keep", "keep-alive", 0.7)):
            target = Target(f"API stage alone, 20 connections, {path}, {word}", f"≥ {least:g}x of a minimal server", "api")
            entry = get(report, "api", "loads", f"{path}-{kind}-20") or {}
            value = entry.get("vs_minimal")
            if value is not None:
                limited = any(one.get("client_saturated") for one in entry["systems"].values())
                target.says(value >= least, times(value) + (" *" if limited else ""))
            out.append(target)
    return out


def per_router(one, unit="router"):
    """Kilobytes, process and kernel."""
    return None if not one or "error" in one else (one[f"pss_per_{unit}"] + (one[f"kernel_per_{unit}"] or 0)) / 1024


def _memory(report):
    target = Target("memory a router, kernel included", "≤ 8 KB", "memory")
    systems = get(report, "memory", "systems") or {}
    ours, theirs = per_router(systems.get("router")), per_router(systems.get("theirs"))
    if ours is not None:
        target.says(ours <= 8, f"{ours:.1f} KB" + (f" (haproxy here: {theirs:,.0f} KB)" if theirs else ""))
    return target


def _start(report):
    out = []
    theirs = get(report, "start", "systems", "theirs", "median_ms")
    for name in ("fusedrouter", "router"):
        target = Target(f"router's port up to first answer: {BY_NAME[name].label}", "≤ 5 ms", "start")
        value = get(report, "start", "systems", name, "median_ms")
        if value is not None:
            target.says(value <= 5, f"{value:.2f} ms" + (f" (haproxy here: {theirs:.0f} ms)" if theirs else ""))
        out.append(target)
    return out


def _packet(report):
    target = Target("tap traffic that is not metadata", "≤ 15 ns a packet over an empty program", "packet")
    runs = {kind: one for kind, one in (get(report, "packet", "tap", "test_run_ns") or {}).items() if kind.startswith("mt_tap")}
    if runs:
        worst = max(runs.values(), key=lambda one: one["net"])
        target.says(worst["net"] <= 15, f"{worst['net']:g} ns ({worst['gross']:g} with the test run's own {worst['empty']:g})")
    return target


def _tenant(report):
    out = []
    for kind in ("tcp", "tcp, 1448-byte packets", "udp, 64 bytes"):
        target = Target(f"tenant throughput with the program, {kind}", "≥ 0.99x", "tenant")
        one = get(report, "tenant", kind)
        if one:
            low, high = one["ratio_quartiles"]
            # How far the median of so many pairs is certain (95 of 100 times, as in notched box plots).
            sure = 1.57 * (high - low) / math.sqrt(one["pairs"])
            met = None if abs(one["ratio"] - 0.99) < sure else one["ratio"] >= 0.99
            target.says(met, f"{one['ratio']:.3f}x ± {sure:.3f}, {one['cpu_ratio']:.3f}x CPU a byte")
        out.append(target)
    return out


def _change(report):
    target = Target("a port added at 4 000 ports, as one object", f"constant time (≤ {CONSTANT:g}x of at 10 ports), no request fails", "change")
    ports = {count: one for count, one in (get(report, "change", "ports") or {}).items() if "one" in one}
    if "10" in ports and "4000" in ports:
        # What it takes to start the command is the same everywhere and would hide the rest.
        net = {count: max(one["one"]["ms"] - report["sections"]["change"]["command_ms"], 0.5) for count, one in ports.items()}
        failed = sum((one["one"]["meanwhile"] or {}).get("failed", 0) for one in ports.values())
        target.says(net["4000"] <= CONSTANT * net["10"] and failed == 0,
                    ", ".join(f"{net[count]:.1f} ms (daemon CPU {one['one']['cpu_ms']:.1f}) at {count}" for count, one in ports.items())
                    + f", beside {report['sections']['change']['command_ms']:.1f} to start the command; {failed} failed")
    return target


def targets(report):
    tap, fused = ("tap", "router", "listen"), ("fused", "fusedrouter")
    return [*_against(report, "new connection, 16 clients", "new-16", tap, "theirs", 1.5, 0.5),
            *_against(report, "keep-alive, 16 clients", "keep-16", tap, "theirs", 2, 0.35),
            *_against(report, "from memory, new connection, 16 clients", "new-16", fused, "limit", 0.95, 1.15),
            *_against(report, "from memory, keep-alive, 16 clients", "keep-16", fused, "limit", 0.95, 1.15),
            *_api(report),
            *_chain(report), *_cold(report), _memory(report), *_start(report), _packet(report), *_tenant(report), _change(report)]


def _chain(report):
    """The whole path beside the real one: haproxy, neutron-metadata-agent, nova-api-metadata."""
    out = []
    for row in get(report, "chain", "targets") or []:
        label = BY_NAME[row["system"]].label
        if "ratio" in row:
            target = Target(f"whole path, {row['work']}: {label}", f"≥ {row['reach']}x of the real chain", "chain")
            out.append(target.says(row["ratio"] >= row["reach"],
                                   f"{row['ratio']:,.0f}x ({row['rps']:,.0f}/s, theirs {row['theirs_rps']:,.0f}/s)"))
        else:
            theirs = ", ".join(f"{ms:,.0f} ms" for ms in row["theirs_ms"].values())
            target = Target(f"whole path, {row['work']}: {label}", f"≤ {row['reach_ms']} ms", "chain")
            out.append(target.says(row["ms"] <= row["reach_ms"], f"{row['ms']:.1f} ms (the real chain: {theirs})"))
    return out or [Target("whole path, guest to answer", "≥ 500x, 20x, 10x of the real chain", "chain")]


def _cold(report):
    target = Target("20 guests' first requests at once, everything cold", "≤ 20 ms", "cold")
    value = get(report, "cold", "systems", "fused", "last_ms")
    theirs = get(report, "cold", "systems", "theirs", "last_ms")
    if value is not None:
        target.says(value <= 20, f"{value:.1f} ms" + (f" (haproxy and the constant backend: {theirs:.1f} ms)" if theirs else ""))
    return [target]


def table(report):
    return ["work", "to reach", "reached", "", "command"], \
        [[one.work, one.reach, one.reached, one.verdict, one.command] for one in targets(report)]

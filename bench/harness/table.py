# SPDX-License-Identifier: Apache-2.0
"""The result as tables, for a terminal and for bench/report.sh. CPU a request comes first: a host
sells its CPU to guests, while requests a second depend on how many cores a run was given."""

import statistics

from . import targets
from .systems import BY_NAME, OTHER

ABOUT = ("ratio: median of the rounds' own ratios against Neutron's; spread: half the quartiles' distance, "
         "of proxy CPU and of requests/s; *: the load generator was the bottleneck")
DISTURBED = 0.3  # CPUs
OTHERS = {"api": "metatap API stage", "minimal": "minimal server", "tap": "metatap, tap mode"}


def label(name):
    return BY_NAME[name].label if name in BY_NAME else OTHERS.get(name, name)


def number(value, digits=3):
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.{digits}g}" if abs(value) < 100 else f"{value:.0f}"


def ratio(value, digits=2):
    return "–" if value is None else f"{value:.{digits}f}x"


def plus_minus(value):
    return "–" if value is None else f"±{value:.0f}"


def load_table(entry):
    storm = any("last_seconds" in one for one in entry["systems"].values())
    key = "last_seconds" if storm else "rps"
    head = ["", "proxy CPU µs/req", "ratio", "host CPU µs/req", "ratio", "all done, s" if storm else "requests/s", "ratio",
            "p50 µs", "p99 µs", "spread %", "failed"]
    rows = []
    for name, one in entry["systems"].items():
        against = one.get("vs_theirs", {})
        rows.append([label(name), number(one["cpu_proxy_us"]), ratio(against.get("cpu_proxy_us")),
                     number(one["cpu_host_us"]), ratio(against.get("cpu_host_us")),
                     (f"{one[key]:.3f}" if storm else number(one[key])) + (" *" if one.get("client_saturated") else ""),
                     ratio(against.get(key)), number(one["latency_us"]["p50"]), number(one["latency_us"]["p99"]),
                     f"{plus_minus(one.get('cpu_proxy_us_spread'))}, {plus_minus(one.get(key + '_spread'))}", str(one["failed"])])
    return entry["title"], head, rows


def other_build(entries):
    """This build's figures over the other's, or no table."""
    rows = []
    for entry in entries:
        for name, one in entry["systems"].items():
            if against := one.get("vs_" + OTHER + name):
                rows.append([entry["title"], label(name), ratio(against.get("cpu_proxy_us"), 3),
                             ratio(against.get("cpu_host_us"), 3), ratio(against.get("rps"), 3)])
    head = ["", "", "proxy CPU", "host CPU", "requests/s"]
    return [("This build over the other one", head, rows)] if rows else []


def loads(section):
    entries = list((section.get("loads") or section.get("storms") or {}).values())
    return [load_table(entry) for entry in entries] + other_build(entries)


def api(section):
    rows = []
    for entry in section.get("loads", {}).values():
        both = entry["systems"]
        if "api" in both and "minimal" in both:
            mark = " *" if any(one.get("client_saturated") for one in both.values()) else ""
            rows.append([entry["title"], number(both["api"]["cpu_proxy_us"]), number(both["minimal"]["cpu_proxy_us"]),
                         ratio(entry.get("vs_minimal_cpu")), number(both["api"]["rps"]) + mark, number(both["minimal"]["rps"]),
                         ratio(entry.get("vs_minimal")), number(both["api"]["latency_us"]["p99"])])
    return [("API stage alone, beside a minimal server", ["", "CPU µs/req", "minimal", "ratio", "requests/s", "minimal", "ratio",
                                                           "p99 µs"], rows)]


def memory(section):
    rows = []
    for name, one in section["systems"].items():
        unit = "tap" if name == "tap" else "router"
        if "error" in one:
            rows.append([label(name), one["error"], "", "", ""])
            continue
        kernel = one[f"kernel_per_{unit}"]
        rows.append([label(name), f"{one[f'pss_per_{unit}'] / 1024:,.1f}", "–" if kernel is None else f"{kernel / 1024:,.1f}",
                     f"{targets.per_router(one, unit):,.1f}", f"{one['least'] / 1024:,.1f} to {one['most'] / 1024:,.1f}",
                     f"{unit}, {len(one['batches']['pss'])} batches of {one['batch']}"])
    return [("What one more router or tap costs in memory (after a first batch)",
             ["", "process (PSS), KB", "kernel, KB", "both, KB", "batches, KB", "per"], rows)]


def milliseconds(values):
    return " ".join("–" if value is None else f"{value:.2f}" for value in values)


def start(section):
    return [("A router's port goes up, all else is there: until the first answer", ["", "median, ms", "rounds, ms"],
             [[label(name), number(one.get("median_ms")), one.get("error") or milliseconds(one["ms"])]
              for name, one in section["systems"].items()])]


def attach(section):
    return [("A tap goes up, all else is there: until the first answer", ["", "median, ms", "rounds, ms"],
             [["metatap, all stages, from memory", number(section.get("median_ms")), milliseconds(section["ms"])]])]


def cold(section):
    return [(f"{section['guests']} guests ask for the first time, at once, everything cold", ["", "all answered, ms", "rounds, ms"],
             [[label(name), number(one["last_ms"]), milliseconds(one["ms"])] for name, one in section["systems"].items()])]


def change(section):
    rows = []
    for count, one in section["ports"].items():
        if "error" in one:
            rows.append([count, one["error"]] + [""] * 6)
            continue
        during = [one[way]["meanwhile"] or {"failed": "–", "answered": "–"} for way in ("one", "apply")]
        rows.append([count, f"{one['one']['ms']:.1f}", f"{one['one']['ms'] - section['command_ms']:.1f}", f"{one['one']['cpu_ms']:.2f}",
                     f"{one['apply']['ms']:.1f}", f"{one['apply']['cpu_ms']:.2f}",
                     *(f"{each['failed']} of {number(each['answered'])}" for each in during)])
    return [(f"One port added (the command alone, doing nothing: {number(section['command_ms'])} ms)",
             ["ports there", "one object, ms", "less the command", "daemon CPU, ms", "whole document, ms", "daemon CPU, ms",
              "requests failed: one", "whole"], rows)]


def packet(section):
    rows = [[kind, f"{one['net']:g}", f"{one['net_low']:g} to {one['net_high']:g}", f"{one['gross']:g}", f"{one['empty']:g}"]
            for name, part in section.items() if isinstance(part, dict) for kind, one in part.get("test_run_ns", {}).items()]
    live = section.get("live")
    if isinstance(live, dict) and live.get("ns_per_packet"):
        rows.append([f"mt_tap under load ({live['note']})", "–", "", f"{live['ns_per_packet']:.0f}", "–"])
    return [("A packet that is not metadata", ["", "over an empty program, ns", "rounds", "gross, ns", "empty program, ns"], rows)]


def tenant(section):
    rows = []
    for kind, one in section.items():
        if isinstance(one, dict):
            rows.append([kind, ratio(one["cpu_ratio"], 3), "{:.3f} to {:.3f}".format(*one["cpu_ratio_quartiles"]),
                         ratio(one["ratio"], 3), "{:.3f} to {:.3f}".format(*one["ratio_quartiles"]),
                         f"{one['with_gbit']:.2f}", f"{one['without_gbit']:.2f}", str(one["pairs"])])
    return [("Tenant traffic, guest to guest, with our program and without",
             ["", "CPU a byte", "half of the pairs", "throughput", "half of the pairs", "with, Gbit/s", "without", "pairs"], rows)]


def syn(section):
    return [("One SYN", ["", "ns"], [[title, f"{one['median']:.0f}"] for title, one in section["ns_per_syn"].items()])]


def profile(section):
    out = []
    for kind, systems in section.get("kinds", {}).items():
        names = list(systems)
        head = ["", *[label(name) for name in names]]

        def rows(of, titles):
            return [[title, *[number(of(systems[name]).get(title), 2) for name in names]] for title in titles]

        def known(of):
            return list(dict.fromkeys(title for name in names for title in of(systems[name])))

        def calls(one):
            return one["system_calls"].get("per_request", {})

        def work(one):
            return one["processor_time"].get("of_which", {})

        def shares(one):
            return {title: one["processor_time"].get(key) for title, key in
                    (("the kernel", "kernel"), ("the program's own code", "own"), ("its libraries", "libraries"))}
        out.append((f"System calls a request, {kind}, {section['clients']} clients", head,
                    rows(calls, [title for title in known(calls) if title != "others"] + ["others"])
                    + [["all", *[number(systems[name]["system_calls"].get("total"), 2) for name in names]]]))
        out.append((f"Percent of the proxy's processor time, {kind}, {section['clients']} clients (parts contain parts)", head,
                    rows(shares, shares(systems[names[0]])) + rows(work, known(work))))
        programs = [[f"{label(name)}: {program}", f"{one['per_request']:.1f}", f"{one['ns']:.0f}",
                     f"{one['ns'] * one['per_request'] / 1e3:.2f}"]
                    for name in names for program, one in systems[name]["programs"].items() if isinstance(one, dict)]
        out.append((f"BPF programs, {kind} (the statistics add two clock reads to each run)",
                    ["", "runs a request", "ns a run", "µs a request"], programs))
    return out


SECTIONS = {"loads": loads, "guests": loads, "routers": loads, "storm": loads, "api": api, "memory": memory, "start": start,
            "attach": attach, "cold": cold, "change": change, "packet": packet, "tenant": tenant, "syn": syn, "chain": loads, "profile": profile}


def tables(report):
    """(title, head, rows) of every section that has figures."""
    return [one for name, section in report["sections"].items() if "error" not in section and name in SECTIONS
            for one in SECTIONS[name](section) if one[2]]


def generator_limited(report):
    """One sentence, or nothing where the generator never was the bottleneck."""
    marked = [(entry["title"], name) for section in report["sections"].values()
              for entry in (section.get("loads") or section.get("storms") or {}).values()
              for name, one in entry["systems"].items() if one.get("client_saturated")]
    if not marked:
        return ""
    titles = list(dict.fromkeys(title for title, _ in marked))
    return (f"The load generator was the bottleneck for {len(marked)} figure{'s' if len(marked) > 1 else ''}, marked * "
            f"(in: {'; '.join(titles)}): those systems can do more requests a second than shown; their CPU a request holds.")


def disturbed(report):
    """One sentence, or nothing on a machine that was ours alone."""
    elsewhere = [one["elsewhere_cpus"] for section in report["sections"].values()
                 for entry in (section.get("loads") or section.get("storms") or {}).values() for one in entry["systems"].values()]
    if not elsewhere or statistics.median(elsewhere) < DISTURBED:
        return ""
    return (f"Other work on this machine took {statistics.median(elsewhere):.1f} of its {report['machine']['cpus']} CPUs during the loads: "
            "host CPU a request counts it, and requests/s are less than on an idle machine.")


def machine(report):
    one = report["machine"]
    return (f"{one['cpus']} × {one['cpu']}, {one['memory_mb']} MB, Linux {one['kernel']}"
            + (f", governor {one['governor']}" if one.get("governor") else "")
            + f"; {(one['haproxy'] or 'no haproxy').split(' 20')[0]}, {one['iptables']}; metatap {one['metatap']}; "
            f"{report['started'][:16].replace('T', ' ')} UTC; {report['rounds']} interleaved rounds of {report['seconds']:g} s, "
            f"{report['threads']} threads for every proxy and server; load average {report['load_average_before'][0]:.1f} before, "
            f"{report.get('load_average_after', [0])[0]:.1f} after.")


def align(head, lines):
    widths = [max(len(str(line[i])) for line in [head, *lines]) for i in range(len(head))]
    for line in [head, *lines]:
        print(("  " + str(line[0]).ljust(widths[0]) + "".join(
            "  " + str(cell).rjust(widths[i + 1]) for i, cell in enumerate(line[1:]))).rstrip())


def show(report):
    print("\n" + machine(report))
    if report["machine"].get("mitigations"):
        print("processor flaws worked around: " + report["machine"]["mitigations"])
    print(ABOUT)
    for title, head, rows in tables(report):
        print("\n" + title)
        align(head, rows)
    for name, section in report["sections"].items():
        if "error" in section:
            print(f"\n{name}: {section['error']}")
        for entry in (section.get("loads") or section.get("storms") or {}).values():
            for system, reason in entry.get("failed", {}).items():
                print(f"  {entry['title']}: {system} failed: {reason}")
    if report["unavailable"]:
        print("\nnot measured:")
        for name, reason in report["unavailable"].items():
            print(f"  {name}: {' '.join(reason.split())[:160]}")
    for sentence in (generator_limited(report), disturbed(report)):
        if sentence:
            print("\n" + sentence)
    show_targets(report)


def show_targets(report):
    """The design's targets one below the other: they are too long for columns."""
    everything = targets.targets(report)
    known = [one for one in everything if one.measured]
    if known:
        print("\nWhat the design wants to reach")
        width = max(len(one.work) for one in known)
        for one in known:
            print(f"  {one.verdict:<12} {one.work.ljust(width)}  {one.reached}  (to reach: {one.reach})")
        counts = [f"{sum(one.verdict == verdict for one in known)} {verdict}" for verdict in ("reached", "not reached", "undecided")]
        print("  " + ", ".join(counts) + f", {len(everything) - len(known)} not measured by this run")

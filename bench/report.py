# SPDX-License-Identifier: Apache-2.0
"""Pictures, a page and the tables of docs/performance.md, all from the results of bench/run.sh."""

import argparse
import base64
import glob
import html
import json
import os
import re

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
RESULTS = os.path.join(HERE, "results")
PERFORMANCE = os.path.join(os.path.dirname(HERE), "docs", "performance.md")
LABELS = {"theirs": "Neutron: haproxy\n+ REDIRECT", "tuned": "haproxy tuned\n+ REDIRECT",
          "router": "metatap\nrouter mode", "listen": "metatap\nno BPF", "tap": "metatap\ntap mode",
          "fused": "metatap tap,\nall stages", "fusedrouter": "metatap router,\nall stages",
          "plain": "no proxy,\nsame path", "limit": "limit:\nveth + server",
          "api": "metatap API stage", "minimal": "minimal server"}
COLOURS = {"theirs": "#c1443c", "tuned": "#e0958f", "router": "#1f5fa8", "listen": "#8fb4dc", "tap": "#0f8a7e",
           "fused": "#45b7a8", "fusedrouter": "#5a8fd0", "plain": "#9a9a9a", "limit": "#6c6c6c",
           "api": "#0f8a7e", "minimal": "#6c6c6c"}

plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
                     "axes.titleweight": "bold", "axes.titlesize": 11, "figure.dpi": 110,
                     "svg.fonttype": "none"})


def one_line(name):
    return LABELS.get(name, name).replace("\n", " ")


def short(value):
    if value is None:
        return "–"
    if value >= 1e6:
        return f"{value / 1e6:.1f} M"
    if value >= 10000:
        return f"{value / 1e3:.0f} k"
    if value >= 1000:
        return f"{value / 1e3:.1f} k"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def times(value):
    return "–" if value is None else f"{value:.2f}x"


def load(paths):
    report = None
    for path in paths:
        with open(path) as file:
            one = json.load(file)
        if report is None:
            report = one
        else:
            report["sections"].update(one["sections"])
            report["unavailable"].update(one["unavailable"])
            report["command"] += "; " + one["command"]
    return report


def save(figure, name):
    figure.tight_layout()
    for kind in ("png", "svg"):
        figure.savefig(os.path.join(RESULTS, f"{name}.{kind}"), bbox_inches="tight")
    plt.close(figure)
    return name


def barh(axis, systems, value, title, unit, ratio=None):
    """Bars side by side, the figure and the ratio to Neutron's written at each."""
    names = [name for name in systems if value(systems[name]) is not None]
    values = [value(systems[name]) for name in names]
    axis.barh(range(len(names)), values, color=[COLOURS.get(n, "#888") for n in names], height=0.7)
    axis.set_yticks(range(len(names)), [LABELS.get(n, n) for n in names], fontsize=9)
    axis.invert_yaxis()
    axis.set_title(title, loc="left")
    axis.set_xticks([])
    axis.spines["bottom"].set_visible(False)
    widest = max(values) if values else 1
    axis.set_xlim(0, widest * 1.45)
    for i, (name, one) in enumerate(zip(names, values)):
        text = f" {short(one)} {unit}"
        against = ratio(systems[name]) if ratio and name != "theirs" else None
        if against is not None:
            text += f"  ({against:.2f}x)"
        axis.text(one, i, text, va="center", fontsize=9)


def versus(key):
    return lambda one: one.get("vs_theirs", {}).get(key)


def headline(section):
    loads = section.get("loads", {})
    picked = [key for key in ("new-16", "keep-16") if key in loads]
    if not picked:
        return None
    figure, axes = plt.subplots(len(picked), 3, figsize=(15, 4.3 * len(picked)), squeeze=False)
    for row, key in zip(axes, picked):
        systems = loads[key]["systems"]
        what = "keep-alive" if loads[key]["keep_alive"] else "new connection per request"
        proxies = {n: s for n, s in systems.items()}
        barh(row[0], proxies, lambda s: s["cpu_proxy_us"], f"{what}, 16 clients\nproxy CPU per request (less is better)",
             "µs", versus("cpu_proxy_us"))
        barh(row[1], proxies, lambda s: s["rps"], "\nrequests per second (more is better)", "/s", versus("rps"))
        barh(row[2], proxies, lambda s: s["latency_us"]["p99"], "\np99 latency (less is better)", "µs")
    return save(figure, "headline")


def clients(section):
    loads = section.get("loads", {})
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.4))
    drawn = False
    for axis, kind, what in zip(axes, ("new", "keep"), ("new connection per request", "keep-alive")):
        points = [n for n in (1, 16, 256) if f"{kind}-{n}" in loads]
        for name in LABELS:
            xs = [n for n in points if name in loads[f"{kind}-{n}"]["systems"]]
            if len(xs) > 1:
                axis.plot(xs, [loads[f"{kind}-{n}"]["systems"][name]["rps"] for n in xs], "o-", label=one_line(name),
                          color=COLOURS[name], linestyle="--" if name in ("plain", "limit") else "-")
                drawn = True
        axis.set_xscale("log", base=4)
        axis.set_xticks(points, [str(n) for n in points])
        axis.set_ylim(0)
        axis.set_xlabel("concurrent clients")
        axis.set_title(f"requests per second, {what}", loc="left")
        axis.grid(alpha=0.25)
    axes[0].legend(fontsize=8, frameon=False)
    return save(figure, "clients") if drawn else plt.close(figure)


def routers(section):
    loads = section.get("loads", {})
    counts = sorted({one["routers"] for one in loads.values()})
    if len(counts) < 2:
        return None
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.4))
    for axis, key, title in ((axes[0], "cpu_proxy_us", "proxy CPU per request, µs"),
                             (axes[1], "rps", "requests per second"),
                             (axes[2], "p99", "p99 latency, ms")):
        for name in ("theirs", "tuned", "router", "listen", "tap"):
            xs = [c for c in counts if name in loads.get(f"new-{c}", {}).get("systems", {})]
            if not xs:
                continue
            values = [loads[f"new-{c}"]["systems"][name] for c in xs]
            axis.plot(xs, [v["latency_us"]["p99"] / 1e3 if key == "p99" else v[key] for v in values], "o-",
                      color=COLOURS[name], label=one_line(name) + (" (networks)" if name == "tap" else ""))
        axis.set_xscale("log")
        axis.set_xticks(counts, [str(c) for c in counts])
        axis.minorticks_off()
        axis.set_ylim(0)
        axis.set_xlabel("routers, all asked at once, new connection per request")
        axis.set_title(title, loc="left")
        axis.grid(alpha=0.25)
    axes[0].legend(fontsize=8, frameon=False)
    return save(figure, "routers")


def latency(section):
    loads = section.get("loads", {})
    picked = [key for key in ("new-16", "keep-16") if key in loads]
    if not picked:
        return None
    figure, axes = plt.subplots(1, len(picked), figsize=(6.5 * len(picked), 4.6), squeeze=False)
    for axis, key in zip(axes[0], picked):
        for name, one in loads[key]["systems"].items():
            if name in ("listen", "fusedrouter", "plain"):
                continue
            points = sorted((float(q[1:]), v) for q, v in one["latency_us"].items() if q.startswith("p"))
            axis.plot([v for _, v in points], [q for q, _ in points], "o-", ms=3, color=COLOURS[name],
                      label=one_line(name), linestyle="--" if name == "limit" else "-")
        axis.set_xscale("log")
        axis.set_xlabel("latency, µs (left is better)")
        axis.set_ylabel("percent of requests answered by then")
        axis.set_title("latency, " + loads[key]["title"], loc="left")
        axis.grid(alpha=0.25, which="both")
    axes[0][0].legend(fontsize=8, frameon=False)
    return save(figure, "latency")


def storm(section):
    storms = section.get("storms", {})
    numbers = [n for n in ("50", "200", "1000") if storms.get(n, {}).get("systems")]
    if not numbers:
        return None
    figure, axes = plt.subplots(1, len(numbers), figsize=(5 * len(numbers), 3.6), squeeze=False)
    for axis, number in zip(axes[0], numbers):
        barh(axis, storms[number]["systems"], lambda s: s["last_seconds"] * 1e3,
             f"{number} guests boot at once\nuntil the last has its 28 answers", "ms", versus("last_seconds"))
    return save(figure, "storm")


def memory(section):
    entries = []
    for name, one in section.get("systems", {}).items():
        unit = "tap" if name == "tap" else "router"
        if "error" not in one:
            entries.append((name, unit, max(one[f"pss_per_{unit}"], 0) / 1024,
                            max(one[f"kernel_per_{unit}"] or 0, 0) / 1024))
    if not entries:
        return None
    figure, axis = plt.subplots(figsize=(9, 0.8 + 0.75 * len(entries)))
    for i, (name, unit, process, kernel) in enumerate(entries):
        axis.barh(i, max(process + kernel, 0.1), color=COLOURS[name], height=0.6)
        axis.text(max(process + kernel, 0.1), i, f"  {process + kernel:,.1f} KB a {unit}  ({process:,.1f} process + {kernel:,.1f} kernel)",
                  va="center", fontsize=9)
    axis.set_yticks(range(len(entries)), [LABELS[e[0]] for e in entries])
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xlim(0.5, max(e[2] + e[3] for e in entries) * 60)
    axis.set_title("memory per router or tap (KB, logarithmic; less is better)", loc="left")
    return save(figure, "memory")


def api(section):
    loads = section.get("loads", {})
    keys = [key for key, one in loads.items() if one["clients"] == 20 and one["systems"]]
    if not keys:
        return None
    figure, axes = plt.subplots(1, len(keys), figsize=(4.2 * len(keys), 2.4), squeeze=False)
    for axis, key in zip(axes[0], keys):
        barh(axis, loads[key]["systems"], lambda s: s["rps"], loads[key]["title"], "/s")
    return save(figure, "api")


def syn(section):
    costs = section.get("ns_per_syn", {})
    if not costs:
        return None
    figure, axis = plt.subplots(figsize=(9, 0.8 + 0.4 * len(costs)))
    names = list(costs)
    axis.barh(range(len(names)), [costs[n]["median"] for n in names],
              color=[COLOURS.get(n.split(":")[0], "#888") for n in names], height=0.7)
    for i, name in enumerate(names):
        axis.text(costs[name]["median"], i, f" {costs[name]['median']:.0f} ns", va="center", fontsize=9)
    axis.set_yticks(range(len(names)), [f"{one_line(n.split(':')[0])}:{n.split(':', 1)[1]}" for n in names], fontsize=8)
    axis.invert_yaxis()
    axis.set_title("what one SYN costs the host, by who deals with it", loc="left")
    return save(figure, "syn")


# --- tables -------------------------------------------------------------------------------------

def load_table(entry):
    storm_entry = any("last_seconds" in s for s in entry["systems"].values())
    head = ["", "all done, s" if storm_entry else "requests/s", "ratio", "proxy CPU, µs/request", "ratio", "host CPU, µs/request",
            "ratio", "p50, µs", "p99, µs", "spread", "failed"]
    rows = []
    for name, one in entry["systems"].items():
        against = one.get("vs_theirs", {})
        key = "last_seconds" if storm_entry else "rps"
        rows.append([one_line(name), (f"{one[key]:.3f}" if storm_entry else f"{one[key]:,.0f}".replace(",", " "))
                     + (" *" if one.get("client_saturated") else ""),
                     times(against.get(key)), f"{one['cpu_proxy_us']:.1f}", times(against.get("cpu_proxy_us")),
                     f"{one['cpu_host_us']:.0f}", times(against.get("cpu_host_us")),
                     f"{one['latency_us']['p50']:.0f}", f"{one['latency_us']['p99']:.0f}",
                     f"±{one.get(key + '_spread') or 0:.0f} %", str(one["failed"])])
    return head, rows


def tables(report):
    sections = report["sections"]
    out = []
    for name in ("loads", "guests", "routers"):
        for entry in sections.get(name, {}).get("loads", {}).values():
            out.append((entry["title"], *load_table(entry)))
    for entry in sections.get("storm", {}).get("storms", {}).values():
        out.append((entry["title"], *load_table(entry)))
    if sections.get("api", {}).get("loads"):
        rows = []
        for entry in sections["api"]["loads"].values():
            both = entry["systems"]
            if "api" in both and "minimal" in both:
                rows.append([entry["title"], f"{both['api']['rps']:,.0f}".replace(",", " "),
                             f"{both['minimal']['rps']:,.0f}".replace(",", " "), times(entry.get("vs_minimal")),
                             f"{both['api']['cpu_proxy_us']:.1f}", f"{both['minimal']['cpu_proxy_us']:.1f}",
                             f"{both['api']['latency_us']['p99']:.0f}"])
        out.append(("API stage alone", ["", "requests/s", "minimal server", "ratio", "CPU µs/request", "minimal", "p99, µs"], rows))
    if "systems" in sections.get("memory", {}):
        rows = []
        for name, one in sections["memory"]["systems"].items():
            unit = "tap" if name == "tap" else "router"
            if "error" not in one:
                rows.append([one_line(name), f"{one[f'pss_per_{unit}'] / 1024:.1f}",
                             f"{(one[f'kernel_per_{unit}'] or 0) / 1024:.1f}", unit])
        out.append((f"Memory, {sections['memory']['routers']} routers or taps", ["", "process (PSS), KB", "kernel, KB", "per"], rows))
    if "systems" in sections.get("start", {}):
        out.append(("Namespace ready to first answer", ["", "median, ms", "all"],
                    [[one_line(n), f"{s['median_ms']:.1f}" if s.get("median_ms") is not None else "–",
                      " ".join("–" if v is None else f"{v:.1f}" for v in s.get("ms", []))]
                     for n, s in sections["start"]["systems"].items()]))
    if sections.get("attach", {}).get("median_ms") is not None:
        out.append(("Tap up to first answer", ["", "median, ms"], [["metatap, tap mode", f"{sections['attach']['median_ms']:.1f}"]]))
    if "ports" in sections.get("change", {}):
        out.append(("One port added", ["ports there", "whole document, ms", "one object, ms", "daemon CPU, ms", "requests failed meanwhile"],
                    [[n, f"{s['apply_ms']:.1f}", f"{s['one_ms']:.2f}" if "one_ms" in s else "–",
                      f"{s['one_cpu_ms']:.2f}" if "one_cpu_ms" in s else "–",
                      f"{s['failed_meanwhile']} of {s['answered_meanwhile']}"]
                     for n, s in sections["change"]["ports"].items() if "error" not in s]))
    packet = sections.get("packet", {})
    rows = [[kind, f"{ns:.0f}"] for name, one in packet.items() if isinstance(one, dict)
            for kind, ns in one.get("test_run_ns", {}).items()]
    if isinstance(packet.get("live"), dict) and packet["live"].get("ns_per_packet"):
        rows.append(["mt_tap under load (statistics on, which adds two clock reads)", f"{packet['live']['ns_per_packet']:.0f}"])
    if rows:
        out.append(("A packet that is not metadata", ["", "ns"], rows))
    rows = [[kind, f"{one['with_gbit']:.2f}", f"{one['without_gbit']:.2f}", times(one["ratio"])]
            for kind, one in sections.get("tenant", {}).items() if isinstance(one, dict)]
    if rows:
        out.append(("Tenant traffic, guest to guest", ["", "with, Gbit/s", "without", "ratio"], rows))
    rows = [[title, f"{one['median']:.0f}"] for title, one in sections.get("syn", {}).get("ns_per_syn", {}).items()]
    if rows:
        out.append(("One SYN", ["", "ns"], rows))
    return out


def get(report, *path):
    node = report["sections"]
    for key in path:
        if not isinstance(node, dict) or key not in node:
            return None
        node = node[key]
    return node


def targets(report):
    """DESIGN's figures next to what this run reached."""
    def versus_of(section, load_name, system, key, other="theirs"):
        return get(report, section, "loads", load_name, "systems", system, f"vs_{other}", key)

    def pair(section, load_name, systems, other, reach):
        cells = []
        for system in systems:
            rps = versus_of(section, load_name, system, "rps", other)
            cpu = versus_of(section, load_name, system, "cpu_proxy_us", other)
            if rps is not None:
                good = rps >= reach[0] and cpu <= reach[1]
                cells.append(f"{one_line(system)}: {rps:.2f}x, CPU {cpu:.2f}x{' ✓' if good else ''}")
        return "; ".join(cells) or "not measured"

    def check(value, good, text):
        return "not measured" if value is None else text.format(value) + (" ✓" if good(value) else "")

    rows = []
    command = "`bench/run.sh --only {}`".format
    rows.append(["new connection per request, 16 clients", "≥ 1.5x requests/s, ≤ 0.5x CPU",
                 pair("loads", "new-16", ("tap", "router", "listen"), "theirs", (1.5, 0.5)), command("loads")])
    rows.append(["keep-alive, 16 clients", "≥ 2x requests/s, ≤ 0.35x CPU",
                 pair("loads", "keep-16", ("tap", "router", "listen"), "theirs", (2, 0.35)), command("loads")])
    rows.append(["all stages fused, against the limit, new connection", "≥ 0.95x requests/s, ≤ 1.15x CPU",
                 pair("loads", "new-16", ("fused", "fusedrouter"), "limit", (0.95, 1.15)), command("loads")])
    rows.append(["all stages fused, against the limit, keep-alive", "≥ 0.95x requests/s, ≤ 1.15x CPU",
                 pair("loads", "keep-16", ("fused", "fusedrouter"), "limit", (0.95, 1.15)), command("loads")])
    for path in ("meta_data.json", "hostname"):
        new, keep = (get(report, "api", "loads", f"{path}-{kind}-20", "vs_minimal") for kind in ("new", "keep"))
        rows.append([f"API stage alone, 20 connections, {path}", "≥ 0.9x new, ≥ 0.7x keep-alive of a minimal server",
                     "not measured" if new is None else f"{new:.2f}x new{' ✓' if new >= 0.9 else ''}, {keep:.2f}x keep-alive{' ✓' if keep >= 0.7 else ''}",
                     command("api")])
    memory_row = get(report, "memory", "systems", "router")
    total = None if not memory_row or "error" in memory_row else \
        (memory_row["pss_per_router"] + (memory_row["kernel_per_router"] or 0)) / 1024
    theirs_row = get(report, "memory", "systems", "theirs")
    beside = "" if not theirs_row or "error" in theirs_row else \
        f" (haproxy here: {(theirs_row['pss_per_router'] + (theirs_row['kernel_per_router'] or 0)) / 1024:,.0f} KB)"
    rows.append(["memory a router, kernel included", "≤ 8 KB", check(total, lambda v: v <= 8, "{:.1f} KB") + beside, command("memory")])
    value = get(report, "start", "systems", "fusedrouter", "median_ms") or get(report, "start", "systems", "router", "median_ms")
    beside = get(report, "start", "systems", "theirs", "median_ms")
    # Negative: the guest had its answer before the command that makes the router had returned.
    value = None if value is None else max(0.0, value)
    rows.append(["namespace ready to first answer", "≤ 5 ms", check(value, lambda v: v <= 5, "{:.1f} ms")
                 + (f" (haproxy here: {beside:.0f} ms)" if beside else ""), command("start")])
    runs = get(report, "packet", "tap", "test_run_ns") or {}
    worst = max((ns for kind, ns in runs.items() if kind.startswith("mt_tap")), default=None)
    ratio = get(report, "tenant", "tcp", "ratio")
    rows.append(["tap traffic that is not metadata", "≤ 15 ns a packet", check(worst, lambda v: v <= 15, "{:.0f} ns, the test run's own time included"), command("packet")])
    rows.append(["tenant throughput with the program", "≥ 0.99x", check(ratio, lambda v: v >= 0.99, "{:.3f}x"), command("tenant")])
    ports = get(report, "change", "ports") or {}
    ones = {n: s.get("one_ms", s.get("apply_ms")) for n, s in ports.items() if "error" not in s}
    failed = sum(s.get("failed_meanwhile", 0) for s in ports.values())
    rows.append(["a port added at 4 000 ports, the whole document applied", "constant time; no connection drops",
                 "not measured" if not ones else ", ".join(f"{v:.1f} ms at {n}" for n, v in ones.items()) + f"; {failed} requests failed",
                 command("change")])
    return ["work", "to reach", "reached", "command"], rows


def markdown_table(head, rows):
    def line(cells):
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])


def about(report):
    machine = report["machine"]
    return (f"{machine['cpus']} × {machine['cpu']}, {machine['memory_mb']} MB, Linux {machine['kernel']}, "
            f"{(machine['haproxy'] or '').split(' 20')[0]}, {machine['iptables']}; metatap {machine['metatap']}; "
            f"{report['started'][:16].replace('T', ' ')} UTC; {report['rounds']} interleaved rounds of {report['seconds']:g} s, "
            f"{report['threads']} threads for every proxy and server; load average {report['load_average_before'][0]:.1f} before, "
            f"{report.get('load_average_after', [0])[0]:.1f} after.")


def write_markdown(report):
    text = [f"Measured on {about(report)}", ""]
    text += [markdown_table(*targets(report)), ""]
    for title, head, rows in tables(report):
        text += [f"#### {title[0].upper()}{title[1:]}", "", markdown_table(head, rows), ""]
    if report["unavailable"]:
        text += ["Not measured: " + "; ".join(f"{n} ({' '.join(r.split())[:120]})" for n, r in report["unavailable"].items()), ""]
    with open(PERFORMANCE) as file:
        document = file.read()
    block = "<!-- figures: begin (bench/report.sh --markdown writes this) -->\n" + "\n".join(text) + "<!-- figures: end -->"
    document, found = re.subn(r"<!-- figures: begin.*?<!-- figures: end -->", lambda _: block, document, flags=re.S)
    if not found:
        document += "\n" + block + "\n"
    with open(PERFORMANCE, "w") as file:
        file.write(document)


def write_html(report, pictures):
    def table(head, rows):
        cells = "".join(f"<th>{html.escape(h)}</th>" for h in head)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in row) + "</tr>" for row in rows)
        return f"<table><tr>{cells}</tr>{body}</table>"
    parts = ["<!doctype html><meta charset=utf-8><title>metatap, measured</title><style>"
             "body{font:15px/1.45 system-ui,sans-serif;max-width:1150px;margin:2em auto;padding:0 1em;color:#222}"
             "table{border-collapse:collapse;margin:.5em 0 1.5em}td,th{padding:.25em .7em;text-align:right;border-bottom:1px solid #ddd}"
             "td:first-child,th:first-child{text-align:left}img{max-width:100%}h2{margin-top:1.6em}"
             ".targets td,.targets th{text-align:left}</style>",
             "<h1>metatap beside Neutron's haproxy</h1>", f"<p>{html.escape(about(report))}</p>",
             f"<p><code>{html.escape(report['command'])}</code>. Ratios are medians of the rounds' own ratios against Neutron's set-up; "
             "* marks figures for which the load generator was the bottleneck.</p>",
             '<div class="targets">', table(*targets(report)), "</div>"]
    titles = {"headline": "One guest, 16 clients", "clients": "More clients", "latency": "Latency", "routers": "More routers",
              "storm": "Boot storm", "memory": "Memory", "api": "The API stage alone", "syn": "SYN floods"}
    for picture in pictures:
        with open(os.path.join(RESULTS, picture + ".png"), "rb") as file:
            data = base64.b64encode(file.read()).decode()
        parts.append(f'<h2>{titles[picture]}</h2><img alt="{titles[picture]}" src="data:image/png;base64,{data}">')
    parts.append("<h2>All figures</h2>")
    for title, head, rows in tables(report):
        parts.append(f"<h3>{html.escape(title)}</h3>" + table(head, rows))
    for name, reason in report["unavailable"].items():
        parts.append(f"<p>Not measured: {html.escape(name)}: {html.escape(reason)}</p>")
    with open(os.path.join(RESULTS, "report.html"), "w") as file:
        file.write("\n".join(parts))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="*", help="default: the newest run")
    parser.add_argument("--markdown", action="store_true", help="also put the figures into docs/performance.md")
    arguments = parser.parse_args()
    paths = arguments.results or sorted(glob.glob(os.path.join(RESULTS, "2*.json")), key=os.path.getmtime)[-1:] \
        or glob.glob(os.path.join(RESULTS, "reference.json"))
    if not paths:
        parser.error("no result yet: run bench/run.sh first")
    report = load(paths)
    sections = report["sections"]
    drawn = [(headline, "loads"), (clients, "loads"), (latency, "loads"), (routers, "routers"), (storm, "storm"),
             (memory, "memory"), (api, "api"), (syn, "syn")]
    pictures = [name for draw, section in drawn if section in sections and (name := draw(sections[section]))]
    write_html(report, pictures)
    if arguments.markdown:
        write_markdown(report)
    print(f"{os.path.relpath(os.path.join(RESULTS, 'report.html'))} and {len(pictures)} pictures from {', '.join(map(os.path.relpath, paths))}")


if __name__ == "__main__":
    main()

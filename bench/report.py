# SPDX-License-Identifier: Apache-2.0
"""Pictures, a page and the tables of docs/performance.md, all from the results of bench/run.sh."""

import argparse
import base64
import glob
import html
import json
import os
import re
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from harness import table as figures  # noqa: E402
from harness import targets  # noqa: E402

RESULTS = os.path.join(HERE, "results")
PERFORMANCE = os.path.join(os.path.dirname(HERE), "docs", "performance.md")
LABELS = {"theirs": "Neutron: haproxy\n+ REDIRECT", "tuned": "haproxy tuned\n+ REDIRECT",
          "router": "metatap\nrouter mode", "listen": "metatap\nno BPF", "tap": "metatap\ntap mode",
          "fused": "metatap tap,\nall stages", "fusedrouter": "metatap router,\nall stages",
          "plain": "no proxy,\nsame path", "limit": "limit:\nveth + server",
          "chain": "haproxy → agent\n→ nova", "cachedchain": "the same,\ncaches on",
          "api": "metatap API stage", "minimal": "minimal server"}
COLOURS = {"theirs": "#c1443c", "tuned": "#e0958f", "router": "#1f5fa8", "listen": "#8fb4dc", "tap": "#0f8a7e",
           "fused": "#45b7a8", "fusedrouter": "#5a8fd0", "plain": "#9a9a9a", "limit": "#6c6c6c",
           "chain": "#c1443c", "cachedchain": "#e0958f", "api": "#0f8a7e", "minimal": "#6c6c6c"}

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


def load(paths):
    report = None
    for path in paths:
        with open(path, encoding="utf-8") as file:
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
        barh(row[2], proxies, lambda s: s["latency_us"]["p99"] / 1e3, "\np99 latency (less is better)", "ms")
    return save(figure, "headline")


def clients(section):
    loads = section.get("loads", {})
    figure, axes = plt.subplots(2, 2, figsize=(12, 8.4))
    drawn = False
    for column, (kind, what) in enumerate((("new", "new connection per request"), ("keep", "keep-alive"))):
        points = [n for n in (1, 16, 256) if f"{kind}-{n}" in loads]
        for row, (key, title) in enumerate((("cpu_proxy_us", "proxy CPU per request, µs"), ("rps", "requests per second"))):
            axis = axes[row][column]
            for name in LABELS:
                xs = [n for n in points if name in loads[f"{kind}-{n}"]["systems"]]
                if len(xs) > 1:
                    axis.plot(xs, [loads[f"{kind}-{n}"]["systems"][name][key] for n in xs], marker="o", label=one_line(name),
                              color=COLOURS[name], linestyle="--" if name in ("plain", "limit") else "-")
                    drawn = True
            axis.set_xscale("log", base=4)
            axis.set_xticks(points, [str(n) for n in points])
            axis.set_ylim(0)
            axis.set_xlabel("concurrent clients")
            axis.set_title(f"{title}, {what}", loc="left")
            axis.grid(alpha=0.25)
    axes[0][0].legend(fontsize=8, frameon=False)
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
            axis.plot([v for _, v in points], [q for q, _ in points], marker="o", ms=3, color=COLOURS[name],
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
    figure, axes = plt.subplots(2, len(numbers), figsize=(5 * len(numbers), 6.4), squeeze=False)
    for upper, lower, number in zip(axes[0], axes[1], numbers):
        systems = storms[number]["systems"]
        barh(upper, systems, lambda s: s["cpu_proxy_us"], f"{number} guests boot at once\nproxy CPU per request", "µs",
             versus("cpu_proxy_us"))
        barh(lower, systems, lambda s: s["last_seconds"] * 1e3, "until the last has its 28 answers", "ms", versus("last_seconds"))
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
    figure, axes = plt.subplots(2, len(keys), figsize=(4.2 * len(keys), 4.4), squeeze=False)
    for upper, lower, key in zip(axes[0], axes[1], keys):
        barh(upper, loads[key]["systems"], lambda s: s["cpu_proxy_us"], loads[key]["title"] + "\nCPU per request", "µs")
        barh(lower, loads[key]["systems"], lambda s: s["rps"], "requests per second", "/s")
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


def markdown_table(head, rows):
    def line(cells):
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])


def write_markdown(report):
    text = [f"Measured on {figures.machine(report)}", "", figures.ABOUT[0].upper() + figures.ABOUT[1:] + ".", ""]
    text += [f"{sentence}\n" for sentence in (figures.generator_limited(report), figures.disturbed(report)) if sentence]
    text += [markdown_table(*targets.table(report)), ""]
    for title, head, rows in figures.tables(report):
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
             "<h1>metatap beside Neutron's haproxy</h1>", f"<p>{html.escape(figures.machine(report))}</p>",
             f"<p><code>{html.escape(report['command'])}</code>; {html.escape(figures.ABOUT)}.</p>",
             f"<p>{html.escape(figures.generator_limited(report))} {html.escape(figures.disturbed(report))}</p>",
             '<div class="targets">', table(*targets.table(report)), "</div>"]
    titles = {"headline": "One guest, 16 clients", "clients": "More clients", "latency": "Latency", "routers": "More routers",
              "storm": "Boot storm", "memory": "Memory", "api": "The API stage alone", "syn": "SYN floods"}
    for picture in pictures:
        with open(os.path.join(RESULTS, picture + ".png"), "rb") as file:
            data = base64.b64encode(file.read()).decode()
        parts.append(f'<h2>{titles[picture]}</h2><img alt="{titles[picture]}" src="data:image/png;base64,{data}">')
    parts.append("<h2>All figures</h2>")
    for title, head, rows in figures.tables(report):
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
    os.makedirs(RESULTS, exist_ok=True)
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

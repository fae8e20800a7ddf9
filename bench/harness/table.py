# SPDX-License-Identifier: Apache-2.0
"""The result as a person reads it in a terminal."""

from .systems import BY_NAME


def number(value, digits=3):
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.{digits}g}"


def ratio(value):
    return "–" if value is None else f"{value:.2f}x"


def rows(titles, lines):
    widths = [max(len(str(line[i])) for line in [titles, *lines]) for i in range(len(titles))]
    for line in [titles, *lines]:
        print("  " + str(line[0]).ljust(widths[0]) + "".join("  " + str(cell).rjust(widths[i + 1])
                                                             for i, cell in enumerate(line[1:])))


def loads(entries):
    for entry in entries:
        print(f"\n{entry['title']}")
        lines = []
        for name, one in entry["systems"].items():
            versus = one.get("vs_theirs", {})
            mark = " *" if one.get("client_saturated") else ""
            storm = "last_seconds" in one
            first = f"{one['last_seconds']:.3f} s" if storm else number(one["rps"]) + mark
            lines.append([BY_NAME[name].label if name in BY_NAME else name, first,
                          ratio(versus.get("last_seconds" if storm else "rps")),
                          number(one["cpu_proxy_us"]), ratio(versus.get("cpu_proxy_us")),
                          number(one["cpu_host_us"]), ratio(versus.get("cpu_host_us")),
                          number(one["latency_us"]["p50"]), number(one["latency_us"]["p99"]),
                          f"±{one.get('last_seconds_spread' if storm else 'rps_spread') or 0:.0f}%", one["failed"]])
        rows(["", "until all done" if entry["systems"] and any("last_seconds" in s for s in entry["systems"].values())
              else "requests/s", "ratio", "CPU µs/req", "ratio", "host µs/req", "ratio", "p50 µs", "p99 µs",
              "spread", "failed"], lines)
        for name, reason in entry.get("failed", {}).items():
            print(f"  {name} failed: {reason}")


def show(report):
    machine = report["machine"]
    print(f"\n{machine['cpus']} x {machine['cpu']}, Linux {machine['kernel']}, {machine['haproxy']}; "
          f"{report['rounds']} rounds; load {report['load_average_before'][0]:.1f} before, "
          f"{report.get('load_average_after', [0])[0]:.1f} after")
    print("ratio: median of the rounds' ratios against Neutron's; spread: half the quartiles' distance; "
          "*: the load generator was the bottleneck")
    for name, section in report["sections"].items():
        if "error" in section:
            print(f"\n{name}: {section['error']}")
        elif "loads" in section:
            loads(section["loads"].values())
        elif "storms" in section:
            loads(section["storms"].values())
        elif name == "memory":
            print(f"\nmemory, {section['routers']} routers or taps")
            for system, one in section["systems"].items():
                if "error" in one:
                    print(f"  {system}: {one['error']}")
                    continue
                unit = "tap" if system == "tap" else "router"
                kernel = one[f"kernel_per_{unit}"]
                print(f"  {BY_NAME[system].label:<32} {one[f'pss_per_{unit}'] / 1024:9.1f} KB process (PSS) + "
                      f"{'–' if kernel is None else f'{kernel / 1024:.1f}'} KB kernel a {unit}")
        elif name == "start":
            print("\nnamespace ready → first answer")
            for system, one in section["systems"].items():
                print(f"  {BY_NAME[system].label:<32} {number(one.get('median_ms'))} ms  {one.get('error', '')}")
        elif name == "attach":
            print(f"\ntap up → first answer: {number(section['median_ms'])} ms")
        elif name == "change":
            print("\none port added")
            for count, one in section["ports"].items():
                print(f"  at {count:>5} ports: " + (one.get("error") or
                      f"apply {number(one['apply_ms'])} ms, one object {number(one.get('one_ms'))} ms; "
                      f"{one['failed_meanwhile']} failed of {one['answered_meanwhile']} requests meanwhile"))
        elif name == "packet":
            print("\na packet that is not metadata")
            for system, one in section.items():
                if isinstance(one, dict):
                    for kind, ns in one.get("test_run_ns", {}).items():
                        print(f"  {kind}: {ns} ns (BPF_PROG_TEST_RUN)")
                    if one.get("ns_per_packet"):
                        print(f"  live: {one['ns_per_packet']:.0f} ns ({one['note']})")
        elif name == "tenant":
            print("\ntenant traffic, guest to guest")
            for kind, one in section.items():
                if isinstance(one, dict):
                    print(f"  {kind}: {one['with_gbit']:.2f} Gbit/s with, {one['without_gbit']:.2f} without: "
                          f"{ratio(one['ratio'])}")
        elif name == "syn":
            print("\none SYN")
            for title, one in section["ns_per_syn"].items():
                print(f"  {title}: {one['median']:.0f} ns")
    if report["unavailable"]:
        print("\nnot measured:")
        for name, reason in report["unavailable"].items():
            print(f"  {name}: {' '.join(reason.split())[:160]}")

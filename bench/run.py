# SPDX-License-Identifier: Apache-2.0
"""Measures metatap beside Neutron's haproxy, in one interleaved run on one machine."""

import argparse
import datetime
import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import chain, costs, loads, table  # noqa: E402
from harness.lab import ROOT, Lab, progress  # noqa: E402
from harness.systems import ALL, THREADS, Backend, versions  # noqa: E402
from harness.world import nova_like_body  # noqa: E402

SECTIONS = {
    "loads": loads.one_guest, "guests": loads.twenty_guests, "routers": loads.many_routers,
    "storm": loads.boot_storm, "api": loads.api_alone,
    "memory": costs.memory, "start": costs.start, "attach": costs.attach, "change": costs.change,
    "packet": costs.packet, "tenant": costs.tenant, "syn": costs.syn,
    "chain": chain.whole_path,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer seconds a round, fewer loads; under 10 minutes")
    parser.add_argument("--only", help="sections, comma-separated: " + ",".join(SECTIONS))
    parser.add_argument("--systems", help="comma-separated: " + ",".join(s.name for s in ALL))
    parser.add_argument("--rounds", type=int, help="default 7")
    parser.add_argument("--seconds", type=float, help="of load in a round")
    parser.add_argument("--output", help="default bench/results/<time>.json")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("bench: needs root: it makes network namespaces and loads BPF programs")
    sections = arguments.only.split(",") if arguments.only else [
        name for name in SECTIONS if name != "chain" or not arguments.quick]  # minutes of control plane
    unknown = [name for name in sections if name not in SECTIONS]
    if unknown:
        sys.exit(f"bench: no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    options = argparse.Namespace(
        quick=arguments.quick, rounds=arguments.rounds or 7,
        seconds=arguments.seconds or (0.4 if arguments.quick else 2.0),
        systems=arguments.systems.split(",") if arguments.systems else None)

    lab = Lab()
    started = time.time()
    report = {"format": "metatap-bench/1", "started": datetime.datetime.now(datetime.timezone.utc).isoformat(),
              "command": "bench/run.sh " + " ".join(sys.argv[1:]), "quick": arguments.quick,
              "rounds": options.rounds, "seconds": options.seconds, "threads": THREADS,
              "machine": versions(), "load_average_before": os.getloadavg(), "sections": {},
              "unavailable": {}}
    output = arguments.output or os.path.join(
        ROOT, "bench", "results", datetime.datetime.now().strftime("%Y%m%d-%H%M%S") + ".json")
    os.makedirs(os.path.dirname(os.path.abspath(output)), exist_ok=True)
    body_file = lab.write("body.json", nova_like_body())
    backend = Backend(lab, body_file)
    context = argparse.Namespace(lab=lab, backend=backend, body_file=body_file, options=options, report=report)
    try:
        for name in sections:
            progress(f"[{time.time() - started:5.0f} s] {name}")
            begun = time.time()
            try:
                result = SECTIONS[name](context)
            except Exception as error:  # a section that cannot run must not take the others along
                progress(f"  {name}: {type(error).__name__}: {error}")
                result = {"error": f"{type(error).__name__}: {error}"}
            result["took_seconds"] = round(time.time() - begun, 1)
            report["sections"][name] = result
            report["load_average_after"] = os.getloadavg()
            with open(output + ".part", "w") as file:
                json.dump(report, file, indent=1)
            os.replace(output + ".part", output)
    finally:
        lab.close()
    report["took_seconds"] = round(time.time() - started, 1)
    with open(output, "w") as file:
        json.dump(report, file, indent=1)
    table.show(report)
    print(f"\n{report['took_seconds']:.0f} s; {os.path.relpath(output)}; pictures: bench/report.sh")


if __name__ == "__main__":
    main()

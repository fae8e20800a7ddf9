# SPDX-License-Identifier: Apache-2.0
"""Measures metatap beside Neutron's haproxy, in one interleaved run on one machine."""

import argparse
import datetime
import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import chain, change, first_answer, loads, memory, packet, profile, table, tenant  # noqa: E402
from harness.systems import ALL, BY_NAME, THREADS, Backend, add_other_build, versions  # noqa: E402
from harness.workspace import Workspace, progress  # noqa: E402
from harness.world import nova_like_body  # noqa: E402
from labkit import ROOT  # noqa: E402

SECTIONS = {
    "loads": loads.one_guest, "guests": loads.twenty_guests, "routers": loads.many_routers,
    "storm": loads.boot_storm, "cold": loads.cold, "api": loads.api_alone,
    "memory": memory.memory, "start": first_answer.start, "attach": first_answer.attach, "change": change.change,
    "packet": packet.packet, "tenant": tenant.tenant, "syn": packet.syn,
    "profile": profile.where_time_goes, "chain": chain.whole_path,
}
# Not in a quick run: one slows what it looks at, the other raises an OpenStack.
LONG = ("profile", "chain")

QUICK_SECONDS = 0.2


def some_of(what, names):
    """For argparse: a comma-separated choice."""
    def parse(text):
        chosen = [name for name in text.split(",") if name]
        unknown = [name for name in chosen if name not in names]
        if unknown or not chosen:
            raise argparse.ArgumentTypeError(f"no such {what}: {', '.join(unknown) or 'none given'}; there are {', '.join(names)}")
        return chosen
    return parse


def between(kind, least, most):
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not {'a whole number' if kind is int else 'a number'} "
                                             f"from {least} to {most}")
        return value
    return parse


def binaries(directory):
    if not os.access(os.path.join(directory, "metatapd"), os.X_OK):
        raise argparse.ArgumentTypeError(f"there is no metatapd in {directory}")
    return os.path.abspath(directory)


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="bench/run.sh", description=__doc__,
        epilog="Sections: " + ", ".join(SECTIONS) + ". Systems: "
        + "; ".join(f"{system.name} ({system.label})" for system in ALL) + ".")
    parser.add_argument("--quick", action="store_true", help="shorter rounds, fewer systems beside each load; under 10 minutes")
    parser.add_argument("--only", type=some_of("section", list(SECTIONS)), metavar="SECTIONS",
                        help="only these, comma-separated; default: all, with --quick all but " + " and ".join(LONG))
    parser.add_argument("--systems", type=some_of("system", list(BY_NAME)), metavar="SYSTEMS",
                        help="only these, comma-separated")
    parser.add_argument("--against", type=binaries, metavar="DIR",
                        help="measure the metatapd of another build beside this one's, in the same rounds")
    parser.add_argument("--rounds", type=between(int, 1, 1000), default=7, help="default 7")
    parser.add_argument("--seconds", type=between(float, 0.1, 600),
                        help=f"of load in a round; default 2, with --quick {QUICK_SECONDS}")
    parser.add_argument("--output", metavar="FILE", help="default bench/results/<time>.json")
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)  # the arguments are right
    return parser.parse_args()


def hand_over(path):
    """Under sudo, results are the caller's: bench/report.sh need not be root."""
    if os.environ.get("SUDO_UID", "").isdigit() and os.environ.get("SUDO_GID", "").isdigit():
        for one in (os.path.dirname(path), path):
            os.chown(one, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))


def main():
    arguments = parse_arguments()
    if arguments.check:
        return
    if os.geteuid() != 0:
        sys.exit("bench: needs root: it makes network namespaces and loads BPF programs")
    sections = arguments.only or [name for name in SECTIONS if name not in LONG or not arguments.quick]
    options = argparse.Namespace(
        quick=arguments.quick, rounds=arguments.rounds,
        seconds=arguments.seconds or (QUICK_SECONDS if arguments.quick else 2.0),
        systems=arguments.systems, against=arguments.against)
    if options.against:
        add_other_build(options.against)

    workspace = Workspace()
    started = time.time()
    report = {"format": "metatap-bench/1", "started": datetime.datetime.now(datetime.timezone.utc).isoformat(),
              "command": "bench/run.sh " + " ".join(sys.argv[1:]), "quick": arguments.quick,
              "rounds": options.rounds, "seconds": options.seconds, "threads": THREADS,
              "machine": versions(), "load_average_before": os.getloadavg(), "sections": {},
              "unavailable": {}}
    output = os.path.abspath(arguments.output or os.path.join(
        ROOT, "bench", "results", datetime.datetime.now().strftime("%Y%m%d-%H%M%S") + ".json"))
    os.makedirs(os.path.dirname(output), exist_ok=True)
    try:
        body_file = workspace.write("body.json", nova_like_body())
        context = argparse.Namespace(workspace=workspace, backend=Backend(workspace, body_file), body_file=body_file,
                                     options=options, report=report)
        for position, name in enumerate(sections, 1):
            progress(f"[{time.time() - started:5.0f} s] {name} ({position} of {len(sections)})")
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
        workspace.close()
        if os.path.exists(output + ".part"):
            os.unlink(output + ".part")
    report["took_seconds"] = round(time.time() - started, 1)
    with open(output, "w") as file:
        json.dump(report, file, indent=1)
    if not arguments.output:
        hand_over(output)
    table.show(report)
    print(f"\n{report['took_seconds']:.0f} s; {os.path.relpath(output)}; pictures: bench/report.sh")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""scripts/kernel-matrix.sh: which kernels load the programs that each clang makes, and serve guests."""

import argparse
import json
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from machine import Machine  # noqa: E402
from packages import Apt, PackageError, run  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
INSIDE = ROOT / "tests/kernels/inside.py"
PYTEST = ["/usr/bin/python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short",
          "--junitxml=REPORT"]
# One request of each family in each mode, by a daemon with the rights of its unit.
SMOKE = {"tap": "test_taps", "router": "test_routers", "DHCP": "test_dhcp_ports"}
MARKS = {"loads": "loads", "refused": "refused", "passed": "ok", "failed": "FAILED"}


def compile_objects(build, clangs, folder):
    """{clang-14: file}: as the build does it, by each compiler."""
    if not clangs:
        return {}
    commands = run("ninja", "-C", build, "-t", "commands", "bpf/metatap_bpf.bpf.o").splitlines()
    words = shlex.split(commands[-1].split("&&")[-1])
    objects = {}
    for clang in clangs:
        program = shutil.which(clang)
        if not program:
            raise PackageError(f"{clang} is not installed (scripts/install-deps.sh --for kernels)")
        file = folder / f"{clang}.o"
        run(program, *words[1:words.index("-o")], "-o", file, cwd=build)
        objects[clang] = str(file)
    return objects


def tests_of(args):
    if args.run:
        return {"chosen": [*PYTEST, *args.run]}
    if args.only_load:
        return {}
    # Not what a packet costs: here that is what emulation costs.
    tests = {"bpf": [str(args.build / "bin/bpf_programs"), "--gtest_output=xml:REPORT",
                     "--gtest_filter=-KernelCost.PrintsWhatPacketsThatAreNotOursCost"]}
    if args.smoke:
        tests = {}
    for mode, name in SMOKE.items():
        tests[mode] = [*PYTEST, f"tests/netns/test_unit_capabilities.py::{name}"]
    return tests


def report(result):
    """One line for whoever watches."""
    counts = ""
    if "passed" in result:
        counts = f" {result['passed']} passed"
        for kind in ("failed", "skipped"):
            counts += f", {len(result[kind])} {kind}" if result[kind] else ""
    detail = f": {result['detail']}" if result["detail"] else ""
    print(f"    {result['what']:<10}{result['outcome']}{counts}{detail}", flush=True)


def attend(machine, job, seconds):
    """The machine's results as they come; the last one says that it is done."""
    deadline, results, file = time.monotonic() + seconds, [], job / "results"
    while True:
        alive = machine.running
        lines = file.read_text().splitlines() if file.exists() else []
        for line in lines[len(results):]:
            results.append(json.loads(line))
            if results[-1]["what"] != "done" or results[-1]["outcome"]:
                report(results[-1])
        if results and results[-1]["what"] == "done":
            return results
        if not alive or time.monotonic() > deadline:
            why = machine.last_words() if not alive else f"not finished after {seconds} s"
            results.append({"what": "done", "outcome": "failed", "detail": why})
            report(results[-1])
            return results
        time.sleep(0.5)


def examine(kernel, job, wish, seconds):
    """{what: result} of one kernel."""
    (job / "job.json").write_text(json.dumps(wish))
    machine = Machine(kernel, job, INSIDE)
    try:
        results = attend(machine, job, seconds)
    finally:
        machine.close()
    return {result["what"]: result for result in results}


def cell(result):
    if result is None:
        return "-"
    text = MARKS.get(result["outcome"], result["outcome"])
    if "passed" in result and result["outcome"] == "passed":
        text = f"{result['passed']} passed" if result["passed"] > 1 else text
    if result.get("failed"):
        text = f"{len(result['failed'])} FAILED, {result['passed']} passed"
    if result.get("skipped"):
        text += f", {len(result['skipped'])} skipped"
    return text


def table(found, columns):
    """As Markdown, for a terminal and for docs/kernels.md."""
    rows = [["kernel", "attaches by", *columns]]
    for kernel, results in found:
        how = results.get("kernel", {}).get("detail", "did not start")
        rows.append([kernel.release, how, *(cell(results.get(column)) for column in columns)])
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |"
                     for row in rows)


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/kernel-matrix.sh", description="Boots kernels in QEMU, loads what each clang makes of the "
        "BPF programs, runs their tests, and asks for metadata at a tap, behind a router and behind a DHCP server.")
    parser.add_argument("--kernel", action="append", metavar="SERIES|PACKAGE",
                        help="6.1, 6.12, or linux-image-...; may be repeated (default: the newest of each series)")
    parser.add_argument("--suite", action="append", default=[], metavar="NAME",
                        help="another suite of the distribution to take kernels from, beside this machine's own")
    parser.add_argument("--clang", default="14,16,19", help="compilers (default: %(default)s)")
    parser.add_argument("--only-load", action="store_true", help="load the objects, run no tests")
    parser.add_argument("--smoke", action="store_true", help="of the tests only a request in each mode")
    parser.add_argument("--run", nargs="+", metavar="ARGUMENT",
                        help="instead of the usual tests: pytest with these arguments, in each kernel")
    parser.add_argument("--seconds", type=int, default=3600, help="for each kernel (default: %(default)s)")
    parser.add_argument("--cache", type=pathlib.Path, metavar="DIR", help="keep the packages there for the next time")
    parser.add_argument("--logs", type=pathlib.Path, metavar="DIR", help="copy each kernel's logs there")
    parser.add_argument("--list", action="store_true", help="say which kernels there are, and stop")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.build = args.build.resolve()
    return args


def kernels_of(args, folder):
    found = {}
    for suite in [None, *args.suite]:
        for kernel in Apt(folder, suite).kernels(args.kernel):
            found.setdefault(kernel.package, kernel)
    if not found:
        raise PackageError("no such kernel among the packages (apt-get update? --suite?)")
    return list(found.values())


def keep_logs(args, kernel, job):
    if args.logs:
        args.logs.mkdir(parents=True, exist_ok=True)
        for file in [*job.glob("*.log"), job / "results"]:
            if file.exists():
                shutil.copy(file, args.logs / f"{kernel.release}-{file.name}")


def matrix(args, work):
    cache = args.cache or work / "packages"
    cache.mkdir(parents=True, exist_ok=True)
    kernels = kernels_of(args, cache)
    if args.list:
        print("\n".join(kernel.package for kernel in kernels))
        return 0
    clangs = [f"clang-{number}" for number in args.clang.split(",") if number]
    objects = compile_objects(args.build, clangs, work)
    tests = tests_of(args)
    found = []
    for at, kernel in enumerate(kernels, 1):
        print(f"[{at}/{len(kernels)}] {kernel.release}: ", end="", flush=True)
        kernel.prepare()
        print("starting", flush=True)
        job = work / kernel.release
        wish = {"bin": str(args.build / "bin"), "tests": tests,
                "objects": {name: f"/run/job/{name}.o" for name in objects}}
        job.mkdir()
        for name, file in objects.items():
            shutil.copy(file, job / f"{name}.o")
        began = time.monotonic()
        found.append((kernel, examine(kernel, job, wish, args.seconds)))
        print(f"    {time.monotonic() - began:.0f} s", flush=True)
        keep_logs(args, kernel, job)
    print("\n" + table(found, [*objects, "preflight", *tests]))
    for kernel, results in found:
        for result in results.values():
            if result["outcome"] in ("refused", "failed"):
                print(f"\n{kernel.release}, {result['what']}: {result['detail']}")
    return 1 if any(result["outcome"] == "failed" for _, results in found for result in results.values()) else 0


def main():
    args = parse()
    # A signal ends it as Ctrl-C does: the machine is switched off and the folder removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="metatap-kernels-") as work:
        try:
            return matrix(args, pathlib.Path(work))
        except PackageError as error:
            sys.exit(f"kernel-matrix: {error}")
        except KeyboardInterrupt:
            print("\ninterrupted", file=sys.stderr)
            return 130


if __name__ == "__main__":
    sys.exit(main())

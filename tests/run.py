# SPDX-License-Identifier: Apache-2.0
"""Runs the parts of the test suite and counts every case, whatever framework it is written in.

scripts/test.sh is the way in; it installs and builds first. Reports go to BUILD/test-results.
"""

import argparse
import json
import os
import pathlib
import re
import secrets
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[1]
PARTS = ["style", "unit", "bpf", "netns", "conformance", "fault", "packaging"]
GTEST_LABELS = {"unit", "bpf", "netns", "conformance", "fault"}
MARK = "METATAP_TEST_RUN"


class Totals:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures, self.reasons = [], {}

    def count(self, report):
        """One JUnit file, from GoogleTest or pytest. Returns (passed, failed, skipped)."""
        passed = failed = skipped = 0
        for case in xml.etree.ElementTree.parse(report).iter("testcase"):
            name = f"{case.get('classname')}.{case.get('name')}"
            skip = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
                self.failures.append(name)
            elif skip is not None or case.get("status") == "notrun":
                skipped += 1
                reason = (skip.get("message") if skip is not None else None) or "not run"
                self.reasons.setdefault(reason.strip().splitlines()[-1], []).append(name)
            else:
                passed += 1
        self.passed += passed
        self.failed += failed
        self.skipped += skipped
        return passed, failed, skipped

    def one(self, name, good):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            self.failures.append(name)


def gtest_programs(build, label):
    shown = subprocess.run(["ctest", "--test-dir", str(build), "-L", f"^{label}$",
                            "--show-only=json-v1"], capture_output=True, text=True)
    if shown.returncode != 0:
        sys.exit(f"ctest in {build}: {shown.stderr.strip()}")
    for test in json.loads(shown.stdout)["tests"]:
        properties = {item["name"]: item["value"] for item in test.get("properties", [])}
        yield test["name"], test.get("command", []), properties.get("WORKING_DIRECTORY", ROOT)


def execute(title, argv, report, totals, timeout, env, folder=ROOT):
    """One program; its output is shown only when it fails."""
    if not os.access(argv[0], os.X_OK):
        totals.one(f"{title}: not built", False)
        print(f"  {title:<34}not built: FAILED", flush=True)
        return
    report.unlink(missing_ok=True)
    log = report.with_suffix(".log")
    started = time.monotonic()
    print(f"  {title:<34}", end="", flush=True)
    with open(log, "wb") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                   cwd=folder, env=env)
        try:
            status = process.wait(timeout)
            ended = f"exit status {status}"
        except subprocess.TimeoutExpired:
            process.terminate()  # pytest cleans up on SIGTERM's way out, if it can
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            status, ended = -1, f"not finished after {timeout} s"
        except BaseException:
            process.terminate()
            process.wait(30)
            raise
    try:
        passed, failed, skipped = totals.count(report)
    except (OSError, xml.etree.ElementTree.ParseError):
        passed = failed = skipped = 0
    if status != 0 and failed == 0 and not (status == 5 and "pytest" in argv):
        totals.one(f"{title}: {ended}", False)
        failed += 1
    words = [f"{passed} passed"] + [f"{n} {what}" for n, what in ((failed, "FAILED"),
                                                                 (skipped, "skipped")) if n]
    print(f"{', '.join(words):<36}{time.monotonic() - started:6.1f} s", flush=True)
    if failed:
        lines = log.read_text(errors="replace").splitlines()
        print("\n".join("      | " + line for line in lines[-80:]), flush=True)


def snapshot():
    """What a test might leave behind, as sets of names."""
    def listing(path):
        try:
            return set(os.listdir(path))
        except OSError:
            return set()
    return {"network namespace": listing("/run/netns"),
            "device": listing("/sys/class/net"),
            "BPF pin": listing("/sys/fs/bpf"),
            "lab": listing("/run/metatap-lab")}


def processes_of(run):
    needle = f"{MARK}={run}".encode()
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if int(entry.name) != os.getpid() and needle in (entry / "environ").read_bytes():
                yield f"{entry.name} ({(entry / 'cmdline').read_bytes().replace(bytes(1), b' ').decode()[:100]})"
        except OSError:
            pass


def leaks(before, run, shared):
    """What this run left: by difference, or on a shared machine only what carries its mark."""
    deadline = time.monotonic() + 5
    while True:
        found = [f"process {process}" for process in processes_of(run)]
        for kind, names in snapshot().items():
            for name in sorted(names - before[kind]):
                if re.match(r"mt|tap|metatap|qr-|qrouter-|qdhcp-|veth", name) and (
                        not shared or name.startswith("mt" + run)):
                    found.append(f"{kind} {name}")
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def main():
    parser = argparse.ArgumentParser(prog="scripts/test.sh")
    parser.add_argument("parts", nargs="*", metavar="part",
                        help=f"which parts to run (default: all): {' '.join(PARTS)}")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("-k", metavar="EXPRESSION", help="only pytest cases that match")
    parser.add_argument("--shared", action="store_true",
                        help="others test on this machine at the same time")
    args = parser.parse_args()
    parts = args.parts or PARTS
    for part in parts:
        if part not in PARTS:
            parser.error(f"no such part: {part} (there are: {' '.join(PARTS)})")

    run = secrets.token_hex(1)
    results = args.build / "test-results"
    results.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, MARK: run, "METATAP_BIN": str(args.build / "bin"),
           "PYTHONDONTWRITEBYTECODE": "1"}
    totals, before, started = Totals(), snapshot(), time.monotonic()
    try:
        for part in parts:
            print(part, flush=True)
            if part in GTEST_LABELS and not args.k:
                for name, command, folder in gtest_programs(args.build, part):
                    report = results / f"{part}-{name}.xml"
                    execute(name, [*command, f"--gtest_output=xml:{report}"] if command else [""],
                            report, totals, 600, env, folder)
            for file in sorted((ROOT / "tests" / part).glob("test_*.py")):
                report = results / f"{part}-{file.stem}.xml"
                argv = ["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider",
                        "--tb=short", f"--junitxml={report}", str(file)]
                execute(file.name, argv + (["-k", args.k] if args.k else []), report, totals, 900,
                        env)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        totals.one("interrupted", False)
    print("leaks", flush=True)
    left = leaks(before, run, args.shared)
    totals.one("leaks", not left)
    print(f"  {'nothing is left behind' if not left else 'LEFT BEHIND:'}")
    for item in left:
        print(f"      | {item}")

    print(f"\n{time.monotonic() - started:.0f} s; reports are in {results}")
    if totals.reasons:
        print("skipped:")
        for reason, names in totals.reasons.items():
            print(f"  {len(names)} x {reason}")
    if totals.failures:
        print("failed:")
        for name in totals.failures:
            print(f"  {name}")
    print(f"{totals.passed} passed, {totals.failed} failed, {totals.skipped} skipped")
    sys.exit(1 if totals.failed or not totals.passed else 0)


if __name__ == "__main__":
    main()

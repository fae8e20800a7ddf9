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
# What stands in one line runs one after another, the lines side by side: guests, faults and restarts
# are mostly waited for. Before them come, by themselves, the files that say why they are ALONE.
LANES = [["style", "unit", "sanitized", "fuzz", "bpf", "conformance", "packaging"], ["netns"], ["fault"]]
PARTS = [part for lane in LANES for part in lane]
# Beside the build: where the programs with such a label are built with that sanitizer.
SANITIZERS = ["asan", "tsan"]
GTEST_LABELS = {"unit", "fuzz", "bpf", "netns", "conformance", "fault"}
MARK = "METATAP_TEST_RUN"
# A case of these that fails beside others is run once more, alone. If it passes then, load was what it
# could not bear: it is listed as unsteady and mended as any other, and does not hold up the rest. Never
# what is random on purpose, and not where so many fail that it is no matter of load.
RUN_AGAIN = {"unit", *SANITIZERS, "conformance", "netns", "fault"}
MOST_UNSTEADY = 3


class Totals:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures, self.reasons = {}, {}  # a failure's value: the job that runs it alone, or None
        self.unsteady = []

    def count(self, report, alone=lambda case: None):
        """One JUnit file, from GoogleTest or pytest. Returns (passed, failed, skipped)."""
        passed = failed = skipped = 0
        for case in xml.etree.ElementTree.parse(report).iter("testcase"):
            name = f"{case.get('classname')}.{case.get('name')}"
            skip = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                failed += name not in self.failures  # pytest tells of a case and of its end
                self.failures[name] = alone(case)
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
            self.failures[name] = None

    def only_unsteady(self, name):
        del self.failures[name]
        self.unsteady.append(name)
        self.failed -= 1
        self.passed += 1


def gtest_programs(build, label):
    shown = subprocess.run(["ctest", "--test-dir", str(build), "-L", f"^{label}$",
                            "--show-only=json-v1"], capture_output=True, text=True)
    if shown.returncode != 0:
        sys.exit(f"ctest in {build}: {shown.stderr.strip()}")
    for test in json.loads(shown.stdout)["tests"]:
        properties = {item["name"]: item["value"] for item in test.get("properties", [])}
        yield test["name"], test.get("command", []), properties.get("WORKING_DIRECTORY", ROOT)


class Job:
    """One program of the suite; its output is shown only when it fails."""

    def __init__(self, title, argv, report, timeout, env, folder=ROOT, case_argv=None):
        self.title, self.argv, self.report, self.timeout = title, argv, report, timeout
        self.env, self.folder, self.log = env, folder, report.with_suffix(".log")
        self.case_argv = case_argv  # of one case's JUnit element; None: nothing is run again
        self.process = None

    def start(self):
        self.started = time.monotonic()
        self.report.unlink(missing_ok=True)
        if os.access(self.argv[0], os.X_OK):
            with open(self.log, "wb") as output:
                self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=output,
                                                stderr=output, cwd=self.folder, env=self.env)

    def ended(self):
        """How, or None as long as it runs."""
        if not self.process:
            return "not built"
        status = self.process.poll()
        if status is None and time.monotonic() - self.started > self.timeout:
            self.stop()
            return f"not finished after {self.timeout} s"
        return None if status is None else f"exit status {status}"

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()  # pytest cleans up on SIGTERM's way out, if it can
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def alone(self, case):
        """A job of this one's that runs one case; None: it is not run again."""
        if not self.case_argv:
            return None
        report = self.report.with_name("again-" + self.report.name)
        return Job(f"{self.title}: {case.get('name')}"[:44], self.case_argv(case, report), report,
                   self.timeout, self.env, self.folder)

    def tell(self, ended, totals):
        try:
            passed, failed, skipped = totals.count(self.report, self.alone)
        except (OSError, xml.etree.ElementTree.ParseError):
            passed = failed = skipped = 0
        nothing_chosen = ended == "exit status 5" and "pytest" in self.argv
        if ended != "exit status 0" and failed == 0 and not nothing_chosen:
            totals.one(f"{self.title}: {ended}", False)
            failed += 1
        words = [f"{passed} passed"] + [f"{n} {what}" for n, what in ((failed, "FAILED"),
                                                                     (skipped, "skipped")) if n]
        seconds = time.monotonic() - self.started
        print(f"  {self.title:<46}{', '.join(words):<34}{seconds:6.1f} s", flush=True)
        if failed and self.log.exists():
            lines = self.log.read_text(errors="replace").splitlines()
            print("\n".join("      | " + line for line in lines[-80:]), flush=True)


def is_alone(file):
    return bool(re.search(r'^ALONE = "', file.read_text(), re.M))


def sanitized_jobs(build, results, env):
    for sanitizer in SANITIZERS:
        of_it = build.with_name(f"build-{sanitizer}")
        if not (of_it / "CMakeCache.txt").exists():
            print(f"  {sanitizer}: no {of_it} (scripts/test.sh builds it)", flush=True)
            continue
        yield from gtest_jobs(sanitizer, of_it, results, env)


def gtest_jobs(label, build, results, env):
    for name, command, folder in gtest_programs(build, label):
        report = results / f"{label}-{name}.xml"
        if label == "tsan" and command:  # it finds no room where addresses are as random as some systems have them
            command = ["/usr/bin/setarch", "-R", *command]

        def one_case(case, its, command=command):
            return [*command, f"--gtest_output=xml:{its}",
                    f"--gtest_filter={case.get('classname')}.{case.get('name')}"]
        yield Job(f"{label}: {name}", [*command, f"--gtest_output=xml:{report}"] if command else [""],
                  report, 600, env, folder, one_case if label in RUN_AGAIN else None)


def jobs_of(part, build, results, env, only, alone):
    if part == "sanitized" and not only and not alone:
        yield from sanitized_jobs(build, results, env)
    if part in GTEST_LABELS and not only and not alone:
        yield from gtest_jobs(part, build, results, env)
    for file in sorted((ROOT / "tests" / part).glob("test_*.py")):
        if is_alone(file) != alone:
            continue
        report = results / f"{part}-{file.stem}.xml"
        pytest = ["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"]

        def one_case(case, its, pytest=pytest, file=file):
            return [*pytest, f"--junitxml={its}", f"{file}::{case.get('name')}"]
        argv = [*pytest, f"--junitxml={report}", str(file), *(["-k", only] if only else [])]
        yield Job(f"{part}: {file.name}", argv, report, 900, env,
                  case_argv=one_case if part in RUN_AGAIN else None)


def run_side_by_side(lanes, totals):
    """Each lane one job after another."""
    running = {}
    try:
        while any(lanes) or running:
            for number, lane in enumerate(lanes):
                if number not in running and lane:
                    running[number] = lane.pop(0)
                    running[number].start()
                if number in running and (ended := running[number].ended()):
                    running.pop(number).tell(ended, totals)
            time.sleep(0.05)
    finally:
        for job in running.values():
            job.stop()


def run_again(totals):
    """What failed, each alone."""
    again = {name: job for name, job in totals.failures.items() if job}
    if not again or len(totals.failures) > MOST_UNSTEADY:
        return
    print("again, alone", flush=True)
    for name, job in again.items():
        second = Totals()
        run_side_by_side([[job]], second)
        if second.passed and not second.failed:
            totals.only_unsteady(name)


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
    parser.add_argument("--strict", action="store_true",
                        help="what fails has failed: it is not run once more, alone")
    args = parser.parse_args()
    parts = args.parts or [part for part in PARTS if part != "sanitized" or args.build.name == "build"]
    for part in parts:
        if part not in PARTS:
            parser.error(f"no such part: {part} (there are: {' '.join(PARTS)})")

    run = secrets.token_hex(1)
    results = args.build / "test-results"
    results.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, MARK: run, "METATAP_BIN": str(args.build / "bin"),
           "METATAP_ARTIFACTS": str(results.resolve()),
           "PYTHONDONTWRITEBYTECODE": "1"}
    totals, before, started = Totals(), snapshot(), time.monotonic()
    try:
        def jobs(lane, alone):
            return [job for part in lane if part in parts
                    for job in jobs_of(part, args.build, results, env, args.k, alone)]
        run_side_by_side([[job for lane in LANES for job in jobs(lane, True)]], totals)
        run_side_by_side([jobs(lane, False) for lane in LANES], totals)
        if not args.strict:
            run_again(totals)
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
    if totals.unsteady:
        print("unsteady (failed above beside others, passed alone):")
        for name in totals.unsteady:
            print(f"  {name}")
    if totals.failures:
        print("failed:")
        for name in totals.failures:
            print(f"  {name}")
    print(f"{totals.passed} passed, {totals.failed} failed, {totals.skipped} skipped")
    sys.exit(1 if totals.failed or not totals.passed else 0)


if __name__ == "__main__":
    main()

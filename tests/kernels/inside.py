# SPDX-License-Identifier: Apache-2.0
"""What a machine of the kernel matrix does, as its first process: it loads the objects, runs the
tests it was told, writes a line of JSON for each to JOB/results, and switches the machine off."""

import ctypes
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import time
import traceback
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/netns"))

POWER_OFF = 0x4321FEDC


class Job:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.wish = json.loads((self.folder / "job.json").read_text())

    def tell(self, what, outcome, detail="", **more):
        with open(self.folder / "results", "a") as results:
            results.write(json.dumps({"what": what, "outcome": outcome, "detail": detail, **more}) + "\n")

    # ---- the objects of every compiler

    def load(self, name, file):
        """By bpftool, as root: what the verifier of this kernel says of each of its programs."""
        done = subprocess.run(["bpftool", "prog", "loadall", file, f"/sys/fs/bpf/{name}"],
                              capture_output=True, text=True)
        if done.returncode == 0:
            self.tell(name, "loads")
        else:
            (self.folder / f"{name}.log").write_text(done.stdout + done.stderr)
            self.tell(name, "refused", self.cause(done.stdout + done.stderr))
        subprocess.run(["rm", "-rf", f"/sys/fs/bpf/{name}"])

    @staticmethod
    def cause(said):
        """The verifier's last word before its statistics, with the program's name."""
        lines = said.splitlines()
        end = next((at for at, line in enumerate(lines) if line.startswith("processed ")), len(lines))
        named = re.search(r"prog '(\w+)': BPF program load failed", said)
        return f"{named[1]}: {lines[end - 1]}" if named and end else (lines or ["?"])[0]

    def preflight(self):
        """What the daemon's own look says, of the object that it was built with."""
        said = subprocess.run([f"{self.wish['bin']}/metatap", "--json", "doctor", "--preflight"],
                              capture_output=True, text=True)
        findings = json.loads(said.stdout)
        wrong = [finding["message"] for finding in findings if finding["severity"] == "error"]
        self.tell("preflight", "refused" if wrong else "loads",
                  "; ".join(wrong or [finding["message"] for finding in findings]))
        return not wrong

    # ---- tests

    def count(self, what, argv, report, environment=None):
        """One program that writes a JUnit file."""
        log = self.folder / f"{what}.log"
        with open(log, "wb") as output:
            status = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT,
                                    env={**os.environ, **(environment or {})}).returncode
        passed, failed, skipped = 0, [], {}
        try:
            for case in xml.etree.ElementTree.parse(report).iter("testcase"):
                name = f"{case.get('classname')}.{case.get('name')}"
                skip = case.find("skipped")
                if case.find("failure") is not None or case.find("error") is not None:
                    failed.append(name)
                elif skip is not None or case.get("status") == "notrun":
                    skipped[name] = ((skip.get("message") if skip is not None else "") or "").strip()
                else:
                    passed += 1
        except (OSError, xml.etree.ElementTree.ParseError):
            pass
        good = status == 0 and not failed and passed
        self.tell(what, "passed" if good else "failed", "" if good else ", ".join(failed) or f"exit status {status}",
                  passed=passed, failed=failed, skipped=skipped)

    def run(self):
        bin_ = self.wish["bin"]
        environment = {"METATAP_BIN": bin_, "METATAP_BUILD": str(pathlib.Path(bin_).parent), "HOME": "/root",
                       "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                       "PYTHONDONTWRITEBYTECODE": "1"}
        os.environ.update(environment)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run(["modprobe", "tun"], check=True)  # whose device is there before it, elsewhere
        import bpfkit
        self.tell("kernel", platform.release(), "TCX" if bpfkit.has_tcx() else "filters")
        for name, file in self.wish["objects"].items():
            self.load(name, file)
        ready = self.preflight()
        for what, argv in self.wish["tests"].items() if ready else ():
            began = time.monotonic()
            report = f"/tmp/{re.sub(r'[^a-z]', '-', what)}.xml"
            self.count(what, [word.replace("REPORT", report) for word in argv], report)
            print(f"{what}: {time.monotonic() - began:.1f} s", flush=True)


def main():
    job = Job(sys.argv[1])
    try:
        job.run()
        job.tell("done", "")
    except BaseException:
        job.tell("done", "failed", traceback.format_exc())
    os.sync()
    ctypes.CDLL(None).reboot(POWER_OFF)


main()

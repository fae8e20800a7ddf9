# SPDX-License-Identifier: Apache-2.0
"""scripts/fire.sh: hostile guests, faults and replacements as one table: what was done, what became of
it, what the others noticed. Tests say so themselves, by record_property(); of one that says nothing
its name and its outcome are shown."""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import textwrap
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REPLACED = {"test_worker.py", "test_reload.py", "test_restart.py", "test_stop.py"}
COLUMNS = {"what": 44, "sent": 26, "became": 44, "noticed": 44}


def suites():
    """{suite: files}, in the order in which they run."""
    files = sorted(HERE.glob("test_*.py"))
    hostile = [HERE / "test_hostile.py"]
    replaced = [file for file in files if file.name in REPLACED]
    return {"hostile": hostile, "replaced": replaced,
            "fault": [file for file in files if file not in hostile + replaced]}


def words(case):
    """A test's name as a sentence: test_a_byte_at_a_time[4] is "a byte at a time (4)"."""
    name = re.sub(r"^test_", "", case.get("name"))
    name, _, parameters = name.partition("[")
    parameters = parameters.rstrip("]")
    if name in ("frames", "requests"):  # there it is a parameter that names the attack
        parameters, _, name = parameters.partition("-")
    return (name + (f" ({parameters})" if parameters else "")).replace("_", " ")


def rows_of(suite, report):
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        said = {item.get("name"): item.get("value") for item in case.iter("property")}
        trouble = case.find("failure") if case.find("failure") is not None else case.find("error")
        outcome = "passed"
        if trouble is not None:
            outcome = "FAILED: " + (trouble.get("message") or "").split("\n")[0]
        elif case.find("skipped") is not None:
            outcome = "skipped: " + (case.find("skipped").get("message") or "")
        became = said.get("became", "")
        yield {"suite": suite, "what": words(case), "sent": said.get("sent", ""),
               "became": became if outcome == "passed" and became else outcome,
               "noticed": said.get("noticed", ""), "outcome": outcome.split(":")[0]}


def show(row):
    """One row, its cells wrapped to their columns."""
    cells = [textwrap.wrap(row[column], width) or [""] for column, width in COLUMNS.items()]
    for at in range(max(map(len, cells))):
        line = "  ".join((cell[at] if at < len(cell) else "").ljust(width)
                         for cell, width in zip(cells, COLUMNS.values()))
        print(line.rstrip(), flush=True)


def run(suite, files, folder, env):
    """File by file, so that rows come as they are known."""
    rows = []
    for file in files:
        report, log = folder / f"{file.stem}.xml", folder / f"{file.stem}.log"
        with open(log, "wb") as output:
            subprocess.run(["/usr/bin/python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short",
                            "-o", "junit_family=xunit1", f"--junitxml={report}", str(file)], stdin=subprocess.DEVNULL, stdout=output,
                           stderr=output, cwd=ROOT, env=env)
        if not report.exists():
            print(log.read_text(errors="replace")[-2000:])
            rows.append({"suite": suite, "what": file.name, "sent": "", "became": "did not run", "noticed": "",
                         "outcome": "FAILED"})
            show(rows[-1])
            continue
        told = list(rows_of(suite, report))
        rows += told
        for row in told:
            show(row)
        if any(row["outcome"] == "FAILED" for row in told):
            print(log.read_text(errors="replace")[-4000:])
    return rows


def main():
    parser = argparse.ArgumentParser(prog="scripts/fire.sh", description=__doc__.split(": ", 1)[1].replace("\n", " "))
    parser.add_argument("suite", nargs="*", metavar="suite", help="hostile, replaced, fault (default: all)")
    parser.add_argument("--long", action="store_true", help="half a minute for each attack, not a second, and behind a router, too")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="the rows, for another program")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build", help=argparse.SUPPRESS)
    args = parser.parse_args()
    known = suites()
    for suite in args.suite:
        if suite not in known:
            parser.error(f"no such suite: {suite} (there are: {' '.join(known)})")
    build = args.build.resolve()
    env = {**os.environ, "METATAP_BUILD": str(build), "METATAP_BIN": str(build / "bin"), "PYTHONDONTWRITEBYTECODE": "1"}
    if args.long:
        env["METATAP_LONG"] = "1"
    rows = []
    with tempfile.TemporaryDirectory(prefix="metatap-fire-") as folder:
        for suite in args.suite or known:
            print(f"\n{suite}")
            show({"what": "WHAT", "sent": "SENT", "became": "BECAME", "noticed": "OTHERS NOTICED"})
            rows += run(suite, known[suite], pathlib.Path(folder), env)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    failed = sum(row["outcome"] == "FAILED" for row in rows)
    skipped = sum(row["outcome"] == "skipped" for row in rows)
    print(f"\n{len(rows) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\ninterrupted")

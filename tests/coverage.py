# SPDX-License-Identifier: Apache-2.0
"""Which lines of userspace/ the tests of a coverage build have run, by folder, by file, or line by
line. scripts/coverage.sh is the way in."""

import argparse
import collections
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCES = ROOT / "userspace"


def gcov_of(build):
    """The gcov of the compiler that built it: it reads no other's files."""
    compiler = next((line.split("=", 1)[1].strip() for line in (build / "CMakeCache.txt").open()
                     if line.startswith("CMAKE_CXX_COMPILER:")), "g++")
    version = subprocess.run([compiler, "-dumpversion"], capture_output=True, text=True, check=True)
    return shutil.which(f"gcov-{version.stdout.strip().split('.')[0]}") or "gcov"


def hits(build):
    """{file: {line: times}}; of a template or an inline function all its instances together."""
    counted = collections.defaultdict(dict)
    data = sorted(path for path in (build / "userspace").rglob("*.gcno"))
    data += sorted(path for path in (build / "tests").rglob("*.gcno"))
    for notes in data:
        with tempfile.TemporaryDirectory() as scratch:
            done = subprocess.run([gcov_of(build), "--json-format", "--stdout", str(notes)],
                                  capture_output=True, cwd=scratch)
        for text in done.stdout.splitlines():
            try:
                report = json.loads(text)
            except ValueError:
                continue
            for file in report["files"]:
                path = (pathlib.Path(report["current_working_directory"]) / file["file"]).resolve()
                if SOURCES not in path.parents:
                    continue
                lines = counted[path.relative_to(SOURCES)]
                for line in file["lines"]:
                    number = line["line_number"]
                    lines[number] = lines.get(number, 0) + line["count"]
    return counted


def table(title, groups):
    print(f"{title:<44}{'lines':>8}{'run':>8}{'left':>7}{'':>8}")
    total = collections.Counter()
    for name, lines in sorted(groups.items()):
        run = sum(1 for times in lines if times)
        total.update(lines=len(lines), run=run)
        print(f"{name:<44}{len(lines):>8}{run:>8}{len(lines) - run:>7}{100 * run / max(1, len(lines)):>7.1f}%")
    lines, run = total["lines"], total["run"]
    print(f"{'all':<44}{lines:>8}{run:>8}{lines - run:>7}{100 * run / max(1, lines):>7.1f}%")


def show_missing(path, lines):
    text = (SOURCES / path).read_text().splitlines()
    for number in sorted(number for number, times in lines.items() if not times):
        print(f"userspace/{path}:{number}: {text[number - 1]}")


def main():
    parser = argparse.ArgumentParser(prog="tests/coverage.py")
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--files", action="store_true", help="a row for each file, not for each folder")
    parser.add_argument("--missing", metavar="PATH", help="the lines of userspace/PATH that no test has run")
    args = parser.parse_args()
    counted = hits(args.build.resolve())
    if not counted:
        sys.exit(f"{args.build} has no coverage data: build preset coverage, and run tests")
    if args.missing:
        wanted = pathlib.PurePath(args.missing)
        for path in sorted(counted):
            if path == wanted or wanted in path.parents:
                show_missing(path, counted[path])
        return
    groups = collections.defaultdict(list)
    for path, lines in counted.items():
        groups[str(path) if args.files else path.parts[0]] += lines.values()
    table("userspace/", groups)


if __name__ == "__main__":
    main()

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Which lines of userspace/ the tests run: builds with counters (preset coverage), runs tests, and
# prints a table by folder.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

usage() {
  cat <<'TEXT'
usage: scripts/coverage.sh [--no-install] [--no-build] [--no-run] [--files] [--missing PATH] [part...]

  part            as for scripts/test.sh (default: unit fuzz, and bpf for root)
  --no-run        show what earlier runs have left
  --files         a row for each file
  --missing PATH  the lines of userspace/PATH, a file or a folder, that no test has run
TEXT
}

install=yes
compile=yes
run=yes
parts=()
report=()
while [ $# -gt 0 ]; do
  case $1 in
    --no-install) install= ;;
    --no-build) compile= ;;
    --no-run)
      install=
      compile=
      run=
      ;;
    --files) report+=(--files) ;;
    --missing) report+=(--missing "${2:?--missing needs a path}"); shift ;;
    -h | --help) usage; exit 0 ;;
    -*) echo "coverage.sh: unknown option $1" >&2; usage >&2; exit 2 ;;
    *) parts+=("$1") ;;
  esac
  shift
done
if [ ${#parts[@]} -eq 0 ]; then
  parts=(unit fuzz)
  if [ "$(id -u)" -eq 0 ]; then parts+=(bpf); fi
fi

if [ -n "$install" ]; then scripts/install-deps.sh --for build,test; fi
if [ -n "$compile" ]; then scripts/build.sh coverage; fi
if [ -n "$run" ]; then
  find build-coverage -name '*.gcda' -delete
  # The table is shown of what ran, also where a test fails.
  METATAP_FUZZ_SECONDS=0 /usr/bin/python3 -B tests/run.py --build "$PWD/build-coverage" "${parts[@]}" || failed=$?
fi
/usr/bin/python3 -B tests/coverage.py build-coverage "${report[@]}"
exit "${failed:-0}"

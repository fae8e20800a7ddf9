#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds, and runs the tests; the last line is
# "N passed, N failed, N skipped", over all of them.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

usage() {
  cat <<'TEXT'
usage: scripts/test.sh [--asan|--tsan] [--no-install] [--no-build] [-k EXPRESSION] [--shared] [part...]

  part          style unit sanitized fuzz bpf netns conformance fault packaging (default: all)
  --asan        all of it with address and undefined behaviour sanitizers; --tsan: thread sanitizer
  -k            only the pytest cases that match
  --shared      others test on this machine at the same time: look for leaks of this run alone
TEXT
}

preset=release
build=build
install=yes
compile=yes
arguments=()
parts=()
only=
while [ $# -gt 0 ]; do
  case $1 in
    --asan | --tsan) preset=${1#--}; build=build-$preset ;;
    --no-install) install= ;;
    --no-build) compile= ;;
    -k) only=yes; arguments+=(-k "${2:?-k needs an expression}"); shift ;;
    -h | --help) usage; exit 0 ;;
    -*) arguments+=("$1") ;;
    *) parts+=("$1") ;;
  esac
  shift
done

if [ -n "$install" ]; then
  scripts/install-deps.sh --for build,test
fi

# built PRESET [argument of the build...]: or it ends here.
built() {
  echo "building ($1)"
  log=$(mktemp)
  if ! scripts/build.sh "$@" >"$log" 2>&1; then
    grep -A12 -E 'error|FAILED' "$log" | head -60 || tail -40 "$log"
    rm -f "$log"
    echo "the build failed"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
  fi
  rm -f "$log"
}

if [ -n "$compile" ]; then
  built "$preset"
  if [ "$preset" = release ] && [ -z "$only" ] && [[ " ${parts[*]:-sanitized} " == *" sanitized "* ]]; then
    for sanitizer in asan tsan; do
      built "$sanitizer" --target "units_of_$sanitizer"
    done
  fi
fi

# Namespaces, taps and BPF need root; the build does not.
sudo=()
if [ "$(id -u)" -ne 0 ] && command -v sudo >/dev/null; then
  sudo=(sudo -E)
fi
export LSAN_OPTIONS=${LSAN_OPTIONS:-suppressions=$PWD/tests/leaks.supp}
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-suppressions=$PWD/tests/tsan.supp}
exec "${sudo[@]}" /usr/bin/python3 -B tests/run.py --build "$PWD/$build" "${arguments[@]}" "${parts[@]}"

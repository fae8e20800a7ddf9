#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fuzzes the parsers of foreign bytes with libFuzzer (clang 19, address and undefined behaviour
# sanitizers) and says what came of it. Exit status: 0 nothing found, 1 something, 130 interrupted.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

usage() {
  cat <<'TEXT'
usage: scripts/fuzz.sh [--time SECONDS] [--corpus DIR] [--adopt] [--no-install] [--no-build] [NAME...]

  NAME            which fuzzers (default: all of them, one after the other)
  --time SECONDS  for each (default: 60); 0: until interrupted
  --corpus DIR    where inputs, findings and logs go, and what earlier runs left is taken up
                  (default: ${XDG_CACHE_HOME:-~/.cache}/metatap-fuzz)
  --adopt         at the end, of the new inputs put those into tests/fuzz/corpus that reach what
                  nothing there reaches
  --list          print the names and stop

Ctrl-C ends the fuzzer that runs, prints the table and goes. A finding is tried again with
  build-fuzz/bin/fuzz_NAME FILE
TEXT
}

mapfile -t all < <(sed -n 's/^ *metatap_fuzzer(\([a-z]*\).*/\1/p' tests/fuzz/CMakeLists.txt)
seconds=60
folder=${XDG_CACHE_HOME:-$HOME/.cache}/metatap-fuzz
adopt=
install=yes
compile=yes
names=()
while [ $# -gt 0 ]; do
  case $1 in
    --time) seconds=${2:?--time needs a number of seconds}; shift ;;
    --corpus) folder=${2:?--corpus needs a directory}; shift ;;
    --adopt) adopt=yes ;;
    --no-install) install= ;;
    --no-build) compile= ;;
    --list) printf '%s\n' "${all[@]}"; exit 0 ;;
    -h | --help) usage; exit 0 ;;
    -*) echo "fuzz.sh: unknown option $1" >&2; usage >&2; exit 2 ;;
    *)
      [[ " ${all[*]} " == *" $1 "* ]] || { echo "fuzz.sh: no such fuzzer: $1 (there are: ${all[*]})" >&2; exit 2; }
      names+=("$1")
      ;;
  esac
  shift
done
[[ $seconds =~ ^[0-9]+$ ]] || { echo "fuzz.sh: not a number of seconds: $seconds" >&2; exit 2; }
[ ${#names[@]} -gt 0 ] || names=("${all[@]}")

if [ -n "$install" ]; then scripts/install-deps.sh --for build,fuzz; fi
if [ -n "$compile" ]; then scripts/build.sh fuzz "${names[@]/#/fuzz_}"; fi

dictionary_of() {
  case $1 in
    request | response | api | token | changes | text) echo http ;;
    config) echo config ;;
    libvirt) echo xml ;;
    *) echo json ;;
  esac
}

interrupted=
trap 'interrupted=yes' INT TERM

# Its last line of progress, and what it says of itself at the end.
report() {
  local name=$1 log=$folder/$1.log executions covered inputs found
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  covered=$(grep -ao 'cov: [0-9]*' "$log" | tail -n 1 | cut -d' ' -f2 || true)
  inputs=$(find "$folder/$name" -type f | wc -l)
  found=$(find "$folder/findings" -type f -name "$name-*" -newer "$folder/$name.started" | wc -l)
  printf '%-10s %12s %9s %8s %9s\n' "$name" "${executions:-?}" "${covered:-?}" "$inputs" "$found"
  findings=$((findings + found))
}

findings=0
mkdir -p "$folder/findings"
printf '%-10s %12s %9s %8s %9s\n' fuzzer executions edges inputs findings
for name in "${names[@]}"; do
  mkdir -p "$folder/$name"
  : >"$folder/$name.started"
  # In the background and waited for: bash runs a trap only between commands.
  nice -n 19 "build-fuzz/bin/fuzz_$name" "$folder/$name" "tests/fuzz/corpus/$name" \
    -max_total_time="$seconds" -max_len=24000 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
    -dict="tests/fuzz/$(dictionary_of "$name").dict" -artifact_prefix="$folder/findings/$name-" \
    >"$folder/$name.log" 2>&1 &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    wait "$pid" || true
    if [ -n "$interrupted" ]; then kill -INT "$pid" 2>/dev/null || true; fi
  done
  report "$name"
  [ -z "$interrupted" ] || break
done

if [ "$findings" -gt 0 ]; then
  echo "findings, and the logs that say what they break:"
  find "$folder/findings" -type f -newer "$folder/${names[0]}.started" -printf '  %p\n' | sort
  echo "  $folder/NAME.log"
fi
if [ -n "$adopt" ] && [ -z "$interrupted" ]; then
  for name in "${names[@]}"; do
    "build-fuzz/bin/fuzz_$name" -merge=1 "tests/fuzz/corpus/$name" "$folder/$name" >>"$folder/$name.log" 2>&1
  done
  git status --short tests/fuzz/corpus
fi
if [ -n "$interrupted" ]; then exit 130; fi
[ "$findings" -eq 0 ]

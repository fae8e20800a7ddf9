#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The tests of every folder, the programs' and one conformance round under sanitizers. Building
# everything twice more takes long, so that scripts/test.sh does not do it by itself.
# Exit status: 0 all passed under each.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

usage() {
  cat <<'TEXT'
usage: scripts/sanitize.sh [--no-install] [--no-build] [--only asan|tsan] [part...]

  part         as for scripts/test.sh (default: unit fuzz bpf conformance)
  --only NAME  asan: addresses, leaks and undefined behaviour; tsan: threads (default: both)
TEXT
}

passed_on=()
sanitizers=(asan tsan)
parts=()
while [ $# -gt 0 ]; do
  case $1 in
    --no-install | --no-build) passed_on+=("$1") ;;
    --only)
      case ${2:-} in
        asan | tsan) sanitizers=("$2") ;;
        *) echo "sanitize.sh: --only takes asan or tsan" >&2; exit 2 ;;
      esac
      shift
      ;;
    -h | --help) usage; exit 0 ;;
    -*) echo "sanitize.sh: unknown option $1" >&2; usage >&2; exit 2 ;;
    *) parts+=("$1") ;;
  esac
  shift
done
[ ${#parts[@]} -gt 0 ] || parts=(unit fuzz bpf conformance)

failed=0
for sanitizer in "${sanitizers[@]}"; do
  echo "== $sanitizer"
  # libFuzzer has its own sanitizers; once is enough.
  METATAP_FUZZ_SECONDS=0 scripts/test.sh "--$sanitizer" "${passed_on[@]}" "${parts[@]}" || failed=1
done
exit "$failed"

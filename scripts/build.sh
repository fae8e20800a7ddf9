#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Configures and builds one preset (release, dev, asan, tsan); further arguments go to the build.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
preset=${1:-release}
[ $# -eq 0 ] || shift
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cmake --preset "$preset" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
exec nice cmake --build --preset "$preset" --parallel "${METATAP_JOBS:-$(nproc)}" "$@"

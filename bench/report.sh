#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Pictures and text from a run's figures.
#   bench/report.sh [RESULT.json …]             bench/results/report.html and plots (default: the newest run)
#   bench/report.sh --markdown [RESULT.json …]  the same, and the figures in docs/performance.md
# Several results: later ones replace the sections of earlier ones.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
if ! /usr/bin/python3 -c 'import matplotlib' 2>/dev/null; then
  scripts/install-deps.sh --for bench
fi
exec /usr/bin/python3 -B bench/report.py "$@"

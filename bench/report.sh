#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Pictures and text from a run's figures.
#   bench/report.sh [RESULT.json …]             bench/results/report.html and plots (default: the newest run)
#   bench/report.sh --markdown [RESULT.json …]  the same, and the figures in docs/performance.md
# Several results: later ones replace the sections of earlier ones.
set -eu
cd "$(dirname "$0")/.."
if ! /usr/bin/python3 -c 'import matplotlib' 2>/dev/null; then
  echo "bench/report.sh needs python3-matplotlib (scripts/install-deps.sh installs it)" >&2
  exit 1
fi
exec /usr/bin/python3 bench/report.py "$@"

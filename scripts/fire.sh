#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Hostile guests, faults and replacements, as one table of what was sent, what became of it and what
# the others noticed: see --help. Installs and builds what is missing first.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

run=(/usr/bin/python3 -B tests/fault/fire.py "$@")
case " $* " in *" --help "* | *" -h "*) exec "${run[@]}" ;; esac

scripts/install-deps.sh --for build,test
scripts/build.sh release --target metatapd metatapd-next metatap metatap-tapwire >/dev/null
sudo=()
if [ "$(id -u)" -ne 0 ] && command -v sudo >/dev/null; then
  sudo=(sudo --preserve-env=METATAP_LONG)
fi
exec "${sudo[@]}" "${run[@]}"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures metatap beside Neutron's haproxy on this machine; see docs/performance.md.
#   bench/run.sh [--quick] [--only loads,routers,storm,...] [--systems theirs,tap,...] [--against DIR]
# Installs and builds what is missing first, and leaves nothing behind but bench/results.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

run=(/usr/bin/python3 -B bench/run.py "$@")
case " $* " in *" --help "* | *" -h "*)
  if [ -x "${run[0]}" ]; then exec "${run[@]}"; fi
  sed -n '3,5s/^# \{0,1\}//p' bench/run.sh
  exit 0 ;;
esac

# Mistakes in the arguments are told before anything is installed or built.
if [ -x "${run[0]}" ]; then
  "${run[@]}" --check
fi
scripts/install-deps.sh --for build,bench

show_steps() { # [12/345] as one line that counts up, or as a line now and then
  local line step last=
  while IFS= read -r line; do
    [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]] || continue
    if [ -t 1 ]; then
      printf '\r%s ' "${BASH_REMATCH[0]}"
    else
      step=$((10 * BASH_REMATCH[1] / BASH_REMATCH[2]))
      [ "$step" = "$last" ] || echo "${BASH_REMATCH[0]}"
      last=$step
    fi
  done
  if [ -t 1 ]; then printf '\r                \r'; fi
}

if [ -z "${METATAP_BIN:-}" ]; then # binaries from elsewhere come with their load tools
  if [ ! -x build/bin/metatapd ]; then
    echo "Building; this takes some minutes the first time."
  fi
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  if ! scripts/build.sh release --target metatapd metatap bench_tools 2>&1 | tee "$log" | show_steps; then
    tail -40 "$log" >&2
    exit 1
  fi
  rm -f "$log"
  trap - EXIT
fi

sudo=()
if [ "$(id -u)" -ne 0 ] && command -v sudo >/dev/null; then
  sudo=(sudo --preserve-env=METATAP_BIN)
fi
exec "${sudo[@]}" "${run[@]}"

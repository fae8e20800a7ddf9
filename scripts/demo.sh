#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs, builds, raises a lab and shows what each guest gets. Leaves nothing behind, unless --keep.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

case " $* " in *" --help "* | *" -h "*)
  exec /usr/bin/python3 -B tests/lab/demo.py --help ;;
esac

scripts/install-deps.sh --for build,test
if [ ! -x build/bin/metatapd ]; then
  echo "Building; this takes some minutes the first time."
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
build() { scripts/build.sh release --target metatapd metatap metatap-tapwire; }
if [ -t 1 ]; then
  # One line that counts up.
  build 2>&1 | tee "$log" | sed -un 's/^\(\[[0-9]*\/[0-9]*\]\).*/\r\1 /p' | tr -d '\n' || true
  printf '\r                \r'
  build >"$log" 2>&1 || { tail -40 "$log" >&2; exit 1; }
else
  build >"$log" 2>&1 || { tail -40 "$log" >&2; exit 1; }
fi

sudo=()
if [ "$(id -u)" -ne 0 ] && command -v sudo >/dev/null; then
  sudo=(sudo)
fi
rm -f "$log"
trap - EXIT
exec "${sudo[@]}" /usr/bin/python3 -B tests/lab/demo.py "$@"

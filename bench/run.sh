#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures metatap beside Neutron's haproxy on this machine; see docs/performance.md.
#   bench/run.sh [--quick] [--only loads,routers,storm,...] [--systems theirs,tap,...]
set -eu
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
  echo "bench/run.sh needs root: it makes network namespaces and loads BPF programs" >&2
  exit 1
fi
if [ ! -d build ]; then
  cmake --preset release >/dev/null
fi
cmake --build build --target backend minimal_server loadgen metatapd metatap >/dev/null
exec /usr/bin/python3 bench/run.py "$@"

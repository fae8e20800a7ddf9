#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Tries the BPF programs and the daemon on other kernels than this machine's, in QEMU: see --help.
# Kernels are fetched as packages and unpacked aside; nothing is installed but what runs them, and
# nothing stays (with --cache: the packages). What there is is in docs/kernels.md.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

run=(/usr/bin/python3 -B tests/kernels/matrix.py "$@")
case " $* " in *" --help "* | *" -h "*) exec "${run[@]}" ;; esac

scripts/install-deps.sh --for build,test,kernels
case " $* " in
  *" --list "*) ;;
  *) scripts/build.sh release --target metatapd metatap metatap-tapwire bpf_programs >/dev/null ;;
esac
sudo=()
if [ "$(id -u)" -ne 0 ] && command -v sudo >/dev/null; then
  sudo=(sudo)
fi
exec "${sudo[@]}" "${run[@]}"

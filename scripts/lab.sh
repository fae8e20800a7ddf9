#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Tenants, networks and guests as network namespaces on this machine: see --help.
set -euo pipefail
exec /usr/bin/python3 -B "$(dirname "$(readlink -f "$0")")/../tests/lab/lab.py" "$@"

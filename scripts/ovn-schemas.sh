#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts the schemas of the Open vSwitch and OVN databases into DIR, for the tests that run real
# ovsdb-servers. They come out of the distribution's packages, which are not installed: those would
# start their services.
set -euo pipefail

dir=${1:-/usr/local/share/metatap/schema}
if [ -s "$dir/vswitch.ovsschema" ] && [ -s "$dir/ovn-sb.ovsschema" ]; then
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
take() { # package, path in it
  local installed=$2
  if [ -s "$installed" ]; then
    cp "$installed" "$work/"
    return
  fi
  (cd "$work" && apt-get -qq download "$1" 2>/dev/null)
  dpkg-deb --fsys-tarfile "$work/$1"_*.deb | tar -xO ".$2" >"$work/${2##*/}"
}
take openvswitch-switch /usr/share/openvswitch/vswitch.ovsschema
take ovn-central /usr/share/ovn/ovn-sb.ovsschema
mkdir -p "$dir"
cp "$work"/*.ovsschema "$dir/"

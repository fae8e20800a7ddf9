#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what metatap needs from the distribution's packages (Debian 12 and 13, Ubuntu 24.04).
# Quick when everything is there: then no package manager is called at all.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: scripts/install-deps.sh [--for build,test,bench,profile,fuzz,kernels,libvirt,openstack] [--list] [--check]

  --for SETS   what to prepare for, comma separated (default: build,test);
               openstack: the real metadata chain and its control plane, for bench/run.sh --only chain
  --list       print the packages of these sets and stop
  --check      install nothing; print what is missing, exit 1 if anything is
TEXT
}

# One package a line, sorted. "a|b": the first that this distribution has.
build_packages='
bpftool|linux-tools-common
ccache
clang-14|clang
cmake
g++
libarchive-dev
libbenchmark-dev
libboost1.81-dev|libboost1.83-dev|libboost-dev
libbpf-dev
libcap-ng-dev
libcli11-dev
libexpected-dev
libfmt-dev
libgmock-dev
libgtest-dev
libmnl-dev
libpq-dev
libpqxx-dev
libspdlog-dev
libsqlitecpp-dev
libssl-dev
libsystemd-dev
libvirt-dev
libxml2-dev
libxxhash-dev
libyaml-dev
linux-libc-dev
mold
ninja-build
nlohmann-json3-dev
pkgconf|pkg-config
prometheus-cpp-dev
'
test_packages='
clang-format-19|clang-format
cloud-init
curl
dnsmasq-base
dosfstools
dpkg-dev
ethtool
genisoimage
haproxy
iproute2
iptables
iputils-ping
libcap-ng0
libcap2-bin
libseccomp2
lintian
man-db
mtools
openssl
openvswitch-common
postgresql
procps
prometheus
python3
python3-jsonschema
python3-pytest
python3-scapy
shellcheck
systemd
tcpdump
util-linux
'
# Ubuntu has it as a snap only; the test of the status page is skipped there.
if grep -qs '^ID=debian' /etc/os-release; then test_packages+='chromium
'; fi
bench_packages='
bpftool|linux-tools-common
ethtool
haproxy
iperf3
iproute2
iptables
procps
python3
python3-matplotlib
util-linux
wrk
'
fuzz_packages='
clang-19|clang
libclang-rt-19-dev|libclang-rt-dev
'
# libvirtd with QEMU's driver, for the tests of its guests. Large, so never a default.
libvirt_packages='
ipxe-qemu
libvirt-clients
libvirt-daemon
libvirt-daemon-driver-qemu
qemu-system-x86
'
# Other kernels in QEMU, and every clang that a distribution builds the programs with.
kernels_packages='
busybox-static
clang-14
clang-16|clang-18
clang-19
cpio
kmod
qemu-system-x86
'
profile_packages='
linux-perf|linux-tools-generic
strace
'
# Neutron and Nova, and what they cannot do without. Large (about 270 packages), so never a default.
openstack_packages='
haproxy
mariadb-client-core
mariadb-server-core
memcached
neutron-metadata-agent
neutron-server
nova-api
rabbitmq-server
'

sets=build,test
mode=install
while [ $# -gt 0 ]; do
  case $1 in
    --for) sets=${2:?--for needs a list of sets}; shift 2 ;;
    --for=*) sets=${1#--for=}; shift ;;
    --list) mode=list; shift ;;
    --check) mode=check; shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "install-deps: unknown option $1" >&2; usage >&2; exit 2 ;;
  esac
done

wanted=()
IFS=, read -ra chosen <<<"$sets"
for set in "${chosen[@]}"; do
  case $set in
    build) mapfile -t -O "${#wanted[@]}" wanted <<<"${build_packages//[[:space:]]/$'\n'}" ;;
    test) mapfile -t -O "${#wanted[@]}" wanted <<<"${test_packages//[[:space:]]/$'\n'}" ;;
    bench) mapfile -t -O "${#wanted[@]}" wanted <<<"${bench_packages//[[:space:]]/$'\n'}" ;;
    profile) mapfile -t -O "${#wanted[@]}" wanted <<<"${profile_packages//[[:space:]]/$'\n'}" ;;
    fuzz) mapfile -t -O "${#wanted[@]}" wanted <<<"${fuzz_packages//[[:space:]]/$'\n'}" ;;
    kernels) mapfile -t -O "${#wanted[@]}" wanted <<<"${kernels_packages//[[:space:]]/$'\n'}" ;;
    libvirt) mapfile -t -O "${#wanted[@]}" wanted <<<"${libvirt_packages//[[:space:]]/$'\n'}" ;;
    openstack) mapfile -t -O "${#wanted[@]}" wanted <<<"${openstack_packages//[[:space:]]/$'\n'}" ;;
    *) echo "install-deps: no such set: $set (build, test, bench, profile, fuzz, kernels, libvirt, openstack)" >&2; exit 2 ;;
  esac
done
mapfile -t wanted < <(printf '%s\n' "${wanted[@]}" | sed '/^$/d' | sort -u)

if [ "$mode" = list ]; then
  printf '%s\n' "${wanted[@]}"
  exit 0
fi
if ! command -v dpkg-query >/dev/null; then
  echo "install-deps: this machine has no dpkg; install the equivalents of:" >&2
  printf '  %s\n' "${wanted[@]}" >&2
  exit 1
fi

declare -A installed=()
while read -r status name; do
  [ "$status" = installed ] && installed[${name%%:*}]=1
done < <(dpkg-query -W -f '${db:Status-Status} ${binary:Package}\n' 2>/dev/null)

# Without them the tests with real OVN databases are skipped, and say so.
schemas() {
  if [[ ,$sets, == *,test,* ]] && [ "$(id -u)" -eq 0 ]; then
    "$(dirname "$0")/ovn-schemas.sh" || echo "install-deps: no OVN schemas; its tests will be skipped" >&2
  fi
}

missing=()
for entry in "${wanted[@]}"; do
  have=
  IFS='|' read -ra names <<<"$entry"
  for name in "${names[@]}"; do
    # Debian 12's libboost-dev is 1.74, which lacks what the coroutines need.
    [ "$name" = libboost-dev ] && ! grep -qs 'BOOST_VERSION 10[89]' \
      /usr/include/boost/version.hpp && continue
    [ -n "${installed[$name]:-}" ] && have=1 && break
  done
  [ -n "$have" ] || missing+=("$entry")
done

if [ ${#missing[@]} -eq 0 ]; then
  [ "$mode" = check ] || schemas
  exit 0
fi
if [ "$mode" = check ]; then
  printf '%s\n' "${missing[@]}"
  exit 1
fi

sudo=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "install-deps: not root, and there is no sudo; missing: ${missing[*]}" >&2; exit 1; }
  sudo=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
# A machine that has just booted may still be at its own upgrades.
apt() {
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 \
    -o DPkg::Lock::Timeout=300 "$@"
}

pick() { # resolves a|b to the first name that apt can install
  local name
  for name in ${1//|/ }; do
    if [[ $(apt-cache policy "$name" 2>/dev/null) =~ Candidate:\ [^\(] ]]; then
      echo "$name"
      return 0
    fi
  done
  return 1
}
resolve() {
  local entry name
  resolved=() unknown=()
  for entry in "${missing[@]}"; do
    if name=$(pick "$entry"); then resolved+=("$name"); else unknown+=("$entry"); fi
  done
}

resolve
if [ ${#unknown[@]} -gt 0 ] || ! apt install -y --no-install-recommends --simulate "${resolved[@]}" >/dev/null 2>&1; then
  echo "install-deps: refreshing the package lists"
  apt update >/dev/null
  resolve
fi
if [ ${#unknown[@]} -gt 0 ]; then
  echo "install-deps: this distribution has no package for: ${unknown[*]}" >&2
  exit 1
fi
# Ubuntu keeps the real bpftool in a package named after the kernel.
for name in "${resolved[@]}"; do
  if [ "$name" = linux-tools-common ]; then resolved+=("linux-tools-generic"); fi
done

# The benchmark starts its own services in a namespace; the machine's must not start, neither now
# nor at the next boot, and no database is made for them.
policy=/usr/sbin/policy-rc.d
restore_policy() {
  "${sudo[@]}" rm -f "$policy"
  if [ -e "$policy.metatap" ]; then "${sudo[@]}" mv "$policy.metatap" "$policy"; fi
}
deny_services() {
  if [ -e "$policy" ]; then "${sudo[@]}" mv "$policy" "$policy.metatap"; fi
  trap restore_policy EXIT
  printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
  "${sudo[@]}" chmod 755 "$policy"
  "${sudo[@]}" debconf-set-selections <<'TEXT'
neutron-common neutron/configure_db boolean false
nova-common nova/configure_db boolean false
nova-common novaapi/configure_db boolean false
TEXT
}
disable_services() {
  command -v systemctl >/dev/null || return 0
  local pair
  for pair in memcached:memcached neutron-metadata-agent:neutron-metadata-agent neutron-server:neutron-api \
    neutron-server:neutron-rpc-server nova-api:nova-api nova-api:nova-api-metadata rabbitmq-server:rabbitmq-server; do
    case " ${resolved[*]} " in
      *" ${pair%%:*} "*) "${sudo[@]}" systemctl disable --quiet "${pair##*:}" 2>/dev/null || true ;;
    esac
  done
}
if [[ ,$sets, == *,openstack,* ]]; then deny_services; fi

echo "install-deps: installing ${resolved[*]}"
if ! apt install -y --no-install-recommends "${resolved[@]}" >/tmp/metatap-install-deps.$$ 2>&1; then
  # A mirror may have moved on since the lists were read.
  apt update >/dev/null
  apt install -y --no-install-recommends "${resolved[@]}" >/tmp/metatap-install-deps.$$ 2>&1 || {
    tail -n 30 /tmp/metatap-install-deps.$$ >&2
    rm -f /tmp/metatap-install-deps.$$
    echo "install-deps: apt-get install failed" >&2
    exit 1
  }
fi
rm -f /tmp/metatap-install-deps.$$
if [[ ,$sets, == *,openstack,* ]]; then disable_services; fi

# cloud-init is here for its data source classes; it must not take over this machine's next boot.
case " ${resolved[*]} " in
  *" cloud-init "*) "${sudo[@]}" mkdir -p /etc/cloud && "${sudo[@]}" touch /etc/cloud/cloud-init.disabled ;;
esac
schemas

# SPDX-License-Identifier: Apache-2.0
"""Units of systemd where there is no systemd: reads one, and runs a program as it would be run.

    python3 unit.py UNIT PROGRAM [ARGUMENT…]

Of what the unit says, applied are: user and group, umask, capabilities, no new privileges, system calls,
address families, namespaces, and a mount namespace that only follows the host's, with what
ProtectSystem=full makes read-only, if this machine's first process lets others into its own. The
rest (cgroups, devices, hidden folders) is not: it takes systemd.
"""

import ctypes
import functools
import grp
import os
import pathlib
import pwd
import re
import shlex
import subprocess
import sys

CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_SLAVE = 1, 32, 4096, 16384, 1 << 19
NAMESPACES = {"mnt": CLONE_NEWNS, "cgroup": 0x02000000, "uts": 0x04000000, "ipc": 0x08000000,
              "user": 0x10000000, "pid": 0x20000000, "net": 0x40000000}
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
AF_MAX = 46
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
# Any of these gives the service a mount namespace of its own.
OWN_MOUNTS = ("PrivateTmp", "PrivateDevices", "PrivateMounts", "ProtectSystem", "ProtectHome",
              "ProtectControlGroups", "ProtectKernelLogs", "ProtectKernelModules",
              "ProtectKernelTunables", "ProtectProc", "ProcSubset", "ReadWritePaths")


class Unit:
    def __init__(self, path):
        self.options = {}  # name -> values, in order
        for line in pathlib.Path(path).read_text().splitlines():
            if "=" in line and not line.startswith(("#", ";")):
                name, value = line.split("=", 1)
                self.options.setdefault(name.strip(), []).append(value.strip())

    def get(self, name, fallback=None):
        return self.options.get(name, [fallback])[-1]

    def yes(self, name):
        return self.get(name, "no") not in ("no", "false", "0", "default", "all")

    @property
    def capabilities(self):
        return set(self.get("CapabilityBoundingSet", "").split())

    @property
    def families(self):
        return self.get("RestrictAddressFamilies", "").split()

    @property
    def namespaces(self):
        """Those it may make and enter."""
        said = self.get("RestrictNamespaces", "no")
        return {"no": list(NAMESPACES), "yes": []}.get(said, said.split())

    def command(self, name="ExecStart", environment=None):
        """Its words, with the variables of `environment`, which are split as systemd does."""
        words = []
        for word in shlex.split(self.get(name)):
            if word.startswith("$"):
                words += shlex.split((environment or {}).get(word.strip("${}"), ""))
            else:
                words.append(word)
        return words

    def system_calls(self):
        """The names that are allowed, or None: all."""
        if "SystemCallFilter" not in self.options:
            return None
        allowed = set()
        for value in self.options["SystemCallFilter"]:
            change = allowed.difference_update if value.startswith("~") else allowed.update
            for item in value.lstrip("~").split():
                change(_group(item) if item.startswith("@") else {item})
        return allowed | _group("@default")


@functools.cache
def _groups():
    """The groups of calls that this systemd knows, each with its members."""
    shown = subprocess.run(["systemd-analyze", "syscall-filter"], capture_output=True, text=True,
                           check=True).stdout
    groups = {}
    for line in shown.splitlines():
        if line.startswith("@"):
            members = groups.setdefault(line.strip(), set())
        elif line.startswith("    ") and not line.lstrip().startswith("#"):
            members.add(line.strip())
    return groups


def _group(name):
    """The calls of a group, and of those in it."""
    calls = set()
    for item in _groups()[name]:
        calls |= _group(item) if item.startswith("@") else {item}
    return calls


class _Compare(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("operation", ctypes.c_int),
                ("first", ctypes.c_uint64), ("second", ctypes.c_uint64)]


class _Filter:
    """One seccomp filter; several add up."""

    ALLOW, GREATER, EQUAL, MASKED = 0x7FFF0000, 6, 4, 7
    EPERM, EAFNOSUPPORT = 1, 97

    def __init__(self, default):
        self._library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(ctypes.c_uint32(default)))

    @staticmethod
    def error(number):
        return 0x00050000 | number

    def rule(self, action, name, *compare):
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # others are not of this machine
            done = self._library.seccomp_rule_add_array(
                self._context, ctypes.c_uint32(action), number, len(compare),
                (_Compare * len(compare))(*[_Compare(*item) for item in compare]))
            assert done == 0, f"{name}: {os.strerror(-done)}"

    def load(self):
        done = self._library.seccomp_load(self._context)
        assert done == 0, os.strerror(-done)


def _restrict_system_calls(unit):
    allowed = unit.system_calls()
    refused = _Filter(_Filter.ALLOW)
    if unit.families:
        numbers = {FAMILIES[name] for name in unit.families}
        action = _Filter.error(_Filter.EAFNOSUPPORT)
        refused.rule(action, "socket", (0, _Filter.GREATER, AF_MAX, 0))
        for family in set(range(AF_MAX + 1)) - numbers:
            refused.rule(action, "socket", (0, _Filter.EQUAL, family, 0))
    for name in set(NAMESPACES) - set(unit.namespaces):
        flag = NAMESPACES[name]
        for call, argument in (("unshare", 0), ("setns", 1), ("clone", 0)):
            refused.rule(_Filter.error(_Filter.EPERM), call, (argument, _Filter.MASKED, flag, flag))
    refused.load()
    if allowed is not None:
        only = _Filter(_Filter.error(_Filter.EPERM))
        for name in allowed:
            only.rule(_Filter.ALLOW, name)
        only.load()


def _own_mounts(libc):
    def mount(source, target, flags):
        if libc.mount(source.encode(), target.encode(), None, flags, None) != 0:
            raise OSError(ctypes.get_errno(), f"mount {target}")
    if libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    mount("none", "/", MS_SLAVE | MS_REC)
    for folder in ("/usr", "/etc"):
        mount(folder, folder, MS_BIND | MS_REC)
        mount("none", folder, MS_REMOUNT | MS_BIND | MS_RDONLY)


def host_mounts_are_open():
    """Not so where the first process is protected, as a sandbox's may be."""
    try:
        return bool(os.readlink("/proc/1/ns/mnt"))
    except OSError:
        return False


def _drop_capabilities(libc, keep):
    last = int(pathlib.Path("/proc/sys/kernel/cap_last_cap").read_text())
    capng = ctypes.CDLL("libcap-ng.so.0")
    numbers = {capng.capng_name_to_capability(name.removeprefix("CAP_").lower().encode())
               for name in keep}
    assert -1 not in numbers, f"an unknown capability among {keep}"
    for number in set(range(last + 1)) - numbers:
        if libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"drop capability {number}")


def apply(unit):
    """Makes of this process one that the unit describes; what it executes next has its rights."""
    libc = ctypes.CDLL(None, use_errno=True)
    if any(map(unit.yes, OWN_MOUNTS)) and host_mounts_are_open():
        _own_mounts(libc)
    os.umask(int(unit.get("UMask", "0022"), 8))
    if "CapabilityBoundingSet" in unit.options:
        _drop_capabilities(libc, unit.capabilities)
    if unit.get("User"):
        user = pwd.getpwnam(unit.get("User"))
        os.setgroups([])
        os.setgid(grp.getgrnam(unit.get("Group")).gr_gid if unit.get("Group") else user.pw_gid)
        os.setuid(user.pw_uid)
    # A filter of ours needs it in any case.
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _restrict_system_calls(unit)


if __name__ == "__main__":
    apply(Unit(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])

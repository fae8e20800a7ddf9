# SPDX-License-Identifier: Apache-2.0
"""Other people's TC programs: loads one that answers a fixed verdict, and attaches it by TCX or as
a filter. By bpf(2) itself, because neither Debian 12's tc nor its bpftool knows TCX."""

import ctypes
import os
import platform
import socket
import struct
import subprocess

import pytest

OK, DROP = 0, 2  # TC_ACT_OK, TC_ACT_SHOT: both end the chain
NEXT = -1  # TCX_NEXT: whoever comes after
BPF_PROG_LOAD, BPF_OBJ_PIN, BPF_PROG_QUERY, BPF_LINK_CREATE = 5, 6, 16, 28
SCHED_CLS, TCX_INGRESS, BEFORE = 3, 46, 1 << 3
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_number = {"x86_64": 321, "aarch64": 280}[platform.machine()]


def _bpf(command, attributes):
    block = ctypes.create_string_buffer(attributes, max(len(attributes), 72))
    result = _syscall(_number, command, block, len(block))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf({command})")
    return result, block.raw


def load(name, verdict, beyond=None):
    """A program `return verdict;`, or, with a size, `return skb->len > beyond ? verdict : OK;`;
    its fd."""
    def instruction(code, registers, offset, number):
        return struct.pack("<BBhi", code, registers, offset, number)
    code = instruction(0xb7, 0, 0, verdict)  # r0 = verdict
    if beyond is not None:
        code = (instruction(0x61, 0x12, 0, 0)  # r2 = *(u32 *)(r1 + 0)
                + code
                + instruction(0x25, 2, 1, beyond)  # if r2 > beyond: skip one
                + instruction(0xb7, 0, 0, OK))
    code += instruction(0x95, 0, 0, 0)  # return r0
    count = len(code) // 8
    code = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"GPL")
    return _bpf(BPF_PROG_LOAD, struct.pack(
        "<IIQQIIQII16sI", SCHED_CLS, count, ctypes.addressof(code), ctypes.addressof(licence),
        0, 0, 0, 0, 0, name.encode(), 0))[0]


def id_of(program):
    with open(f"/proc/self/fdinfo/{program}") as info:
        return next(int(line.split()[1]) for line in info if line.startswith("prog_id:"))


def tcx_attach(program, device, first=False):
    """A link, alive for as long as its fd."""
    return _bpf(BPF_LINK_CREATE, struct.pack("<IIIIIIQ", program, socket.if_nametoindex(device), TCX_INGRESS,
                                             BEFORE if first else 0, 0, 0, 0))[0]


def tcx_programs(device):
    """Ids, first to last. OSError: this kernel has no TCX."""
    ids = (ctypes.c_uint32 * 64)()
    _, answer = _bpf(BPF_PROG_QUERY, struct.pack("<IIIIQIIQQQQ", socket.if_nametoindex(device), TCX_INGRESS, 0, 0,
                                                 ctypes.addressof(ids), 64, 0, 0, 0, 0, 0))
    return list(ids[:struct.unpack_from("<I", answer, 24)[0]])


def has_tcx():
    try:
        tcx_programs("lo")
        return True
    except OSError:
        return False


# Both ways to attach, for tests that try each.
WAYS = [pytest.param("tcx", marks=pytest.mark.skipif(not has_tcx(), reason="this kernel has no TCX (6.6)")),
        "clsact"]


def pin(program, path):
    name = ctypes.create_string_buffer(os.fsencode(path))
    _bpf(BPF_OBJ_PIN, struct.pack("<QII", ctypes.addressof(name), program, 0))


def tc(*arguments, check=True):
    return subprocess.run(["tc", *arguments], check=check, text=True, capture_output=True).stdout

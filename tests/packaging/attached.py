# SPDX-License-Identifier: Apache-2.0
"""Prints how many TC programs are attached to the devices of this network namespace: by TCX, which
Debian 12's bpftool does not show, and as filters."""

import ctypes
import socket
import struct
import subprocess

BPF_SYSCALL, BPF_PROG_QUERY = 321, 16
TCX_INGRESS, TCX_EGRESS = 46, 47


def by_tcx(ifindex, hook):
    """0 also where the kernel has no TCX."""
    ids = (ctypes.c_uint32 * 64)()
    attr = ctypes.create_string_buffer(
        struct.pack("=IIIIQI", ifindex, hook, 0, 0, ctypes.addressof(ids), len(ids)), 128)
    done = ctypes.CDLL(None).syscall(BPF_SYSCALL, BPF_PROG_QUERY, attr, 128)
    return struct.unpack_from("=I", attr, 24)[0] if done == 0 else 0


def as_filters(device):
    shown = ""
    for hook in ("ingress", "egress"):
        shown += subprocess.run(["tc", "filter", "show", "dev", device, hook], capture_output=True,
                                text=True).stdout
    return shown.count(" bpf ")


print(sum(by_tcx(ifindex, hook) for ifindex, _ in socket.if_nameindex()
          for hook in (TCX_INGRESS, TCX_EGRESS)) +
      sum(as_filters(device) for _, device in socket.if_nameindex()))

# SPDX-License-Identifier: Apache-2.0
"""A file system that hangs: it is mounted, and nobody answers for it, as when an NFS server dies."""

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
NOSUID_NODEV, DETACH = 0x6, 0x2


class Unavailable(Exception):
    """There can be none here, and why."""


class HungFileSystem:
    """By FUSE, without the program that would answer. Whoever looks below `folder` waits until
    close(), and then gets an error."""

    def __init__(self, folder):
        self.folder = os.fsencode(folder)
        os.makedirs(folder, exist_ok=True)
        try:
            self.device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise Unavailable(f"no FUSE: {error}") from None
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0,allow_other"
        if _libc.mount(b"metatap-test", self.folder, b"fuse", NOSUID_NODEV, options.encode()) != 0:
            os.close(self.device)
            raise Unavailable(f"FUSE cannot be mounted: {os.strerror(ctypes.get_errno())}")

    def close(self):
        """Once; the folder is as it was before."""
        if self.device is not None:
            os.close(self.device)
            self.device = None
            _libc.umount2(self.folder, DETACH)

# SPDX-License-Identifier: Apache-2.0
"""Processes of a lab: whether they live and are ready, what they take, and how they are ended."""

import contextlib
import os
import pathlib
import signal
import socket
import time

from .host import LabError


def is_alive(pid):
    """A zombie that nobody has waited for does no work any more, once its threads have ended: until
    then they hold its sockets."""
    process = pathlib.Path(f"/proc/{pid}")
    try:
        return (process / "stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX" or \
            len(list((process / "task").iterdir())) > 1
    except (OSError, IndexError):
        return False


def carries(pid, mark):
    """Whether `pid` still is the process we started: its command line holds our mark."""
    try:
        return mark.encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def name_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None


def children_of(pid, name):
    """Its living children that are called so. Threads and children may end while we read."""
    found = []
    with contextlib.suppress(OSError):
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return [child for child in found if name_of(child) == name]


def descriptors(pid):
    """What each of its descriptors is, as the kernel names it; one that is closed meanwhile is none."""
    found = []
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(fd))
    return found


def pss_bytes(pids):
    """Memory of these processes, what they share counted once."""
    total = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def end(living, patience=3.0):
    """Asks all that `living` names to end, and kills those that do not within `patience` seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + patience
        while living():
            if time.monotonic() > deadline:
                break
            time.sleep(0.005)
        else:
            return


def wait_for_socket(path, log=None, seconds=5, kind=socket.SOCK_STREAM):
    """Until somebody listens there: the file alone comes a moment earlier. `log` is where the process
    says why it does not."""
    deadline = time.monotonic() + seconds
    while True:
        with socket.socket(socket.AF_UNIX, kind) as probe, contextlib.suppress(OSError):
            probe.connect(str(path))
            return
        if time.monotonic() > deadline:
            said = pathlib.Path(log).read_text(errors="replace") if log else ""
            raise LabError(f"nobody listens at {path} after {seconds} s {said}".strip())
        time.sleep(0.005)


class Readiness:
    """The socket of systemd's kind on which one process tells that it is ready."""

    def __init__(self, path):
        pathlib.Path(path).unlink(missing_ok=True)
        self.environment = {"NOTIFY_SOCKET": str(path)}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        pathlib.Path(path).chmod(0o666)  # also for a process of another user
        self._socket.settimeout(0.1)

    def wait(self, process, seconds=30):
        deadline = time.monotonic() + seconds
        said = b""
        while b"READY=1" not in said:
            with contextlib.suppress(TimeoutError):
                said += self._socket.recv(4096)
            if process.poll() is not None:
                raise LabError(f"ended with {process.returncode}")
            if time.monotonic() > deadline:
                raise LabError(f"is not ready after {seconds} s")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

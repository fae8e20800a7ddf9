# SPDX-License-Identifier: Apache-2.0
"""Commands and network namespaces of this machine, fast enough for a thousand of them."""

import concurrent.futures
import contextlib
import ctypes
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[3]
BIN = pathlib.Path(os.environ.get("METATAP_BIN", ROOT / "build/bin"))
NETNS = pathlib.Path("/run/netns")
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class LabError(RuntimeError):
    """One sentence for the person at the terminal."""


def run(*argv, stdin=None, check=True):
    """A command's output."""
    argv = [str(word) for word in argv]
    done = subprocess.run(argv, input=stdin, text=True, capture_output=True)
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def inside(namespace):
    """Goes before a command. Unlike `ip netns exec` it keeps /sys, and so the BPF file system."""
    return ["nsenter", f"--net={NETNS / namespace}"] if namespace else []


def ip_batch(lines, namespace=None, force=False):
    """Many `ip` commands in one process."""
    if not lines:
        return
    argv = ["ip"] + (["-n", namespace] if namespace else []) + (["-force"] if force else [])
    done = subprocess.run(argv + ["-batch", "-"], input="\n".join(lines) + "\n", text=True,
                          capture_output=True)
    if done.returncode != 0 and not force:
        where = f" in {namespace}" if namespace else ""
        failed = done.stderr.strip()
        for word in failed.replace("-:", ":").split(":"):
            if word.isdigit() and 0 < int(word) <= len(lines):
                failed += f" [{lines[int(word) - 1]}]"
                break
        raise LabError(f"ip{where}: {failed}")


def together(function, items):
    """One call alone mostly waits for a process to start and for the kernel's locks."""
    items = list(items)
    if len(items) < 2:
        return [function(item) for item in items]
    with concurrent.futures.ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        return list(pool.map(function, items))


def _enter(fd, what):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"enter namespace {what}")


def enter_netns(name):
    """Moves this thread into a network namespace."""
    fd = os.open(NETNS / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(fd, name)
    finally:
        os.close(fd)


@contextlib.contextmanager
def netns(name):
    """This thread is in the namespace for the time of a `with` block."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter_netns(name)
        try:
            yield
        finally:
            _enter(home, "where we came from")
    finally:
        os.close(home)


def write_sysctls(namespace, values):
    """What this kernel does not have stays as it is."""
    with netns(namespace):
        for key, value in values.items():
            with contextlib.suppress(FileNotFoundError):
                pathlib.Path("/proc/sys", key).write_text(str(value))


def namespaces_present():
    return set(os.listdir(NETNS)) if NETNS.is_dir() else set()

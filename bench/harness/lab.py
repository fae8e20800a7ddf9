# SPDX-License-Identifier: Apache-2.0
"""What a run makes on the machine, and takes away again: namespaces, processes, files."""

import atexit
import concurrent.futures
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("METATAP_BIN", os.path.join(ROOT, "build", "bin"))
SCHEDSTAT = os.path.exists("/proc/self/schedstat")
TICK = os.sysconf("SC_CLK_TCK")
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """This system cannot run here; the reason is shown and the others go on."""


def progress(text, end="\n"):
    sys.stderr.write(f"\r\x1b[K{text}{end}" if sys.stderr.isatty() else f"{text}\n" if end else "")
    sys.stderr.flush()


def run(*command, stdin=None, check=True, quiet=False):
    done = subprocess.run(command, input=stdin, text=True, capture_output=True)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def batch(lines, netns=None):
    """Many `ip` commands by one process."""
    if lines:
        run("ip", *(["-n", netns] if netns else []), "-batch", "-", stdin="\n".join(lines) + "\n")


def inside(netns):
    """Unlike `ip netns exec`, this keeps /sys and so the BPF file system."""
    return ["nsenter", f"--net=/run/netns/{netns}"] if netns else []


def together(function, items):
    """Each by itself is mostly waiting for a process to start and for the kernel's locks."""
    with concurrent.futures.ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        return list(pool.map(function, items))


def write_sysctls(netns, values):
    """By a thread that enters the namespace and ends there: no process for a few small files.
    What this kernel does not have stays as it is."""
    def write():
        space = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if LIBC.setns(space, CLONE_NEWNET) != 0:
                return
        finally:
            os.close(space)
        for key, value in values.items():
            try:
                with open(f"/proc/sys/{key}", "w") as file:
                    file.write(value)
            except OSError:
                pass
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()


def is_alive(pid):
    """A zombie that nobody has waited for does no work any more."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


class Process:
    """One that we started; `pids` are those that do its work."""

    def __init__(self, popen, pids=None):
        self.popen = popen
        self._pids = pids

    @property
    def pids(self):
        if self._pids is None and self.popen.returncode is not None:
            return []  # the number may be another's by now
        return self._pids or [self.popen.pid]

    def alive(self):
        return any(is_alive(pid) for pid in self.pids)


class Lab:
    """Unique names per run; `close` removes everything, also after Ctrl-C or a failure."""

    def __init__(self):
        self.prefix = "mb" + os.urandom(2).hex()
        self.dir = tempfile.mkdtemp(prefix=self.prefix + ".", dir="/tmp")
        os.chmod(self.dir, 0o755)
        self.namespaces = []
        self.processes = []
        self.cgroups = []
        self.owner = os.getpid()
        atexit.register(self.close)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._interrupted)

    def _interrupted(self, *_):
        if os.getpid() != self.owner:  # a child that is not yet the program it will be
            os._exit(130)
        sys.exit("interrupted")

    def path(self, *parts):
        path = os.path.join(self.dir, *parts)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def write(self, name, text):
        path = self.path(name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def add_namespaces(self, names):
        self.namespaces.extend(names)
        batch([f"netns add {name}" for name in names])
        return names

    def drop_namespaces(self, names):
        # nf_tables, routes and devices go with the namespace.
        gone = set(names)
        present = set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set()
        batch([f"netns del {name}" for name in names if name in present])
        self.namespaces = [name for name in self.namespaces if name not in gone]

    def popen(self, command, netns=None):
        """One whose output is wanted; it is stopped with the rest if it has not ended by itself."""
        popen = subprocess.Popen(inside(netns) + command, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, text=True)
        self.processes = [one for one in self.processes if one.popen.returncode is None or one.alive()]
        self.processes.append(Process(popen))
        return popen

    def start(self, command, netns=None, log=None, cgroup=None, env=None):
        out = open(log, "ab") if log else subprocess.DEVNULL
        def enter():
            os.setsid()
            if cgroup:
                with open(os.path.join(cgroup, "cgroup.procs"), "w") as procs:
                    procs.write("0")
        popen = subprocess.Popen(inside(netns) + command, stdin=subprocess.DEVNULL, stdout=out,
                                 stderr=out, preexec_fn=enter, env=env)
        process = Process(popen)
        self.processes.append(process)
        return process

    def stop(self, *processes, patience=5.0):
        """All are asked at once, and killed when they do not listen."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in [pid for process in processes for pid in process.pids]:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            end = time.monotonic() + patience
            while time.monotonic() < end and any(process.alive() for process in processes):
                for process in processes:
                    process.popen.poll()
                time.sleep(0.005)
            if not any(process.alive() for process in processes):
                break
        for process in processes:
            process.popen.poll()
            if process in self.processes:
                self.processes.remove(process)

    def memory_cgroup(self, name):
        """A cgroup that counts memory, kernel memory included; None where there is none."""
        for base in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup"):
            path = os.path.join(base, f"{self.prefix}-{name}")
            try:
                os.mkdir(path)
            except OSError:
                continue
            self.cgroups.append(path)
            if os.path.exists(os.path.join(path, "memory.kmem.usage_in_bytes")) or \
                    os.path.exists(os.path.join(path, "memory.current")):
                return path
        return None

    def close(self):
        if os.getpid() != self.owner:
            return
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self.stop(*list(self.processes), patience=3.0)
        self._end_strays()
        try:
            present = set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set()
            mine = [n for n in present if n in set(self.namespaces) or n.startswith(self.prefix)]
            batch([f"netns del {name}" for name in mine])
        except (OSError, RuntimeError) as error:
            progress(f"clean-up: {error}")
        self.namespaces = []
        for entry in os.listdir("/sys/fs/bpf") if os.path.isdir("/sys/fs/bpf") else []:
            if entry.startswith(self.prefix):
                unpin(os.path.join("/sys/fs/bpf", entry))
        end = time.monotonic() + 3
        while self.cgroups and time.monotonic() < end:
            self.cgroups = [path for path in self.cgroups if not remove_cgroup(path)]
            time.sleep(0.02)
        shutil.rmtree(self.dir, ignore_errors=True)

    def _end_strays(self):
        """A haproxy that had gone to the background when the run was interrupted, but had not told
        its pid: it has this run's own directory in its arguments."""
        strays = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    if (self.dir + "/").encode() in file.read() and int(pid) != self.owner:
                        strays.append(int(pid))
            except OSError:
                continue
        for pid in strays:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        end = time.monotonic() + 2
        while time.monotonic() < end and any(is_alive(pid) for pid in strays):
            time.sleep(0.01)


def unpin(path):
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.exists(path):
        os.unlink(path)


def remove_cgroup(path):
    """False while what it held has not gone yet."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def cpu_seconds(pids):
    """Processor time of all threads; exact to the nanosecond where the kernel says so."""
    total = 0.0
    for pid in pids:
        try:
            if SCHEDSTAT:
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                        total += int(file.read().split()[0]) / 1e9
            else:
                with open(f"/proc/{pid}/stat") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
                total += (int(fields[11]) + int(fields[12])) / TICK
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total


def host_busy_seconds():
    """All processors, all work: user, nice, system, irq, softirq."""
    with open("/proc/stat") as file:
        fields = [int(value) for value in file.readline().split()[1:]]
    return (fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) / TICK


def pss_bytes(pids):
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                for line in file:
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total


def kernel_bytes(cgroup):
    """Kernel memory charged to the cgroup (v1 and v2)."""
    if not cgroup:
        return None
    try:
        with open(os.path.join(cgroup, "memory.kmem.usage_in_bytes")) as file:
            return int(file.read())
    except OSError:
        pass
    try:
        with open(os.path.join(cgroup, "memory.stat")) as file:
            for line in file:
                if line.startswith("kernel "):
                    return int(line.split()[1])
    except OSError:
        pass
    return None

# SPDX-License-Identifier: Apache-2.0
"""What a run makes on the machine, and takes away again: namespaces, processes, files."""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from labkit import inside, ip_batch, namespaces_present
from labkit.process import carries, end, is_alive


class Unavailable(Exception):
    """This system cannot run here; the reason is shown and the others go on."""


def progress(text, end="\n"):
    sys.stderr.write(f"\r\x1b[K{text}{end}" if sys.stderr.isatty() else f"{text}\n" if end else "")
    sys.stderr.flush()


def children_of(pid):
    """The worker of a daemon that has one."""
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += map(int, file.read().split())
    except OSError:  # it has ended
        pass
    return found


class Process:
    """One that we started; `pids` are those that do its work."""

    def __init__(self, popen, pids=None):
        self.popen = popen
        self._pids = pids

    @property
    def pids(self):
        if self._pids is None and self.popen.returncode is not None:
            return []  # the number may be another's by now
        return self._pids or [self.popen.pid, *children_of(self.popen.pid)]

    def living(self):
        return [pid for pid in self.pids if is_alive(pid)]


class Workspace:
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
        ip_batch([f"netns add {name}" for name in names])
        return names

    def make(self, layout):
        self.namespaces.extend(layout.namespaces)
        layout.make()

    def drop_namespaces(self, names):
        # nf_tables, routes and devices go with the namespace.
        gone = set(names)
        present = namespaces_present()
        ip_batch([f"netns del {name}" for name in names if name in present])
        self.namespaces = [name for name in self.namespaces if name not in gone]

    def popen(self, command, netns=None):
        """One whose output is wanted; it is stopped with the rest if it has not ended by itself."""
        popen = subprocess.Popen(inside(netns) + command, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, text=True)
        self.processes = [one for one in self.processes if one.popen.returncode is None or one.living()]
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
        end(lambda: [pid for process in processes for pid in process.living()], patience)
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
            # The daemons have made some themselves.
            mine = [name for name in namespaces_present() if name in self.namespaces or name.startswith(self.prefix)]
            ip_batch([f"netns del {name}" for name in mine])
        except (OSError, RuntimeError) as error:
            progress(f"clean-up: {error}")
        self.namespaces = []
        for entry in os.listdir("/sys/fs/bpf") if os.path.isdir("/sys/fs/bpf") else []:
            if entry.startswith(self.prefix):
                unpin(os.path.join("/sys/fs/bpf", entry))
        deadline = time.monotonic() + 3
        while self.cgroups and time.monotonic() < deadline:
            self.cgroups = [path for path in self.cgroups if not remove_cgroup(path)]
            time.sleep(0.02)
        shutil.rmtree(self.dir, ignore_errors=True)

    def _end_strays(self):
        """A haproxy that had gone to the background when the run was interrupted, but had not told
        its pid: it has this run's own directory in its arguments."""
        mine = self.dir + "/"
        strays = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
                  if pid != self.owner and carries(pid, mine)]
        end(lambda: [pid for pid in strays if carries(pid, mine)], patience=2)


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

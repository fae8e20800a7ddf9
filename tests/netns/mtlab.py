# SPDX-License-Identifier: Apache-2.0
"""What the tests of this folder share: labs, guests that run Python, and metatapd processes.

Everything made here has the prefix of this run and goes away in `close()`, also when a test fails.
"""

import contextlib
import json
import os
import pathlib
import pickle
import re
import secrets
import select
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]
import labkit  # noqa: E402
from labkit import BIN, process  # noqa: E402
from labkit.process import Readiness  # noqa: E402

PYTHON = "/usr/bin/python3"
REASONS = labkit.ROOT / "include/metatap/abi/reasons.def"


def wait_until(condition, seconds, what, pause=0.02):
    """Returns what condition() says once it is true; asserts that this happens in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(pause)


class LocalServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """On a UNIX socket to which every user may connect: our worker is not root's."""

    daemon_threads = True

    def server_bind(self):
        super().server_bind()
        os.chmod(self.server_address, 0o666)


class RemoteError(AssertionError):
    pass


class Guest:
    """A guest of the lab, and a Python process inside it."""

    def __init__(self, spec):
        self.spec = spec
        self._worker = None

    def __getattr__(self, name):
        return getattr(self.spec, name)

    def start(self):
        self._worker = subprocess.Popen(
            [PYTHON, "-B", str(HERE / "guestworker.py"), self.spec.netns],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)

    def send(self, function, *args, module="guesthttp", **kwargs):
        if self._worker is None or self._worker.poll() is not None:
            self.start()
        data = pickle.dumps((module, function, args, kwargs))
        self._worker.stdin.write(struct.pack("!I", len(data)) + data)
        self._worker.stdin.flush()

    def receive(self, timeout=120):
        ready, _, _ = select.select([self._worker.stdout], [], [], timeout)
        if not ready:
            self.close()
            raise RemoteError(f"{self.spec.name} did not answer within {timeout} s")
        (size,) = struct.unpack("!I", self._read(4))
        good, value = pickle.loads(self._read(size))
        if not good:
            raise RemoteError(f"in {self.spec.name}: {value[0]}\n{value[1]}")
        return value

    def _read(self, size):
        data = b""
        while len(data) < size:
            more = self._worker.stdout.read(size - len(data))
            if not more:
                raise RemoteError(f"the worker in {self.spec.name} is gone")
            data += more
        return data

    def run(self, function, *args, **kwargs):
        """Calls guesthttp.<function> in the guest's namespace."""
        self.send(function, *args, **kwargs)
        return self.receive()

    def address(self, family):
        return self.spec.ip4 if family == 4 else self.spec.ip6

    def get(self, path="/", family=4, **more):
        more.setdefault("device", self.spec.device)
        if self.spec.kind == "vlan":
            more.setdefault("source", self.spec.ip4 if family == 4 else None)
        return self.run("get", path, family, **more)

    def close(self):
        if self._worker is not None:
            self._worker.kill()
            self._worker.wait()
            self._worker.stdin.close()
            self._worker.stdout.close()
            self._worker = None


def longest_segment(sender, receiver, family, port, size):
    """So many bytes from guest to guest, which arrive as they were sent; of the frames that carry
    them the length of the longest."""
    address = receiver.address(family)
    receiver.run("serve_bytes", address, port, size)
    receiver.run("start_sniffing", receiver.device)
    sent, seen = sender.run("send_bytes", address, port, size)
    longest = receiver.run("stop_sniffing")
    assert sent == seen
    return longest


class TestLab(labkit.Lab):
    """A lab of this run, with its guests as objects."""

    __test__ = False  # not a test class, whatever pytest thinks of the name

    def __init__(self, topology="tap", **options):
        run = os.environ.get("METATAP_TEST_RUN", "")
        super().__init__("mt" + run + secrets.token_hex(3 - len(run) // 2), topology, **options)
        self._guests = {}

    def __getitem__(self, name):
        if name not in self._guests:
            self._guests[name] = Guest(self.guest(name))
        return self._guests[name]

    def close(self):
        for guest in self._guests.values():
            guest.close()
        self.down()

    def edit_inventory(self, change):
        """change(document) in place; written atomically, as an operator's tool would."""
        document = json.loads(self.inventory_file.read_text())
        change(document)
        self.write_inventory(json.dumps(document, indent=1))

    def write_inventory(self, text):
        fresh = self.inventory_file.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.inventory_file)


def children_of(pid):
    """Of a daemon: its workers, if it has some."""
    return process.children_of(pid, "metatap-worker")


def kill_all(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Daemon:
    """One metatapd process. Ready when it has told systemd's socket so; with a `manager`, which is
    told more than that, as a unit of systemd's."""

    def __init__(self, name, directory, arguments, program=None, environment=None, prefix=(),
                 manager=None):
        self.name, self.manager = name, manager
        self.log = pathlib.Path(directory, f"metatapd-{name}.log")
        self.arguments = [*prefix, str(program or BIN / "metatapd"), *map(str, arguments)]
        self.notify_path = pathlib.Path(directory, f"notify-{name}")
        self.environment = environment or {}
        self.process = None

    def start(self, wait=True, seconds=30):
        if self.manager:
            return self._start_as_unit(wait, seconds)
        with Readiness(self.notify_path) as readiness:
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(
                    self.arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True,
                    env={**os.environ, **readiness.environment, **self.environment})
            if wait:
                try:
                    readiness.wait(self.process, seconds)
                except labkit.LabError as error:
                    raise AssertionError(f"metatapd {self.name} {error}:\n{self.tail()}") from None
        return self

    def _start_as_unit(self, wait, seconds):
        arguments, more = self.manager.launch(self.arguments)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **self.manager.environment, **self.environment}, **more)
        if wait:
            wait_until(lambda: self.manager.ready.is_set() or self.process.poll() is not None,
                       seconds, f"metatapd {self.name} is ready")
            assert self.running, self.tail()
        return self

    def restart(self, how=signal.SIGUSR2, seconds=30):
        """By another process. With a manager the first one's worker ends with it, as all processes of
        a unit do."""
        process, self.process = self.process, None
        workers = children_of(process.pid)
        process.send_signal(how)
        process.wait(seconds)
        if self.manager:
            kill_all(workers)
        return self.start(seconds=seconds)

    def tail(self, lines=30):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, how=signal.SIGTERM, seconds=10):
        """The exit status; a process that does not end in time is killed, and that is an error."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        worker = children_of(process.pid)
        if process.poll() is None:
            process.send_signal(how)
        if how == signal.SIGKILL:  # of both: a worker whose supervisor is killed alone serves on
            process.wait(seconds)
            kill_all(worker)
        try:
            status = process.wait(seconds)
            wait_until(lambda: not any(map(labkit.process.is_alive, worker)), 5,
                       f"the worker of {self.name} ends with it")
            return status
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"metatapd {self.name} did not end within {seconds} s after "
                                 f"{how.name}:\n{self.tail()}") from None

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None


FORMS = {
    "fused": ["dataplane,proxy,agent,api"],
    "split": ["api", "agent", "dataplane,proxy"],
}


class Deployment:
    """metatapd for one lab: one process for all stages, or one for each boundary."""

    def __init__(self, lab, form="fused", config=None, arguments=(), **more):
        self.lab, self.form = lab, form
        overlay = lab.state / "test.conf"
        overlay.write_text(labkit.config_text(config or {}))
        stages = FORMS.get(form) or [form]
        self.daemons = [
            Daemon(stage.replace(",", "+"), lab.state,
                   ["--config-file", lab.config_file, "--config-file", overlay,
                    "--stages", stage, *arguments], **more)
            for stage in stages]

    def start(self):
        try:
            for daemon in self.daemons:
                daemon.start()
        except BaseException:
            self.close()
            raise
        return self

    @property
    def data_plane(self):
        return self.daemons[-1]

    def stop(self):
        return [daemon.stop() for daemon in reversed(self.daemons)]

    def close(self):
        for daemon in reversed(self.daemons):
            try:
                daemon.stop()
            except AssertionError as error:
                print(error, file=sys.stderr)

    def tail(self):
        return "\n".join(f"--- {daemon.name}\n{daemon.tail()}" for daemon in self.daemons)

    @property
    def admin_socket(self):
        return self.lab.state / "run/admin.sock"

    # ---- what bpftool shows

    @property
    def pins(self):
        return pathlib.Path("/sys/fs/bpf", self.lab.id)

    def dump(self, name):
        """A pinned map as bpftool prints it, as JSON."""
        return bpftool("map", "dump", "pinned", str(self.pins / name))

    def reasons(self):
        """{reason: packets}, summed over the CPUs."""
        names = re.findall(r"^MT_REASON\((\w+),", REASONS.read_text(), re.M)
        counts = {}
        for row in self.dump("mt_reasons"):
            row = row.get("formatted", row)
            values = row.get("values", [])
            number = row["key"] if isinstance(row["key"], int) else int.from_bytes(
                bytes(int(byte, 16) for byte in row["key"]), sys.byteorder)
            if number < len(names):
                counts[names[number]] = sum(item["value"] for item in values)
        return counts


@contextlib.contextmanager
def serving(form="fused", config=None):
    """A lab with metatapd, for the time of a `with` block."""
    lab = TestLab()
    try:
        deployment = Deployment(lab.up(), form, config)
        try:
            yield deployment.start()
        finally:
            deployment.close()
    finally:
        lab.close()


def bpftool(*arguments):
    done = subprocess.run(["bpftool", "-j", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"bpftool {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def metatap(socket_path, *arguments, check=True):
    done = subprocess.run([str(BIN / "metatap"), "--socket", str(socket_path), *arguments],
                          capture_output=True, text=True, timeout=30)
    if check:
        assert done.returncode == 0, f"metatap {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done


def admin_get(socket_path, path):
    """What the admin socket says there, as text."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(str(socket_path))
        sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = b""
        while more := sock.recv(65536):
            answer += more
    return answer.partition(b"\r\n\r\n")[2].decode()

# SPDX-License-Identifier: Apache-2.0
"""What runs inside a guest: small clients on plain sockets, so that every byte is ours."""

import dataclasses
import hashlib
import os
import socket
import struct
import subprocess
import threading
import time

V4 = ("169.254.169.254", 80)
V6 = ("fe80::a9fe:a9fe", 80)


def target(family, device="eth0"):
    if family == 4:
        return socket.AF_INET, V4
    return socket.AF_INET6, (*V6, 0, socket.if_nametoindex(device))


def connect(family=4, device="eth0", timeout=5.0, source=None, source_port=0, address=None):
    af, where = target(family, device)
    if address:
        where = (address, *where[1:])
    sock = socket.socket(af, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(timeout)
        if source or source_port:
            sock.bind((source or "", source_port))
        sock.connect(where)
    except BaseException:
        sock.close()
        raise
    return sock


@dataclasses.dataclass
class Answer:
    status: int
    headers: list  # [(lower-case name, value)]
    body: bytes

    def header(self, name):
        return next((value for key, value in self.headers if key == name.lower()), None)

    @property
    def text(self):
        return self.body.decode()


class Connection:
    """A client connection that keeps what it has read beyond one answer."""

    def __init__(self, sock):
        self.sock, self.buffer = sock, bytearray()

    def _more(self):
        data = self.sock.recv(1 << 18)
        if not data:
            raise ConnectionError("closed by the other side")
        self.buffer += data

    def answer(self, method="GET"):
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        self.buffer = bytearray(rest)
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = [(line.split(":", 1)[0].lower(), line.split(":", 1)[1].strip()) for line in lines]
        status = int(first.split()[1])
        answer = Answer(status, headers, b"")
        length = answer.header("content-length")
        if method == "HEAD" or status in (204, 304) or status < 200:
            return answer
        if length is not None:
            while len(self.buffer) < int(length):
                self._more()
            answer.body = bytes(self.buffer[:int(length)])
            del self.buffer[:int(length)]
        elif (answer.header("transfer-encoding") or "").lower() == "chunked":
            answer.body = self._chunks()
        else:
            try:
                while True:
                    self._more()
            except ConnectionError:
                answer.body = bytes(self.buffer)
        return answer

    def _chunks(self):
        body = bytearray()
        while True:
            while b"\r\n" not in self.buffer:
                self._more()
            line, _, rest = bytes(self.buffer).partition(b"\r\n")
            size = int(line.split(b";")[0], 16)
            while len(rest) < size + 2:
                self._more()
                rest = bytes(self.buffer).partition(b"\r\n")[2]
            body += rest[:size]
            self.buffer = bytearray(rest[size + 2:])
            if size == 0:
                return bytes(body)

    def request(self, path="/", method="GET", headers=(), body=b"", host="169.254.169.254"):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body or method in ("POST", "PUT"):
            lines.append(f"Content-Length: {len(body)}")
        self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return self.answer(method)

    def close(self):
        self.sock.close()


def get(path="/", family=4, method="GET", headers=(), body=b"", **where):
    """One request on one connection."""
    connection = Connection(connect(family, **where))
    try:
        return connection.request(path, method, headers, body)
    finally:
        connection.close()


def raw(data, family=4, **where):
    """Sends these very bytes, returns the first answer."""
    connection = Connection(connect(family, **where))
    try:
        connection.sock.sendall(data)
        return connection.answer()
    finally:
        connection.close()


def slow_post(path, body, piece, pause, family=4, **where):
    """A body in pieces, each after a pause; the first after the head has gone alone."""
    connection = Connection(connect(family, **where))
    try:
        connection.sock.sendall(f"POST {path} HTTP/1.1\r\nHost: a\r\n"
                                f"Content-Length: {len(body)}\r\n\r\n".encode())
        for begin in range(0, len(body), piece):
            time.sleep(pause)
            connection.sock.sendall(body[begin:begin + piece])
        return connection.answer("POST")
    finally:
        connection.close()


def attempt(path="/", family=4, timeout=1.0, **where):
    """The status, or the name of what went wrong."""
    try:
        return get(path, family, timeout=timeout, **where).status
    except OSError as error:
        return type(error).__name__


def attempt_port(address, port, timeout=1.0):
    try:
        socket.create_connection((address, port), timeout).close()
        return "connected"
    except OSError as error:
        return type(error).__name__


_kept = None


def open_connection(path, family=4, **where):
    """A connection that stays open between calls: (status, body)."""
    global _kept
    _kept = Connection(connect(family, **where))
    answer = _kept.request(path)
    return answer.status, answer.body


def use_connection(path, timeout=1.0):
    """The status of one more request on it, or the name of what went wrong."""
    try:
        _kept.sock.settimeout(timeout)
        return _kept.request(path).status
    except OSError as error:
        return type(error).__name__


def keep_alive_load(path, connections, requests, family=4, device="eth0", first_port=0):
    """`connections` at once, each asking `requests` times; returns {(status, body digest): count}.
    With first_port, connection n is bound to that source port + n."""
    counts, lock, failures = {}, threading.Lock(), []
    gate = threading.Barrier(connections)

    def one(number):
        try:
            port = first_port + number if first_port else 0
            connection = Connection(connect(family, device, 10.0, source_port=port))
            gate.wait(15)
            seen = {}
            for _ in range(requests):
                answer = connection.request(path)
                key = (answer.status, hashlib.sha256(answer.body).hexdigest())
                seen[key] = seen.get(key, 0) + 1
            connection.close()
            with lock:
                for key, count in seen.items():
                    counts[key] = counts.get(key, 0) + count
        except Exception as error:
            gate.abort()
            failures.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=one, args=(n,)) for n in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return counts, failures[:3]


class Poller:
    """Asks over and over in the background; what it saw is kept with the time."""

    def __init__(self, path, family, device, interval, timeout):
        self.seen, self.stopped = [], threading.Event()
        self.thread = threading.Thread(
            target=self._run, args=(path, family, device, interval, timeout), daemon=True)
        self.thread.start()

    def _run(self, path, family, device, interval, timeout):
        while not self.stopped.is_set():
            started = time.time()
            try:
                answer = get(path, family, device=device, timeout=timeout)
                what = (answer.status, answer.body)
            except OSError as error:
                what = (type(error).__name__, b"")
            self.seen.append((started, *what))
            self.stopped.wait(interval)

    def stop(self):
        self.stopped.set()
        self.thread.join(10)
        return self.seen


_poller = None


def start_polling(path, family=4, device="eth0", interval=0.01, timeout=0.3):
    global _poller
    _poller = Poller(path, family, device, interval, timeout)


def stop_polling():
    """[(time, status or error, body)]"""
    return _poller.stop()


_hoard = []


def hoard(count):
    """Opens connections and says half a word on each; returns how many were let in."""
    for number in range(count):
        try:
            sock = connect(timeout=0.2)
        except OSError:
            break
        if number % 2:
            sock.sendall(b"GET / HT")
        _hoard.append(sock)
    return len(_hoard)


def release():
    while _hoard:
        _hoard.pop().close()


def drip(data, pause):
    connection = Connection(connect())
    try:
        for byte in data:
            connection.sock.sendall(bytes([byte]))
            time.sleep(pause)
        return connection.answer()
    finally:
        connection.close()


# ---- ordinary traffic

_server = None


def serve_bytes(address, port, size):
    """Accepts one connection in the background, reads `size` bytes, answers with their digest."""
    global _server
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family)
    listener.settimeout(20)

    def run():
        with listener:
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(20)
                digest, got = hashlib.sha256(), 0
                while got < size and (data := sock.recv(1 << 18)):
                    digest.update(data)
                    got += len(data)
                sock.sendall(digest.digest())
    _server = threading.Thread(target=run, daemon=True)
    _server.start()


def send_bytes(address, port, size):
    """(digest of what was sent, digest the other side computed)"""
    data = os.urandom(size)
    with socket.create_connection((address, port), 10) as sock:
        sock.sendall(data)
        theirs = b""
        while len(theirs) < 32 and (more := sock.recv(32)):
            theirs += more
    return hashlib.sha256(data).digest(), theirs


def ping(address, count=3, size=56):
    done = subprocess.run(["ping", "-n", "-c", str(count), "-i", "0.05", "-W", "2", "-s", str(size),
                           address], capture_output=True, text=True)
    return done.returncode == 0, done.stdout + done.stderr


def command(argv, timeout=30, **more):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, **more)
    return done.returncode, done.stdout, done.stderr


def mac_of(device="eth0"):
    with open(f"/sys/class/net/{device}/address") as file:  # only right with sysfs of this netns
        return file.read().strip()


_sniffing = None


def start_sniffing(device):
    """Notes the longest frame that arrives on a device of this namespace."""
    global _sniffing
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sniffer.bind((device, 0))
    sniffer.settimeout(0.1)
    state = {"longest": 0, "stop": False}

    def run():
        with sniffer:
            while not state["stop"]:
                try:
                    state["longest"] = max(state["longest"], len(sniffer.recv(1 << 17)))
                except TimeoutError:
                    pass
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    _sniffing = (state, thread)


def stop_sniffing():
    state, thread = _sniffing
    state["stop"] = True
    thread.join(5)
    return state["longest"]


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# ---- more than one's share

def hold(data, count=1, sources=(None,), timeout=0.3):
    """Opens so many connections from each source, says `data` on each, keeps them for release()."""
    for source in sources:
        for _ in range(count):
            try:
                sock = connect(timeout=timeout, source=source)
                sock.sendall(data)
            except OSError:
                break
            _hoard.append(sock)
    return len(_hoard)


def drip_empty_lines(path, pause, most):
    """After one request nothing but empty lines; how long that is put up with, in seconds."""
    connection = Connection(connect())
    try:
        assert connection.request(path).status == 200
        connection.sock.settimeout(pause)
        started = time.monotonic()
        while time.monotonic() - started < most:
            try:
                connection.sock.sendall(b"\r\n")
                if not connection.sock.recv(1):
                    break
            except TimeoutError:
                pass
            except OSError:
                break
        return time.monotonic() - started
    finally:
        connection.close()

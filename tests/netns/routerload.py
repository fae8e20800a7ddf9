# SPDX-License-Identifier: Apache-2.0
"""Runs inside a guest: a steady loop of requests, each on a connection of its own and from the next
of a few source ports. The service closes first, so the guest may use a port again at once, while
the service's side still remembers it."""

import socket
import threading
import time

import guesthttp

FIRST_PORT = 20000

_loop = None


def ask(path, family, timeout, source_port):
    """Who answers, and the status."""
    connection = guesthttp.Connection(
        guesthttp.connect(family, timeout=timeout, source_port=source_port))
    try:
        answer = connection.request(path, headers=[("Connection", "close")])
        while connection.sock.recv(4096):
            pass
    finally:
        connection.close()
    return answer.header("x-answered-by") or "metatap", answer.status


class Loop:
    def __init__(self, path, family, pause, timeout, ports):
        self.path, self.family, self.pause, self.timeout = path, family, pause, timeout
        self.ports = ports
        self.answers, self.failures, self.slowest, self.took = {}, [], 0.0, []
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.run)

    def begin(self):
        self.thread.start()
        return self

    def run(self, requests=None):
        number = 0
        while not self.stopping.is_set() and number != requests:
            begin = time.monotonic()
            try:
                key = ask(self.path, self.family, self.timeout, FIRST_PORT + number % self.ports)
                with self.lock:
                    self.answers[key] = self.answers.get(key, 0) + 1
            except OSError as error:
                with self.lock:
                    self.failures.append((round(time.monotonic(), 3), type(error).__name__,
                                          str(error)))
            self.took.append(time.monotonic() - begin)
            self.slowest = max(self.slowest, self.took[-1])
            number += 1
            if self.pause:
                time.sleep(self.pause)

    def result(self):
        with self.lock:
            return dict(self.answers), list(self.failures), self.slowest


def start(path="/", family=4, pause=0.0, timeout=5.0, ports=200):
    global _loop
    _loop = Loop(path, family, pause, timeout, ports).begin()


def look():
    """({(who, status): count}, [(when, what went wrong, …)], the slowest answer in seconds)"""
    return _loop.result()


def took():
    """Of each request, in seconds."""
    return _loop.took


def stop():
    _loop.stopping.set()
    _loop.thread.join(30)
    return look()


def lasting(path, family=4):
    """The statuses of requests on one connection, until told otherwise."""
    return guesthttp.open_connection(path, family)


def link_local_get(path, address, source_is_new=True, device="eth0"):
    """A request from a given link-local address, which is put on the device first."""
    import subprocess
    if source_is_new:
        subprocess.run(["ip", "addr", "add", f"{address}/64", "dev", device, "nodad"], check=True)
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    scope = socket.if_nametoindex(device)
    try:
        sock.settimeout(5)
        sock.bind((address, 0, 0, scope))
        sock.connect(("fe80::a9fe:a9fe", 80, 0, scope))
        answer = guesthttp.Connection(sock).request(path)
        return answer.status, answer.body.decode()
    finally:
        sock.close()
        if source_is_new:
            subprocess.run(["ip", "addr", "del", f"{address}/64", "dev", device])


def burst(path, requests, family=4, timeout=5.0, ports=200):
    """So many requests, and what look() says then."""
    loop = Loop(path, family, 0.0, timeout, ports)
    loop.run(requests)
    return loop.result()


_other = None


def serve_instead(address="169.254.169.254"):
    """What a guest reaches when nobody takes its packets away: stands in for Neutron's haproxy."""
    global _other
    _other = socket.create_server((address, 80), backlog=1024, reuse_port=True)

    def answer(sock):
        with sock:
            try:
                sock.settimeout(5)
                head = b""
                while b"\r\n\r\n" not in head and (more := sock.recv(4096)):
                    head += more
                sock.sendall(b"HTTP/1.1 200 OK\r\nX-Answered-By: haproxy\r\n"
                             b"Content-Length: 0\r\nConnection: close\r\n\r\n")
            except OSError:
                pass

    def run():
        while True:
            answer(_other.accept()[0])
    threading.Thread(target=run, daemon=True).start()

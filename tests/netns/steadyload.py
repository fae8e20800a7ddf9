# SPDX-License-Identifier: Apache-2.0
"""Runs inside a guest: so many new connections a second, whatever becomes of those before them. Each
asks once and has its answer when the service has closed it; how long that took is counted from the
moment it was due."""

import select
import socket
import threading
import time

import guesthttp

PATIENCE = 15.0

_load = None


class Load:
    def __init__(self, path, family, rate):
        self.interval = 1 / rate
        self.family, self.where = guesthttp.target(family, "eth0")
        self.request = (f"GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n\r\n"
                        .encode())
        self.poll = select.epoll()
        self.open = {}      # descriptor -> [socket, when it was due, what came]
        self.done = []      # (when it was due, seconds)
        self.failures = []  # (when it was due, why)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        due = time.monotonic()
        while not self.stopping.is_set() or self.open:
            now = time.monotonic()
            while not self.stopping.is_set() and due <= now:
                self.begin(due)
                due += self.interval
            for descriptor, events in self.poll.poll(max(0.0, min(due - now, 0.1))):
                self.go_on(descriptor, events)
            if self.stopping.is_set() or int(now) != int(now - self.interval):
                for descriptor, (_, began, _) in list(self.open.items()):
                    if now - began > PATIENCE:
                        self.end(descriptor, f"no answer within {PATIENCE} s")

    def begin(self, due):
        sock = socket.socket(self.family, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            sock.connect(self.where)
        except BlockingIOError:
            pass
        except OSError as error:
            self.failures.append((due, str(error)))
            sock.close()
            return
        self.open[sock.fileno()] = [sock, due, None]
        self.poll.register(sock, select.EPOLLOUT)

    def go_on(self, descriptor, events):
        sock, _, came = self.open[descriptor]
        try:
            if came is None:
                sock.send(self.request)
                self.open[descriptor][2] = b""
                self.poll.modify(descriptor, select.EPOLLIN)
                return
            data = sock.recv(65536)
        except OSError as error:
            self.end(descriptor, str(error))
            return
        if data:
            self.open[descriptor][2] += data
        else:
            self.end(descriptor, None if came.startswith(b"HTTP/1.1 200 ") and b"\r\n\r\n" in came
                     else f"answered {came[:60]!r}")

    def end(self, descriptor, failure):
        sock, due, _ = self.open.pop(descriptor)
        self.poll.unregister(descriptor)
        sock.close()
        if failure:
            self.failures.append((due, failure))
        else:
            self.done.append((due, time.monotonic() - due))


def start(path="/", family=4, rate=100):
    global _load
    _load = Load(path, family, rate)


def stop():
    """([(when it was due, seconds until the answer)], [(when it was due, what went wrong)])"""
    _load.stopping.set()
    _load.thread.join(PATIENCE + 5)
    return _load.done, _load.failures

# SPDX-License-Identifier: Apache-2.0
"""Runs inside a guest: a steady loop of requests, each on a connection of its own."""

import socket
import threading
import time

import guesthttp

_loop = None


class Loop:
    def __init__(self, path, family, pause, timeout):
        self.path, self.family, self.pause, self.timeout = path, family, pause, timeout
        self.answers, self.failures, self.slowest = {}, [], 0.0
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stopping.is_set():
            begin = time.monotonic()
            stage = "connect"
            try:
                connection = guesthttp.Connection(
                    guesthttp.connect(self.family, timeout=self.timeout))
                try:
                    stage = "request"
                    answer = connection.request(self.path)
                finally:
                    connection.close()
                who = answer.header("x-answered-by") or "metatap"
                with self.lock:
                    key = (who, answer.status)
                    self.answers[key] = self.answers.get(key, 0) + 1
            except OSError as error:
                with self.lock:
                    self.failures.append((round(time.monotonic(), 3), stage,
                                          type(error).__name__, str(error)))
            took = time.monotonic() - begin
            self.slowest = max(self.slowest, took)
            if self.pause:
                time.sleep(self.pause)


def start(path="/", family=4, pause=0.0, timeout=5.0):
    global _loop
    _loop = Loop(path, family, pause, timeout)


def look():
    with _loop.lock:
        return dict(_loop.answers), list(_loop.failures), _loop.slowest


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

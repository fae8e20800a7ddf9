# SPDX-License-Identifier: Apache-2.0
"""Many requests of one guest that wait for a change. Runs inside the guest's namespace."""

import select
import socket
import time

from guesthttp import connect

_parked = []


def park(path, count, family=4, **where):
    """So many at once: the statuses of their answers."""
    start(path, count, family, **where)
    return [status for status, _ in finish(60)]


def start(path, count, family=4, **where):
    request = f"GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n".encode()
    for _ in range(count):
        one = connect(family, **where)
        one.sendall(request)
        _parked.append(one)


def finish(patience):
    """[(status, when its first byte came)], as time.monotonic() counts; None: it heard nothing."""
    heard, left = [], {one.fileno(): one for one in _parked}
    looking = select.epoll()
    for number in left:
        looking.register(number, select.EPOLLIN)
    deadline = time.monotonic() + patience
    while left and time.monotonic() < deadline:
        for number, _ in looking.poll(0.1):
            if (one := left.pop(number, None)) is None:
                continue
            now = time.monotonic()
            looking.unregister(number)
            head = one.recv(65536)
            heard.append((int(head[9:12]) if head else None, now))
    heard += [(None, None)] * len(left)
    for one in _parked:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        one.close()
    _parked.clear()
    return heard

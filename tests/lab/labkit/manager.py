# SPDX-License-Identifier: Apache-2.0
"""What systemd does for a service that tells it things, where there is no systemd: hears what it
says (sd_notify), keeps descriptors for the next process, gives them to it.

    python3 manager.py DESCRIPTOR,… PROGRAM [ARGUMENT…]     runs it with these, as systemd passes them
"""

import contextlib
import fcntl
import os
import pathlib
import select
import socket
import sys
import threading
import time

FIRST = 3  # SD_LISTEN_FDS_START


class Manager:
    """As long as the unit is there, over all its starts. `most` is FileDescriptorStoreMax=."""

    def __init__(self, path, most=0, watchdog=None):
        self.most, self.stored = most, {}  # name -> descriptor
        self.refused = 0
        self.ready, self.beats, self.status = threading.Event(), [], ""
        self.environment = {"NOTIFY_SOCKET": str(path)}
        if most:
            self.environment["FDSTORE"] = str(most)
        if watchdog:
            self.environment["WATCHDOG_USEC"] = str(int(watchdog * 1_000_000))
        pathlib.Path(path).unlink(missing_ok=True)
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        pathlib.Path(path).chmod(0o666)
        self._ended = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self):
        while not self._ended:
            if select.select([self._socket], [], [], 0.1)[0]:
                text, descriptors, _, _ = socket.recv_fds(self._socket, 4096, 8)
                self._hear(dict(line.split("=", 1) for line in text.decode().splitlines()),
                           descriptors)
            self._drop_dead()

    def _hear(self, said, descriptors):
        name = said.get("FDNAME", "stored")
        with self._lock:
            for descriptor in descriptors:
                if said.get("FDSTORE") == "1" and name not in self.stored \
                        and len(self.stored) < self.most:
                    self.stored[name] = descriptor
                else:
                    self.refused += name not in self.stored
                    os.close(descriptor)
            if said.get("FDSTOREREMOVE") == "1" and name in self.stored:
                os.close(self.stored.pop(name))
        if "WATCHDOG" in said:
            self.beats.append(time.monotonic())
        if said.get("READY") == "1":
            self.ready.set()
        self.status = said.get("STATUS", self.status)

    def _drop_dead(self):
        """Sockets that were shut down, as systemd finds them by EPOLLHUP."""
        with self._lock:
            poll = select.poll()
            names = {descriptor: name for name, descriptor in self.stored.items()}
            for descriptor in names:
                poll.register(descriptor, 0)
            for descriptor, _ in poll.poll(0):
                os.close(self.stored.pop(names[descriptor]))

    def launch(self, arguments):
        """How Popen is called for the next start: arguments and keywords."""
        self.ready.clear()
        with self._lock:
            given = list(self.stored.values())
        return ([sys.executable, "-B", __file__, ",".join(map(str, given)), *arguments],
                {"pass_fds": given})

    def release(self):
        """The unit is stopped."""
        with self._lock:
            while self.stored:
                os.close(self.stored.popitem()[1])

    def close(self):
        self._ended = True
        self._thread.join()
        self._socket.close()
        self.release()


def _run(given, arguments):
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 512) for descriptor in given]
    for descriptor in given:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    for number, descriptor in enumerate(high):
        os.dup2(descriptor, FIRST + number)
    if given:
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(given)))
    if "WATCHDOG_USEC" in os.environ:
        os.environ["WATCHDOG_PID"] = str(os.getpid())
    os.execv(arguments[0], arguments)


if __name__ == "__main__":
    _run([int(word) for word in sys.argv[1].split(",") if word], sys.argv[2:])

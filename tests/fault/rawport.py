# SPDX-License-Identifier: Apache-2.0
"""A guest that is this test, and a port for it: every frame that comes out of it is made here, every frame that
comes to it is seen here. No kernel of a guest's helps, answers or hides anything."""

import itertools
import socket
import threading
import time

import labkit
import rawguest
from rawguest import ACK, PSH, RST, SYN  # noqa: F401


def in_namespace(name, work):
    """work() on a thread inside; sockets it opens stay there."""
    result = []

    def run():
        labkit.enter_netns(name)
        result.append(work())
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result[0]


class RawGuest:
    """Connections of a guest that acknowledges what it likes, over `wire`."""

    sequences = itertools.count(1000, 1 << 20)  # where each connection begins
    name = wire = None
    to = rawguest.ANYBODY  # where its frames go

    def send(self, port, flags, seq, ack=0, data=b""):
        self.wire.send(port, seq, ack, flags, data, self.to)

    def receive(self, seconds, until=lambda segment: False):
        """What the service sends meanwhile, to whatever address: [(destination port, flags, seq,
        ack, data)]."""
        seen = []
        for _, port, seq, ack, flags, data in self.wire.heard(time.monotonic() + seconds):
            seen.append((port, flags, seq, ack, data))
            if until(seen[-1]):
                break
        return seen

    def open(self, port, seconds=5):
        """Our next sequence number and theirs, after a handshake. SYNs are sent until the port is
        served; what still comes for another connection answers none of them."""
        ours = next(self.sequences) % (1 << 32)
        deadline = time.monotonic() + seconds

        def answers(segment):
            its_port, flags, _, ack, _ = segment
            return its_port == port and flags & (SYN | ACK) == SYN | ACK and ack == ours + 1
        while time.monotonic() < deadline:
            self.send(port, SYN, ours)
            for segment in filter(answers, self.receive(0.05, answers)):
                theirs = segment[2] + 1
                self.send(port, ACK, ours + 1, theirs)
                return ours + 1, theirs
        raise AssertionError(f"{self.name} is not served within {seconds} s")

    def ask(self, port, path="/latest/user-data", seconds=5):
        """Asks and acknowledges nothing of the answer. (our seq, their seq, bytes that came)"""
        seq, theirs = self.open(port, seconds)
        request = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        self.send(port, ACK | PSH, seq, theirs, request)
        came = self.receive(2, lambda segment: segment[0] == port and segment[4])
        return seq + len(request), theirs, sum(len(data) for *_, data in came)


class RawPort(RawGuest):
    """One port of an inventory: plugged in, unplugged, and its wire in between."""

    def __init__(self, lab, number, network, family=4):
        self.lab, self.mac = lab, f"fa:16:3e:00:77:{number:02x}"
        self.address = "10.0.0.10"
        self.source = self.address if family == 4 else "fe80::77"  # both ports have the same
        self.id = lab.plan.port_uuid(f"raw{number}")
        self.device = self.name = "tap" + self.id[:11]
        self.instance = lab.plan.uuid("instance", f"raw{number}")
        self.network = lab.plan.networks[network]
        self.netns = f"{lab.id}-raw{number}"
        labkit.ip_batch([f"netns add {self.netns}"])

    def row(self):
        return {"id": self.id, "network_id": self.network.id, "mac_address": self.mac,
                "device_id": self.instance, "device_owner": "compute:nova",
                "fixed_ips": [{"subnet_id": self.network.subnet4, "ip_address": self.address}]}

    @property
    def ifindex(self):
        return socket.if_nametoindex(self.device)

    def plug(self, ifindex=None):
        number = f" index {ifindex}" if ifindex else ""
        labkit.ip_batch([f"link add {self.device}{number} type veth peer name eth0 address {self.mac}"
                         f" netns {self.netns}",
                         f"link set {self.device} addrgenmode none up"])
        labkit.ip_batch(["link set eth0 addrgenmode none up"], self.netns)
        self.wire = in_namespace(self.netns, lambda: rawguest.Wire(self.mac, self.source))
        return self

    def unplug(self):
        if self.wire:
            self.wire.close()
            self.wire = None
            labkit.ip_batch([f"link del {self.device}"])

    def close(self):
        self.unplug()
        labkit.ip_batch([f"netns del {self.netns}"])

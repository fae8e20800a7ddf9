# SPDX-License-Identifier: Apache-2.0
"""A port whose guest is this test: every frame that comes out of it is made here, every frame that
comes to it is seen here. No kernel of a guest's helps, answers or hides anything."""

import socket
import struct
import threading
import time

import labkit
from guesthttp import checksum

METADATA = socket.inet_aton("169.254.169.254")
ROUTER_MAC = bytes.fromhex("fa163effffff")  # nobody's: what is not steered ends on the host's side
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


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


class RawPort:
    """One port of an inventory: plugged in, unplugged, and its wire in between."""

    def __init__(self, lab, number, network, address="10.0.0.10"):
        self.lab, self.address, self.mac = lab, address, f"fa:16:3e:00:77:{number:02x}"
        self.id = lab.plan.port_uuid(f"raw{number}")
        self.device = "tap" + self.id[:11]
        self.instance = lab.plan.uuid("instance", f"raw{number}")
        self.network = lab.plan.networks[network]
        self.netns = f"{lab.id}-raw{number}"
        self.wire = None
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
        labkit.ip_batch([f"link add {self.device}{number} type veth peer name eth0"
                         f" address {self.mac} netns {self.netns}",
                         f"link set {self.device} addrgenmode none up"])
        labkit.ip_batch(["link set eth0 addrgenmode none up"], self.netns)

        def open_wire():
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
            wire.bind(("eth0", 0))
            return wire
        self.wire = in_namespace(self.netns, open_wire)
        return self

    def unplug(self):
        if self.wire:
            self.wire.close()
            self.wire = None
            labkit.ip_batch([f"link del {self.device}"])

    def close(self):
        self.unplug()
        labkit.ip_batch([f"netns del {self.netns}"])

    # ---- frames

    def send(self, port, flags, seq, ack=0, data=b""):
        source = socket.inet_aton(self.address)
        options = b"\x02\x04\x02\x18" if flags & SYN else b""  # MSS 536
        tcp = struct.pack("!HHIIBBHHH", port, 80, seq, ack, (20 + len(options)) << 2, flags, 65535,
                          0, 0) + options + data
        pseudo = source + METADATA + struct.pack("!BBH", 0, 6, len(tcp))
        tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0x4000, 64, 6, 0)
        ip = ip[:10] + struct.pack("!H", checksum(ip + source + METADATA)) + source + METADATA
        self.wire.send(ROUTER_MAC + bytes.fromhex(self.mac.replace(":", "")) + b"\x08\x00" + ip + tcp)

    def receive(self, seconds, until=lambda segment: False):
        """What the service sends meanwhile: [(destination port, flags, seq, ack, data)]."""
        seen, deadline = [], time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.wire.settimeout(left)
            try:
                frame = self.wire.recv(1 << 16)
            except TimeoutError:
                break
            ip = frame[14:]
            if ip[12:16] != METADATA or ip[9] != 6:
                continue
            tcp = ip[(ip[0] & 15) * 4:struct.unpack("!H", ip[2:4])[0]]
            _, port, seq, ack, offset, flags = struct.unpack("!HHIIBB", tcp[:14])
            segment = (port, flags, seq, ack, tcp[(offset >> 4) * 4:])
            seen.append(segment)
            if until(segment):
                break
        return seen

    def open(self, port, seconds=5):
        """Our next sequence number and theirs, after a handshake. SYNs are sent until the port is
        served."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.send(port, SYN, 1000)
            for _, flags, seq, _, _ in self.receive(0.05, lambda segment: segment[0] == port):
                if flags & (SYN | ACK) == SYN | ACK:
                    self.send(port, ACK, 1001, seq + 1)
                    return 1001, seq + 1
        raise AssertionError(f"{self.device} is not served within {seconds} s")

    def ask(self, port, path="/latest/user-data", seconds=5):
        """Asks and acknowledges nothing of the answer. (our seq, their seq, bytes that came)"""
        seq, theirs = self.open(port, seconds)
        request = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        self.send(port, ACK | PSH, seq, theirs, request)
        came = self.receive(2, lambda segment: segment[0] == port and segment[4])
        return seq + len(request), theirs, sum(len(data) for *_, data in came)

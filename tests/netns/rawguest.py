# SPDX-License-Identifier: Apache-2.0
"""A guest that trusts nothing of its own kernel: whole frames, from any MAC and address it likes."""

import socket
import struct
import time

from guesthttp import Connection, checksum, connect

V4, V6 = "169.254.169.254", "fe80::a9fe:a9fe"
ANYBODY = bytes.fromhex("fe163ea9fea9")  # the tap program does not ask where a frame goes
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
WRAP = 0xFFFFFFFF  # of sequence numbers


class Wire:
    """Frames on one device of the guest."""

    def __init__(self, mac, source, device="eth0"):
        self.mac = bytes.fromhex(mac.replace(":", ""))
        self.six = ":" in source
        family = socket.AF_INET6 if self.six else socket.AF_INET
        self.source = socket.inet_pton(family, source)
        self.service = socket.inet_pton(family, V6 if self.six else V4)
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.sock.bind((device, 0))
        self.hops = None  # of the last frame that was heard

    def send(self, port, seq, ack, flags, data=b"", to=ANYBODY):
        options = b"\x02\x04\x02\x18" if flags & SYN else b""  # MSS 536
        head = struct.pack("!HHIIBBHHH", port, 80, seq & WRAP, ack & WRAP,
                           (20 + len(options)) << 2, flags, 65000, 0, 0) + options
        length = len(head) + len(data)
        pseudo = self.source + self.service + (
            struct.pack("!IHBB", length, 0, 0, 6) if self.six else struct.pack("!BBH", 0, 6, length))
        head = head[:16] + struct.pack("!H", checksum(pseudo + head + data)) + head[18:]
        if self.six:
            ip = struct.pack("!IHBB", 6 << 28, length, 6, 64) + self.source + self.service
        else:
            ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 1, 0x4000, 64, 6, 0) + \
                self.source + self.service
            ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
        kind = ETH_P_IPV6 if self.six else ETH_P_IP
        self.sock.send(to + self.mac + struct.pack("!H", kind) + ip + head + data)

    def heard(self, deadline):
        """What the service sends, to whatever address: (address, port, seq, ack, flags, data)."""
        while (left := deadline - time.monotonic()) > 0:
            self.sock.settimeout(left)
            try:
                frame = self.sock.recv(65536)
            except TimeoutError:
                return
            kind = struct.unpack("!H", frame[12:14])[0]
            if self.six and kind == ETH_P_IPV6 and frame[20] == 6:
                source, destination, tcp = frame[22:38], frame[38:54], frame[54:]
                tcp = tcp[:struct.unpack("!H", frame[18:20])[0]]
            elif not self.six and kind == ETH_P_IP and frame[23] == 6:
                size = (frame[14] & 15) * 4
                source, destination = frame[26:30], frame[30:34]
                tcp = frame[14 + size:14 + struct.unpack("!H", frame[16:18])[0]]
            else:
                continue
            if source == self.service:
                self.hops = frame[21] if self.six else frame[22]
                port, seq, ack, offset, flags = struct.unpack("!HIIBB", tcp[2:14])
                yield destination, port, seq, ack, flags, tcp[(offset >> 4) * 4:]

    def segments(self, port, deadline):
        """(seq, ack, flags, data) of what the service sends to `port` of this address."""
        for destination, its_port, *segment in self.heard(deadline):
            if destination == self.source and its_port == port:
                yield segment

    def close(self):
        self.sock.close()


def get(path, mac, source, port=33000, seconds=2.0, device="eth0"):
    """What the service answers to this MAC and address, head and body; empty: nothing at all."""
    wire = Wire(mac, source, device)
    try:
        deadline = time.monotonic() + seconds
        sequence, got, expected, asked = 1000, b"", None, False
        wire.send(port, sequence, 0, SYN)
        for seq, ack, flags, data in wire.segments(port, deadline):
            if flags & RST:
                break
            if flags & SYN and not asked and ack == sequence + 1:
                expected, asked = seq + 1, True
                request = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
                wire.send(port, sequence + 1, expected, PSH | ACK, request)
                sequence += 1 + len(request)
            elif asked and seq == expected and (data or flags & FIN):
                got += data
                expected += len(data) + (1 if flags & FIN else 0)
                wire.send(port, sequence, expected, ACK)
                if flags & FIN:
                    break
        if asked:
            wire.send(port, sequence, expected, RST | ACK)
        return got
    finally:
        wire.close()


def flood(mac, sources, device="eth0"):
    """A SYN from each of these addresses; returns how many frames of the service came back."""
    for number, source in enumerate(sources):
        wire = Wire(mac, source, device)
        wire.send(10000 + number % 50000, 1, 0, SYN)
        wire.close()


def hops_of_answers(source, requests, device="eth0"):
    """For each of these requests on one connection: the TTLs or hop limits of its answer."""
    six = ":" in source
    wire = Wire("00:00:00:00:00:00", source, device)
    connection = Connection(connect(6 if six else 4, device))
    try:
        seen = []
        for request in requests:
            connection.sock.sendall(request)
            connection.answer()
            # What the connection has read was on the wire before.
            seen.append({wire.hops for *_, data in wire.heard(time.monotonic() + 0.3) if data})
        return seen
    finally:
        connection.close()
        wire.close()

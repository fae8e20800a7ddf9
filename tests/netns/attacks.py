# SPDX-License-Identifier: Apache-2.0
"""What a hostile guest does, as fast as it can, for so many seconds; runs inside it. Each attack
returns how much it has sent, as {unit: number}."""

import contextlib
import errno
import itertools
import json
import os
import random
import select
import socket
import struct
import subprocess
import time

import guesthttp
from guesthttp import checksum
from rawguest import ACK, ETH_P_IP, ETH_P_IPV6, SYN, V4, V6

ETH_P_ARP = 0x0806
TCP, ICMPV6, FRAGMENT, ROUTING, DESTINATION = 6, 58, 44, 43, 60
STABLE = "/openstack/2012-08-10/meta_data.json"


def pause(seconds):
    """No attack: what neighbours see in calm."""
    time.sleep(seconds)
    return {}


def next_hop():
    """The MAC to which this guest's frames for 169.254.169.254 go: a router's, or that of the address."""
    with socket.create_connection((V4, 80), 20):
        pass
    routed = json.loads(subprocess.check_output(["ip", "-json", "route", "get", V4]))[0]
    hop = routed.get("gateway", V4)
    (neighbour,) = json.loads(subprocess.check_output(["ip", "-json", "neigh", "show", "to", hop]))
    return bytes.fromhex(neighbour["lladdr"].replace(":", ""))


class Speaker:
    """Frames of this guest, from addresses and with fields as it likes; checksums are right unless
    told otherwise, so that it is not these that save anybody."""

    def __init__(self, mac, v4, v6, to):
        self.to = to
        self.mac = bytes.fromhex(mac.replace(":", ""))
        self.v4 = socket.inet_aton(v4)
        self.v6 = socket.inet_pton(socket.AF_INET6, v6)

    def ethernet(self, kind, payload, mac=None):
        return self.to + (mac or self.mac) + struct.pack("!H", kind) + payload

    def tcp(self, source, destination, port, flags=SYN, seq=1, data=b"", doff=5):
        head = struct.pack("!HHIIBBHHH", port, 80, seq, 0, doff << 4, flags, 65000, 0, 0)
        length = len(head) + len(data)
        pseudo = source + destination + (struct.pack("!BBH", 0, TCP, length) if len(source) == 4 else
                                         struct.pack("!IHBB", length, 0, 0, TCP))
        return head[:16] + struct.pack("!H", checksum(pseudo + head + data)) + head[18:] + data

    def ip4(self, payload, source=None, to=socket.inet_aton(V4), protocol=TCP, fragment=0x4000, total=None,
            ihl=None, options=b"", number=1):
        size = 20 + len(options)
        head = struct.pack("!BBHHHBBH", 0x40 | (size // 4 if ihl is None else ihl), 0,
                           size + len(payload) if total is None else total, number, fragment, 64, protocol,
                           0) + (source or self.v4) + to + options
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload

    def ip6(self, payload, source=None, to=socket.inet_pton(socket.AF_INET6, V6), next_header=TCP, length=None):
        return struct.pack("!IHBB", 6 << 28, len(payload) if length is None else length, next_header, 255) + \
            (source or self.v6) + to + payload

    def syn4(self, port, source=None, **more):
        source = source or self.v4
        return self.ethernet(ETH_P_IP, self.ip4(self.tcp(source, socket.inet_aton(V4), port), source, **more))

    def syn6(self, port, source=None):
        source = source or self.v6
        to = socket.inet_pton(socket.AF_INET6, V6)
        return self.ethernet(ETH_P_IPV6, self.ip6(self.tcp(source, to, port), source))

    @staticmethod
    def flood(frames, seconds, device="eth0"):
        """These frames over and over."""
        tried = sent = 0
        deadline = time.monotonic() + seconds
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind((device, 0))
            for frame in itertools.cycle(frames):
                tried += 1
                try:
                    sock.send(frame)
                    sent += 1
                except OSError as error:
                    if error.errno not in (errno.ENOBUFS, errno.EINVAL):
                        raise  # no room in the queue, or the device takes no such frame
                if tried % 64 == 0 and time.monotonic() > deadline:
                    return {"frames": sent}


def ports(count):
    return random.sample(range(1024, 65536), count)


# ---- frames

def syn_flood(mac, v4, v6, seconds):
    """From its own addresses; nothing is ever acknowledged, so all are half open."""
    speaker = Speaker(mac, v4, v6, next_hop())
    numbers = ports(10000)
    return speaker.flood([speaker.syn4(port) if port % 2 else speaker.syn6(port) for port in numbers], seconds)


def arp_flood(mac, v4, v6, seconds):
    """Questions for 169.254.169.254, announcements of it, and cut short."""
    speaker = Speaker(mac, v4, v6, next_hop())

    def arp(operation, source, target):
        return struct.pack("!HHBBH", 1, ETH_P_IP, 6, 4, operation) + speaker.mac + source + bytes(6) + target
    metadata = socket.inet_aton(V4)
    bodies = [arp(1, speaker.v4, metadata), arp(2, metadata, metadata), arp(1, metadata, metadata),
              arp(1, bytes(4), metadata), arp(1, speaker.v4, metadata)[:20]]
    return speaker.flood([speaker.ethernet(ETH_P_ARP, body) for body in bodies], seconds)


def neighbour_flood(mac, v4, v6, seconds):
    """Solicitations of fe80::a9fe:a9fe, advertisements of it, and cut short."""
    speaker = Speaker(mac, v4, v6, next_hop())
    service = socket.inet_pton(socket.AF_INET6, V6)
    everyone = socket.inet_pton(socket.AF_INET6, "ff02::1:fffe:a9fe")

    def icmp(kind, source, to, body):
        head = struct.pack("!BBH", kind, 0, 0)
        pseudo = source + to + struct.pack("!IHBB", len(head + body), 0, 0, ICMPV6)
        head = struct.pack("!BBH", kind, 0, checksum(pseudo + head + body))
        return speaker.ethernet(ETH_P_IPV6, speaker.ip6(head + body, source, to, ICMPV6))
    option = b"\x01\x01" + speaker.mac
    frames = [icmp(135, speaker.v6, everyone, bytes(4) + service + option),
              icmp(135, speaker.v6, service, bytes(4) + service),
              icmp(136, service, service, b"\xa0\0\0\0" + service),
              icmp(135, bytes(16), everyone, bytes(4) + service),
              icmp(135, speaker.v6, everyone, bytes(4) + service + option)[:60]]
    return speaker.flood(frames, seconds)


def fragment_flood(mac, v4, v6, seconds):
    """First ones that never get a rest, later ones that never had a first, each of another datagram."""
    speaker = Speaker(mac, v4, v6, next_hop())
    segment = speaker.tcp(speaker.v4, socket.inet_aton(V4), 2000, data=bytes(1400))
    segment6 = speaker.tcp(speaker.v6, socket.inet_pton(socket.AF_INET6, V6), 2000, data=bytes(1400))
    frames = []
    for number in range(2000):
        frames.append(speaker.ethernet(ETH_P_IP, speaker.ip4(segment, fragment=0x2000, number=number)))
        frames.append(speaker.ethernet(ETH_P_IP, speaker.ip4(segment, fragment=0x2000 | 200, number=number)))
        for offset in (1, 1401):
            header = struct.pack("!BBHI", TCP, 0, offset, number)
            frames.append(speaker.ethernet(ETH_P_IPV6, speaker.ip6(header + segment6, next_header=FRAGMENT)))
    return speaker.flood(frames, seconds)


def tiny_and_overlapping_fragments(mac, v4, v6, seconds):
    """The TCP header in pieces, and pieces that contradict each other."""
    speaker = Speaker(mac, v4, v6, next_hop())
    segment = speaker.tcp(speaker.v4, socket.inet_aton(V4), 2001, data=b"GET / HTTP/1.1\r\n\r\n" * 4)
    evil = segment[8:16] + b"X" * 40
    frames = []
    for number in range(500):
        for piece, fragment in ((segment[:8], 0x2000), (segment[8:], 1), (segment[:40], 0x2000), (evil, 0x2001),
                                (segment[24:], 3), (evil, 0x1fff)):
            frames.append(speaker.ethernet(ETH_P_IP, speaker.ip4(piece, fragment=fragment, number=number)))
        header = struct.pack("!BBHI", TCP, 0, 1, number)
        frames.append(speaker.ethernet(ETH_P_IPV6, speaker.ip6(header + segment[:8], next_header=FRAGMENT)))
        frames.append(speaker.ethernet(ETH_P_IPV6, speaker.ip6(header, next_header=FRAGMENT)))
    return speaker.flood(frames, seconds)


def wrong_lengths(mac, v4, v6, seconds):
    """Each length field says something else than what is there."""
    speaker = Speaker(mac, v4, v6, next_hop())
    to, to6 = socket.inet_aton(V4), socket.inet_pton(socket.AF_INET6, V6)
    segment = speaker.tcp(speaker.v4, to, 2002)
    frames = [speaker.ip4(segment, total=total) for total in (0, 19, 20, 39, 41, 65535)]
    frames += [speaker.ip4(segment, ihl=ihl) for ihl in (0, 4, 6, 15)]
    frames += [speaker.ip4(speaker.tcp(speaker.v4, to, 2002, doff=doff)) for doff in (0, 4, 15)]
    frames = [speaker.ethernet(ETH_P_IP, frame) for frame in frames]
    frames += [frame[:size] for frame in frames[:1] for size in (33, 34, 40, 50)]
    segment6 = speaker.tcp(speaker.v6, to6, 2002)
    frames += [speaker.ethernet(ETH_P_IPV6, speaker.ip6(segment6, length=length)) for length in (0, 19, 21, 65535)]
    frames += [speaker.ethernet(ETH_P_IPV6, speaker.ip6(segment6))[:size] for size in (53, 54, 60, 70)]
    return speaker.flood(frames, seconds)


def options_and_extension_headers(mac, v4, v6, seconds):
    """Source routes, records and unknown options; routing headers, too many headers, headers that lead
    beyond the packet."""
    speaker = Speaker(mac, v4, v6, next_hop())
    to, to6 = socket.inet_aton(V4), socket.inet_pton(socket.AF_INET6, V6)
    segment, segment6 = speaker.tcp(speaker.v4, to, 2003), speaker.tcp(speaker.v6, to6, 2003)
    loose = b"\x83\x07\x04" + speaker.v4 + b"\0"
    options = [loose, b"\x89" + loose[1:], b"\x07\x07\x04" + bytes(4) + b"\0", b"\x44\xff\x05\0", b"\x9e\x04\0\0",
               b"\x83\x00\x04\0", bytes([1] * 40)]
    frames = [speaker.ethernet(ETH_P_IP, speaker.ip4(segment, options=option)) for option in options]
    source_route = struct.pack("!BBBBI", TCP, 2, 0, 1, 0) + to6
    chain = struct.pack("!BB", DESTINATION, 0) + b"\x01\x04" + bytes(4)
    chains = [(ROUTING, source_route + segment6), (DESTINATION, chain * 20 + segment6),
              (DESTINATION, struct.pack("!BB", TCP, 255) + bytes(6) + segment6), (0, chain + segment6),
              (DESTINATION, chain[:2]), (200, segment6), (51, bytes(8) + segment6)]
    frames += [speaker.ethernet(ETH_P_IPV6, speaker.ip6(body, next_header=kind)) for kind, body in chains]
    return speaker.flood(frames, seconds)


def spoofed(mac, v4, v6, seconds):
    """Other guests' addresses and MACs, groups, nobody, the service itself."""
    speaker = Speaker(mac, v4, v6, next_hop())
    own = speaker.v4[:3]
    sources = [own + bytes([last]) for last in range(1, 255) if own + bytes([last]) != speaker.v4]
    sources += [bytes(4), b"\xff" * 4, b"\xe0\0\0\1", b"\x7f\0\0\1", socket.inet_aton(V4)]
    frames = [speaker.syn4(2004, source) for source in sources]
    other = speaker.v6[:15]
    frames += [speaker.syn6(2004, other + bytes([last])) for last in range(0x40, 0x80)]
    frames += [speaker.syn6(2004, source) for source in (bytes(16), b"\xff\x02" + bytes(13) + b"\1")]
    for forged in (b"\xfa\x16\x3e\0\0\x10", b"\xff" * 6, b"\1" * 6, bytes(6)):
        frames.append(speaker.syn4(2004)[:6] + forged + speaker.syn4(2004)[12:])
    return speaker.flood(frames, seconds)


def alias_ranges(mac, v4, v6, seconds):
    """From and to the addresses that stand for guests in the metadata namespace, and the inner ones."""
    speaker = Speaker(mac, v4, v6, next_hop())
    aliases = [struct.pack("!I", 0xF0000000 | slot << 12 | generation << 8)
               for slot in range(16, 24) for generation in range(4)] + [bytes([240, 254, 98, 254])]
    inner = socket.inet_pton(socket.AF_INET6, "fd6d:6574:6174:6170:d8b9::a9fe:a9fe")
    aliases6 = [b"\xfd\x6d" + struct.pack("!IH", slot << 12, 0) + speaker.v6[8:] for slot in range(16, 24)] + [inner]
    frames = [speaker.syn4(2005, alias) for alias in aliases] + [speaker.syn6(2005, alias) for alias in aliases6]
    for alias in aliases:
        frames.append(speaker.ethernet(ETH_P_IP, speaker.ip4(speaker.tcp(speaker.v4, alias, 2005), to=alias)))
        back = speaker.tcp(socket.inet_aton(V4), alias, 2005, ACK)
        frames.append(speaker.ethernet(ETH_P_IP, speaker.ip4(back, socket.inet_aton(V4), alias)))
    for alias in aliases6:
        frames.append(speaker.ethernet(ETH_P_IPV6, speaker.ip6(speaker.tcp(speaker.v6, alias, 2005), to=alias)))
    return speaker.flood(frames, seconds)


# ---- requests

def _request(*headers, path=STABLE, method="GET", body=b""):
    lines = [f"{method} {path} HTTP/1.1", "Host: a", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


SMUGGLED = b"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: a\r\nX-Instance-ID: other\r\n\r\n"
CHUNKED = b"0\r\n\r\n" + SMUGGLED
LENGTHS = [("Content-Length: 5", "Transfer-Encoding: chunked"), ("Transfer-Encoding: chunked", "Content-Length: 4"),
           ("Transfer-Encoding : chunked",), ("Transfer-Encoding:\tchunked",), ("Transfer-Encoding: xchunked",),
           ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"), ("transfer-encoding: chunked, identity",),
           ("Transfer_Encoding: chunked", "Content-Length: 3"), ("Content-Length: 3", "Content-Length: 30"),
           ("Content-Length: +3",), ("Content-Length: 0x3",), ("Content-Length: 3,3",), ("Content-Length: -1",),
           ("Content-Length: 99999999999999999999",), ("Content-Length:\r\n 3",), ("Foo: a\r\n Transfer-Encoding: chunked",),
           ("Foo: a\x00b",), (": empty",), ("no colon",), ("Foo\x0b: a",)]
IDENTITY = [f"{name}: {value}" for value in ("other", "10.0.0.10") for name in (
    "X-Forwarded-For", "x-forwarded-for", "X_Forwarded_For", "X-FORWARDED_FOR", "X-Forwarded-For ", "X-Instance-ID",
    "X_Instance_ID", "X-Tenant-ID", "X-Instance-ID-Signature", "X-Neutron-Network-ID", "X-Neutron-Router-ID",
    "X_Neutron_Router_ID", "X-OVN-Network-ID", "X-Metatap-Port-ID", "X-Metatap-Port-Signature", "X-Metadata-Provider",
    "X-Metadata-Provider-Signature", "Forwarded", "Connection: X-Forwarded-For\r\nX-Forwarded-For")]


def _say(data, wait=0.3):
    """All that is answered to these bytes on a connection of their own."""
    with contextlib.closing(guesthttp.connect(timeout=10)) as sock:
        answer = b""
        try:
            sock.sendall(data)
            sock.settimeout(wait)
            while more := sock.recv(65536):
                answer += more
        except OSError:
            pass
        return answer


def smuggling(own, seconds):
    """Two requests that look like one, and every header that could name another guest. `own`: what
    belongs to this guest; an answer with anything else in its place is an error."""
    deadline, sent, wrong = time.monotonic() + seconds, 0, []
    heads = [_request(*headers, method="POST", body=CHUNKED) for headers in LENGTHS] + \
            [_request(header) + SMUGGLED for header in IDENTITY]
    for data in itertools.cycle(heads):
        answer = _say(data, 0.05)
        sent += 1
        for part in answer.split(b"HTTP/1.1 ")[1:]:
            body = part.partition(b"\r\n\r\n")[2]
            if part[:3] == b"200" and not any(name in body for name in own):
                wrong.append((data[:200], part[:300]))
        if sent >= len(heads) and time.monotonic() > deadline:
            break
    assert not wrong, wrong[:2]
    return {"requests": sent}


def pipeline(own, seconds):
    """10 000 requests in one go, whose answers nobody reads until all are sent."""
    deadline, sent = time.monotonic() + seconds, 0
    data = _request() * 10000
    while True:
        with contextlib.closing(guesthttp.connect(timeout=10)) as sock:
            sock.setblocking(False)
            at = 0
            end = min(deadline, time.monotonic() + 1)
            while at < len(data) and time.monotonic() < end:
                _, ready, _ = select.select([], [sock], [], 0.05)
                try:
                    at += sock.send(data[at:at + 65536]) if ready else 0
                except BlockingIOError:
                    pass
                except OSError:
                    break
            sent += at // len(_request())
        if time.monotonic() > deadline:
            return {"requests": sent}


def a_byte_at_a_time(own, seconds):
    """On as many connections as it gets."""
    deadline, sent, socks = time.monotonic() + seconds, 0, []
    data = _request("Cookie: " + "a" * 4000)
    for _ in range(100):
        with contextlib.suppress(OSError):
            socks.append(guesthttp.connect(timeout=0.5))
    for at in itertools.count():
        for sock in list(socks):
            try:
                sock.send(data[at:at + 1])
                sent += 1
            except OSError:
                socks.remove(sock)
        if time.monotonic() > deadline or not socks or at == len(data):
            break
    for sock in socks:
        sock.close()
    return {"bytes": sent}


def huge_heads(own, seconds):
    """One long header, many short ones, a long target, a line without an end."""
    deadline, sent = time.monotonic() + seconds, 0
    heads = [_request("A: " + "b" * 100_000), _request(*[f"A{n}: b" for n in range(20_000)]),
             _request(path="/" + "a" * 100_000), b"GET /" + b"a" * (1 << 20), b"\r\n" * 100_000, b"\0" * 100_000]
    for data in itertools.cycle(heads):
        _say(data, 0.05)
        sent += len(data)
        if sent > sum(map(len, heads)) and time.monotonic() > deadline:
            return {"bytes": sent}


def endless_bodies(own, seconds):
    """Of an announced length beyond all limits, in chunks without an end, and in a chunk of 2^63."""
    deadline, sent = time.monotonic() + seconds, 0
    starts = [_request("Content-Length: 9000000000000", method="POST"),
              _request("Transfer-Encoding: chunked", method="POST"),
              _request("Transfer-Encoding: chunked", method="POST", body=b"7fffffffffffffff\r\n")]
    for head in itertools.cycle(starts):
        chunk = b"1000\r\n" + b"a" * 4096 + b"\r\n" if head is starts[1] else b"a" * 4096
        with contextlib.closing(guesthttp.connect(timeout=10)) as sock, contextlib.suppress(OSError):
            sock.sendall(head)
            for _ in range(64):
                sent += sock.send(chunk)
        if time.monotonic() > deadline:
            return {"bytes": sent}


def idle_connections(own, seconds):
    """10 000 of them, half of which say half a word; all it gets are kept."""
    began, held, tried = time.monotonic(), [], 0
    try:
        while tried < 10000 and time.monotonic() < began + seconds:
            tried += 1
            with contextlib.suppress(OSError):
                held.append(guesthttp.connect(timeout=0.2))
                if tried % 2:
                    held[-1].sendall(b"GET / HT")
        time.sleep(max(0.0, began + seconds - time.monotonic()))
    finally:
        for sock in held:
            sock.close()
    return {"connections": tried}


# ---- what QEMU would write to the tap for it

VIRTIO = struct.Struct("<BBHHHH")  # flags, gso_type, hdr_len, gso_size, csum_start, csum_offset


def odd_virtio_headers(tap, frame, seconds):
    """Offloads that make no sense; `tap` is a tap's descriptor, whose kernel refuses some."""
    deadline, sent, refused = time.monotonic() + seconds, 0, 0
    size = len(frame)
    sizes = (0, 1, 14, 34, 54, size, size + 1, 65535)
    headers = [VIRTIO.pack(flags, kind, length, mss, start, offset)
               for flags in (0, 1, 2, 255) for kind in (0, 1, 3, 4, 5, 0x81, 255)
               for length in (0, 54, size, 65535) for mss in (0, 1, 1400, 65535)
               for start, offset in zip(sizes, reversed(sizes))]
    random.shuffle(headers)
    for header in itertools.cycle(headers):
        try:
            os.write(tap, header + frame)
            sent += 1
        except OSError:
            refused += 1
        if (sent + refused) % 64 == 0 and time.monotonic() > deadline:
            return {"frames": sent, "refused by the tap": refused}

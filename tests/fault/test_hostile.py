# SPDX-License-Identifier: Apache-2.0
"""One guest does its worst, as fast as it can, while its neighbours ask for their metadata: what they
notice of it, what it costs, and under which name it is counted. METATAP_LONG=1: half a minute each, and
behind a router as well."""

import fcntl
import json
import os
import pathlib
import socket
import struct
import time

import attacks
import labkit
import mtlab
import pytest
import rawguest
import rawport
import routerkit

# What a test says of itself is for scripts/fire.sh, which asks for reports that can hold it.
pytestmark = pytest.mark.filterwarnings("ignore:record_property is incompatible")

PATH = "/openstack/2012-08-10/meta_data.json"
LONG = os.environ.get("METATAP_LONG") == "1"
SECONDS = 30 if LONG else 1
# An answer may be late: frames share a queue with the attacker's before any program sees them, and
# TCP repeats what was lost there after 1, 3, 7 and 15 s. It must come.
PATIENCE = 30
BUDGET = 500  # new connections a second of the attacker's port: more than any flood keeps to
MOST_GROWTH = 64 << 20  # of the worker's memory; the default of max_memory is four times that

# Where: the lab, who attacks in it, and who its neighbours are: behind the same router, and another one.
MODES = {
    "tap": ({"crowd": 1}, "blue2", ("red2", "bluec0")),
    "router": ({"routers": 2}, "g0", ("second1", "g1")),
}
FRAMES = {  # and the names under which they are counted, among others; at a router the rest is the stack's
    "syn_flood": {"tap": ["syn_budget"], "router": ["syn_budget"]},
    "arp_flood": {"tap": ["arp_answered"], "router": []},
    "neighbour_flood": {"tap": ["nd_answered", "malformed"], "router": []},
    "fragment_flood": {"tap": ["steered_fragment"], "router": ["router_fragment"]},
    "tiny_and_overlapping_fragments": {"tap": ["tiny_fragment"], "router": []},
    "wrong_lengths": {"tap": ["malformed"], "router": []},
    "options_and_extension_headers": {"tap": ["ext_headers"], "router": ["router_other_headers"]},
    "spoofed": {"tap": ["spoofed_v4", "spoofed_v6", "wrong_mac"], "router": ["router_unknown_source"]},
    "alias_ranges": {"tap": ["spoofed_v4", "spoofed_v6"], "router": ["router_untagged"]},
}
REQUESTS = {
    "smuggling": ["proxy malformed"],
    "pipeline": ["proxy requests"],
    "a_byte_at_a_time": ["proxy over_port_cap"],
    "huge_heads": ["proxy malformed"],
    "endless_bodies": ["proxy malformed"],
    "idle_connections": ["proxy over_port_cap"],
}


class Neighbour:
    """Asks some hundred times a second, each time on a new connection."""

    def __init__(self, guest, family):
        self.guest, self.family = guest, family

    def start(self):
        self.guest.run("start", PATH, self.family, pause=0.004, timeout=PATIENCE, module="routerload")

    def stop(self):
        """(answers, what failed, 99th percentile in ms)"""
        self.guest.send("stop", module="routerload")
        answers, failures, _ = self.guest.receive(3 * PATIENCE)
        took = sorted(self.guest.run("took", module="routerload"))
        failed = [*failures, *[key for key in answers if key != ("metatap", 200)]]
        return sum(answers.values()), failed, 1000 * took[len(took) * 99 // 100]


class Besieged:
    """A deployment with a guest that attacks and neighbours that ask meanwhile."""

    def __init__(self, mode, deployment):
        self.mode, self.deployment, self.lab = mode, deployment, deployment.lab
        _, attacker, neighbours = MODES[mode]
        self.attacker = self.lab[attacker]
        self.neighbours = [Neighbour(self.lab[name], family) for name, family in zip(neighbours, (4, 6))]
        self.calm = None

    def counted(self):
        """What the programs and the proxy have counted, by name."""
        status = json.loads(mtlab.metatap(self.deployment.admin_socket, "status", "--json").stdout)
        proxy = {f"proxy {name}": value for name, value in status["proxy"].items() if isinstance(value, int)}
        return {**self.deployment.reasons(), **proxy}

    def memory(self):
        """Of the worker, in bytes."""
        (worker,) = mtlab.children_of(self.deployment.data_plane.process.pid)
        status = pathlib.Path(f"/proc/{worker}/status").read_text()
        return worker, int(status.split("VmRSS:")[1].split()[0]) * 1024

    def under(self, attack):
        """While attack() runs: (what it sent, what was counted, asked, failed, p99, growth in bytes)."""
        before, (worker, held) = self.counted(), self.memory()
        for neighbour in self.neighbours:
            neighbour.start()
        sent = attack()
        heard = [neighbour.stop() for neighbour in self.neighbours]
        same, holds = self.memory()
        assert same == worker, "the worker died"
        after = self.counted()
        counted = {name: after[name] - before[name] for name in after if after[name] > before[name]}
        asked, failed, p99 = zip(*heard)
        return sent, counted, sum(asked), sum(failed, []), max(p99), holds - held


@pytest.fixture(scope="module", params=MODES if LONG else ["tap"])
def besieged(request, make_lab, deploy):
    options, attacker, _ = MODES[request.param]
    lab = make_lab(request.param, **options)
    lab.edit_inventory(lambda document: next(
        port for port in document["ports"] if port["id"] == lab[attacker].port_id).update(metatap={"syn_rate": BUDGET}))
    besieged = Besieged(request.param, deploy(lab))
    if request.param == "router":
        routerkit.wait_steered(besieged.lab, 3)
    calm = besieged.under(lambda: besieged.attacker.run("pause", SECONDS, module="attacks"))
    assert not calm[3]
    besieged.calm = calm[4]
    return besieged


def judge(besieged, attack, names, record_property):
    sent, counted, asked, failed, p99, growth = besieged.under(attack)
    quantity = ", ".join(f"{number} {unit}" for unit, number in sent.items())
    # The names that it is known by, and what is most besides.
    most = sorted(counted, key=lambda name: (name in names, counted[name]), reverse=True)[:len(names) + 3]
    record_property("sent", quantity)
    record_property("became", ", ".join(f"{name} {counted[name]}" for name in most))
    record_property("noticed", f"{len(failed)} of {asked} requests failed; p99 {p99:.1f} ms, calm {besieged.calm:.1f} "
                               f"ms; worker {growth / (1 << 20):+.1f} MiB")
    assert not failed, failed[:5]
    assert asked > 10
    assert growth < MOST_GROWTH
    for name in names:
        assert counted.get(name, 0) > 0, f"{name} is not among {counted}"
    # It has itself to blame, and is served again.
    mtlab.wait_until(lambda: besieged.attacker.run("attempt", PATH) == 200, 20, "the attacker is served again")


@pytest.mark.parametrize("attack", FRAMES)
def test_frames(besieged, attack, record_property):
    guest = besieged.attacker
    judge(besieged, lambda: guest.run(attack, guest.mac, guest.ip4, guest.ip6, SECONDS, module="attacks"),
          FRAMES[attack][besieged.mode], record_property)


def test_a_port_keeps_to_its_own_budget(besieged):
    def opened():
        (slot,) = [row["formatted"]["key"] for row in besieged.deployment.dump("mt_owners")
                   if row["formatted"]["value"]["port_id"] == guest.port_id]
        return besieged.deployment.dump("mt_counters")[slot]["formatted"]["value"]["syns"]
    guest = besieged.attacker
    before, began = opened(), time.monotonic()
    guest.run("syn_flood", guest.mac, guest.ip4, guest.ip6, SECONDS, module="attacks")
    assert 0 < opened() - before <= BUDGET * (1 + time.monotonic() - began)


@pytest.mark.parametrize("attack", REQUESTS)
def test_requests(besieged, attack, record_property):
    guest = besieged.attacker
    own = [guest.instance_id.encode(), b"i-"]
    judge(besieged, lambda: guest.run(attack, own, SECONDS, module="attacks"), REQUESTS[attack], record_property)


TUNSETIFF, TUNSETOFFLOAD, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x400454D0, 0x0002, 0x1000, 0x4000


@pytest.fixture()
def virtual_machine(besieged):
    """A tap as QEMU opens it, for a port of its own: its descriptor and a frame of the guest's."""
    if besieged.mode != "tap":
        pytest.skip("such headers end at the tap")
    lab = besieged.lab
    port = rawport.RawPort(lab, 9, "red")
    port.address = "10.0.0.99"
    lab.edit_inventory(lambda document: document["ports"].append(port.row()))
    tap = os.open("/dev/net/tun", os.O_RDWR)
    try:
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH", port.device.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
        fcntl.ioctl(tap, TUNSETOFFLOAD, 0x0F)  # checksums and segmentation, as with virtio
        labkit.ip_batch([f"link set {port.device} addrgenmode none up"])
        yield tap, port
    finally:
        os.close(tap)
        port.close()


def test_odd_virtio_headers(besieged, virtual_machine, record_property):
    tap, port = virtual_machine
    speaker = attacks.Speaker(port.mac, port.address, "fe80::77", rawguest.ANYBODY)
    body = speaker.tcp(speaker.v4, socket.inet_aton(attacks.V4), 2006, data=bytes(3000))
    frame = speaker.ethernet(attacks.ETH_P_IP, speaker.ip4(body))
    mtlab.wait_until(lambda: any(row["formatted"]["value"]["port_id"] == port.id
                                 for row in besieged.deployment.dump("mt_slots")), 5, "its tap is a port's")
    judge(besieged, lambda: attacks.odd_virtio_headers(tap, frame, SECONDS), ["steered_v4"], record_property)

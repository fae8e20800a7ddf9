# SPDX-License-Identifier: Apache-2.0
"""A device whose port nobody has told of yet: what waits there is answered as that port's guest, and as nobody
else's, whatever it sent before anybody knew who it is."""

import base64
import itertools
import signal

import mtlab
import pytest
import rawguest
from rawport import ACK, PSH, RawPort, in_namespace

REQUEST = b"GET /latest/user-data HTTP/1.1\r\nHost: a\r\n\r\n"
QUIET = 1.5  # seconds in which an answer would have come
numbers = itertools.count(1)


class Host:
    """A lab whose inventory knows some ports, and the daemon."""

    def __init__(self, lab):
        self.lab, self.made, self.known = lab, [], []
        self.deployment = mtlab.Deployment(lab, config={"proxy": {"hold_unknown": 30}})
        self.tell()
        self.deployment.start()

    def port(self, network="red", family=4):
        """Plugged in, and nobody knows of it."""
        port = RawPort(self.lab, next(numbers), network, family)
        self.made.append(port)
        self.tell()
        return port.plug()

    def tell(self, *ports):
        """Of these as well, from now on."""
        self.known += ports

        def change(document):
            template = document["instances"][0]
            document["ports"] = [port.row() for port in self.known]
            document["instances"] = [template] + [
                {**template, "uuid": port.instance,
                 "user_data": base64.b64encode(data_of(port)).decode()} for port in self.made]
        self.lab.edit_inventory(change)

    def close(self):
        self.deployment.close()
        for port in self.made:
            port.close()


@pytest.fixture(scope="module")
def daemon():
    lab = mtlab.TestLab()
    try:
        made = Host(lab.up())
        try:
            yield made
        finally:
            made.close()
    finally:
        lab.close()


@pytest.fixture
def host(daemon):
    """Nobody is known: all ports of a network have the same address."""
    daemon.known = []
    daemon.tell()
    return daemon


def data_of(port):
    return f"user data of {port.id}".encode()


def hold(port, source_port=40000):
    """A whole request, which waits; (our next sequence number, theirs)."""
    seq, theirs = port.open(source_port)
    port.send(source_port, ACK | PSH, seq, theirs, REQUEST)
    return seq + len(REQUEST), theirs


def comes(port, seconds, source_port=40000, until=b"\r\n\r\n"):
    """What the service says on that connection."""
    said = b""
    for _, _, _, _, data in port.receive(
            seconds, lambda segment: segment[0] == source_port and until in segment[4]):
        said += data
    return said


def is_served(port, source_port=50000):
    hold(port, source_port)
    assert data_of(port) in comes(port, 5, source_port, data_of(port))


@pytest.mark.parametrize("family", (4, 6))
def test_it_is_answered_as_soon_as_its_port_is_told_of(host, family):
    port, other = host.port("red", family), host.port("blue", family)
    hold(port)
    hold(other)
    assert not comes(port, 0.5)
    host.tell(port)
    answer = comes(port, 5, until=data_of(port))
    assert answer.startswith(b"HTTP/1.1 200") and data_of(port) in answer
    assert not comes(other, QUIET), "that another has a port says nothing of this one"
    host.tell(other)
    assert data_of(other) in comes(other, 5, until=data_of(other))


def speak_as(port, mac, source):
    port.wire.close()
    port.wire = in_namespace(port.netns, lambda: rawguest.Wire(mac, source))


def other_mac(port):
    return "fa:16:3e:00:66:66", port.source


def other_address(port):
    return port.mac, "10.0.0.99" if "." in port.source else "2001:db8:ffff::99"


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("spoofed", (other_mac, other_address))
def test_what_is_not_its_ports_is_told_nothing(host, family, spoofed):
    port = host.port(family=family)
    speak_as(port, *spoofed(port))
    hold(port)
    host.tell(port)
    assert not comes(port, QUIET)
    speak_as(port, port.mac, port.source)
    is_served(port)


def test_it_ends_with_its_device(host):
    port = host.port()
    hold(port)
    port.unplug()
    port.plug()
    port.open(41000)  # the same name, once more without a port
    host.tell(port)
    assert not comes(port, QUIET)
    is_served(port)


def test_a_restart_leaves_nobody_without_an_answer(host):
    port = host.port()
    hold(port)
    host.deployment.data_plane.restart()
    host.tell(port)
    answer = comes(port, 10)
    assert answer.startswith((b"HTTP/1.1 503", b"HTTP/1.1 200"))
    is_served(port)


def test_a_restart_does_not_take_another_device_for_it(host):
    """Nobody runs, and a tap that is plugged in meanwhile has the very name and ifindex."""
    port = host.port()
    hold(port)
    ifindex, daemon = port.ifindex, host.deployment.data_plane
    process, daemon.process = daemon.process, None
    process.send_signal(signal.SIGUSR2)
    process.wait(30)
    port.unplug()
    port.plug(ifindex)
    daemon.start()
    host.tell(port)
    assert not port.receive(QUIET)
    is_served(port)


def test_killed_nothing_of_it_is_left(host):
    port = host.port()
    hold(port)
    host.deployment.data_plane.stop(signal.SIGKILL)
    host.deployment.data_plane.start()
    host.tell(port)
    assert not comes(port, QUIET)
    is_served(port)

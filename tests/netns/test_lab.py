# SPDX-License-Identifier: Apache-2.0
"""The lab itself: what the other tests take for granted."""

import os
import pathlib
import signal

import labkit
import mtlab
import pytest
import routerkit


def test_guests_of_a_tenant_reach_each_other_and_no_one_else(lab):
    good, text = lab["red1"].run("ping", "10.0.0.11")
    assert good, text
    good, text = lab["red1"].run("ping", "fd00:10::11")
    assert good, text
    good, text = lab["trunk"].run("ping", "10.0.0.1")
    assert good, text
    good, _ = lab["onlink"].run("ping", "10.0.0.10", 1)
    assert not good


def test_addresses_overlap(lab):
    red, blue = lab["red1"], lab["blue1"]
    assert (red.ip4, red.ip6, red.mac) == (blue.ip4, blue.ip6, blue.mac)
    links = [guest.run("command", ["ip", "-br", "-6", "addr", "show", "eth0"])[1]
             for guest in (red, blue)]
    assert "fe80::f816:3eff:fe00:10/64" in links[0]
    assert links[0] == links[1]


@pytest.mark.parametrize("pair", ["red1 multi", "multi red2", "red2 red1"])
@pytest.mark.parametrize("family", [4, 6])
def test_segments_cross_the_tap_whole(lab, pair, family):
    """As with QEMU: the guest's stack leaves segmentation and checksums to the other end."""
    sender, receiver = (lab[name] for name in pair.split())
    assert mtlab.longest_segment(sender, receiver, family, 7000 + family, 8 << 20) > 20000


def test_the_benchmark_measures_beside_the_same_router(make_lab, monkeypatch):
    """Its opponent has the rules and the settings that the tests' Neutron has."""
    monkeypatch.syspath_prepend(str(labkit.ROOT / "bench"))
    from harness.world import World

    class Workspace:
        prefix = mtlab.TestLab().id

        def make(self, layout):
            layout.make()

        def drop_namespaces(self, names):
            labkit.ip_batch([f"netns del {name}" for name in names], force=True)

    def look(namespace):
        saved = [line for program in ("iptables-save", "ip6tables-save")
                 for line in routerkit.inside(namespace, program).splitlines()
                 if not line.startswith(("#", ":"))]
        keys = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
        return saved, [routerkit.inside(namespace, "sysctl", "-n", key) for key in keys]
    ours = look(routerkit.namespaces_of(make_lab("router", routers=1, haproxy=1))[0])
    world = World(Workspace(), "w", rules=True)
    try:
        world.up()
        assert look(world.networks[0].router_netns) == ours
        assert any("CONNMARK" in rule for rule in ours[0])
    finally:
        world.down()


def test_down_removes_everything_after_a_crash():
    lab = mtlab.TestLab().up()
    names = [*lab.plan.namespaces, *lab.plan.links, *[wire[0] for wire in lab.plan.wires]]
    present = [name for name in names if pathlib.Path("/run/netns", name).exists()
               or pathlib.Path("/sys/class/net", name).exists()]
    assert sorted(present) == sorted(names)
    os.kill(int((lab.state / "tapwire.pid").read_text()), signal.SIGKILL)
    labkit.Lab(lab.id).down()  # knows only the id
    for name in names:
        assert not pathlib.Path("/run/netns", name).exists()
        assert not pathlib.Path("/sys/class/net", name).exists()
    assert not lab.state.exists()


def test_a_cable_can_be_pulled_and_put_back_with_its_ifindex():
    lab = mtlab.TestLab()
    try:
        lab.up()
        index = pathlib.Path("/sys/class/net", lab.guest("red1").host_device, "ifindex")
        before = int(index.read_text())
        lab.unplug("red1")
        assert not index.exists()
        lab.replug("red1", ifindex=before)
        assert int(index.read_text()) == before
        good, text = lab["red1"].run("ping", "10.0.0.11")
        assert good, text
    finally:
        lab.close()

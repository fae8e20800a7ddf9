# SPDX-License-Identifier: Apache-2.0
"""Somebody changes what the daemon made: it is put right, said, and counted."""

import contextlib
import json
import os
import subprocess

import bpfkit
import mtlab
import pytest
import routerkit

PATH = "/latest/meta-data/instance-id"
WITHIN = 20  # seconds; on an idle machine two, where the kernel says nothing of it five


def command(text):
    subprocess.run(text.split(), check=True, capture_output=True)


@pytest.fixture(scope="module")
def served(make_lab, deploy):
    return deploy(make_lab())


class Health:
    """What /healthz says of a deployment: status and text."""

    def __init__(self, deployment):
        self.socket = str(deployment.admin_socket)

    def ask(self):
        done = subprocess.run(["curl", "-s", "-w", "%{http_code}", "--unix-socket", self.socket,
                               "http://localhost/healthz"], capture_output=True, text=True, timeout=10)
        text = "".join(line for line in done.stdout[:-3].splitlines(True) if not line.startswith("note: "))
        return int(done.stdout[-3:]), text


class Space:
    """The metadata namespace of a deployment, and what the daemon says of it."""

    def __init__(self, deployment):
        self.deployment = deployment
        self.name = f"{deployment.lab.id}-metatap"
        # As MetadataNamespace::host_device_of names it.
        self.host = next(link["ifname"] for link in json.loads(subprocess.run(
            ["ip", "-j", "link"], capture_output=True, text=True).stdout)
            if link["ifname"].startswith("mt-") and self.inside(link["ifname"]))

    def inside(self, device):
        """Is it the host end of the pair into this namespace?"""
        links = subprocess.run(["ip", "-n", self.name, "-j", "link", "show", "metadata"],
                               capture_output=True, text=True).stdout
        index = json.loads(links)[0]["link_index"]
        with open(f"/sys/class/net/{device}/ifindex", encoding="ascii") as file:
            return int(file.read()) == index

    def taps(self):
        return json.loads(mtlab.metatap(self.deployment.admin_socket, "--json", "status").stdout)["taps"]

    def healthz(self):
        return Health(self.deployment).ask()


@pytest.fixture(scope="module")
def space(served):
    return Space(served)


DAMAGES = {
    "pair-deleted": ("ip link del {host}", "{host} is gone"),
    "pair-deleted-inside": ("ip -n {ns} link del metadata", "{host} is gone"),
    "pair-renamed": ("ip link set {host} down;ip link set {host} name {renamed}", "{host} is gone"),
    "host-end-down": ("ip link set {host} down", "{host} is down"),
    "inner-end-down": ("ip -n {ns} link set metadata down", "metadata is down"),
    "lo-down": ("ip -n {ns} link set lo down", "lo is down"),
    "addresses-flushed": ("ip -n {ns} addr flush dev lo", "169.254.169.254 is nobody's"),
    "v6-addresses-flushed": ("ip -n {ns} -6 addr flush dev metadata", "fe80::a9fe:a9fe is nobody's"),
    "local-route-gone": ("ip -n {ns} route del local 169.254.169.254 dev lo table local",
                         "169.254.169.254 is nobody's"),
    "routes-flushed": ("ip -n {ns} route flush table main", "answers to 240.0.0.0/4"),
    "route-elsewhere": ("ip -n {ns} route replace blackhole 240.0.0.0/4", "answers to 240.0.0.0/4"),
    "v6-routes-flushed": ("ip -n {ns} -6 route flush table main", "answers to fd6d::/16"),
    "neighbours-flushed": ("ip -n {ns} neigh flush nud permanent", "has no neighbour entry"),
    "neighbour-wrong": ("ip -n {ns} neigh replace 169.254.169.253 dev metadata "
                        "lladdr 02:00:00:00:00:01 nud permanent", "169.254.169.253 has no"),
    "mtu": ("ip -n {ns} link set metadata mtu 900", "the MTU of metadata"),
    "rp_filter": ("ip netns exec {ns} sysctl -qw net.ipv4.conf.all.rp_filter=1", "rp_filter is not 0"),
    "fwmark": ("ip netns exec {ns} sysctl -qw net.ipv4.tcp_fwmark_accept=0",
               "tcp_fwmark_accept is not 1"),
    "no-ipv6": ("ip netns exec {ns} sysctl -qw net.ipv6.conf.all.disable_ipv6=1",
                "disable_ipv6 is not 0"),
    "name-taken-away": ("ip netns del {ns}", "its name was taken away"),
    "listeners-closed": ("ip netns exec {ns} ss -K -t state listening sport = :80",
                         "listeners are gone"),
    "program-off": ("tc_detach", "mt_return was taken off"),
}


def damage(space, text):
    for part in text.format(ns=space.name, host=space.host, renamed="r" + space.host[1:]).split(";"):
        link = space.deployment.pins / "links/return"
        if part == "tc_detach" and link.exists():
            part = f"bpftool link detach id {mtlab.bpftool('link', 'show', 'pinned', str(link))['id']}"
        elif part == "tc_detach":
            part = f"tc filter del dev {space.host} ingress"
        command(part)


@pytest.mark.parametrize("case", DAMAGES)
def test_what_somebody_broke_is_put_right(space, case):
    text, said = DAMAGES[case]
    lab = space.deployment.lab
    repairs, log = space.taps()["repairs"], space.deployment.data_plane.log
    before = {(guest, family): lab[guest].get(PATH, family).body
              for guest, family in (("red1", 4), ("red1", 6), ("blue1", 4))}
    start = len(log.read_text())
    damage(space, text)
    said = said.format(host=space.host)
    mtlab.wait_until(lambda: said in log.read_text()[start:] and "put right" in log.read_text()[start:],
                     WITHIN, f"a line that says: {said}")
    for (guest, family), own in before.items():
        answer = lab[guest].get(PATH, family, timeout=10)
        assert (answer.status, answer.body) == (200, own)
    assert space.taps()["repairs"] > repairs
    assert space.taps()["last_repair"]
    assert space.healthz() == (200, "ok\n")
    command(f"ip netns exec {space.name} true")  # its name is there


def test_identities_after_a_new_pair(space):
    """Everything that names the pair's ifindex follows: each guest gets its own, no other's."""
    lab = space.deployment.lab
    for _ in range(3):
        damage(space, "ip link del {host}")
        mtlab.wait_until(lambda: lab["red1"].run("attempt", PATH, timeout=0.3) == 200, WITHIN, "served")
        for name in ("red1", "blue1", "red2", "blue2"):
            answer = lab[name].get("/openstack/2012-08-10/meta_data.json")
            assert json.loads(answer.body)["uuid"] == lab[name].instance_id
    with open(f"/sys/class/net/{space.host}/ifindex", encoding="ascii") as file:
        assert space.deployment.dump("mt_config")[0]["formatted"]["value"]["veth_ifindex"] == \
            int(file.read())


def test_not_ok_while_it_cannot_be_put_right(space):
    """Another namespace has the name: the guests are served on, and what is wrong is said."""
    lab = space.deployment.lab
    command(f"ip netns del {space.name}")
    command(f"ip netns add {space.name}x")
    try:
        # In one step, so that the daemon cannot be first.
        mtlab.wait_until(lambda: subprocess.run(
            ["bash", "-c", f"ip netns del {space.name}; ip netns add {space.name}"],
            capture_output=True).returncode == 0, 5, "the name is another's")
        status, text = mtlab.wait_until(lambda: (answer := space.healthz())[0] == 503 and answer,
                                        WITHIN, "not ok")
        assert f"another namespace has the name {space.name}" in text
        assert "another namespace" in space.taps()["problem"]
        assert lab["red1"].get(PATH).status == 200
    finally:
        command(f"ip netns del {space.name}")
        command(f"ip netns del {space.name}x")
    mtlab.wait_until(lambda: space.healthz() == (200, "ok\n"), WITHIN, "ok again")
    assert lab["red1"].get(PATH).status == 200


def test_not_ok_while_nothing_leads_back(space):
    """mt_return is taken off the pair, and there is no room for it: as many programs as the kernel
    takes are there."""
    link = space.deployment.pins / "links/return"
    if not link.exists():
        pytest.skip("this kernel has no TCX (6.6)")
    links = []

    def another():
        program = bpfkit.load("foreign", bpfkit.NEXT)
        try:
            links.append(bpfkit.tcx_attach(program, space.host))
        finally:
            os.close(program)

    def ours_is_out():
        """False: the daemon was quicker."""
        damage(space, "tc_detach")
        try:
            another()
        except OSError:
            return False
        return True
    try:
        with contextlib.suppress(OSError):
            while True:
                another()
        assert space.healthz() == (200, "ok\n"), "beside ours"
        mtlab.wait_until(ours_is_out, 10, "the last place is another's")
        status, text = mtlab.wait_until(lambda: (answer := space.healthz())[0] == 503 and answer,
                                        WITHIN, "not ok")
        assert f"namespace {space.name}: {space.host}: " in text
        assert space.healthz()[0] == 503, "for as long as it lasts"
    finally:
        for one in links:
            os.close(one)
    mtlab.wait_until(lambda: space.healthz() == (200, "ok\n"), WITHIN, "ok again")
    assert space.deployment.lab["red1"].get(PATH).status == 200


def test_not_ok_while_our_own_connection_is_not_answered(space):
    """Everything is as it should be, but for a program of somebody's that eats packets."""
    inside = f"nsenter --net=/run/netns/{space.name} tc"
    program, pin = bpfkit.load("eater", bpfkit.DROP), f"/sys/fs/bpf/eater_{space.name}"
    bpfkit.pin(program, pin)
    try:
        command(f"{inside} qdisc add dev metadata ingress")
        command(f"{inside} filter add dev metadata parent ffff: protocol all prio 1 bpf da object-pinned {pin}")
        status, text = mtlab.wait_until(lambda: (answer := space.healthz())[0] == 503 and answer, 6, "not ok")
        assert f"our own connections into namespace {space.name} are not answered by IPv4 and IPv6" in text
    finally:
        os.unlink(pin)
        os.close(program)
        command(f"{inside} qdisc del dev metadata ingress")
    mtlab.wait_until(lambda: space.healthz() == (200, "ok\n"), 4, "ok again")


def test_ok_is_said_of_what_was_just_looked_at(space):
    """The kernel does not tell of this setting; whoever asks is not told of a look before the damage."""
    setting = "net.ipv4.tcp_fwmark_accept"
    for _ in range(3):
        command(f"ip netns exec {space.name} sysctl -qw {setting}=0")
        assert space.healthz() == (200, "ok\n")
        assert subprocess.run(["ip", "netns", "exec", space.name, "sysctl", "-n", setting], check=True,
                              capture_output=True, text=True).stdout == "1\n"


# ---- in a router's namespace

@pytest.fixture(scope="module")
def routers(make_lab, deploy):
    lab = make_lab("router", routers=2)
    deployment = deploy(lab)
    routerkit.wait_steered(lab, 3)
    return deployment


@pytest.mark.parametrize("what,said", [
    ("ip route del local 240.254.98.254 dev lo table local", "the local route of 240.254.98.254"),
    ("ip -6 route del local fd6d:6574:6174:6170:d8b9:0:a9fe:a9fe dev lo table local",
     "the local route of fd6d:"),
    ("sysctl -qw net.ipv4.tcp_fwmark_accept=0", "somebody set net/ipv4/tcp_fwmark_accept to 0"),
    ("ss -K -t state listening sport = :80", "somebody closed its listener"),
])
def test_what_somebody_broke_in_a_router(routers, what, said):
    lab, log = routers.lab, routers.data_plane.log
    place = routerkit.namespaces_of(lab)[0]
    start = len(log.read_text())
    routerkit.inside(place, *what.split())
    # Places have their turns one after another, those of other labs as well.
    mtlab.wait_until(lambda: f"{place}: {said}" in log.read_text()[start:], 35, f"it says: {said}")
    for family in (4, 6):
        mtlab.wait_until(lambda: lab["g0"].run("attempt", PATH, family, timeout=0.3) == 200, 2, "served")
    assert json.loads(lab["g0"].get("/openstack/2012-08-10/meta_data.json").body)["uuid"] == \
        lab["g0"].instance_id
    assert Health(routers).ask() == (200, "ok\n")


def test_a_router_that_cannot_be_served_is_said(routers):
    lab = routers.lab
    place = routerkit.namespaces_of(lab)[1]
    routerkit.inside(place, "ip", "link", "set", "lo", "down")
    try:
        status, text = mtlab.wait_until(
            lambda: (answer := Health(routers).ask())[0] == 503 and answer, 5, "not ok")
        assert f"routers: {place}: its lo is down" in text
    finally:
        routerkit.inside(place, "ip", "link", "set", "lo", "up")
    mtlab.wait_until(lambda: Health(routers).ask() == (200, "ok\n"), 5, "ok again")
    mtlab.wait_until(lambda: lab["g1"].run("attempt", PATH, timeout=0.3) == 200, 5, "served")

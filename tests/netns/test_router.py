# SPDX-License-Identifier: Apache-2.0
"""Guests behind Neutron's routers: whose metadata they get, by which headers, and beside what."""

import json
import pathlib
import signal
import subprocess
import time

import labkit
import pytest
import routerkit
from mtlab import wait_until

HOSTNAME = "/latest/meta-data/hostname"


@pytest.fixture(scope="module")
def routers(make_lab, deploy):
    lab = make_lab("router", routers=3)
    deployment = deploy(lab)
    routerkit.wait_steered(lab, 4)
    return lab, deployment


@pytest.mark.parametrize("family", [4, 6])
def test_each_guest_gets_its_own(routers, family):
    lab, _ = routers
    for name in lab.guests:
        answer = lab[name].get(HOSTNAME, family)
        assert (answer.status, answer.text) == (200, f"{name}.novalocal")


def test_many_connections_at_once(routers):
    """The same address, port and MAC in several routers, and the same MAC twice in one."""
    lab, _ = routers
    names = ["g0", "g1", "g2", "second1"]
    for family in (4, 6):
        for name in names:
            lab[name].send("keep_alive_load", HOSTNAME, 50, 5, family, "eth0", 30000)
        for name in names:
            counts, failures = lab[name].receive()
            assert sum(counts.values()) == 250 and len(counts) == 1 and not failures, \
                    (name, counts, failures)


def test_the_namespace_shows_the_listener(routers):
    lab, _ = routers
    for name in routerkit.namespaces_of(lab):
        shown = routerkit.inside(name, "ss", "-Hltn")
        assert "240.254.98.254:80" in shown
        assert "[fd6d:6574:6174:6170:d8b9:0:a9fe:a9fe]:80" in shown


def test_the_external_side_gets_nothing(routers):
    lab, deployment = routers
    outside = f"{lab.id}-outside"
    for address in ("169.254.169.254", "203.0.113.10", "240.254.98.254"):
        done = subprocess.run(["ip", "netns", "exec", outside, "curl", "-s", "-m", "1", "-o",
                               "/dev/null", "-w", "%{http_code} %{time_connect}",
                               f"http://{address}/"], text=True, capture_output=True)
        # Not even a handshake: 0 is curl's word for "never connected".
        assert done.returncode != 0 and done.stdout == "000 0.000000", (address, done)
    # Nor does the router claim the address there.
    routerkit.inside(outside, "ip", "neigh", "flush", "all")
    routerkit.inside(outside, "ip", "route", "replace", "169.254.169.254/32", "dev", "eth0")
    done = subprocess.run(["ip", "netns", "exec", outside, "curl", "-s", "-m", "1",
                           "http://169.254.169.254/"])
    assert done.returncode != 0
    neighbours = routerkit.inside(outside, "ip", "neigh", "show", "169.254.169.254")
    assert "lladdr" not in neighbours


def test_the_inner_address_is_no_way_in(routers):
    """A guest that guesses the inner address has no tag, and gets no answer."""
    lab, _ = routers
    assert lab["g0"].run("attempt_port", "240.254.98.254", 80, 0.5) == "TimeoutError"


def test_an_unknown_address_is_told_404(routers):
    lab, deployment = routers
    guest = lab["g0"]
    before = deployment.reasons().get("router_unknown_source", 0)
    routerkit.inside(guest.netns, "ip", "addr", "add", "10.0.0.77/24", "dev", "eth0")
    try:
        assert guest.run("get", "/", source="10.0.0.77").status == 404
    finally:
        routerkit.inside(guest.netns, "ip", "addr", "del", "10.0.0.77/24", "dev", "eth0")
    assert deployment.reasons().get("router_unknown_source", 0) > before


@pytest.mark.parametrize("address", ["fe80::f816:3eff:fe00:10", "fe80::99",
                                     "fe80::7c3a:11ff:9d2e:e00b"],
                         ids=["eui64", "manual", "privacy"])
def test_any_link_local_address_will_do(routers, address):
    lab, _ = routers
    for name in ("g0", "second1"):
        status, body = lab[name].run("link_local_get", HOSTNAME, address,
                                     address != "fe80::f816:3eff:fe00:10", module="routerload")
        assert (status, body) == (200, f"{name}.novalocal")


def test_other_traffic_through_the_router(routers):
    lab, _ = routers
    done = subprocess.run(["ip", "netns", "exec", lab["g0"].netns, "ping", "-c", "3", "-i", "0.05",
                           "-W", "1", "10.1.0.10"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_large_answers_and_bodies(make_lab, routers):
    lab, _ = routers
    body = "x" * 900
    answer = lab["g0"].get("/openstack/latest/password", method="POST", body=body.encode())
    assert answer.status in (200, 204)
    assert lab["g0"].get("/openstack/latest/password").text == body


def test_a_disabled_network_gets_nothing(make_lab, deploy):
    lab = make_lab("router", routers=2)
    deploy(lab)
    routerkit.wait_steered(lab, 3)
    assert lab["g0"].get(HOSTNAME).status == 200
    network = lab.plan.networks["net0"].id

    def admin_state(up):
        def change(document):
            next(n for n in document["networks"] if n["id"] == network)["admin_state_up"] = up
        lab.edit_inventory(change)

    admin_state(False)
    wait_until(lambda: lab["g0"].run("attempt", HOSTNAME, 4, 0.3) != 200, 3, "refused")
    assert lab["g1"].get(HOSTNAME).status == 200
    admin_state(True)
    wait_until(lambda: lab["g0"].run("attempt", HOSTNAME, 4, 0.3) == 200, 3, "served again")

    port = lab.guest("g0").port_id

    def disable(document):
        next(p for p in document["ports"] if p["id"] == port)["admin_state_up"] = False
    lab.edit_inventory(disable)
    wait_until(lambda: lab["g0"].run("attempt", HOSTNAME, 4, 0.3) != 200, 3, "port refused")


class TestHeaders:
    """Towards an agent that reads as Neutron's newest do: once, at most 4096 bytes."""

    @pytest.fixture(scope="class")
    def stage(self, make_lab):
        lab = make_lab("router", routers=1)
        agent = routerkit.StubAgent(lab.state / "run/metadata_proxy")
        daemon = routerkit.daemon_of(lab, "dataplane,proxy", "front").start()
        routerkit.wait_steered(lab, 2)
        yield lab
        daemon.stop()
        agent.close()

    @staticmethod
    def seen(answer):
        said = json.loads(answer.body)
        return said, {key: [v for k, v in said["headers"] if k == key]
                      for key, _ in said["headers"]}

    def test_router_mode(self, stage):
        router = stage.plan.objects["routers"][0]["id"]
        for family, address in ((4, "10.0.0.10"), (6, None)):
            said, headers = self.seen(stage["g0"].get(
                "/x?y=1", family, headers=[("X-Neutron-Router-ID", "bad"), ("X_Forwarded_For", "a"),
                                           ("X-Forwarded-For", "10.0.0.11"),
                                           ("X-Neutron-Network-ID", "bad"), ("Cookie", "c" * 4000)]))
            assert said["request"].startswith("GET /x?y=1 HTTP/1.1")
            assert headers["x-neutron-router-id"] == [router]
            assert "x-neutron-network-id" not in headers
            if address:
                assert headers["x-forwarded-for"] == [address]
            else:
                assert headers["x-forwarded-for"][0] in ("fd00:10::10", "fe80::f816:3eff:fe00:10")
            assert headers["x-metatap-port-id"] == [stage.guest("g0").port_id]
            assert "cookie" not in headers and "x_forwarded_for" not in headers

    def test_one_write_of_at_most_4096_bytes(self, stage):
        said, _ = self.seen(stage["g0"].get("/p", method="POST", body=b"b" * 2000))
        assert said["body"] == "b" * 2000 and said["size"] <= 4096

    def test_a_privacy_address_is_named_as_the_agent_can_find_it(self, stage):
        status, body = stage["g0"].run("link_local_get", "/", "fe80::1234", module="routerload")
        headers = dict(json.loads(body)["headers"])
        assert headers["x-forwarded-for"] == "fe80::f816:3eff:fe00:10"


def test_unknown_and_foreign_things_are_reported_not_served(make_lab, deploy):
    """A namespace of no router of ours, a device of no port, one of another router's port."""
    lab = make_lab("router", routers=2)
    deployment = deploy(lab)
    routerkit.wait_steered(lab, 3)
    first, second = routerkit.namespaces_of(lab)
    stranger = f"qrouter-{lab.id}-unknown"
    device = next(d for d in routerkit.inside(second, "ls", "/sys/class/net").split())
    try:
        subprocess.run(["ip", "netns", "add", stranger], check=True)
        routerkit.inside(first, "ip", "link", "add", "qr-ffffffff-ff", "type", "veth", "peer",
                         "name", "peer0")
        taken = json.loads(lab.inventory_file.read_text())
        port = next(p for p in taken["ports"] if p.get("device_owner") == "network:router_interface"
                    and p["device_id"] == second.removeprefix("qrouter-"))
        routerkit.inside(first, "ip", "link", "add", "qr-" + port["id"][:11], "type", "veth",
                         "peer", "name", "peer1")
        wait_until(lambda: "begins with ffffffff-ff" in deployment.tail()
                   and "belongs to" in deployment.tail(), 3, "both devices reported")
        time.sleep(0.2)
        assert not routerkit.has_listener(stranger)
        assert routerkit.steered(lab) == 3
        assert lab["g1"].get(HOSTNAME).text == "g1.novalocal"
    finally:
        subprocess.run(["ip", "netns", "del", stranger])


def test_an_open_socket_does_not_keep_a_namespace_alive(make_lab, deploy):
    lab = make_lab("router", routers=2)
    deploy(lab)
    routerkit.wait_steered(lab, 3)
    assert lab["second1"].run("open_connection", HOSTNAME)[0] == 200  # and leaves it open
    name = routerkit.namespaces_of(lab)[0]
    # The other end of the second network's cable is in our namespace, and goes with its peer.
    cable = next(link for link in lab.plan.links if link.startswith("qh-"))
    assert (labkit.NETNS / name).exists()
    subprocess.run(["ip", "netns", "del", name], check=True)
    wait_until(lambda: not (pathlib.Path("/sys/class/net") / cable).exists(), 2,
               "the namespace is released")
    wait_until(lambda: routerkit.steered(lab) == 1, 2, "one device is left")
    assert len(routerkit.links_of(lab)) <= 2, "its links are unpinned"
    assert lab["g1"].get(HOSTNAME).text == "g1.novalocal"


def test_settings_are_undone(make_lab):
    lab = make_lab("router", routers=1)
    name = routerkit.namespaces_of(lab)[0]

    def state():
        return (routerkit.inside(name, "sysctl", "-a", "--pattern",
                                 "fwmark|rp_filter|arp_ignore|route_localnet"),
                routerkit.inside(name, "ip", "route", "show", "table", "all"),
                routerkit.inside(name, "ip", "-6", "route", "show", "table", "all"),
                routerkit.inside(name, "ip", "addr"),
                routerkit.inside(name, "tc", "qdisc", "show"))
    before = state()
    daemon = routerkit.daemon_of(lab).start()
    routerkit.wait_steered(lab, 2)
    assert state() != before
    # Killed, its successor knows what to undo.
    daemon.stop(signal.SIGKILL)
    daemon.start()
    wait_until(lambda: routerkit.has_listener(name), 5, "the successor's listener")
    time.sleep(0.3)
    daemon.stop()
    assert state() == before
    assert routerkit.links_of(lab) == []

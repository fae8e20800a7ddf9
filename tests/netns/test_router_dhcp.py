# SPDX-License-Identifier: Apache-2.0
"""DHCP namespaces: on-link and routed guests, beside a router, and beside Neutron's haproxy."""

import json
import subprocess
import time

import pytest
import routerkit
from mtlab import wait_until

HOSTNAME = "/latest/meta-data/hostname"


@pytest.fixture(scope="module")
def networks(make_lab, deploy):
    lab = make_lab("dhcp")
    deployment = deploy(lab)
    routerkit.wait_steered(lab, 3)
    return lab, deployment


@pytest.mark.parametrize("name", ["onlink", "routed", "inside", "other"])
def test_each_guest_gets_its_own(networks, name):
    lab, _ = networks
    answer = lab[name].get(HOSTNAME)
    assert (answer.status, answer.text) == (200, f"{name}.novalocal")


@pytest.mark.parametrize("name", ["onlink", "routed"])
def test_ipv6_on_the_link(networks, name):
    lab, _ = networks
    answer = lab[name].get(HOSTNAME, 6)
    assert (answer.status, answer.text) == (200, f"{name}.novalocal")
    own = {"onlink": "fe80::4242", "routed": "fe80::4343"}[name]  # nobody else's: neighbours remember who had it last
    status, body = lab[name].run("link_local_get", HOSTNAME, own, module="routerload")
    assert (status, body) == (200, f"{name}.novalocal")


def test_ipv6_needs_no_ipv6_subnet(make_lab):
    """fe80::a9fe:a9fe is asked on the link; that the network has IPv4 alone does not matter."""
    lab = make_lab("dhcp")

    def without_v6(document):
        document["subnets"] = [s for s in document["subnets"] if s["ip_version"] == 4]
        for port in document["ports"]:
            port["fixed_ips"] = [f for f in port["fixed_ips"] if ":" not in f["ip_address"]]
    lab.edit_inventory(without_v6)
    daemon = routerkit.daemon_of(lab).start()
    try:
        routerkit.wait_steered(lab, 3)
        for name, own in (("onlink", "fe80::4444"), ("routed", "fe80::4545")):
            assert lab[name].get(HOSTNAME).text == f"{name}.novalocal"
            status, body = lab[name].run("link_local_get", HOSTNAME, own, module="routerload")
            assert (status, body) == (200, f"{name}.novalocal")
    finally:
        daemon.stop()


def test_dnsmasq_gives_the_route(networks, tmp_path):
    """A real DHCP client: address and option 121 from the namespace's dnsmasq."""
    lab, _ = networks
    guest = lab["routed"]
    routerkit.inside(guest.netns, "ip", "addr", "flush", "dev", "eth0", "scope", "global")
    routerkit.inside(guest.netns, "ip", "route", "flush", "dev", "eth0")
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n"
                      '[ "$reason" = BOUND ] || exit 0\n'
                      'ip addr add $new_ip_address/24 dev $interface\n'
                      'set -- $new_rfc3442_classless_static_routes\n'
                      'echo "$*" > ' + str(tmp_path / "routes") + "\n"
                      'ip route add $2.$3.$4.$5/$1 via $6.$7.$8.$9 dev $interface\n')
    script.chmod(0o755)
    config = tmp_path / "conf"
    config.write_text("option rfc3442-classless-static-routes code 121 = array of unsigned "
                      "integer 8;\nrequest subnet-mask, rfc3442-classless-static-routes;\n")
    subprocess.run(["nsenter", f"--net=/run/netns/{guest.netns}", "timeout", "20", "dhclient", "-4",
                    "-1", "-v", "-sf", str(script), "-cf", str(config), "-lf",
                    str(tmp_path / "leases"), "-pf", str(tmp_path / "pid"), "eth0"],
                   check=True, capture_output=True)
    try:
        assert (tmp_path / "routes").read_text().split()[:9] == \
            ["32", "169", "254", "169", "254", "192", "168", "7", "2"]
        assert guest.get(HOSTNAME).text == "routed.novalocal"
    finally:
        wait_until((tmp_path / "pid").exists, 5, "dhclient's pid file")
        subprocess.run(["kill", (tmp_path / "pid").read_text().strip()])


def test_headers_of_both_paths(make_lab):
    lab = make_lab("dhcp")
    agent = routerkit.StubAgent(lab.state / "run/metadata_proxy")
    daemon = routerkit.daemon_of(lab, "dataplane,proxy", "front").start()
    try:
        routerkit.wait_steered(lab, 3)
        both = lab.plan.networks["both"].id
        router = lab.plan.objects["routers"][0]["id"]

        def headers(name):
            return dict(json.loads(lab[name].get("/").body)["headers"])
        by_router, by_dhcp = headers("inside"), headers("other")
        assert by_router["x-neutron-router-id"] == router
        assert "x-neutron-network-id" not in by_router
        assert by_router["x-forwarded-for"] == "10.0.0.10"
        assert by_dhcp["x-neutron-network-id"] == both
        assert "x-neutron-router-id" not in by_dhcp
        assert by_dhcp["x-forwarded-for"] == "10.0.0.11"
        assert headers("onlink")["x-neutron-network-id"] == lab.plan.networks["island"].id
    finally:
        daemon.stop()
        agent.close()


def test_router_interface_removed_while_polling(networks):
    """The network loses its router interface: the requests go on by the DHCP path."""
    lab, deployment = networks
    guest = lab["inside"]
    guest.run("start", HOSTNAME, 4, 0.005, 0.5, module="routerload")
    time.sleep(0.5)
    router = routerkit.namespaces_of(lab)[0]
    port = next(p for p in lab.plan.objects["ports"]
                if p["device_owner"] == "network:router_interface")
    pid = deployment.data_plane.process.pid

    def without(document):
        document["ports"] = [p for p in document["ports"] if p["id"] != port["id"]]
    before = guest.run("look", module="routerload")
    cut = time.monotonic()
    routerkit.inside(router, "ip", "link", "del", "qr-" + port["id"][:11])
    # What option 121 tells the guest once the subnet has no router: metadata by the DHCP port.
    routerkit.inside(guest.netns, "ip", "route", "replace", "169.254.169.254/32", "via",
                     "10.0.0.2", "dev", "eth0")
    lab.edit_inventory(without)
    wait_until(lambda: guest.run("look", module="routerload")[0][("metatap", 200)]
               > before[0][("metatap", 200)] + 20, 10, "answers by the DHCP path")
    took = time.monotonic() - cut
    time.sleep(0.5)
    answers, failures, _ = guest.run("stop", module="routerload")
    assert set(answers) == {("metatap", 200)}
    # The loop has one request at a time in flight.
    assert len(failures) <= 1, failures
    assert deployment.data_plane.process.pid == pid and deployment.data_plane.running
    print(f"router interface removed: 20 answers by the DHCP path after {took * 1000:.0f} ms, "
          f"{len(failures)} request in flight lost, {answers[('metatap', 200)]} answered")


def test_beside_neutrons_haproxy(make_lab):
    """haproxy is bound to 169.254.169.254:80 and [fe80::a9fe:a9fe%tap]:80 in the namespace."""
    lab = make_lab("dhcp", haproxy=1, socket="/run/metatap-lab/{}/stub".format("none"))
    daemon = routerkit.daemon_of(lab)
    try:
        for round in range(3):
            for family in (4, 6):
                assert lab["onlink"].get("/", family).status == 503  # haproxy's own: no agent
            daemon.start()
            routerkit.wait_steered(lab, 3)
            for family in (4, 6):
                wait_until(lambda: lab["onlink"].get(HOSTNAME, family).status == 200, 2, "ours")
                assert lab["onlink"].get(HOSTNAME, family).text == "onlink.novalocal"
            daemon.stop(*((9,) if round == 1 else ()))
    finally:
        daemon.stop()

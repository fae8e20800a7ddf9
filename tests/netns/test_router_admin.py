# SPDX-License-Identifier: Apache-2.0
"""What an operator sees of routers, and what is said about trouble."""

import json
import subprocess

import bpfkit
import labkit
import mtlab
import pytest
import routerkit
from mtlab import metatap, wait_until

HOSTNAME = "/latest/meta-data/hostname"


def ask(lab, verb):
    return json.loads(metatap(lab.state / "run/admin.sock", "--json", verb, check=False).stdout)


def findings_of(lab):
    return ask(lab, "doctor")


@pytest.fixture(scope="module")
def live(make_lab, deploy):
    lab = make_lab("router", routers=2, haproxy=1)
    deployment = deploy(lab)
    routerkit.wait_steered(lab, 3)
    routerkit.wait_haproxy(routerkit.namespaces_of(lab)[0])
    return lab, deployment


def test_status_names_places_and_devices(live):
    lab, _ = live
    routers = ask(lab, "status")["routers"]
    mine = {place["namespace"]: place for place in routers["places"]
            if place["namespace"] in lab.plan.namespaces}
    assert {place["state"] for place in mine.values()} == {"served"}
    assert routers["served"] == 2 and routers["pending"] == 0
    devices = [device for device in routers["devices"] if device["namespace"] in mine]
    assert len(devices) == 3 and {device["state"] for device in devices} == {"steered"}
    assert all(device["guests"] for device in devices)


def test_doctor_names_what_is_left_of_neutrons_path(live):
    lab, _ = live
    first, second = routerkit.namespaces_of(lab)
    text = metatap(lab.state / "run/admin.sock", "doctor", check=False).stdout
    about = {finding["subject"]: finding for finding in findings_of(lab)}
    said = about[first]["message"]
    for part in ("haproxy, pid", "*:9697", "REDIRECT --to-ports 9697", "--dport 9697 -j DROP",
                 "ip6tables nat"):
        assert part in said, (part, said)
    assert "enable_metadata_proxy = False" in about[first]["advice"]
    assert second not in about  # nothing of Neutron's is there
    assert "enable_metadata_proxy" in text


def test_two_devices_of_one_port(live):
    """The same port in two namespaces: the older keeps it, and gets it back to nobody's surprise."""
    lab, deployment = live
    first, second = routerkit.namespaces_of(lab)
    document = json.loads(lab.inventory_file.read_text())
    port = next(p for p in document["ports"] if p.get("device_id") == first.removeprefix("qrouter-")
                and p["network_id"] == lab.plan.networks["second"].id)
    # The router's port moves to the other router in the inventory only after it is bound here, so
    # the DHCP namespace of its network is where a second device can claim it.
    device = "tap" + port["id"][:11]
    space = f"qdhcp-{port['network_id']}"
    subprocess.run(["ip", "netns", "add", space], check=True)
    try:
        routerkit.inside(space, "ip", "link", "set", "lo", "up")
        routerkit.inside(space, "ip", "link", "add", device, "type", "veth", "peer", "name", "p0")

        def conflict():
            return [d for d in ask(lab, "status")["routers"]["devices"]
                    if d["namespace"] == space and d["state"] == "conflict"]
        reported = wait_until(conflict, 3, "the conflict is reported")
        assert first in reported[0]["reason"]
        assert lab["second1"].get(HOSTNAME).text == "second1.novalocal"
        assert "conflict" in metatap(lab.state / "run/admin.sock", "status", check=False).stdout
    finally:
        subprocess.run(["ip", "netns", "del", space])


def test_namespaces_that_may_not_be_entered_are_named(make_lab):
    """Without CAP_SYS_ADMIN none may be; the daemon says so of each, and goes on."""
    lab = make_lab("router", routers=2)
    daemon = routerkit.daemon_of(lab, arguments=("--steering", "listen"),
                                 prefix=("setpriv", "--bounding-set", "-sys_admin")).start()
    try:
        def denied():
            return {place["namespace"]: place for place in ask(lab, "status")["routers"]["places"]
                    if place["state"] == "denied"}
        names = set(routerkit.namespaces_of(lab))
        wait_until(lambda: names <= set(denied()), 5, "both are named")
        assert all("not permitted" in denied()[name]["reason"] for name in names)
        assert all(name in daemon.log.read_text() for name in names)
        about = {finding["subject"] for finding in findings_of(lab)}
        assert names <= about
    finally:
        daemon.stop()


EATER = """
import sys
sys.path.insert(0, sys.argv[1])
import bpfkit
link = bpfkit.tcx_attach(bpfkit.load("eater", bpfkit.DROP), sys.argv[2], first=True)
print("there", flush=True)
sys.stdin.read()
"""


def test_a_program_that_eats_packets_in_a_namespace_is_named(live):
    """At once, though the kernel tells nobody of it: whoever asks how it is has all devices looked at."""
    if not bpfkit.has_tcx():
        pytest.skip("no TCX")
    lab, deployment = live
    space = routerkit.namespaces_of(lab)[0]
    device = next(one["device"] for one in ask(lab, "status")["routers"]["devices"] if one["namespace"] == space)
    eater = subprocess.Popen([*labkit.inside(space), mtlab.PYTHON, "-B", "-c", EATER, str(mtlab.HERE), device],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert eater.stdout.readline() == "there\n"
        said = wait_until(lambda: "eater" in (text := mtlab.admin_get(deployment.admin_socket, "/healthz")) and text, 2,
                          "healthz names it")
        assert f"{space}/{device}" in said
        assert any("eater" in finding["message"] and finding["subject"] == f"{space}/{device}"
                   for finding in findings_of(lab))
        assert "is first again" in said  # what is not metadata, it eats on
    finally:
        eater.communicate("")


@pytest.mark.parametrize("attach", bpfkit.WAYS)
def test_either_way_of_attaching(make_lab, attach):
    lab = make_lab("router", routers=2)
    daemon = routerkit.daemon_of(lab, config={"dataplane": {"attach": attach}}).start()
    try:
        for family in (4, 6):
            for name in lab.guests:
                wait_until(lambda: lab[name].run("attempt", HOSTNAME, family) == 200, 5, name)
                assert lab[name].get(HOSTNAME, family).text == f"{name}.novalocal"
        space = routerkit.namespaces_of(lab)[1]
        qdiscs = routerkit.inside(space, "tc", "qdisc", "show")
        assert ("clsact" in qdiscs) == (attach == "clsact")
    finally:
        daemon.stop()
    assert "clsact" not in routerkit.inside(space, "tc", "qdisc", "show")

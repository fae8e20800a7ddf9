# SPDX-License-Identifier: Apache-2.0
"""`--steering=listen`: the same listeners without any BPF."""

import json
import pathlib
import subprocess

import pytest
import routerkit
from mtlab import wait_until

HOSTNAME = "/latest/meta-data/hostname"
LISTEN = ("--steering", "listen")


@pytest.mark.parametrize("topology", ["router", "dhcp"])
def test_each_guest_gets_its_own(make_lab, topology):
    lab = make_lab(topology)
    daemon = routerkit.daemon_of(lab, arguments=LISTEN).start()
    try:
        routerkit.wait_served(lab, listen=True)
        for family in (4, 6):
            for name in lab.guests:
                wait_until(lambda: lab[name].run("attempt", HOSTNAME, family) == 200, 3, name)
                assert lab[name].get(HOSTNAME, family).text == f"{name}.novalocal", (name, family)
        assert not pathlib.Path("/sys/fs/bpf", lab.id).exists()
    finally:
        daemon.stop()


def test_the_external_side_and_strangers(make_lab):
    lab = make_lab("router", routers=1)
    daemon = routerkit.daemon_of(lab, arguments=LISTEN).start()
    space, outside = routerkit.namespaces_of(lab)[0], f"{lab.id}-outside"
    try:
        routerkit.wait_served(lab, listen=True)
        done = subprocess.run(["ip", "netns", "exec", outside, "curl", "-s", "-m", "2",
                               "http://169.254.169.254/"], capture_output=True)
        assert done.returncode != 0 and done.stdout == b""
        routerkit.inside(outside, "ip", "route", "replace", "169.254.169.254/32", "dev", "eth0")
        subprocess.run(["ip", "netns", "exec", outside, "curl", "-s", "-m", "1",
                        "http://169.254.169.254/"], capture_output=True)
        assert "lladdr" not in routerkit.inside(outside, "ip", "neigh", "show", "169.254.169.254")
        guest = lab["g0"]
        routerkit.inside(guest.netns, "ip", "addr", "add", "10.0.0.77/24", "dev", "eth0")
        assert guest.run("get", "/", source="10.0.0.77").status == 404
    finally:
        daemon.stop()
    # Everything that was set is gone again.
    assert "169.254.169.254" not in routerkit.inside(space, "ip", "route", "show", "table", "all")
    assert "a9fe:a9fe" not in routerkit.inside(space, "ip", "-6", "addr")


def test_headers(make_lab):
    lab = make_lab("router", routers=1)
    agent = routerkit.StubAgent(lab.state / "run/metadata_proxy")
    daemon = routerkit.daemon_of(lab, "dataplane,proxy", "front", LISTEN).start()
    try:
        routerkit.wait_served(lab, listen=True)
        headers = dict(json.loads(lab["g0"].get("/").body)["headers"])
        assert headers["x-neutron-router-id"] == lab.plan.objects["routers"][0]["id"]
        assert headers["x-forwarded-for"] == "10.0.0.10"
        assert headers["x-metatap-port-id"] == lab.guest("g0").port_id
    finally:
        daemon.stop()
        agent.close()

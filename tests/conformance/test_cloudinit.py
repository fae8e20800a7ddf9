# SPDX-License-Identifier: Apache-2.0
"""cloud-init's own classes, as the distribution ships them, crawling from inside a guest."""

import json
import pathlib
import re
import subprocess

import labkit
import mtlab
import pytest

CRAWLER = pathlib.Path(__file__).with_name("cloudinit_crawl.py")
BOOT_PATHS = re.findall(r'^    "(/[^"]*)",$', (labkit.ROOT / "userspace/agent/boot_paths.hpp").read_text(), re.M)
GUESTS = ["red1", "blue1", "red2", "onlink"]


def has_cloudinit():
    return subprocess.run([mtlab.PYTHON, "-c", "import cloudinit.sources.DataSourceOpenStack"],
                          capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not has_cloudinit(), reason="cloud-init is not installed")


@pytest.fixture(scope="module", params=["fused", "split"])
def served(request, make_lab, deploy):
    return deploy(make_lab(), request.param)


def crawl(guest, kind, *arguments):
    done = subprocess.run(["nsenter", f"--net=/run/netns/{guest.netns}", mtlab.PYTHON, "-B",
                           str(CRAWLER), kind, *arguments], capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def instance_of(lab, guest):
    document = json.loads(lab.inventory_file.read_text())
    return next(row for row in document["instances"] if row["uuid"] == guest.instance_id)


@pytest.mark.parametrize("name", GUESTS)
def test_openstack_datasource(served, name):
    guest = served.lab[name]
    wanted = instance_of(served.lab, guest)
    got = crawl(guest, "openstack")
    assert got["found"], got
    assert got["instance_id"] == guest.instance_id
    assert got["metadata"]["name"] == name
    assert got["metadata"]["project_id"] == wanted["project_id"]
    assert got["metadata"]["meta"] == wanted["metadata"]
    assert [key.strip() for key in got["public_keys"]] == [wanted["key_data"].strip()]
    assert got["availability_zone"] == "nova"
    assert f"hostname: {name}\n" in got["userdata"]
    assert got["ec2_metadata"]["local-ipv4"] == guest.ip4
    assert got["ec2_metadata"]["instance-id"].startswith("i-")

    links = got["network_json"]["links"]
    assert [link["ethernet_mac_address"] for link in links] == [guest.mac]
    assert {network["ip_address"] for network in got["network_json"]["networks"]} == \
        {guest.ip4, guest.ip6}
    # cloud-init turned it into a configuration of the guest's own NIC.
    (nic,) = [item for item in got["network_config"]["config"] if item["type"] == "physical"]
    assert (nic["name"], nic["mac_address"]) == ("eth0", guest.mac)

    assert len(got["requests"]) == 28, [path for path, *_ in got["requests"]]
    assert [path for path, status, _ in got["requests"] if status not in (200, 404)] == []
    # And the shield fetches ahead what it asks for, in its order, but for what may have to be asked of others.
    asked = list(dict.fromkeys(url.partition("169.254.169.254")[2] for url, *_ in got["requests"]))
    assert BOOT_PATHS == [path for path in asked if not path.endswith("vendor_data2.json")]
    missing = [path for path, status, _ in got["requests"] if status == 404]
    assert missing == []


@pytest.mark.parametrize("name", GUESTS)
def test_ec2_datasource(served, name):
    guest = served.lab[name]
    wanted = instance_of(served.lab, guest)
    got = crawl(guest, "ec2")
    assert got["found"], got
    assert got["instance_id"].startswith("i-")
    assert got["metadata"]["local-ipv4"] == guest.ip4
    assert got["metadata"]["local-hostname"].startswith(name)
    assert got["metadata"]["instance-type"] == "m1.small"
    assert got["metadata"]["security-groups"] == wanted["security_groups"]
    assert [key.strip() for key in got["public_keys"]] == [wanted["key_data"].strip()]
    assert f"hostname: {name}\n" in got["userdata"]


def test_openstack_datasource_over_ipv6(served):
    guest = served.lab["red1"]
    got = crawl(guest, "openstack", "--url", "http://[fe80::a9fe:a9fe%eth0]")
    assert got["found"], got
    assert got["address"].startswith("http://[fe80")
    assert got["instance_id"] == guest.instance_id


def test_a_ratchet_lets_both_boot_and_turns_with_the_first_token():
    with mtlab.serving(config={"proxy": {"tokens": "ratchet"}}) as deployment:
        guest = deployment.lab["red1"]
        path = "/openstack/latest/meta_data.json"
        openstack = crawl(guest, "openstack")
        assert openstack["found"] and openstack["instance_id"] == guest.instance_id
        assert guest.get(path).status == 200

        ec2 = crawl(guest, "ec2-tokens")
        assert ec2["found"], ec2
        assert ec2["metadata"]["local-ipv4"] == guest.ip4
        asked = [(url.partition("169.254.169.254")[2], status) for url, status, _ in ec2["requests"]]
        assert ("/latest/api/token", 200) in asked
        assert {status for _, status in asked} <= {200, 404}, asked
        # Somebody who makes a program of the guest's fetch a page for him gets nothing any more.
        assert guest.get(path).status == 401
        said = mtlab.metatap(deployment.admin_socket, "port", guest.port_id).stdout
        assert "ratchet" in said and "required" in said, said
        access = json.loads(mtlab.metatap(deployment.admin_socket, "--json", "port", guest.port_id)
                            .stdout)["port"]["access"]
        assert access["required_now"] and access["plain_refused"] == 1 and access["valid"] > 10
        # And who shows tokens boots again.
        assert crawl(guest, "ec2-tokens")["found"]


def test_both_datasources_agree_on_the_twins(served):
    ids = {name: crawl(served.lab[name], "ec2")["instance_id"] for name in ("red1", "blue1")}
    assert ids["red1"] != ids["blue1"]
    for name, ec2_id in ids.items():
        assert crawl(served.lab[name], "openstack")["ec2_metadata"]["instance-id"] == ec2_id


def test_what_is_answered_once_is_there_for_one_boot():
    """And one that asks again goes on without."""
    with mtlab.serving(config={"proxy": {"read_once": "user_data, vendor_data*"}}) as deployment:
        for name, kind in (("red1", "openstack"), ("blue1", "ec2")):
            guest = deployment.lab[name]
            first = crawl(guest, kind)
            assert first["found"] and f"hostname: {name}\n" in first["userdata"]
            assert {status for _, status, _ in first["requests"]} <= {200, 404}, first["requests"]
        guest = deployment.lab["red1"]
        again = crawl(guest, "openstack")
        assert again["found"] and again["instance_id"] == guest.instance_id
        assert not again["userdata"]
        refused = sorted({url.rpartition("/")[2] for url, status, _ in again["requests"]
                          if status == 403})
        assert refused == ["user_data", "vendor_data.json", "vendor_data2.json"]

# SPDX-License-Identifier: Apache-2.0
"""Every guest gets its own metadata, whatever it shares with others and whatever it claims."""

import hashlib
import json

import mtlab
import pytest

STABLE = "/openstack/2012-08-10/meta_data.json"  # this version has no random seed
SERVED = ["red1", "red2", "blue1", "blue2", "multi", "trunk", "subport", "onlink"]
CAPS = {"proxy": {"max_connections_per_port": 1000, "max_connections_per_network": 4000}}


@pytest.fixture(scope="module", params=["fused", "split"])
def served(request, make_lab, deploy):
    return deploy(make_lab(), request.param, config=CAPS)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", SERVED)
def test_own_metadata(served, name, family):
    guest = served.lab[name]
    answer = guest.get("/openstack/latest/meta_data.json", family)
    assert answer.status == 200
    document = json.loads(answer.body)
    assert document["uuid"] == guest.instance_id
    assert document["name"] == name
    assert document["meta"] == {"tenant": served.lab.plan.networks[guest.network].tenant,
                                "role": name}


@pytest.mark.parametrize("family", [4, 6])
def test_twins_at_once(served, family):
    """Same address, MAC and link-local address, and the same source ports at the same time."""
    twins = [served.lab["red1"], served.lab["blue1"]]
    expected = []
    for twin in twins:
        answer = twin.get(STABLE, family)
        assert json.loads(answer.body)["uuid"] == twin.instance_id
        expected.append((200, hashlib.sha256(answer.body).hexdigest()))
    assert expected[0] != expected[1]
    for twin in twins:
        twin.send("keep_alive_load", STABLE, 200, 5, family, first_port=20000)
    for twin, key in zip(twins, expected):
        counts, failures = twin.receive()
        assert not failures, failures
        assert counts == {key: 1000}


def test_all_queues_of_a_tap(served):
    guest = served.lab["multi"]
    answer = guest.get(STABLE)
    counts, failures = guest.run("keep_alive_load", STABLE, 64, 3)
    assert not failures, failures
    assert counts == {(200, hashlib.sha256(answer.body).hexdigest()): 192}


def claims_of(lab, other):
    net = lab.plan.networks[other.network]
    return [("X-Instance-ID", other.instance_id), ("X_Instance_ID", other.instance_id),
            ("x-instance-id", other.instance_id), ("X-Instance-ID-Signature", "0" * 64),
            ("X-Tenant-ID", net.project_id), ("X-Forwarded-For", other.ip4),
            ("X_Forwarded_For", other.ip4), ("X-Neutron-Network-ID", net.id),
            ("X-Neutron-Router-ID", net.id), ("X-Metadata-Provider", net.id),
            ("X-Metadata-Provider-Signature", "0" * 64),
            ("X-Metatap-Port-ID", other.port_id), ("X-Metatap-Port", other.port_id),
            ("X-Metatap-Port-Signature", "0" * 64),
            ("Forwarded", f"for={other.ip4}"), ("X-Real-IP", other.ip4)]


@pytest.mark.parametrize("victim", ["red2", "blue1", "onlink"])
def test_claims_of_a_guest_are_ignored(served, victim):
    guest, other = served.lab["red1"], served.lab[victim]
    claims = claims_of(served.lab, other)
    for headers in [[claim] for claim in claims] + [claims, claims[::-1]]:
        answer = guest.get(STABLE, headers=headers)
        assert answer.status == 200, headers
        assert json.loads(answer.body)["uuid"] == guest.instance_id, headers
    answer = guest.get("/latest/meta-data/local-ipv4", headers=claims)
    assert answer.text == guest.ip4


def test_trunk_and_its_subport_are_two_identities(served):
    trunk, subport = served.lab["trunk"], served.lab["subport"]
    assert trunk.spec.host_device == subport.spec.host_device
    for _ in range(20):
        assert json.loads(trunk.get(STABLE).body)["uuid"] == trunk.instance_id
        assert json.loads(subport.get(STABLE).body)["uuid"] == subport.instance_id


def test_guest_without_gateway_resolves_the_address_on_the_link(served):
    guest = served.lab["onlink"]
    assert guest.get("/latest/meta-data/instance-id").status == 200
    code, text, _ = guest.run("command", ["ip", "neigh", "show", "169.254.169.254"])
    assert code == 0 and "lladdr" in text, text


def test_unknown_instance_is_not_found(served):
    answer = served.lab["ghost"].get("/openstack/latest/meta_data.json")
    assert answer.status == 404


@pytest.mark.parametrize("family,stolen,reason", [
    (4, "10.0.0.11/24", "spoofed_v4"), (4, "192.0.2.7/32", "spoofed_v4"),
    (6, "fd00:10::11/64", "spoofed_v6"), (6, "2001:db8::7/128", "spoofed_v6")])
def test_source_address_of_another_is_dropped_and_counted(served, family, stolen, reason):
    guest = served.lab["red1"]
    address = stolen.split("/")[0]
    mtlab.labkit.ip_batch([f"addr add {stolen} dev eth0" + (" nodad" if family == 6 else "")],
                          guest.netns)
    try:
        before = served.reasons()[reason]
        result = guest.run("attempt", "/", family, source=address, device="eth0")
        assert result == "TimeoutError"
        assert served.reasons()[reason] > before
    finally:
        mtlab.labkit.ip_batch([f"addr del {stolen} dev eth0"], guest.netns)
    assert guest.get("/", family).status == 200


def test_requests_that_are_not_http(served):
    guest = served.lab["red1"]
    assert guest.run("raw", b"HELO there\r\n\r\n").status == 400
    assert guest.run("raw", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n").status == 400
    assert guest.run("raw", b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\nHost: a\r\n\r\n").status == 414
    assert guest.run("raw", b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"a" * 9000 +
                     b"\r\n\r\n").status == 431
    assert guest.run("raw", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n" +
                     b"a" * 9000).status == 413
    assert guest.get("/").status == 200


def test_password_goes_to_the_right_instance(served):
    one, twin = served.lab["red2"], served.lab["blue2"]
    path = "/openstack/latest/password"
    assert one.get(path).body == b""
    assert one.get(path, method="POST", body=b"A" * 344).status == 200
    assert one.get(path).body == b"A" * 344
    assert twin.get(path).body == b""
    assert one.get(path, method="POST", body=b"B").status == 409

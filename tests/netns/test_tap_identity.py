# SPDX-License-Identifier: Apache-2.0
"""Who asks is the port: not a name that goes from one guest to the next, not a MAC or address that
a guest writes into a frame. The guests here send whole frames; their kernels have no say."""

import ipaddress
import json

import mtlab
import pytest
import routerkit

STABLE = "/openstack/2012-08-10/meta_data.json"
UNUSED_MAC = "52:54:00:de:ad:01"


@pytest.fixture()
def lab():
    """One for each test: they edit the inventory and hand devices on."""
    lab = mtlab.TestLab()
    try:
        yield lab.up()
    finally:
        lab.close()


@pytest.fixture(params=["auto", "clsact"])
def deployed(lab, request):
    """deployed(form, config=…): a running data plane, and more; attached in either way."""
    made = []

    def make(form="fused", config=None, **more):
        config = {**(config or {})}
        config["dataplane"] = {"attach": request.param, **config.get("dataplane", {})}
        made.append(mtlab.Deployment(lab, form, config=config, **more))
        return made[-1].start()
    yield make
    for deployment in made:
        deployment.close()


@pytest.fixture()
def agent(lab):
    agent = routerkit.StubAgent(lab.state / "run/metadata_proxy")
    yield agent
    agent.close()


def edit_ports(lab, **ports):
    def change(document):
        for name, keys in ports.items():
            port = next(row for row in document["ports"] if row["id"] == lab.guest(name).port_id)
            port.update(keys)
    lab.edit_inventory(change)


def edit_port(lab, name, **keys):
    edit_ports(lab, **{name: keys})


def raw(guest, source, mac=None, path=STABLE, **more):
    """The answer's body to frames from there; empty: no byte came."""
    answer = guest.run("get", path, mac or guest.mac, source, module="rawguest", **more)
    return answer.partition(b"\r\n\r\n")[2]


def uuid_of(body):
    return json.loads(body)["uuid"] if body else None


def forwarded_for(body):
    """What the agent was told, from the stub's answer."""
    return [value for key, value in json.loads(body)["headers"] if key == "x-forwarded-for"]


def device_state(deployment, port_id):
    status = json.loads(mtlab.metatap(deployment.admin_socket, "--json", "status").stdout)
    return next((row for row in status["taps"]["devices"] if row["port"] == port_id), {})


def findings(deployment):
    return mtlab.metatap(deployment.admin_socket, "doctor", check=False).stdout


def given_mac(mac):
    """As libvirt gives it to a guest's device."""
    return "fe" + mac[2:]


@pytest.mark.parametrize("policy", ["strict", "learn"])
def test_name_that_goes_to_another_guest(lab, deployed, policy):
    """vnet7 is A's, A stops, B starts and gets the name; the inventory still says A."""
    a, b = lab["red1"], lab["red2"]
    name = f"tap{lab.plan.tag}vn7"
    edit_port(lab, "red1", device=name, address_policy=policy,
              **({"fixed_ips": []} if policy == "learn" else {}))
    edit_port(lab, "red2", device="none", address_policy=policy)
    mtlab.labkit.ip_batch([f"link set {a.host_device} down", f"link set {a.host_device} name {name}",
                           f"link set {name} address {given_mac(a.mac)}", f"link set {name} up"])
    deployment = deployed()
    assert uuid_of(a.get(STABLE).body) == a.instance_id

    # A goes, and its name comes back as B's cable. B's own frames are not A's, whatever the host
    # knows of its device.
    spare = f"tap{lab.plan.tag}old"
    mtlab.labkit.ip_batch([f"link set {name} down", f"link set {name} name {spare}"])
    mtlab.labkit.ip_batch([f"link set {b.host_device} down", f"link set {b.host_device} name {name}",
                           f"link set {name} up"])
    mtlab.wait_until(lambda: device_state(deployment, a.port_id).get("state") == "steered", 3,
                     "the name is the port's")
    assert b.run("attempt", STABLE) == "TimeoutError"
    assert raw(b, a.ip4, b.mac) == raw(b, b.ip4, b.mac) == b""
    assert raw(b, "fe80::7", b.mac) == b""
    assert deployment.reasons()["wrong_mac"] > 0
    assert "wrong_mac" in findings(deployment)

    # As soon as the device is given B's MAC it is not A's any more, even for A's own frames.
    mtlab.labkit.ip_batch([f"link set {name} address {given_mac(b.mac)}"])
    mtlab.wait_until(lambda: device_state(deployment, a.port_id).get("state") == "refused", 1.5,
                     "the device is refused")
    assert raw(b, a.ip4, a.mac) == b""
    assert raw(b, "fe80::7", a.mac) == b""
    reason = device_state(deployment, a.port_id)["reason"]
    assert given_mac(b.mac) in reason and a.mac in reason
    assert "refused" in mtlab.metatap(deployment.admin_socket, "ports").stdout
    assert given_mac(b.mac) in findings(deployment)

    # The inventory learns of it: the name is B's.
    edit_ports(lab, red1={"device": "nothing"}, red2={"device": name})
    mtlab.wait_until(lambda: device_state(deployment, b.port_id).get("state") == "steered", 3,
                     "B has its device")
    assert uuid_of(b.get(STABLE).body) == b.instance_id
    lab.plan.wires = [wire for wire in lab.plan.wires if wire[0] != a.host_device]
    mtlab.labkit.ip_batch([f"link del {name}", f"link del {spare}"], force=True)


def test_one_device_on_two_hosts(lab, deployed):
    """A device of one name on two hosts is that host's guest's on each, before, while and after it migrates."""
    guest, other = lab["red1"], lab["red2"]
    name = f"tap{lab.plan.tag}vn7"
    mtlab.labkit.ip_batch([f"link set {guest.host_device} down", f"link set {guest.host_device} name {name}",
                           f"link set {name} up"])
    edit_ports(lab, red1={"device": name, "binding:host_id": "here"},
               red2={"device": name, "binding:host_id": "there"})
    deployment = deployed(config={"DEFAULT": {"host": "here"}})

    def state():
        return device_state(deployment, guest.port_id).get("state")

    def taps():
        return json.loads(mtlab.metatap(deployment.admin_socket, "--json", "status").stdout)["taps"]

    def shown():
        return {row["id"] for row in json.loads(mtlab.metatap(deployment.admin_socket, "--json", "ports").stdout)}

    assert uuid_of(guest.get(STABLE).body) == guest.instance_id
    assert (taps()["host"], taps()["bound_here"], taps()["bound_elsewhere"]) == ("here", 1, 1)
    assert guest.port_id in shown() and other.port_id not in shown()
    assert f"port {guest.port_id}" in mtlab.metatap(deployment.admin_socket, "explain", name).stdout
    elsewhere = mtlab.metatap(deployment.admin_socket, "explain", other.port_id, check=False).stdout
    assert "bound to host 'there', and this is 'here'" in elsewhere

    # It leaves: served until it has left, and then the device is nobody's.
    edit_ports(lab, red1={"binding:profile": {"migrating_to": "elsewhere"}})
    assert uuid_of(guest.get(STABLE).body) == guest.instance_id
    edit_ports(lab, red1={"binding:host_id": "elsewhere", "binding:profile": {}})
    mtlab.wait_until(lambda: state() == "elsewhere", 3, "the port is another host's")
    assert guest.run("attempt", STABLE) == "TimeoutError"
    told = json.loads(mtlab.metatap(deployment.admin_socket, "--json", "doctor", check=False).stdout)
    assert any(row["subject"] == name and row["severity"] == "warning" and "this is 'here'" in row["message"]
               for row in told), told

    # It comes back, and is served from its first packet on.
    edit_ports(lab, red1={"binding:profile": {"migrating_to": "here"}})
    mtlab.wait_until(lambda: state() == "steered", 3, "it is on its way here")
    assert uuid_of(guest.get(STABLE).body) == guest.instance_id
    lab.plan.wires = [wire for wire in lab.plan.wires if wire[0] != guest.host_device]
    mtlab.labkit.ip_batch([f"link del {name}"], force=True)


def test_frames_from_another_mac(lab, deployed):
    deployment = deployed()
    guest = lab["red2"]
    assert uuid_of(raw(guest, "fe80::7")) == guest.instance_id
    before = deployment.reasons()["wrong_mac"]
    assert raw(guest, "fe80::7", UNUSED_MAC) == b""
    assert raw(guest, guest.ip4, UNUSED_MAC) == b""
    assert deployment.reasons()["wrong_mac"] > before
    edit_port(lab, "red2", mac_policy="any")
    mtlab.wait_until(lambda: uuid_of(raw(guest, "fe80::7", UNUSED_MAC, seconds=0.5)), 3,
                     "the port says any MAC")


def test_mac_of_an_address_pair(lab, deployed):
    guest = lab["red2"]
    edit_port(lab, "red2", allowed_address_pairs=[
        {"ip_address": "10.0.0.200", "mac_address": UNUSED_MAC}])
    deployed()
    assert uuid_of(raw(guest, "10.0.0.200", UNUSED_MAC)) == guest.instance_id
    assert raw(guest, "10.0.0.201", UNUSED_MAC) == b""


def test_pair_with_a_prefix_is_that_prefix(lab, deployed, agent):
    """A source outside is dropped, and the agent is never told an address that a guest chose."""
    guest, other = lab["red2"], lab["red1"]
    edit_port(lab, "red2", allowed_address_pairs=[{"ip_address": "10.0.0.64/28"},
                                                  {"ip_address": "fd00:10::40/122"}])
    deployment = deployed("dataplane,proxy")
    for inside in ("10.0.0.64", "10.0.0.79", "fd00:10::40", "fd00:10::7f", "fe80::7"):
        body = raw(guest, inside, path="/")
        assert body, f"{inside} is within the pair"
        assert forwarded_for(body) == [guest.ip4], inside
    before = deployment.reasons()
    for outside in ("10.0.0.63", "10.0.0.80", other.ip4, "198.51.100.9"):
        assert raw(guest, outside, path="/", seconds=0.7) == b"", outside
    for outside in ("fd00:10::3f", "fd00:10::80", other.ip6):
        assert raw(guest, outside, path="/", seconds=0.7) == b"", outside
    after = deployment.reasons()
    assert after["spoofed_v4"] >= before["spoofed_v4"] + 4
    assert after["spoofed_v6"] >= before["spoofed_v6"] + 3
    assert "spoofed_v4" in findings(deployment)


def test_pair_that_is_another_guests_address(lab, deployed, agent):
    """Whoever may write a port's pairs does not thereby become who has that address."""
    guest, other = lab["red2"], lab["red1"]
    edit_port(lab, "red2", allowed_address_pairs=[{"ip_address": other.ip4}])
    deployed("dataplane,proxy", config={"proxy": {"neutron_agent": "true"}})
    assert forwarded_for(raw(guest, other.ip4, path="/")) == [guest.ip4]


@pytest.mark.parametrize("neutron", [False, True])
def test_guest_without_a_fixed_address(lab, deployed, agent, neutron):
    """It may ask by its port; an agent that goes by addresses is not asked at all."""
    guest, other = lab["red2"], lab["red1"]
    edit_port(lab, "red2", fixed_ips=[], address_policy="learn")
    deployment = deployed("dataplane,proxy",
                          config={"proxy": {"neutron_agent": str(neutron).lower()}})
    for source in (other.ip4, "fe80::7"):
        answer = guest.run("get", "/", guest.mac, source, module="rawguest")
        if neutron:
            assert answer.startswith(b"HTTP/1.1 404 "), answer[:60]
        else:
            assert forwarded_for(answer.partition(b"\r\n\r\n")[2]) == [source]
    if neutron:
        assert "no fixed address" in deployment.tail()


def test_last_of_64_addresses_of_each_family(lab, deployed, agent):
    guest = lab["red2"]
    net = lab.plan.networks["red"]
    v4 = [str(ipaddress.ip_address("10.0.0.100") + n) for n in range(64)]
    v6 = [str(ipaddress.ip_address("fd00:10::100") + n) for n in range(64)]
    edit_port(lab, "red2", fixed_ips=[{"subnet_id": net.subnet4, "ip_address": ip} for ip in v4] +
              [{"subnet_id": net.subnet6, "ip_address": ip} for ip in v6])
    deployment = deployed("dataplane,proxy")
    for address in (v4[0], v4[31], v4[63], v6[0], v6[63]):
        assert forwarded_for(raw(guest, address, path="/")) == [address]
    assert "reason" not in device_state(deployment, guest.port_id)
    # Who looks into the maps finds them.
    rows = [row["formatted"]["key"] for row in deployment.dump("mt_addresses")]
    slot = device_state(deployment, guest.port_id)["slot"]
    assert sum(row["slot"] == slot for row in rows) == 128


def test_open_connection_survives_a_flood_of_learned_addresses(lab, deployed):
    guest = lab["red2"]
    edit_port(lab, "red2", allowed_address_pairs=[{"ip_address": "10.9.0.0/16"},
                                                  {"ip_address": "fd00:9::/64"}])
    deployment = deployed()
    for family in (4, 6):
        where = {"source": guest.ip4} if family == 4 else {}
        assert guest.run("open_connection", STABLE, family, device="eth0", **where)[0] == 200
        learned = ("10.9.1.0", 600) if family == 4 else ("fd00:9::1", 600)
        sources = [str(ipaddress.ip_address(learned[0]) + n) for n in range(learned[1])]
        guest.run("flood", guest.mac, sources, module="rawguest")
        steered = "steered_v4" if family == 4 else "steered_v6"
        assert deployment.reasons()[steered] > 600
        assert guest.run("use_connection", STABLE) == 200
    slot = device_state(deployment, guest.port_id)["slot"]
    rows = [row["formatted"] for row in deployment.dump("mt_addresses")]
    assert sum(row["key"]["slot"] == slot for row in rows) == 2 * 64 + 2


def test_open_connection_survives_a_change_of_the_ports_other_addresses(lab, deployed):
    guest = lab["red2"]
    net = lab.plan.networks["red"]

    def fixed(*addresses):
        return [{"subnet_id": net.subnet4, "ip_address": ip} for ip in addresses]
    edit_port(lab, "red2", fixed_ips=fixed("10.0.0.90", guest.ip4, "10.0.0.91"))
    deployed()
    assert guest.run("open_connection", STABLE, 4, device="eth0", source=guest.ip4)[0] == 200
    edit_port(lab, "red2", fixed_ips=fixed("10.0.0.92", "10.0.0.91", guest.ip4))
    mtlab.wait_until(lambda: raw(guest, "10.0.0.92", seconds=0.5), 3, "the new address may ask")
    assert raw(guest, "10.0.0.90", seconds=0.5) == b""
    assert guest.run("use_connection", STABLE) == 200

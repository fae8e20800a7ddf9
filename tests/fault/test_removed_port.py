# SPDX-License-Identifier: Apache-2.0
"""A guest's port behind a router or a DHCP server goes from the inventory: what its connections had
not delivered by then never comes. Its device stays, unlike a tap, and so does its way to us."""

import base64
import json

import labkit
import mtlab
import pytest
import rawguest
import routerkit
from rawport import RawGuest, in_namespace

BIG = b"#!/bin/sh\n# " + b"secret of the port " * 2100


def on_link(text):
    return json.loads(text)[0]


class SecondAddress(RawGuest):
    """An address of a port that the guest's own kernel does not have, and so leaves to this test."""

    def __init__(self, guest, address):
        self.name, self.address, self.mac = guest.name, address, guest.mac
        guest.get("/")  # its kernel finds the way
        route = on_link(routerkit.inside(guest.netns, "ip", "-j", "route", "get", rawguest.V4))
        hop = on_link(routerkit.inside(guest.netns, "ip", "-j", "neigh", "show",
                                       route.get("gateway", rawguest.V4)))
        self.to = bytes.fromhex(hop["lladdr"].replace(":", ""))
        self.wire = in_namespace(guest.netns,
                                 lambda: rawguest.Wire(guest.mac, address, guest.device))

    def is_known_in(self, namespaces):
        """Nobody answers ARP for it: whoever is the next hop is told."""
        for space in namespaces:
            for link in json.loads(routerkit.inside(space, "ip", "-j", "link")):
                if link["address"] == self.to.hex(":"):
                    labkit.ip_batch([f"neigh replace {self.address} lladdr {self.mac} dev "
                                     f"{link['ifname']}"], space)
                    return
        raise AssertionError(f"no namespace has the next hop {self.to.hex(':')}")


@pytest.mark.parametrize("topology, name, address", [("router", "g0", "10.0.0.77"),
                                                     ("dhcp", "other", "10.0.0.77"),
                                                     ("dhcp", "routed", "192.168.7.77")])
def test_nothing_comes_once_it_is_gone(make_lab, deploy, topology, name, address):
    lab = make_lab(topology)
    guest = lab[name]

    def change(document):
        port = next(row for row in document["ports"] if row["id"] == guest.port_id)
        port["fixed_ips"].append({**port["fixed_ips"][0], "ip_address": address})
        instance = next(row for row in document["instances"] if row["uuid"] == guest.instance_id)
        instance["user_data"] = base64.b64encode(BIG).decode()
    lab.edit_inventory(change)
    # By command, which says when a change is in effect: with a file the file alone says what there is.
    deployment = deploy(lab, config={"inventory": {"file": ""}})
    mtlab.metatap(deployment.admin_socket, "apply", str(lab.inventory_file))
    routerkit.wait_steered(lab, 3)
    second = SecondAddress(guest, address)
    try:
        second.is_known_in(lab.plan.namespaces)
        _, _, came = second.ask(40000)
        assert came, deployment.tail()
        assert [data for *_, data in second.receive(1.0) if data], "the kernel repeats it"

        document = json.loads(lab.inventory_file.read_text())
        document["ports"] = [row for row in document["ports"] if row["id"] != guest.port_id]
        file = lab.state / "without.json"
        file.write_text(json.dumps(document))
        mtlab.metatap(deployment.admin_socket, "apply", str(file))
        second.receive(0.1)  # what was on the wire
        assert not [data for *_, data in second.receive(5.0) if data]
    finally:
        second.wire.close()

# SPDX-License-Identifier: Apache-2.0
"""Guests, networks and routers as namespaces, the same for every system that is measured, and
the inventory document that describes them."""

import base64
import hashlib
import json
import os
import uuid

import labkit
from labkit import Layout, guest_commands, neutron, rows, write_sysctls

GATEWAY_MAC = "fa:16:3e:00:00:01"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBenchBenchBenchBenchBenchBenchBenchBenchBenc bench"
GUEST_SYSCTLS = {
    # A load generator makes more connections a minute than there are ports; a guest does not.
    "net/ipv4/tcp_tw_reuse": "1",
    "net/ipv4/ip_local_port_range": "1024 65535",
}


def make_uuid(*words):
    return str(uuid.UUID(hashlib.sha256("/".join(map(str, words)).encode()).hexdigest()[:32]))


class Guest(labkit.Guest):
    def __init__(self, world, network, index):
        mac = "fa:16:3e:%02x:%02x:%02x" % (1 + (network.index >> 8), network.index & 255, index & 255) \
            if index < 256 else "fa:16:3f:%02x:%02x:%02x" % (network.index & 255, index >> 8, index & 255)
        super().__init__(f"g{network.index}x{index}", network.name, f"10.0.{(index + 2) >> 8}.{(index + 2) & 255}", "",
                         mac, kind="veth", instance_id=make_uuid(world.name, "instance", network.index, index))
        self.net = network
        self.netns = world.name + self.name
        self.be_port(make_uuid(world.name, "port", network.index, index))

    def be_port(self, id):
        self.port_id, self.host_device = id, "tap" + id[:11]


class Network(labkit.Network):
    def __init__(self, world, index, guests):
        super().__init__(f"br{index}", "bench", "10.0.0.0/16", project_id=world.project, bridge=f"br{index}")
        self.index = index
        self.world = world
        self.be(*(make_uuid(world.name, kind, index) for kind in ("network", "subnet", "router", "router-port")))
        self.guests = [Guest(world, self, i) for i in range(guests)]

    def be(self, id, subnet, router, router_port):
        self.id, self.subnet4, self.router, self.router_port = id, subnet, router, router_port
        self.qr = "qr-" + router_port[:11]
        self.router_netns = ("qrouter-" + router) if self.world.qrouter else f"{self.world.name}r{self.index}"


class World:
    """`networks` networks with the same subnet, each with a router and `guests` guests behind a
    Linux bridge. All host-side devices live in one namespace, the host as the daemon sees it."""

    def __init__(self, workspace, name, networks=1, guests=1, qrouter=True, rules=False):
        self.workspace = workspace
        self.name = workspace.prefix + name
        self.qrouter = qrouter
        self.rules = rules
        self.host = self.name + "h"
        self.project = make_uuid(self.name, "project")
        self.networks = [Network(self, i, guests) for i in range(networks)]

    @property
    def guests(self):
        return [guest for network in self.networks for guest in network.guests]

    def layout(self):
        """Of something more; the devices' other ends are in the host's namespace."""
        return Layout(host=self.host)

    def up(self, routers=True, taps=True, guests=None):
        """`guests`: only these of them come into being."""
        layout = self.layout()
        layout.namespace(self.host)
        for network in self.networks:
            layout.bridge(network.bridge)
        for guest in self.guests if guests is None else guests:
            layout.namespace(guest.netns, **GUEST_SYSCTLS)
            if taps:
                self.plug(layout, guest)
        self.workspace.make(layout)
        if routers:
            self.add_routers(self.networks)
        return self

    def plug(self, layout, guest):
        layout.veth(guest.host_device, guest.netns, guest.device, bridge=guest.net.bridge, mac=guest.mac)
        self.configure(layout, guest)

    def configure(self, layout, guest):
        layout.ip(guest.netns, *guest_commands(guest, guest.net),
                  f"neigh replace {guest.net.gateway4} lladdr {GATEWAY_MAC} dev {guest.device}")

    def add_routers(self, networks, up=True):
        """Without `up` all is there but the flag on the routers' ports."""
        layout = self.layout()
        for network in networks:
            space, device = network.router_netns, network.qr
            neutron.router_namespace(layout, space)
            layout.veth(f"rp{network.index}", space, device, bridge=network.bridge, mac=GATEWAY_MAC)
            # Neighbours are given, not asked for: a thousand guests would overflow the kernel's table,
            # which all namespaces share.
            layout.ip(space, *neutron.addresses(network, device), *([f"link set {device} up"] if up else []),
                      *(f"neigh replace {guest.ip4} lladdr {guest.mac} dev {device}" for guest in network.guests))
            if self.rules:
                neutron.metadata_rules(layout, space)
        self.workspace.make(layout)
        if self.rules:
            for network in networks:
                # In Neutron's favour: at benchmark rates closed connections would fill the table in seconds.
                write_sysctls(network.router_netns, {"net/netfilter/nf_conntrack_tcp_timeout_time_wait": "5"})

    def add_rules(self, network):
        layout = self.layout()
        neutron.metadata_rules(layout, network.router_netns)
        layout.make()

    def down(self):
        self.workspace.drop_namespaces([n.router_netns for n in self.networks] + [g.netns for g in self.guests]
                                       + [self.host])

    def inventory(self, extra_ports=0):
        """`extra_ports`: ports of guests that exist elsewhere, to grow the document."""
        document = {"format": rows.FORMAT, "networks": [], "subnets": [], "routers": [], "ports": [], "instances": []}
        for n in self.networks:
            document["networks"].append(rows.network(n))
            document["subnets"] += rows.subnets(n, enable_dhcp=True)
            document["routers"].append({"id": n.router, "name": f"router-{n.index}", "project_id": self.project})
            document["ports"].append(rows.router_port(n.router_port, n, GATEWAY_MAC, n.router))
            document["ports"] += [rows.guest_port(g, n) for g in n.guests]
            document["instances"] += [self._instance(g.instance_id) for g in n.guests]
        document["ports"] += [self.extra_port(i) for i in range(extra_ports)]
        document["instances"] += [self.extra_instance(i) for i in range(extra_ports)]
        return document

    def extra_port(self, i):
        return rows.port(make_uuid(self.name, "extra-port", i), self.networks[0],
                         "fa:16:40:%02x:%02x:%02x" % (i >> 16, (i >> 8) & 255, i & 255),
                         make_uuid(self.name, "extra-instance", i), "compute:nova",
                         "10.0.%d.%d" % (64 + (i >> 8), i & 255))

    def extra_instance(self, i):
        return self._instance(make_uuid(self.name, "extra-instance", i))

    def _instance(self, instance):
        return {"uuid": instance, "project_id": self.project, "user_id": self.project,
                "name": "instance-00000001", "display_name": "bench", "hostname": "bench",
                "launch_index": 0, "availability_zone": "nova", "flavor": {"name": "m1.small"},
                "image_ref": make_uuid(self.name, "image"), "key_name": "bench", "key_data": KEY,
                "keypairs": [{"name": "bench", "type": "ssh", "public_key": KEY}],
                "metadata": {"role": "bench"}, "root_device_name": "/dev/vda",
                "security_groups": ["default"],
                "user_data": base64.b64encode(b"#cloud-config\nruncmd: [true]\n").decode()}

    def guests_file(self):
        return self.workspace.write(f"{self.name}.guests", "".join(g.netns + "\n" for g in self.guests))


def nova_like_body():
    """What a guest asks for first, of the size Nova answers with."""
    return json.dumps({
        "uuid": make_uuid("body"), "meta": {"role": "bench"}, "public_keys": {"bench": KEY},
        "keys": [{"name": "bench", "type": "ssh", "data": KEY}], "hostname": "bench.novalocal",
        "name": "bench", "launch_index": 0, "availability_zone": "nova",
        "random_seed": base64.b64encode(os.urandom(512)).decode(), "project_id": make_uuid("project"),
        "devices": []})

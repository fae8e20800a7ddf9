# SPDX-License-Identifier: Apache-2.0
"""Guests, networks and routers as namespaces, the same for every system that is measured, and
the inventory document that describes them."""

import base64
import hashlib
import json
import os
import uuid

from .lab import batch, run, together, write_sysctls

GATEWAY_MAC = "fa:16:3e:00:00:01"

# Neutron's rules in a router namespace, chains wrapped as its L3 agent wraps them.
RULES = """*mangle
:neutron-l3-agent-PREROUTING - [0:0]
-A PREROUTING -j neutron-l3-agent-PREROUTING
-A neutron-l3-agent-PREROUTING -d 169.254.169.254/32 -i qr-+ -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x1/0xffff
COMMIT
*nat
:neutron-l3-agent-PREROUTING - [0:0]
-A PREROUTING -j neutron-l3-agent-PREROUTING
-A neutron-l3-agent-PREROUTING -d 169.254.169.254/32 -i qr-+ -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 9697
COMMIT
*filter
:neutron-l3-agent-INPUT - [0:0]
:neutron-l3-agent-FORWARD - [0:0]
:neutron-l3-agent-scope - [0:0]
-A INPUT -j neutron-l3-agent-INPUT
-A FORWARD -j neutron-l3-agent-FORWARD
-A neutron-l3-agent-INPUT -m mark --mark 0x1/0xffff -j ACCEPT
-A neutron-l3-agent-INPUT -p tcp -m tcp --dport 9697 -j DROP
-A neutron-l3-agent-FORWARD -j neutron-l3-agent-scope
-A neutron-l3-agent-scope -m mark --mark 0x1/0xffff -j DROP
COMMIT
"""

GUEST_SYSCTLS = {
    # A load generator makes more connections a minute than there are ports; a guest does not.
    "net/ipv4/tcp_tw_reuse": "1",
    "net/ipv4/ip_local_port_range": "1024 65535",
}


def make_uuid(*words):
    return str(uuid.UUID(hashlib.sha256("/".join(map(str, words)).encode()).hexdigest()[:32]))


class Guest:
    def __init__(self, world, network, index):
        self.network = network
        self.port = make_uuid(world.name, "port", network.index, index)
        self.instance = make_uuid(world.name, "instance", network.index, index)
        self.netns = f"{world.name}g{network.index}x{index}"
        self.tap = "tap" + self.port[:11]
        self.address = f"10.0.{(index + 2) >> 8}.{(index + 2) & 255}"
        self.mac = "fa:16:3e:%02x:%02x:%02x" % (1 + (network.index >> 8), network.index & 255, index & 255) \
            if index < 256 else "fa:16:3f:%02x:%02x:%02x" % (network.index & 255, index >> 8, index & 255)


class Network:
    def __init__(self, world, index, guests):
        self.index = index
        self.id = make_uuid(world.name, "network", index)
        self.subnet = make_uuid(world.name, "subnet", index)
        self.router = make_uuid(world.name, "router", index)
        self.router_port = make_uuid(world.name, "router-port", index)
        self.qr = "qr-" + self.router_port[:11]
        self.bridge = f"br{index}"
        self.gateway = ("qrouter-" + self.router) if world.qrouter else f"{world.name}r{index}"
        self.guests = [Guest(world, self, i) for i in range(guests)]


class World:
    """`networks` networks with the same subnet, each with a router and `guests` guests behind a
    Linux bridge. All host-side devices live in one namespace, the host as the daemon sees it."""

    def __init__(self, lab, name, networks=1, guests=1, qrouter=True, rules=False):
        self.lab = lab
        self.name = lab.prefix + name
        self.qrouter = qrouter
        self.rules = rules
        self.host = self.name + "h"
        self.networks = [Network(self, i, guests) for i in range(networks)]
        self.project = make_uuid(self.name, "project")

    @property
    def guests(self):
        return [guest for network in self.networks for guest in network.guests]

    def up(self, routers=True, taps=True, guests=None):
        """`guests`: only these of them come into being."""
        self.lab.add_namespaces([self.host])
        batch(["link set lo up"], self.host)
        batch([f"link add {n.bridge} type bridge forward_delay 0 mcast_snooping 0" for n in self.networks]
              + [f"link set {n.bridge} up" for n in self.networks], self.host)
        guests = self.guests if guests is None else guests
        self.lab.add_namespaces([guest.netns for guest in guests])
        if taps:
            together(self.plug, guests)
            together(self.configure, guests)
        if routers:
            together(self.add_router, self.networks)
        return self

    def plug(self, guest):
        batch([f"link add {guest.tap} type veth peer name eth0 netns {guest.netns} address {guest.mac}",
               f"link set {guest.tap} master {guest.network.bridge} up"], self.host)

    def configure(self, guest, device=True):
        batch(["link set lo up", f"addr add {guest.address}/16 dev eth0", "link set eth0 up",
               f"neigh replace 10.0.0.1 lladdr {GATEWAY_MAC} dev eth0",
               "route add default via 10.0.0.1"], guest.netns)
        write_sysctls(guest.netns, GUEST_SYSCTLS)

    def add_router(self, network, up=True):
        """Without `up` all is there but the flag on the router's port."""
        self.lab.add_namespaces([network.gateway])
        write_sysctls(network.gateway, {"net/ipv4/ip_forward": "1"})
        batch([f"link add rp{network.index} type veth peer name {network.qr} netns {network.gateway} "
               f"address {GATEWAY_MAC}",
               f"link set rp{network.index} master {network.bridge} up"], self.host)
        # Neighbours are given, not asked for: a thousand guests would overflow the kernel's table,
        # which all namespaces share.
        batch(["link set lo up", f"addr add 10.0.0.1/16 dev {network.qr}"]
              + ([f"link set {network.qr} up"] if up else [])
              + [f"neigh replace {guest.address} lladdr {guest.mac} dev {network.qr}" for guest in network.guests],
              network.gateway)
        if self.rules:
            self.add_rules(network)
            # In Neutron's favour: at benchmark rates closed connections would fill the table in seconds.
            write_sysctls(network.gateway, {"net/netfilter/nf_conntrack_tcp_timeout_time_wait": "5"})

    def add_rules(self, network):
        run("nsenter", f"--net=/run/netns/{network.gateway}", "iptables-restore", "-n", stdin=RULES)

    def down(self):
        self.lab.drop_namespaces([n.gateway for n in self.networks] + [g.netns for g in self.guests]
                                 + [self.host])

    def inventory(self, extra_ports=0):
        """`extra_ports`: ports of guests that exist elsewhere, to grow the document."""
        networks, subnets, routers, ports, instances = [], [], [], [], []
        for n in self.networks:
            networks.append({"id": n.id, "name": n.bridge, "project_id": self.project, "mtu": 1500})
            subnets.append({"id": n.subnet, "network_id": n.id, "cidr": "10.0.0.0/16", "ip_version": 4,
                            "gateway_ip": "10.0.0.1", "enable_dhcp": True})
            routers.append({"id": n.router, "name": f"router-{n.index}", "project_id": self.project})
            ports.append({"id": n.router_port, "network_id": n.id, "mac_address": GATEWAY_MAC,
                          "device_id": n.router, "device_owner": "network:router_interface",
                          "project_id": self.project,
                          "fixed_ips": [{"subnet_id": n.subnet, "ip_address": "10.0.0.1"}]})
            for g in n.guests:
                ports.append(self._port(n, g.port, g.instance, g.mac, g.address))
                instances.append(self._instance(g.instance))
        for i in range(extra_ports):
            ports.append(self.extra_port(i))
            instances.append(self.extra_instance(i))
        return {"format": "metatap-inventory/1", "networks": networks, "subnets": subnets,
                "routers": routers, "ports": ports, "instances": instances}

    def extra_port(self, i):
        return self._port(self.networks[0], make_uuid(self.name, "extra-port", i),
                          make_uuid(self.name, "extra-instance", i),
                          "fa:16:40:%02x:%02x:%02x" % (i >> 16, (i >> 8) & 255, i & 255),
                          "10.0.%d.%d" % (64 + (i >> 8), i & 255))

    def extra_instance(self, i):
        return self._instance(make_uuid(self.name, "extra-instance", i))

    def _port(self, network, port, instance, mac, address):
        return {"id": port, "network_id": network.id, "mac_address": mac, "device_id": instance,
                "device_owner": "compute:nova", "project_id": self.project,
                "fixed_ips": [{"subnet_id": network.subnet, "ip_address": address}]}

    def _instance(self, instance):
        key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBenchBenchBenchBenchBenchBenchBenchBenchBenc bench"
        return {"uuid": instance, "project_id": self.project, "user_id": self.project,
                "name": "instance-00000001", "display_name": "bench", "hostname": "bench",
                "launch_index": 0, "availability_zone": "nova", "flavor": {"name": "m1.small"},
                "image_ref": make_uuid(self.name, "image"), "key_name": "bench", "key_data": key,
                "keypairs": [{"name": "bench", "type": "ssh", "public_key": key}],
                "metadata": {"role": "bench"}, "root_device_name": "/dev/vda",
                "security_groups": ["default"],
                "user_data": base64.b64encode(b"#cloud-config\nruncmd: [true]\n").decode()}

    def guests_file(self):
        return self.lab.write(f"{self.name}.guests", "".join(g.netns + "\n" for g in self.guests))


def nova_like_body():
    """What a guest asks for first, of the size Nova answers with."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBenchBenchBenchBenchBenchBenchBenchBenchBenc bench"
    return json.dumps({
        "uuid": make_uuid("body"), "meta": {"role": "bench"}, "public_keys": {"bench": key},
        "keys": [{"name": "bench", "type": "ssh", "data": key}], "hostname": "bench.novalocal",
        "name": "bench", "launch_index": 0, "availability_zone": "nova",
        "random_seed": base64.b64encode(os.urandom(512)).decode(), "project_id": make_uuid("project"),
        "devices": []})

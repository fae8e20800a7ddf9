# SPDX-License-Identifier: Apache-2.0
"""Rows of the inventory document, for what a lab and a benchmark have alike."""

FORMAT = "metatap-inventory/1"


def network(net):
    return {"id": net.id, "name": net.name, "mtu": net.mtu, "project_id": net.project_id}


def subnets(net, **more):
    """One for each family that the network has."""
    rows = []
    for version, key, cidr, gateway in ((4, net.subnet4, net.cidr4, net.gateway4),
                                        (6, net.subnet6, net.cidr6, net.gateway6)):
        if cidr:
            rows.append({"id": key, "network_id": net.id, "cidr": cidr, "ip_version": version,
                         "gateway_ip": gateway, "enable_dhcp": False, **more})
    return rows


def port(id, net, mac, device_id, owner, ip4, ip6=None, **more):
    addresses = [(net.subnet4, ip4)] + ([(net.subnet6, ip6)] if ip6 else [])
    return {"id": id, "network_id": net.id, "mac_address": mac, "device_id": device_id,
            "device_owner": owner, "project_id": net.project_id,
            "fixed_ips": [{"subnet_id": subnet, "ip_address": ip} for subnet, ip in addresses],
            **more}


def guest_port(guest, net, **more):
    return port(guest.port_id, net, guest.mac, guest.instance_id, "compute:nova", guest.ip4,
                guest.ip6, **more)


def router_port(id, net, mac, router_id):
    return port(id, net, mac, router_id, "network:router_interface", net.gateway4)

# SPDX-License-Identifier: Apache-2.0
"""Networks with a DHCP namespace: one isolated, one that has a router as well."""

from .. import neutron

DESCRIPTION = "DHCP namespaces: an isolated network, and one beside a router"
OPTIONS = {
    "mtu": (1500, "MTU of all networks"),
    "haproxy": (0, "1: with Neutron's haproxy in the isolated network's namespace"),
    "socket": ("", "the agent's socket that haproxy asks; default: metatapd's own"),
}


def build(plan):
    plan.devices = [f"{plan.id}-none"]
    plan.config["dataplane"] = {"slots": "4096"}
    socket = plan.options["socket"] or str(plan.state / "run/metadata_proxy")

    # No router: 169.254.169.254 is asked for on the link, or by the route of option 121.
    island = neutron.network(plan, "island", "192.168.7.0/24", "fd00:7::/64", gateway=False)
    neutron.guest(plan, "onlink", island, "192.168.7.5", "fd00:7::5", "fa:16:3e:00:00:15",
                  link_route=True)
    neutron.guest(plan, "routed", island, "192.168.7.6", "fd00:7::6", "fa:16:3e:00:00:16",
                  metadata_via="192.168.7.2")
    space, device, _ = neutron.dhcp_server(plan, island)
    if plan.options["haproxy"]:
        neutron.dhcp_proxy(plan, island.id, space, device, socket)

    # A router and a DHCP server side by side; the guest's default route leads to the router.
    both = neutron.network(plan, "both", "10.0.0.0/24", "fd00:10::/64")
    id, space = neutron.router(plan, "edge")
    neutron.interface(plan, id, space, both)
    neutron.guest(plan, "inside", both, "10.0.0.10", "fd00:10::10", "fa:16:3e:00:00:10")
    neutron.guest(plan, "other", both, "10.0.0.11", "fd00:10::11", "fa:16:3e:00:00:11",
                  metadata_via="10.0.0.2")
    neutron.dhcp_server(plan, both)

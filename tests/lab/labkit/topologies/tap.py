# SPDX-License-Identifier: Apache-2.0
"""A compute host: two tenants who chose the same addresses, and the awkward guests."""

DESCRIPTION = "a compute host: overlapping tenants behind taps and veths"
OPTIONS = {
    "mtu": (1500, "MTU of all networks"),
    "crowd": (0, "so many more guests behind veths in each tenant"),
}


def build(plan):
    # Both tenants: the same CIDRs, the same guest addresses, the same MACs (so the same fe80).
    for tenant in ("red", "blue"):
        plan.network(tenant, tenant, "10.0.0.0/24", "fd00:10::/64")
        plan.guest(f"{tenant}1", tenant, "10.0.0.10", "fd00:10::10", "fa:16:3e:00:00:10")
        plan.guest(f"{tenant}2", tenant, "10.0.0.11", "fd00:10::11", "fa:16:3e:00:00:11",
                   kind="veth")
        for n in range(plan.options["crowd"]):
            plan.guest(f"{tenant}c{n}", tenant, f"10.0.0.{20 + n}", f"fd00:10::1:{n:x}",
                       f"fa:16:3e:00:01:{n:02x}", kind="veth")

    # Four queues, as a guest with vCPUs has.
    plan.guest("multi", "red", "10.0.0.12", "fd00:10::12", "fa:16:3e:00:00:12", queues=4)

    # A trunk: untagged it is one port, with tag 101 another one, of another network and instance.
    plan.network("vlan", "red", "10.9.0.0/24", "fd00:109::/64", gateway=False)
    plan.guest("trunk", "red", "10.0.0.13", "fd00:10::13", "fa:16:3e:00:00:13")
    plan.guest("subport", "vlan", "10.9.0.10", "fd00:109::10", "fa:16:3e:00:00:14", kind="vlan",
               parent="trunk", vlan=101)

    # An isolated network: no router, no DHCP; 169.254.169.254 is asked for on the link.
    plan.network("island", "blue", "192.168.7.0/24", "fd00:7::/64", gateway=False)
    plan.guest("onlink", "island", "192.168.7.5", "fd00:7::5", "fa:16:3e:00:00:15",
               link_route=True)

    # Its port is known, its instance is not.
    plan.guest("ghost", "blue", "10.0.0.14", "fd00:10::14", "fa:16:3e:00:00:16", instance=None)

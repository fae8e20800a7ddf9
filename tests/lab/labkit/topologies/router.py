# SPDX-License-Identifier: Apache-2.0
"""A network node: routers whose tenants all chose the same subnet and the same guest address."""

from .. import neutron

DESCRIPTION = "a network node: Neutron's routers, all with the same subnet"
OPTIONS = {
    "mtu": (1500, "MTU of all networks"),
    "routers": (2, "how many; each has one guest at 10.0.0.10"),
    "haproxy": (0, "1: with Neutron's rules and haproxy in the first router"),
    "socket": ("", "the agent's socket that haproxy asks; default: metatapd's own"),
}


def build(plan):
    count = plan.options["routers"]
    plan.devices = [f"{plan.id}-none"]  # no guest is behind a tap of this host
    plan.config["dataplane"] = {"slots": str(max(4096, 8 * count))}
    socket = plan.options["socket"] or str(plan.state / "run/metadata_proxy")
    for n in range(count):
        id, space = neutron.router(plan, f"r{n}")
        net = neutron.network(plan, f"net{n}", "10.0.0.0/24", "fd00:10::/64", tenant=f"tenant{n}")
        device = neutron.interface(plan, id, space, net, cabled=True)
        neutron.guest(plan, f"g{n}", net, "10.0.0.10", "fd00:10::10", "fa:16:3e:00:00:10",
                      device_of=(space, device))
        if n > 0:
            continue
        # The first one has a second network, where a guest has the same MAC, and an outside.
        other = neutron.network(plan, "second", "10.1.0.0/24", "fd00:11::/64", tenant="tenant0")
        device = neutron.interface(plan, id, space, other)
        neutron.guest(plan, "second1", other, "10.1.0.10", "fd00:11::10", "fa:16:3e:00:00:10")
        neutron.guest(plan, "second2", other, "10.1.0.11", "fd00:11::11", "fa:16:3e:00:00:11")
        neutron.external(plan, space, "outside")
        if plan.options["haproxy"]:
            neutron.l3_proxy(plan, id, space, socket)

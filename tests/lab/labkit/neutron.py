# SPDX-License-Identifier: Apache-2.0
"""Building blocks of Neutron's classic layout: routers and DHCP servers as namespaces, with the
rules and the haproxy that its agents put there: for the tests what metatapd replaces, for the
benchmark what it is measured beside."""

from . import rows
from .plan import Guest, guest_commands, prefix

METADATA4, METADATA6 = "169.254.169.254", "fe80::a9fe:a9fe"
ROUTER_LLA = "fe80::1"


def network(plan, name, cidr4, cidr6, gateway=True, tenant=None):
    """A network that has no namespace of its own."""
    return plan.add_network(name, tenant or name, cidr4, cidr6, gateway=gateway)


def switch(plan, net):
    """A bridge for a network with more than one cable."""
    if not net.bridge:
        net.bridge = plan.bridge(f"{plan.id}b{len(plan.links)}", net.mtu)
    return net.bridge


def guest(plan, name, net, ip4, ip6, mac, *, device_of=None, metadata_via=None, **more):
    """A guest on the network's bridge, or on one cable with the device (`device_of` = (namespace,
    device)) that it needs to reach."""
    guest = plan.add_guest(Guest(name, net.name, ip4, ip6, mac, kind="veth", **more))
    guest.netns = plan.namespace(f"{plan.id}-{name}")
    guest.host_device = "tap" + guest.port_id[:11]
    if device_of:
        space, device = device_of
        plan.on_host(f"link add {device} mtu {net.mtu} netns {space} type veth"
                     f" peer name eth0 address {mac} mtu {net.mtu} netns {guest.netns}")
    else:
        plan.veth(guest.host_device, guest.netns, "eth0", bridge=switch(plan, net), mtu=net.mtu,
                  mac=mac)
    plan.ip(guest.netns, *guest_commands(guest, net))
    if net.gateway6 and not guest.link_route:
        # As radvd in a Neutron router advertises it.
        plan.ip(guest.netns, f"route add {METADATA6}/128 via {ROUTER_LLA} dev eth0")
    if metadata_via:
        plan.ip(guest.netns, f"route replace {METADATA4}/32 via {metadata_via} dev eth0")
    return guest


def router_namespace(layout, space, **sysctls):
    """As the L3 agent leaves it."""
    return layout.namespace(space, **{"net/ipv4/ip_forward": 1, "net/ipv6/conf/all/forwarding": 1,
                                      **sysctls})


def router(plan, name, **more):
    """A router, and the namespace that the L3 agent makes for it."""
    id = plan.uuid("router", name)
    plan.objects.setdefault("routers", []).append({"id": id, "name": name, **more})
    # Strict filtering, the hardest case.
    space = router_namespace(plan, f"qrouter-{id}", **{"net/ipv4/conf/all/rp_filter": 1,
                                                       "net/ipv4/conf/default/rp_filter": 1})
    return id, space


def interface(plan, router_id, space, net, *, cabled=False):
    """The router's port on a network. With `cabled` a guest's cable makes the device."""
    port = plan.port_uuid(f"interface-{router_id}-{net.name}")
    device = "qr-" + port[:11]
    if not cabled:
        plan.veth("qh-" + port[:11], space, device, bridge=switch(plan, net), mtu=net.mtu)
    plan.ip(space, f"link set {device} up", *addresses(net, device))
    plan.objects.setdefault("ports", []).append(
        rows.router_port(port, net, "fa:16:3e:ff:00:01", router_id))
    return device


def addresses(net, device):
    """The lines that give a router's device its addresses on a network."""
    lines = [f"addr add {net.gateway4}/{prefix(net.cidr4)} dev {device}"]
    if net.gateway6:
        lines += [f"addr add {net.gateway6}/{prefix(net.cidr6)} dev {device} nodad",
                  f"addr add {ROUTER_LLA}/64 dev {device} nodad"]
    return lines


def external(plan, space, name):
    """The router's external side: a host out there, which has a route to the metadata address."""
    outside = plan.namespace(f"{plan.id}-{name}")
    device = "qg-" + plan.port_uuid(f"external-{name}")[:11]
    plan.on_host(f"link add {device} netns {space} type veth peer name eth0 netns {outside}")
    plan.ip(space, f"link set {device} up", f"addr add 203.0.113.10/24 dev {device}",
            f"addr add fe80::10/64 dev {device} nodad")
    plan.ip(outside, "link set eth0 up", "addr add 203.0.113.1/24 dev eth0",
            f"route add {METADATA4}/32 via 203.0.113.10 dev eth0",
            "route add 240.254.98.254/32 via 203.0.113.10 dev eth0",
            f"route add {METADATA6}/128 via fe80::10 dev eth0")
    return outside, device


# The L3 agent's rules for metadata, with the address scope marks that every router has.
RULES = """*mangle
-N neutron-l3-agent-PREROUTING
-N neutron-l3-agent-scope
-A PREROUTING -j neutron-l3-agent-PREROUTING
-A neutron-l3-agent-PREROUTING -j neutron-l3-agent-scope
-A neutron-l3-agent-PREROUTING -m connmark ! --mark 0x0/0xffff0000 -j CONNMARK --restore-mark --nfmask 0xffff0000 --ctmask 0xffff0000
-A neutron-l3-agent-PREROUTING -d {address} -i qr-+ -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x1/0xffff
-A neutron-l3-agent-scope -i qr-+ -j MARK --set-xmark 0x4000000/0xffff0000
COMMIT
*nat
-N neutron-l3-agent-PREROUTING
-A PREROUTING -j neutron-l3-agent-PREROUTING
-A neutron-l3-agent-PREROUTING -d {address} -i qr-+ -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 9697
COMMIT
*filter
-N neutron-l3-agent-INPUT
-N neutron-l3-agent-FORWARD
-N neutron-l3-agent-scope
-A INPUT -j neutron-l3-agent-INPUT
-A FORWARD -j neutron-l3-agent-FORWARD
-A neutron-l3-agent-INPUT -m mark --mark 0x1/0xffff -j ACCEPT
-A neutron-l3-agent-INPUT -p tcp -m tcp --dport 9697 -j DROP
-A neutron-l3-agent-FORWARD -j neutron-l3-agent-scope
-A neutron-l3-agent-scope -m mark --mark 0x1/0xffff -j DROP
COMMIT
"""

# After the agents' templates; bind, headers and what stands in braces is theirs to fill in.
HAPROXY = """global
    log         /dev/log local0 info
    log-tag     haproxy-metadata-proxy-{id}
    user        {user}
    group       {group}
    maxconn     1024
    nbthread    2
    pidfile     {pidfile}
    daemon

defaults
    log global
    mode http
    option httplog
    option dontlognull
    option http-server-close
    option forwardfor
    retries                 3
    timeout http-request    30s
    timeout connect         30s
    timeout client          32s
    timeout server          32s
    timeout http-keep-alive 30s

listen listener
{listener}
"""
# What a proxy tells the agent about its guests, and what it does not let them say.
IDENTITIES = {
    "router": ("http-request del-header X-Neutron-Network-ID",
               "http-request set-header X-Neutron-Router-ID {id}"),
    "network": ("http-request del-header X-Neutron-Router-ID",
                "http-request set-header X-Neutron-Network-ID {id}"),
    "ovn": ("http-request add-header X-OVN-Network-ID {id}",),
}
ROUTER_BINDS = (":::9697",)


def haproxy_config(id, binds, kind, socket, pidfile, *, user="nobody", group="nogroup", more=()):
    """The configuration of one haproxy, of the L3, DHCP or OVN agent (`kind`: see IDENTITIES)."""
    lines = [*(f"bind {bind}" for bind in binds), f"server metadata {socket}", *more,
             *(line.format(id=id) for line in IDENTITIES[kind])]
    return HAPROXY.format(id=id, user=user, group=group, pidfile=pidfile,
                          listener="\n".join("    " + line for line in lines))


def metadata_rules(layout, space):
    """Neutron's rules in a router's namespace."""
    for program, address in (("iptables-restore", METADATA4 + "/32"),
                             ("ip6tables-restore", METADATA6 + "/128")):
        layout.setup(space, [program], RULES.format(address=address))


def l3_proxy(plan, router_id, space, socket):
    """Neutron's rules and its haproxy, in router mode."""
    metadata_rules(plan, space)
    haproxy(plan, router_id, space, socket, ROUTER_BINDS, "router")


def dhcp_proxy(plan, network_id, space, device, socket):
    """Neutron's haproxy in network mode; its addresses are on the DHCP port."""
    plan.ip(space, f"addr add {METADATA4}/32 dev {device}",
            f"addr add {METADATA6}/128 dev {device} nodad")
    haproxy(plan, network_id, space, socket,
            (f"{METADATA4}:80", f"[{METADATA6}]:80 interface {device}"), "network")


def haproxy(plan, id, space, socket, binds, kind):
    config = plan.state / f"haproxy-{id}.conf"
    plan.files[config.name] = haproxy_config(
        id, binds, kind, socket, plan.state / f"{id}.pid.haproxy", user="root", group="root",
        more=["http-response set-header X-Answered-By haproxy"])
    # -db: it stays in the foreground, as a process of the lab.
    plan.processes.append([f"haproxy-{id[:8]}", space, ["haproxy", "-db", "-f", str(config)]])


def dhcp_server(plan, net, *, dnsmasq=True, metadata_route=True):
    """A DHCP namespace as the DHCP agent leaves it: dnsmasq with option 121."""
    space = plan.namespace(f"qdhcp-{net.id}")
    port = plan.port_uuid(f"dhcp-{net.name}")
    device = "tap" + port[:11]
    base = net.cidr4.rsplit(".", 1)[0]
    address = base + ".2"
    plan.veth("dh-" + port[:11], space, device, bridge=switch(plan, net), mtu=net.mtu)
    plan.ip(space, f"link set {device} up",
            f"addr add {address}/{prefix(net.cidr4)} dev {device}")
    plan.objects.setdefault("ports", []).append(
        rows.port(port, net, "fa:16:3e:ff:00:02", f"dhcp-{net.id}", "network:dhcp", address))
    if dnsmasq:
        routes = f"{METADATA4}/32,{address}," if metadata_route else ""
        default = f"0.0.0.0/0,{net.gateway4}" if net.gateway else ""
        state = plan.state
        hosts = "".join(f"{guest.mac},{guest.ip4}\n" for guest in plan.guests.values()
                        if guest.network == net.name)
        plan.files[f"dhcp-{net.name}.hosts"] = hosts
        option = (routes + default).rstrip(",")
        plan.processes.append([f"dnsmasq-{net.name}", space, [
            "dnsmasq", "--keep-in-foreground", "--no-hosts", "--no-resolv", "--port=0",
            "--bind-interfaces", f"--interface={device}", "--conf-file=/dev/null",
            f"--dhcp-hostsfile={state}/dhcp-{net.name}.hosts",
            f"--dhcp-leasefile={state}/dhcp-{net.name}.leases",
            f"--pid-file={state}/dhcp-{net.name}.dnsmasq",
            f"--dhcp-range={base}.0,static,255.255.255.0,3600s",
            f"--dhcp-option-force=121,{option}", "--dhcp-authoritative"]])
    return space, device, address

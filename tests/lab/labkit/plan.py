# SPDX-License-Identifier: Apache-2.0
"""What a topology asks for: tenants' networks and guests, by name."""

import base64
import dataclasses
import hashlib
import ipaddress
import pathlib
import uuid

from . import rows
from .layout import Layout

STATE = pathlib.Path("/run/metatap-lab")
# So that an address is usable at once, and nobody learns another by itself.
AT_ONCE = {"net/ipv6/conf/all/accept_dad": 0, "net/ipv6/conf/default/accept_dad": 0,
           "net/ipv6/conf/default/accept_ra": 0, "net/ipv4/ip_forward": 0}


@dataclasses.dataclass
class Network:
    name: str
    tenant: str
    cidr4: str
    cidr6: str = ""  # none: without IPv6
    mtu: int = 1500
    gateway: bool = True
    id: str = ""
    project_id: str = ""
    bridge: str = ""
    subnet4: str = ""
    subnet6: str = ""

    @property
    def gateway4(self):
        return first_host(self.cidr4) if self.gateway else None

    @property
    def gateway6(self):
        return first_host(self.cidr6) if self.gateway and self.cidr6 else None


@dataclasses.dataclass
class Guest:
    name: str
    network: str
    ip4: str
    ip6: str
    mac: str
    kind: str = "tap"  # tap: a true TAP; veth: a veth pair; vlan: a tag on `parent`'s tap
    device: str = "eth0"  # its name inside the guest
    netns: str = ""
    port_id: str = ""
    host_device: str = ""
    queues: int = 1
    parent: str = ""
    vlan: int = 0
    link_route: bool = False  # 169.254.0.0/16 on the link, no gateway at all
    instance_id: str = ""
    instance: dict = dataclasses.field(default_factory=dict)  # overrides; None: unknown to the API
    port: dict = dataclasses.field(default_factory=dict)  # further keys of the port

    @property
    def behind(self):
        """What it is attached by, for a person to read."""
        words = {"tap": "true TAP", "veth": "veth", "vlan": f"VLAN {self.vlan} of {self.parent}"}[self.kind]
        words += f", {self.queues} queues" if self.queues > 1 else ""
        return words + (", no gateway" if self.link_route else "")


@dataclasses.dataclass
class Plan(Layout):
    """A layout, and what runs in it and is told to metatapd."""

    id: str
    topology: str
    options: dict
    networks: dict = dataclasses.field(default_factory=dict)
    guests: dict = dataclasses.field(default_factory=dict)
    wires: list = dataclasses.field(default_factory=list)  # [host device, namespace, device, options]
    files: dict = dataclasses.field(default_factory=dict)  # name in the state directory -> text
    processes: list = dataclasses.field(default_factory=list)  # [name, namespace, argv]
    devices: list = dataclasses.field(default_factory=list)  # patterns metatapd shall steer
    objects: dict = dataclasses.field(default_factory=dict)  # inventory rows of the topology's own
    config: dict = dataclasses.field(default_factory=dict)  # section -> {option: value}
    ports_named: int = 0

    # ---- names

    @property
    def state(self):
        """The folder of the lab."""
        return STATE / self.id

    @property
    def tag(self):
        """Six hex digits that all port ids of this lab begin with, so its taps share a pattern."""
        return hashlib.sha256(self.id.encode()).hexdigest()[:6]

    def uuid(self, kind, name):
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"metatap-lab/{self.id}/{kind}/{name}"))

    def port_uuid(self, name):
        """Unique in its first 11 characters, which is all that Neutron's device names keep."""
        number, self.ports_named = self.ports_named, self.ports_named + 1
        rest = self.uuid("port", name)
        return f"{self.tag}{number >> 8:02x}-{number & 255:02x}{rest[11:]}"

    # ---- building blocks

    def namespace(self, name, **sysctls):
        return super().namespace(name, **{**AT_ONCE, **sysctls})

    def add_network(self, name, tenant, cidr4, cidr6="", **more):
        """A tenant's network, so far without bridge and gateway."""
        mtu = int(self.options.get("mtu") or 1500)
        net = Network(name, tenant, cidr4, cidr6, **{"mtu": mtu, **more})
        net.id = self.uuid("network", name)
        net.project_id = self.uuid("project", tenant).replace("-", "")
        net.subnet4 = self.uuid("subnet4", name)
        net.subnet6 = self.uuid("subnet6", name)
        self.networks[name] = net
        return net

    def add_guest(self, guest):
        """Gives it its ids."""
        guest.port_id = self.port_uuid(guest.name)
        guest.instance_id = guest.instance_id or self.uuid("instance", guest.name)
        self.guests[guest.name] = guest
        return guest

    def network(self, name, tenant, cidr4, cidr6, **more):
        """A network with a bridge without addresses, and a gateway in a namespace."""
        net = self.add_network(name, tenant, cidr4, cidr6, **more)
        net.bridge = self.bridge(f"{self.id}-{name}"[:15], net.mtu)
        if net.gateway:
            space = self.namespace(f"{self.id}-gw-{name}")
            self.veth(f"{self.id}g{len(self.networks)}", space, "eth0", bridge=net.bridge,
                      mtu=net.mtu)
            self.ip(space, "link set eth0 up",
                    f"addr add {net.gateway4}/{prefix(cidr4)} dev eth0",
                    f"addr add {net.gateway6}/{prefix(cidr6)} dev eth0 nodad")
        return net

    def guest(self, name, network, ip4, ip6, mac, **more):
        net = self.networks[network]
        guest = self.add_guest(Guest(name, network, ip4, ip6, mac, **more))
        if guest.kind == "vlan":
            parent = self.guests[guest.parent]
            guest.netns, guest.host_device = parent.netns, parent.host_device
            guest.device = f"{parent.device}.{guest.vlan}"
            # The tag is made by the wire: not every kernel has VLAN devices.
            wire = next(wire for wire in self.wires if wire[0] == guest.host_device)
            wire[4].setdefault("tags", []).append([guest.vlan, guest.device, mac])
        else:
            guest.netns = self.namespace(f"{self.id}-{name}")
            guest.host_device = "tap" + guest.port_id[:11]
            if guest.kind == "tap":
                self.wires.append([guest.host_device, guest.netns, guest.device,
                                   {"mac": mac, "queues": guest.queues},
                                   {"bridge": net.bridge, "mtu": net.mtu}])
            else:
                self.veth(guest.host_device, guest.netns, guest.device, bridge=net.bridge,
                          mtu=net.mtu, mac=mac)
        self.ip(guest.netns, *guest_commands(guest, net))
        return guest

    # ---- what metatapd is told

    def inventory(self):
        document = {"format": rows.FORMAT, "networks": [], "subnets": [], "routers": [], "ports": [],
                    "instances": []}
        for net in self.networks.values():
            document["networks"].append(rows.network(net))
            for subnet in rows.subnets(net):
                if subnet["ip_version"] == 4:
                    subnet["dns_nameservers"] = ["192.0.2.53"]
                document["subnets"].append(subnet)
        instances = {}
        for guest in self.guests.values():
            net = self.networks[guest.network]
            port = rows.guest_port(guest, net)
            if guest.kind == "vlan":
                port["device"] = guest.host_device
                port["vlan"] = guest.vlan
            document["ports"].append({**port, **guest.port})
            if guest.instance is not None:
                instances.setdefault(guest.instance_id, self.instance(guest, net))
        document["instances"] = list(instances.values())
        for kind, objects in self.objects.items():
            document[kind].extend(objects)
        return document

    def instance(self, guest, net):
        user_data = ("#cloud-config\n"
                     f"hostname: {guest.name}\n"
                     f"write_files:\n- {{path: /etc/tenant, content: {net.tenant}}}\n")
        key = f"ssh-ed25519 {base64.b64encode(guest.name.encode() * 4).decode()} {guest.name}@{net.tenant}\n"
        return {"uuid": guest.instance_id, "project_id": net.project_id,
                "user_id": self.uuid("user", net.tenant).replace("-", ""),
                "display_name": guest.name, "hostname": guest.name,
                "availability_zone": "nova", "flavor": {"name": "m1.small"},
                "root_device_name": "/dev/vda",
                "image_ref": self.uuid("image", "debian-12"),
                "key_name": f"{net.tenant}-key", "key_data": key,
                "keypairs": [{"name": f"{net.tenant}-key", "type": "ssh", "public_key": key}],
                "metadata": {"tenant": net.tenant, "role": guest.name},
                "user_data": base64.b64encode(user_data.encode()).decode(),
                "security_groups": ["default", net.tenant], **guest.instance}

    def metatapd_config(self, state):
        """Private paths and names, so that the daemons of several labs do not meet."""
        sections = {
            "DEFAULT": {"state_path": f"{state}/state", "run_path": f"{state}/run",
                        "metadata_proxy_socket": f"{state}/run/metadata_proxy",
                        "metadata_proxy_shared_secret": f"secret-of-{self.id}",
                        "nova_metadata_host": "127.0.0.1",
                        "nova_metadata_port": str(self.api_port()),
                        "metadata_listen": "127.0.0.1",
                        "metadata_listen_port": str(self.api_port())},
            "inventory": {"file": f"{state}/inventory.json"},
            "api": {"dhcp_domain": "novalocal"},
            "dataplane": {"namespace": f"{self.id}-metatap", "pin_path": f"/sys/fs/bpf/{self.id}",
                          "devices": ",".join(self.devices or [f"tap{self.tag}*"]),
                          "slots": "256"},
        }
        for section, options in self.config.items():
            sections.setdefault(section, {}).update(options)
        return f"# metatapd for the lab {self.id}\n" + config_text(sections)

    def api_port(self):
        return 20000 + int(self.tag, 16) % 10000


def config_text(sections):
    """A configuration file of metatapd, from {section: {option: value}}."""
    return "\n".join(
        f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in options.items())
        for section, options in sections.items())


def prefix(cidr):
    return cidr.split("/")[1]


def first_host(cidr):
    return str(next(ipaddress.ip_network(cidr).hosts()))


def guest_commands(guest, net):
    """What a guest's own network configuration would do."""
    device = guest.device
    lines = [f"link set {device} mtu {net.mtu} up",
             f"addr add {guest.ip4}/{prefix(net.cidr4)} dev {device}"]
    if net.cidr6:
        lines.append(f"addr add {guest.ip6}/{prefix(net.cidr6)} dev {device} nodad")
    if guest.link_route:
        lines.append(f"route add 169.254.0.0/16 dev {device}")
    elif net.gateway and guest.kind != "vlan":
        lines += [f"route add default via {gateway} dev {device}"
                  for gateway in (net.gateway4, net.gateway6) if gateway]
    elif guest.kind == "vlan":
        # The parent's default route stays; what is bound to the tag's address leaves by the tag.
        table = 1000 + guest.vlan
        lines += [f"rule add from {guest.ip4} table {table}",
                  f"route add 169.254.0.0/16 dev {device} table {table}"]
    return lines

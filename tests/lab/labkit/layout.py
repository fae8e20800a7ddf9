# SPDX-License-Identifier: Apache-2.0
"""Namespaces with their devices and settings, first written down and then made."""

import dataclasses

from .host import inside, ip_batch, run, together, write_sysctls


@dataclasses.dataclass(kw_only=True)
class Layout:
    """Lines that make namespaces and what is in them. Those of one namespace are carried out in
    order, those of different namespaces at the same time."""

    host: str = ""  # the namespace where the hosts' devices are; "": the one we are in
    namespaces: list = dataclasses.field(default_factory=list)
    sysctls: dict = dataclasses.field(default_factory=dict)  # namespace -> {key: value}
    links: list = dataclasses.field(default_factory=list)  # devices on the host
    host_commands: list = dataclasses.field(default_factory=list)  # lines of `ip -batch`
    commands: dict = dataclasses.field(default_factory=dict)  # namespace -> lines of `ip -batch`
    setups: dict = dataclasses.field(default_factory=dict)  # namespace -> [[argv, stdin]]

    # ---- writing down

    def namespace(self, name, **sysctls):
        self.namespaces.append(name)
        self.commands[name] = ["link set lo up"]
        self.sysctls[name] = sysctls
        return name

    def ip(self, namespace, *lines):
        self.commands.setdefault(namespace, []).extend(lines)

    def on_host(self, *lines):
        self.host_commands.extend(lines)

    def setup(self, namespace, argv, stdin=None):
        """A command that is run once, when the namespace is configured."""
        self.setups.setdefault(namespace, []).append([argv, stdin])

    def bridge(self, name, mtu=1500):
        self.links.append(name)
        self.on_host(f"link add {name} type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
                     f"link set {name} addrgenmode none",
                     f"link set {name} mtu {mtu} up")
        return name

    def veth(self, host, namespace, device, *, bridge="", mtu=1500, mac=""):
        """A pair: `host` on the host (in `bridge`), `device` in `namespace`. IPv6 is off on the
        host's end, as Neutron's agents set it."""
        address = f" address {mac}" if mac else ""
        master = f" master {bridge}" if bridge else ""
        self.links.append(host)
        self.on_host(f"link add {host} mtu {mtu} type veth"
                     f" peer name {device}{address} mtu {mtu} netns {namespace}",
                     f"link set {host} addrgenmode none",
                     f"link set {host}{master} up")

    # ---- making

    def make(self):
        self.make_devices()
        self.configure()

    def make_devices(self):
        ip_batch([f"netns add {name}" for name in self.namespaces])
        together(lambda item: write_sysctls(*item), [item for item in self.sysctls.items() if item[1]])
        ip_batch(self.host_commands, self.host)

    def configure(self):
        together(lambda item: ip_batch(item[1], item[0]), self.commands.items())

        def set_up(item):
            namespace, steps = item
            for argv, stdin in steps:
                run(*inside(namespace), *argv, stdin=stdin)
        together(set_up, self.setups.items())

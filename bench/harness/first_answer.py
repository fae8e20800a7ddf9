# SPDX-License-Identifier: Apache-2.0
"""How long a guest waits for its first answer, once its router's port or its own tap is up."""

import json
import statistics
import time

from labkit import BIN, ip_batch, run

from .measure import spread
from .systems import FusedRouter, FusedTap, Haproxy, RouterMode
from .workspace import progress
from .world import World


def _probe(context, guest, interval_us, timeout=20):
    """A guest that asks over and over; returns once it has begun."""
    popen = context.workspace.popen([f"{BIN}/loadgen", "first", "--guest", guest.netns, "--interval-us", str(interval_us),
                                     "--timeout", str(timeout)])
    popen.stdout.readline()
    return popen


def _answered(popen):
    out, _ = popen.communicate()
    return json.loads(out.splitlines()[-1])["at_ns"]


def _set_up(netns, device):
    """The device's flag is the last thing missing; the time is the one just before it is set."""
    return json.loads(run(f"{BIN}/loadgen", "up", "--guest", netns, "--device", device))["up_ns"]


def _times(values):
    good = [value for value in values if value is not None]
    return {"ms": values, "median_ms": statistics.median(good) if good else None,
            "ms_spread": spread(good), "unanswered": len(values) - len(good)}


def start(context):
    """From the moment the router's port goes up, with all else there, to the first answer a guest
    gets. For Neutron: its rules and haproxy, started right then, without the agent's own time."""
    rounds = context.options.rounds
    out = {"systems": {}}
    systems = {}
    for kind in (Haproxy, FusedRouter, RouterMode):
        if context.options.systems and kind.name not in context.options.systems:
            continue
        system = kind(context.workspace, context.backend, context.body_file)
        system.world = World(context.workspace, f"{system.name}s", rounds + 1, 1, True, False)
        try:
            system.world.up(routers=False)
            if kind is not Haproxy:
                system.serve()
                time.sleep(1)
            systems[system.name] = system
        except Exception as error:
            out["systems"][system.name] = {"error": str(error)}
            system.down()
    times = {name: [] for name in systems}
    for number in range(rounds + 1):
        for name, system in systems.items():
            progress(f"  port up to first answer, round {number}/{rounds}, {name}", end="")
            network = system.world.networks[number]
            time.sleep(0.2)  # every daemon here has looked at the namespace of the one before
            system.world.add_routers([network], up=False)
            # Ten thousand attempts a second would take 15 % off haproxy's speed on two cores, and a
            # millisecond is exact enough beside its hundred.
            popen = _probe(context, network.guests[0], 1000 if isinstance(system, Haproxy) else 100)
            begun = _set_up(network.router_netns, network.qr)
            if isinstance(system, Haproxy):
                system.world.add_rules(network)
                system.adopt(*system.spawn(network))
            at = _answered(popen)
            if number:
                times[name].append((at - begun) / 1e6 if at else None)
    for name, values in times.items():
        out["systems"][name] = _times(values)
        systems[name].down()
    progress("", end="")
    return out


def attach(context):
    """From the moment a tap goes up to the first answer: devices are moved in and put into their
    bridge before, as libvirt and OVS do."""
    rounds = context.options.rounds
    system = FusedTap(context.workspace, context.backend, context.body_file)
    system.world = world = World(context.workspace, "attach", 1, rounds + 1, False, False)
    park = world.name + "park"
    try:
        context.workspace.add_namespaces([park])
        world.up(taps=False)
        for guest in world.guests:
            ip_batch([f"link add {guest.host_device} type veth peer name eth0 netns {guest.netns} address {guest.mac}"], park)
            layout = world.layout()
            world.configure(layout, guest)
            layout.make()
        system.serve()
        time.sleep(1)
        values = []
        for number, guest in enumerate(world.guests):
            progress(f"  tap up to first answer, round {number}/{rounds}", end="")
            ip_batch([f"link set {guest.host_device} netns {world.host}"], park)
            ip_batch([f"link set {guest.host_device} master {guest.net.bridge}"], world.host)
            popen = _probe(context, guest, 100)
            begun = _set_up(world.host, guest.host_device)
            at = _answered(popen)
            if number:
                values.append((at - begun) / 1e6 if at else None)
        progress("", end="")
        return _times(values)
    finally:
        system.down()
        context.workspace.drop_namespaces([park])

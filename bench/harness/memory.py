# SPDX-License-Identifier: Apache-2.0
"""What one router or tap more costs: the process's memory and the kernel's."""

import os
import statistics
import time

from labkit.process import pss_bytes

from .resources import kernel_bytes
from .systems import Haproxy, RouterMode, TapMode
from .workspace import progress
from .world import World

PAGE = os.sysconf("SC_PAGESIZE")


def _memory_of(system):
    return {"pss": pss_bytes(system.pids), "kernel": kernel_bytes(system.cgroup) or 0}


def _settled(system):
    """Memory once it keeps still: what is freed after a grace period is gone by then, and cgroup v2
    has counted what every processor still had in its pocket (it does so every two seconds)."""
    quiet = 2.4 if system.cgroup and os.path.exists(os.path.join(system.cgroup, "memory.current")) else 0.6
    last, since, end = _memory_of(system), time.monotonic(), time.monotonic() + 10
    while time.monotonic() < end and time.monotonic() - since < quiet:
        time.sleep(0.1)
        now = _memory_of(system)
        if any(abs(now[key] - last[key]) > 4 * PAGE for key in now):
            last, since = now, time.monotonic()
    return _memory_of(system)


def _growth(system, unit, add, batches, size):
    """`add(numbers)` brings so many more into being. The first batch is the warm-up: code that is
    read in, tables that grow once. The others are told apart to see how much they differ."""
    looks = []
    for number in range(batches + 1):
        progress(f"  memory, {system.name}: batch {number}/{batches} of {size}", end="")
        add(range(number * size, (number + 1) * size))
        looks.append(_settled(system))
    steps = {key: [(b[key] - a[key]) / size for a, b in zip(looks, looks[1:])] for key in ("pss", "kernel")}
    both = [p + k for p, k in zip(steps["pss"], steps["kernel"])]
    return {f"pss_per_{unit}": statistics.mean(steps["pss"]),
            f"kernel_per_{unit}": statistics.mean(steps["kernel"]) if system.cgroup else None,
            "least": min(both), "most": max(both), "batches": steps, "batch": size, "looks": looks}


def _memory_haproxy(context, system, batches, size):
    system.world = World(context.workspace, f"{system.name}f", (batches + 1) * size, 1, True, True)
    system.world.up()

    def add(numbers):
        networks = system.world.networks
        for launcher, pidfile in [system.spawn(networks[i]) for i in numbers]:
            system.adopt(launcher, pidfile)
        system.check(networks[numbers[-1]].guests)
    return _growth(system, "router", add, batches, size)


def _memory_router(context, system, batches, size):
    """Same process, same inventory: only the routers' namespaces appear."""
    system.world = world = World(context.workspace, f"{system.name}f", (batches + 1) * size, 1, True, False)
    world.up(routers=False, guests=[network.guests[0] for network in world.networks[size - 1::size]])
    system.serve()

    def add(numbers):
        world.add_routers([world.networks[i] for i in numbers])
        system.check(world.networks[numbers[-1]].guests)
    return _growth(system, "router", add, batches, size)


def _memory_tap(context, system, batches, size):
    """Same process, same inventory: only the taps appear. Most have no guest at their other end."""
    system.world = world = World(context.workspace, "tapf", 1, (batches + 1) * size, False, False)
    world.up(guests=world.guests[size - 1::size], taps=False)
    nobody = world.name + "n"
    context.workspace.add_namespaces([nobody])
    system.serve()

    def add(numbers):
        *others, last = [world.guests[i] for i in numbers]
        layout = world.layout()
        for i, guest in zip(numbers, others):
            layout.veth(guest.host_device, nobody, f"p{i}", bridge=guest.net.bridge, mac=guest.mac)
        world.plug(layout, last)
        layout.make()
        system.check([last])
    try:
        return _growth(system, "tap", add, batches, size)
    finally:
        context.workspace.drop_namespaces([nobody])


def memory(context):
    """What one more costs, process and kernel, after a first batch has warmed everything up."""
    quick = context.options.quick
    out = {"systems": {}}
    for kind, grow, batches, size in ((Haproxy, _memory_haproxy, 2 if quick else 4, 10),
                                      (RouterMode, _memory_router, 4 if quick else 8, 50 if quick else 100),
                                      (TapMode, _memory_tap, 4 if quick else 8, 50 if quick else 100)):
        if context.options.systems and kind.name not in context.options.systems:
            continue
        system = kind(context.workspace, context.backend, context.body_file)
        try:
            system.cgroup = context.workspace.memory_cgroup(system.name)
            out["systems"][system.name] = grow(context, system, batches, size)
        except Exception as error:
            progress(f"  memory, {system.name}: {error}")
            out["systems"][system.name] = {"error": str(error)}
        finally:
            system.down()
    progress("", end="")
    return out

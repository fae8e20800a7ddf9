# SPDX-License-Identifier: Apache-2.0
"""What it costs to give the daemon one port more."""

import json
import statistics
import time

from labkit import BIN, run

from .loads import lower
from .measure import spread
from .resources import cpu_seconds
from .systems import FusedTap
from .workspace import progress
from .world import World


class Changes:
    """A daemon with so many ports, and the ways to give it one more."""

    WAYS = ("one", "apply")

    def __init__(self, context, count):
        self.context = context
        self.system = FusedTap(context.workspace, context.backend, context.body_file)
        self.system.by_command = True
        self.system.world = self.world = World(context.workspace, f"change{count}", 1, 2, False, False)
        self.next = count
        try:
            self.world.up()
            begun = time.monotonic()
            self.system.serve(extra_ports=count)
            self.system.check()
            self.ready = time.monotonic() - begun
        except BaseException:
            self.system.down()
            raise
        self.document = self.world.inventory(count)
        self.walls = {way: [] for way in self.WAYS}
        self.cpus = {way: [] for way in self.WAYS}
        self.meanwhile = {}

    def command(self, way):
        """The command that adds the next port; its document is written before the clock runs."""
        port, instance = self.world.extra_port(self.next), self.world.extra_instance(self.next)
        self.next += 1
        self.document["ports"].append(port)
        self.document["instances"].append(instance)
        what = self.document if way == "apply" else \
            {"format": "metatap-inventory/1", "ports": [port], "instances": [instance]}
        verb = ["apply"] if way == "apply" else ["instance", "add"]
        return [f"{BIN}/metatap", "--socket", self.system.admin_socket, *verb,
                self.context.workspace.write(f"{self.world.name}-{way}{self.next if way == 'one' else ''}.json",
                                             json.dumps(what))]

    def once(self, way):
        command = self.command(way)
        before = cpu_seconds(self.system.pids)
        begun = time.monotonic()
        run(*command)
        self.walls[way].append((time.monotonic() - begun) * 1e3)
        time.sleep(0.05)  # what the daemon does after its answer is its cost as well
        self.cpus[way].append((cpu_seconds(self.system.pids) - before) * 1e3)

    def with_load(self, way, times):
        """Connections that are open must live on, and their requests be answered."""
        commands = [self.command("one") for _ in range(times)] if way == "one" else None
        seconds = 0.3 + times * (statistics.median(self.walls[way]) / 1e3 + 0.1) * 2
        load = self.context.workspace.popen(
            [f"{BIN}/loadgen", "load", "--guest", self.world.guests[0].netns, "--clients", "4", "--keep-alive",
             "--seconds", f"{seconds:.2f}", "--timeout", "5"])
        time.sleep(0.15)
        done = 0
        while done < times and load.poll() is None:
            run(*(commands[done] if commands else self.command(way)))
            done += 1
            time.sleep(0.05)
        answers = json.loads(load.communicate()[0])
        self.meanwhile[way] = {"changes": done, "failed": answers["failed"], "answered": answers["requests"],
                               "p99_us": answers["latency_us"]["p99"]}

    def result(self):
        out = {"first_answer_seconds": self.ready}
        for way in self.WAYS:
            out[way] = {"ms": statistics.median(self.walls[way]), "ms_spread": spread(self.walls[way]),
                        "all_ms": self.walls[way], "cpu_ms": statistics.median(self.cpus[way]),
                        "meanwhile": self.meanwhile.get(way)}
        return out


def _metatap_alone():
    begun = time.monotonic()
    run(f"{BIN}/metatap", "--help")
    return (time.monotonic() - begun) * 1e3


def change(context):
    """One port more with 10, 1 000 and 4 000 ports there: as one object, and by the whole document.
    What the command takes, what it takes to start the command at all, what it costs the daemon, and
    whether connections that are open live on."""
    rounds = context.options.rounds
    out = {"ports": {}, "command_ms": None}
    sizes = {}
    try:
        for count in (10, 1000, 4000):
            progress(f"  a change at {count} ports: raising", end="")
            try:
                sizes[count] = Changes(context, count)
            except Exception as error:
                progress(f"  {count} ports: {error}")
                out["ports"][str(count)] = {"error": str(error)}
        alone = []
        for number in range(-1, rounds):
            progress(f"  a change at {', '.join(map(str, sizes))} ports, round {number + 1}/{rounds}", end="")
            alone.append(_metatap_alone())
            for one in sizes.values():
                for way in one.WAYS:
                    one.once(way)
            if number < 0:
                for values in [alone] + [v for one in sizes.values() for v in (*one.walls.values(), *one.cpus.values())]:
                    values.clear()
        out["command_ms"] = statistics.median(alone)
        for count, one in sizes.items():
            progress(f"  a change at {count} ports, under load", end="")
            for way in one.WAYS:
                one.with_load(way, 5)
            out["ports"][str(count)] = one.result()
    finally:
        lower({count: one.system for count, one in sizes.items()})
    progress("", end="")
    return out

# SPDX-License-Identifier: Apache-2.0
"""The whole path: guest, haproxy, neutron-metadata-agent, nova-api-metadata, all of the
distribution's packages, beside metatap with all its stages."""

import json
import os
import subprocess
import time

from labkit import BIN, inside

from .loads import GENERATOR_THREADS, PATH, lower
from .measure import interleave, loadgen, medians, paired_ratio, sample, wrk
from .openstack import MEMCACHED, NOVA_FILES, ControlPlane, missing, versions
from .systems import BY_NAME, SECRET, FusedRouter, FusedTap, Haproxy
from .workspace import Unavailable, progress
from .world import World

GUESTS = 20
COLD_ROUNDS = 5
FETCH = """import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with opener.open("http://169.254.169.254" + sys.argv[1], timeout=60) as answer:
    sys.stdout.write(answer.read().decode())
"""


def check_answers(system):
    """Every guest gets its own document, or there is nothing to measure."""
    for guest in system.world.guests:
        done = subprocess.run(inside(guest.netns) + ["/usr/bin/python3", "-c", FETCH, PATH], capture_output=True,
                              text=True)
        try:
            if json.loads(done.stdout)["uuid"] == guest.instance_id:
                continue
        except (ValueError, KeyError):
            pass
        raise Unavailable(f"guest {guest.netns} got: {done.stdout[:200]} {done.stderr.strip()[-200:]} "
                          f"{system.last_words()}")


class Chain(Haproxy):
    """haproxy and rules as Neutron's L3 agent makes them; the agent and Nova's API as installed."""

    name, label = "chain", "haproxy → agent → nova, as installed"
    nova_port = 8775
    nova_more = agent_more = ""
    control = None  # given before `up`

    class Socket:
        """Where haproxy sends to: the agent's socket instead of the benchmark's backend."""

        def __init__(self, path):
            self.socket = path

    def up(self, tag, networks=1, guests=1):
        self.tag = tag
        self.backend = self.Socket(self.workspace.path("control", f"{self.name}.sock"))
        self.world = World(self.workspace, f"{self.name}{tag}", networks, guests, self.qrouter, self.rules)
        self.control.register(self.world)
        self.world.up()
        self.serve()
        check_answers(self)
        return self

    def serve(self):
        self.start_stages()
        super().serve()

    def start_stages(self):
        control = self.control
        nova = control.nova_configuration(f"{self.name}-nova.conf", self.nova_more)
        self.nova_name, self.agent_name = f"{self.name}-nova-api-metadata", f"{self.name}-neutron-metadata-agent"
        self.nova, workers = control.uwsgi(
            self.nova_name, self.nova_port, "/etc/nova/nova-api-metadata-uwsgi.ini", (),
            {"OS_NOVA_CONFIG_FILES": ";".join(["/etc/nova/api-paste.ini", *NOVA_FILES, nova])})
        agent = self.workspace.write(f"control/{self.name}-metadata_agent.ini", f"""[DEFAULT]
metadata_proxy_socket = {self.backend.socket}
metadata_proxy_socket_mode = all
metadata_proxy_shared_secret = {SECRET}
nova_metadata_host = 127.0.0.1
nova_metadata_port = {self.nova_port}
{self.agent_more}""")
        if os.path.exists(self.backend.socket):
            os.unlink(self.backend.socket)
        self.agent = control.start(self.agent_name, ["neutron-metadata-agent", *control.options(control.neutron_files),
                                                     f"--config-file={agent}"])
        self.stages = [self.agent, self.nova]
        self.processes += self.stages
        control.until(self.nova_name, self.nova, lambda: control.workers_ready(self.nova_name) >= workers)
        control.until(self.agent_name, self.agent, lambda: os.path.exists(self.backend.socket))
        time.sleep(1)  # the agent listens before its workers do

    def restart(self):
        """Everything that could remember a guest begins anew; haproxy remembers nothing."""
        self.workspace.stop(*self.stages)
        self.processes = [process for process in self.processes if process not in self.stages]
        self.control.start_memcached()
        self.start_stages()

    def prime(self):
        """As installed, whatever is remembered from the round before."""

    def last_words(self):
        return " | ".join(self.control.words(name, 300) for name in (self.agent_name, self.nova_name))


class CachedChain(Chain):
    """Neutron's [cache] on, as its administrator's guide tells, and Nova's metadata cache shared by
    its workers instead of one for each."""

    name, label = "cachedchain", "haproxy → agent → nova, caches on"
    nova_port = 8776
    nova_more = f"""[cache]
enabled = true
backend = dogpile.cache.memcached
memcache_servers = 127.0.0.1:{MEMCACHED}
"""
    agent_more = f"""[cache]
enabled = true
backend = dogpile.cache.memcached
memcache_servers = 127.0.0.1:{MEMCACHED}
expiration_time = 10
"""

    def prime(self):
        """Caches full at the start of each round: others' turns are longer than entries live."""
        subprocess.run([f"{BIN}/loadgen", "storm", "--once", "--timeout", "10", "--path", PATH, "--guests-file",
                        self.world.guests_file()], capture_output=True)


class Restarted:
    """Ours from cold: the daemon begins anew and is ready to serve, no guest has asked yet."""

    def prime(self):
        """Nothing to fill: answers are rendered before anybody asks."""

    def restart(self):
        self.workspace.stop(*self.processes)
        self.processes = []
        if os.path.exists(self.log):
            os.unlink(self.log)
        self.serve()
        end = time.monotonic() + 20
        while "ready after" not in self.last_words():
            if time.monotonic() > end:
                raise RuntimeError(f"metatapd was not ready: {self.last_words()}")
            time.sleep(0.02)


class WholeTap(Restarted, FusedTap):
    pass


class WholeRouter(Restarted, FusedRouter):
    pass


SYSTEMS = (Chain, CachedChain, WholeTap, WholeRouter)
BY_NAME.update({kind.name: kind for kind in (Chain, CachedChain)})


def raise_all(context, control):
    up = {}
    for kind in SYSTEMS:
        system = kind(context.workspace, context.backend, context.body_file)
        system.control = control
        progress(f"  raising {kind.name}: {GUESTS} guests", end="")
        try:
            up[kind.name] = system.up("w", 1, GUESTS)
            check_answers(system)
        except Exception as error:
            progress(f"  {kind.name} is not available: {error}")
            context.report["unavailable"][f"{kind.name}/w"] = str(error)
            system.down()
    return up


def summarise(results, failures, base):
    """As elsewhere, with the chain in the place of Neutron's proxy; `base` is the one that the
    ratios of this load are against."""
    out = {"systems": {}, "failed": failures, "against": base}
    for name, samples in results.items():
        if not samples:
            continue
        one = out["systems"][name] = {**medians(samples), "rounds": samples}
        for key, other in (("vs_theirs", base), ("vs_chain", "chain"), ("vs_cachedchain", "cachedchain")):
            if name != other and results.get(other):
                one[key] = {
                    figure: paired_ratio(samples, results[other], figure)
                    for figure in ("rps", "cpu_proxy_us", "cpu_host_us", "last_seconds") if figure in samples[0]}
    return out


def loads(context, control, systems):
    options = context.options
    kinds = [("one", "one guest, one request after another", "chain", 1, False),
             ("one-keep", "one guest, one request after another, keep-alive", "chain", 1, True),
             ("busy", "one guest, 16 clients", "cachedchain", 16, False),
             ("busy-keep", "one guest, 16 clients, keep-alive", "cachedchain", 16, True),
             ("many", "20 guests, 20 clients", "cachedchain", 20, False),
             ("many-keep", "20 guests, 20 clients, keep-alive", "cachedchain", 20, True)]
    if options.quick:
        kinds = [kind for kind in kinds if kind[3] == 1 or not kind[4]]
    out = {}
    for key, title, base, clients, keep_alive in kinds:
        # The chain as installed needs a second or more for an answer under load: cut-off ones do not count.
        seconds = max(options.seconds, 2.0 if clients == 1 else 4.0)
        runners = {}
        for name, system in systems.items():
            def runner(seconds, system=system):
                system.prime()
                if key.startswith("many"):
                    how = loadgen("load", system.world.guests_file(), GENERATOR_THREADS, clients, seconds, keep_alive, PATH)
                else:
                    how = wrk(system.world.guests[0].netns, clients, seconds, keep_alive, PATH,
                              threads=GENERATOR_THREADS if clients > 1 else 1)
                return sample(system, control.pids, **how)
            runners[name] = runner
        results, failures = interleave(f"whole path, {title}", runners, options.rounds, seconds)
        out[key] = {"title": f"whole path, {title}", "clients": clients, "keep_alive": keep_alive,
                    **summarise(results, failures, base)}
    return out


def cold_start(context, control, systems):
    """All guests' first requests at once, after everything that serves them was restarted."""
    runners = {}
    for name, system in systems.items():
        # A guest that is not served within half a minute counts as failed, and as half a minute.
        how = loadgen("storm", system.world.guests_file(), GENERATOR_THREADS, path=PATH, extra=["--once", "--timeout", "30"])

        def runner(_, system=system, how=how):
            system.restart()
            return sample(system, control.pids, **how)
        runners[name] = runner
    title = f"whole path, {GUESTS} guests' first requests at once, everything cold"
    results, failures = interleave(title, runners, min(COLD_ROUNDS, context.options.rounds))
    return {"title": title, "guests": GUESTS, **summarise(results, failures, "chain")}


def targets(out):
    """The design's rows, from what was measured."""
    rows = []
    for key, base, reach, work in (("one", "chain", 500, "one guest, as installed"),
                                   ("busy", "cachedchain", 20, "one guest, caches on"),
                                   ("many", "cachedchain", 10, "20 guests, caches on")):
        systems = out.get(key, {}).get("systems", {})
        for name in ("fused", "fusedrouter"):
            value = systems.get(name, {}).get(f"vs_{base}", {}).get("rps")
            if value:
                rows.append({"work": work, "system": name, "against": base, "reach": reach, "ratio": value,
                             "theirs_rps": systems[base]["rps"], "rps": systems[name]["rps"],
                             "theirs_p50_us": systems[base]["latency_us"]["p50"],
                             "p50_us": systems[name]["latency_us"]["p50"]})
    cold = out.get("cold", {}).get("systems", {})
    for name in ("fused", "fusedrouter"):
        if name in cold:
            rows.append({"work": f"{GUESTS} guests' first requests, everything cold", "system": name, "reach_ms": 20,
                         "ms": cold[name]["last_seconds"] * 1e3,
                         "theirs_ms": {other: cold[other]["last_seconds"] * 1e3 for other in ("chain", "cachedchain")
                                       if other in cold}})
    return rows


def say(rows):
    print("\nwhole path against the real haproxy → neutron-metadata-agent → nova-api-metadata")
    for row in rows:
        if "ratio" in row:
            print(f"  {row['work']}: {row['system']} {row['rps']:.0f}/s (p50 {row['p50_us'] / 1e3:.2f} ms), theirs "
                  f"{row['theirs_rps']:.0f}/s (p50 {row['theirs_p50_us'] / 1e3:.1f} ms): {row['ratio']:.0f}x, to reach "
                  f"{row['reach']}x")
        else:
            theirs = ", ".join(f"{name} {ms:.0f} ms" for name, ms in row["theirs_ms"].items())
            print(f"  {row['work']}: {row['system']} {row['ms']:.1f} ms, {theirs}; to reach {row['reach_ms']} ms")


def whole_path(context):
    lacking = missing()
    if lacking:
        reason = f"skipped, {lacking[0]} is missing: scripts/install-deps.sh --for openstack installs the real chain"
        progress(f"  chain: {reason}")
        context.report["unavailable"]["chain"] = reason
        return {"skipped": reason}
    control = ControlPlane(context.workspace)
    systems = {}
    begun = time.time()
    try:
        control.up()
        control.start_memcached()
        systems = raise_all(context, control)
        raised = time.time() - begun
        if not any(isinstance(system, Chain) for system in systems.values()):
            raise Unavailable("; ".join(context.report["unavailable"].values()))
        out = loads(context, control, systems)
        out["cold"] = cold_start(context, control, systems)
    finally:
        lower(systems)
        control.down()
    rows = targets(out)
    say(rows)
    return {"loads": out, "targets": rows, "path": PATH, "versions": versions(), "raised_seconds": round(raised, 1),
            "generator": f"wrk, loadgen; {GENERATOR_THREADS} thread(s)"}

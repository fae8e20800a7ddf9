# SPDX-License-Identifier: Apache-2.0
"""Requests: one guest, twenty guests, many routers, the boot storm, the API stage alone."""

import hashlib
import hmac
import os
import statistics
import time

from labkit import BIN

from .workspace import Unavailable, progress
from .measure import generator, interleave, loadgen, medians, paired_ratio, requests, sample
from .systems import ALL, BY_NAME, OTHER, SECRET, THREADS, FusedTap, Haproxy
from .world import World

PATH = "/openstack/2018-08-27/meta_data.json"
QUICK = ["theirs", "tuned", "router", "tap", "fused", "limit"]
GENERATOR_THREADS = max(1, min(2, (os.cpu_count() or 1) // 2))


def chosen(context, names):
    """Those asked for; where there is another build, its system follows this one's."""
    for name in names:
        if not context.options.systems or name in context.options.systems:
            yield name
            if context.options.against and OTHER + name in BY_NAME:
                yield OTHER + name


def raise_systems(context, names, tag, networks, guests):
    """Those that can run here; why the others cannot is shown and recorded."""
    up = {}
    for name in chosen(context, names):
        system = BY_NAME[name](context.workspace, context.backend, context.body_file)
        progress(f"  raising {name}: {networks} network(s) of {guests} guest(s)", end="")
        begun = time.time()
        try:
            up[name] = system.up(tag, networks, guests)
            system.raised_seconds = time.time() - begun
        except Exception as error:
            progress(f"  {name} is not available: {error}")
            context.report["unavailable"][f"{name}/{tag}"] = str(error)
            system.down()
    progress("", end="")
    return up


def lower(systems):
    for system in systems.values():
        system.down()


def summarise(results, failures):
    """Medians per system and ratios against Neutron's set-up."""
    out = {"systems": {}, "failed": failures}
    for name, samples in results.items():
        if not samples:
            continue
        out["systems"][name] = {**medians(samples), "rounds": samples}
        for other in ("theirs", "tuned", "plain", "limit", OTHER + name):
            if name != other and results.get(other):
                out["systems"][name][f"vs_{other}"] = {
                    key: paired_ratio(samples, results[other], key)
                    for key in ("rps", "cpu_proxy_us", "cpu_host_us", "last_seconds") if key in samples[0]}
    return out


def one_guest(context):
    options = context.options
    systems = raise_systems(context, QUICK if options.quick else [one.name for one in ALL], "a", 1, 1)
    out = {}
    for clients in (16, 1, 256):
        for keep_alive in (False, True):
            # In the quick run the tuned haproxy is there at 16 clients only.
            names = [name for name in systems if not options.quick or clients == 16 or name != "tuned"]
            title = f"{'keep-alive' if keep_alive else 'new connection'}, {clients} client{'s' if clients > 1 else ''}"
            runners = {}
            for name in names:
                def run_one(seconds, system=systems[name], clients=clients, keep_alive=keep_alive):
                    how = requests(system.world.guests[0].netns, clients, seconds, keep_alive, PATH,
                                   GENERATOR_THREADS if clients >= 16 else 1)
                    return sample(system, context.backend.pids, **how)
                runners[name] = run_one
            results, failures = interleave(title, runners, options.rounds, options.seconds)
            out[f"{'keep' if keep_alive else 'new'}-{clients}"] = {
                "title": title, "clients": clients, "keep_alive": keep_alive, **summarise(results, failures)}
    lower(systems)
    return {"loads": out, "path": PATH, "generator": f"{generator(options.seconds)}, {GENERATOR_THREADS} thread(s)"}


def spread_load(context, systems, kinds, title):
    options = context.options
    out = {}
    for key, clients, keep_alive in kinds:
        runners = {}
        for name, system in systems.items():
            def run_one(seconds, system=system, guests=system.world.guests_file(), clients=clients,
                        keep_alive=keep_alive):
                how = loadgen("load", guests, GENERATOR_THREADS, clients, seconds, keep_alive, PATH)
                return sample(system, context.backend.pids, **how)
            runners[name] = run_one
        text = f"{title}, {'keep-alive' if keep_alive else 'new connection'}, {clients} clients"
        results, failures = interleave(text, runners, options.rounds, options.seconds)
        out[key] = {"title": text, "clients": clients, "keep_alive": keep_alive,
                    **summarise(results, failures)}
    return out


def twenty_guests(context):
    names = ["theirs", "router", "tap", "fused"]
    if not context.options.quick:
        names += ["tuned", "listen", "plain"]
    systems = raise_systems(context, names, "b", 1, 20)
    kinds = [("new-20", 20, False), ("keep-20", 20, True)]
    if not context.options.quick:
        kinds += [("new-320", 320, False), ("keep-320", 320, True)]
    out = spread_load(context, systems, kinds, "20 guests of one network")
    lower(systems)
    return {"loads": out, "generator": f"loadgen, {GENERATOR_THREADS} thread(s)"}


def many_routers(context):
    """The same load over more and more routers; tap mode has as many networks instead."""
    counts = (1, 200) if context.options.quick else (1, 10, 50, 200)
    names = ["theirs", "router", "tap"] if context.options.quick else ["theirs", "tuned", "router", "listen", "tap"]
    out = {}
    for count in counts:
        systems = raise_systems(context, names, f"c{count}x", count, 1)
        clients = max(16, count)
        kinds = [(f"new-{count}", clients, False)]
        if not context.options.quick or count == counts[-1]:
            kinds.append((f"keep-{count}", clients, True))
        title = f"{count} router{'s' if count > 1 else ''}"
        for key, value in spread_load(context, systems, kinds, title).items():
            out[key] = {**value, "routers": count,
                        "raised_seconds": {n: s.raised_seconds for n, s in systems.items()}}
        lower(systems)
    return {"loads": out, "generator": f"loadgen, {GENERATOR_THREADS} thread(s)"}


def boot_storm(context):
    out = {}
    rounds = context.options.rounds
    for number in (50, 200) if context.options.quick else (50, 200, 1000):
        networks = max(1, number // 50)
        systems = raise_systems(context, ["theirs", "router", "tap", "fused"], f"d{number}x", networks,
                                number // networks)
        runners = {}
        for name, system in systems.items():
            how = loadgen("storm", system.world.guests_file(), GENERATOR_THREADS)
            runners[name] = lambda _, system=system, how=how: sample(system, context.backend.pids, **how)
        title = f"boot storm, {number} guests"
        results, failures = interleave(title, runners, rounds)
        out[str(number)] = {"title": title, "guests": number, "routers": networks,
                            "raised_seconds": {n: s.raised_seconds for n, s in systems.items()},
                            **summarise(results, failures)}
        lower(systems)
    return {"storms": out, "generator": f"loadgen, {GENERATOR_THREADS} thread(s)"}


def cold(context):
    """Twenty guests ask for the first time, at once, a server that has never been asked by them."""
    guests = 20
    times = {}
    systems = raise_systems(context, ["theirs", "fused"], "k", 1, guests + 1)
    try:
        for number in range(context.options.rounds):
            for name, system in systems.items():
                progress(f"  {guests} guests, all cold, round {number + 1}/{context.options.rounds}, {name}", end="")
                context.workspace.stop(*system.processes)
                system.processes = []
                system.serve()
                system.check(system.world.guests[-1:])  # it is there; this guest asks no more
                askers = context.workspace.write("cold.guests", "".join(g.netns + "\n" for g in system.world.guests[:-1]))
                how = loadgen("storm", askers, GENERATOR_THREADS, path=PATH, extra=["--once"])
                one = sample(system, context.backend.pids, **how)
                times.setdefault(name, []).append(one["last_seconds"] * 1e3 if not one["failed"] else None)
    finally:
        lower(systems)
    progress("", end="")
    good = {name: [value for value in values if value is not None] for name, values in times.items()}
    return {"guests": guests, "systems": {name: {"ms": times[name], "last_ms": statistics.median(values) if values else None,
                                                 "unanswered": len(times[name]) - len(values)}
                                          for name, values in good.items()}}


class ApiStage(FusedTap):
    """metatapd --stages api on its own port, asked with the headers that an agent sends."""

    name, label = "apistage", "metatap, API stage alone"
    stages = "api"

    def config(self):
        return super().config() + f"[api]\nmetadata_workers = {THREADS}\n"

    def up(self, tag, networks=1, guests=1):
        self.world = World(self.workspace, f"{self.name}{tag}", networks, guests, False, False)
        layout = self.world.layout()
        layout.namespace(self.world.host)
        self.workspace.make(layout)
        self.serve()
        return self

    def headers(self):
        guest = self.world.guests[0]
        signature = hmac.new(SECRET.encode(), guest.instance_id.encode(), hashlib.sha256).hexdigest()
        return [f"X-Instance-ID: {guest.instance_id}", f"X-Tenant-ID: {self.world.project}",
                f"X-Instance-ID-Signature: {signature}", f"X-Forwarded-For: {guest.ip4}"]


def api_alone(context):
    options = context.options
    workspace = context.workspace
    api = ApiStage(workspace, context.backend, context.body_file)
    try:
        api.up("e")
    except Exception as error:
        api.down()
        raise Unavailable(str(error)) from error
    minimal = Haproxy(workspace, context.backend, context.body_file)  # only as a holder of processes
    minimal.processes = [workspace.start([f"{BIN}/minimal_server", "127.0.0.1", "8776", context.body_file,
                                          str(THREADS)], api.world.host)]
    time.sleep(0.2)
    out = {}
    for path in (PATH, "/latest/meta-data/hostname"):
        for clients in (20,) if options.quick else (1, 20):
            for keep_alive in (False, True):
                runners = {}
                for name, system, port in (("api", api, 8775), ("minimal", minimal, 8776)):
                    def run_one(seconds, system=system, port=port, clients=clients, keep_alive=keep_alive, path=path):
                        how = requests(api.world.host, clients, seconds, keep_alive, path, GENERATOR_THREADS,
                                       "127.0.0.1", port, api.headers())
                        return sample(system, [], **how)
                    runners[name] = run_one
                title = f"API {os.path.basename(path)}, {'keep-alive' if keep_alive else 'new'}, {clients}"
                results, failures = interleave(title, runners, options.rounds, options.seconds)
                entry = summarise(results, failures)
                if results["api"] and results["minimal"]:
                    for key, name in (("rps", "vs_minimal"), ("cpu_proxy_us", "vs_minimal_cpu")):
                        entry[name] = paired_ratio(results["api"], results["minimal"], key)
                out[f"{os.path.basename(path)}-{'keep' if keep_alive else 'new'}-{clients}"] = {
                    "title": title, "clients": clients, "keep_alive": keep_alive, **entry}
    for process in minimal.processes:
        workspace.stop(process)
    api.down()
    return {"loads": out, "generator": f"{generator(options.seconds)}, {GENERATOR_THREADS} thread(s)"}

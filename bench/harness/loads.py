# SPDX-License-Identifier: Apache-2.0
"""Requests: one guest, twenty guests, many routers, the boot storm, the API stage alone."""

import hashlib
import hmac
import os
import time

from .lab import BIN, Unavailable, batch, progress
from .measure import interleave, loadgen, medians, paired_ratio, sample, wrk
from .systems import BY_NAME, SECRET, THREADS, FusedTap, Haproxy

PATH = "/openstack/2018-08-27/meta_data.json"
GENERATOR_THREADS = max(1, min(2, (os.cpu_count() or 1) // 2))


def raise_systems(context, names, tag, networks, guests):
    """Those that can run here; why the others cannot is shown and recorded."""
    up = {}
    for name in names:
        if context.options.systems and name not in context.options.systems:
            continue
        system = BY_NAME[name](context.lab, context.backend, context.body_file)
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
        for other in ("theirs", "tuned", "plain", "limit"):
            if name != other and results.get(other):
                out["systems"][name][f"vs_{other}"] = {
                    key: paired_ratio(samples, results[other], key)
                    for key in ("rps", "cpu_proxy_us", "cpu_host_us", "last_seconds") if key in samples[0]}
    return out


def one_guest(context):
    options = context.options
    main = ["theirs", "tuned", "router", "tap", "fused", "limit"]
    systems = raise_systems(context, main if options.quick else list(BY_NAME), "a", 1, 1)
    few = [n for n in main if n in systems]
    out = {}
    for clients in (16, 1, 256):
        for keep_alive in (False, True):
            # The quick run keeps to the main systems at 16 clients, and to three at 256.
            names = few if options.quick else list(systems)
            if options.quick and clients != 16:
                if clients == 1 or keep_alive:
                    continue
                names = [name for name in few if name in ("theirs", "tap", "limit")]
            title = f"{'keep-alive' if keep_alive else 'new connection'}, {clients} client(s)"
            runners = {}
            for name in names:
                system = systems[name]
                how = wrk(system.world.guests[0].netns, clients, options.seconds, keep_alive, PATH,
                          threads=GENERATOR_THREADS if clients >= 16 else 1)
                runners[name] = lambda system=system, how=how: sample(system, context.backend.pids, **how)
            results, failures = interleave(title, runners, options.rounds)
            out[f"{'keep' if keep_alive else 'new'}-{clients}"] = {
                "title": title, "clients": clients, "keep_alive": keep_alive, **summarise(results, failures)}
    lower(systems)
    return {"loads": out, "path": PATH, "generator": f"wrk, {GENERATOR_THREADS} thread(s)"}


def spread_load(context, systems, kinds, title):
    options = context.options
    out = {}
    for key, clients, keep_alive in kinds:
        runners = {}
        for name, system in systems.items():
            how = loadgen("load", system.world.guests_file(), GENERATOR_THREADS, clients, options.seconds,
                          keep_alive, PATH)
            runners[name] = lambda system=system, how=how: sample(system, context.backend.pids, **how)
        text = f"{title}, {'keep-alive' if keep_alive else 'new connection'}, {clients} clients"
        results, failures = interleave(text, runners, options.rounds)
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
        for key, value in spread_load(context, systems, kinds, f"{count} routers").items():
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
            runners[name] = lambda system=system, how=how: sample(system, context.backend.pids, **how)
        title = f"boot storm, {number} guests"
        results, failures = interleave(title, runners, rounds)
        out[str(number)] = {"title": title, "guests": number, "routers": networks,
                            "raised_seconds": {n: s.raised_seconds for n, s in systems.items()},
                            **summarise(results, failures)}
        lower(systems)
    return {"storms": out, "generator": f"loadgen, {GENERATOR_THREADS} thread(s)"}


class ApiStage(FusedTap):
    """metatapd --stages api on its own port, asked with the headers that an agent sends."""

    name, label = "apistage", "metatap, API stage alone"
    stages = "api"

    def config(self):
        return super().config() + f"[api]\nmetadata_workers = {THREADS}\n"

    def up(self, tag, networks=1, guests=1):
        from .world import World
        self.world = World(self.lab, f"{self.name}{tag}", networks, guests, False, False)
        self.lab.add_namespaces([self.world.host])
        batch(["link set lo up"], self.world.host)
        self.serve()
        return self

    def headers(self):
        guest = self.world.guests[0]
        signature = hmac.new(SECRET.encode(), guest.instance.encode(), hashlib.sha256).hexdigest()
        return (f"X-Instance-ID: {guest.instance}\nX-Tenant-ID: {self.world.project}\n"
                f"X-Instance-ID-Signature: {signature}\nX-Forwarded-For: {guest.address}")


def api_alone(context):
    options = context.options
    lab = context.lab
    api = ApiStage(lab, context.backend, context.body_file)
    try:
        api.up("e")
    except Exception as error:
        api.down()
        raise Unavailable(str(error)) from error
    minimal = Haproxy(lab, context.backend, context.body_file)  # only as a holder of processes
    minimal.processes = [lab.start([f"{BIN}/minimal_server", "127.0.0.1", "8776", context.body_file,
                                    str(THREADS)], api.world.host)]
    time.sleep(0.2)
    out = {}
    for path in (PATH, "/latest/meta-data/hostname"):
        for clients in (20,) if options.quick else (1, 20):
            for keep_alive in (False, True):
                runners = {}
                for name, system, port in (("api", api, 8775), ("minimal", minimal, 8776)):
                    how = wrk(api.world.host, clients, options.seconds, keep_alive, path,
                              GENERATOR_THREADS, url=f"http://127.0.0.1:{port}{path}", headers=api.headers())
                    runners[name] = lambda system=system, how=how: sample(system, [], **how)
                title = f"API {os.path.basename(path)}, {'keep-alive' if keep_alive else 'new'}, {clients}"
                results, failures = interleave(title, runners, options.rounds)
                entry = summarise(results, failures)
                if results["api"] and results["minimal"]:
                    entry["vs_minimal"] = paired_ratio(results["api"], results["minimal"], "rps")
                out[f"{os.path.basename(path)}-{'keep' if keep_alive else 'new'}-{clients}"] = {
                    "title": title, "clients": clients, "keep_alive": keep_alive, **entry}
    for process in minimal.processes:
        lab.stop(process)
    api.down()
    return {"loads": out, "generator": f"wrk, {GENERATOR_THREADS} thread(s)"}

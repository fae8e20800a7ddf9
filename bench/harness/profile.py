# SPDX-License-Identifier: Apache-2.0
"""Where a request's time goes: system calls counted by strace, processor time by perf, the BPF
programs' own by the kernel's statistics. Tools that slow what they look at, so nothing here is a rate
to compare; the shares are."""

import json
import os
import re
import shutil
import subprocess
import time

from labkit import run

from .loads import GENERATOR_THREADS, PATH, lower, raise_systems
from .measure import loadgen, sample
from .packet import programs_of
from .workspace import Unavailable, progress

CLIENTS = 16
SECONDS = 3
SYSCALLS = ("accept4", "recvfrom", "sendto", "sendmsg", "epoll_wait", "epoll_ctl", "getsockopt", "setsockopt", "socket",
            "connect", "close", "shutdown", "futex")
# The kernel's functions by what they do for us; each stands for all it calls.
WORK = (("to the guest: TCP send, and the way to it", ("tcp_sendmsg",)),
        ("from the guest: TCP receive", ("tcp_recvmsg",)),
        ("to the next stage: UNIX socket send", ("unix_stream_sendmsg",)),
        ("from the next stage: UNIX socket receive", ("unix_stream_recvmsg",)),
        ("of these, waking who waits", ("sock_def_readable",)),
        ("waiting: epoll_wait, sleep included", ("do_epoll_wait",)),
        ("registering: epoll_ctl", ("do_epoll_ctl",)),
        ("accepting", ("do_accept", "__sys_accept4_file", "__sys_accept4")),
        ("connecting", ("__sys_connect", "unix_stream_connect")),
        ("closing", ("__fput", "tcp_close")),
        ("switching tasks", ("schedule",)))


def _under_load(system, backend_pids, keep_alive, seconds, watch):
    """What `watch` makes of the system while it is asked; and the sample of the load."""
    how = loadgen("load", system.world.guests[0].netns, GENERATOR_THREADS, CLIENTS, seconds + 1, keep_alive, PATH)
    watcher = watch(seconds)
    try:
        one = sample(system, backend_pids, **how)
    finally:
        out, _ = watcher.communicate(timeout=60)
    return one, out


def system_calls(system, backend_pids, keep_alive, file):
    """Calls a request, over the whole of one load."""
    def watch(seconds):
        popen = subprocess.Popen(["timeout", "-s", "INT", str(seconds + 3), "strace", "-f", "-c", "-o", file,
                                  *[word for pid in system.pids for word in ("-p", str(pid))]],
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(0.5)
        return popen
    one, _ = _under_load(system, backend_pids, keep_alive, SECONDS, watch)
    counts = {}
    with open(file) as lines:
        for line in lines:
            words = line.split()
            if len(words) >= 5 and words[3].isdigit() and words[-1] != "total":
                counts[words[-1]] = int(words[3])
    total = sum(counts.values())
    each = {name: counts[name] / one["requests"] for name in SYSCALLS if counts.get(name)}
    each["others"] = (total - sum(counts.get(name, 0) for name in SYSCALLS)) / one["requests"]
    return {"per_request": each, "total": total / one["requests"], "requests": one["requests"]}


def _shares(report):
    """Percent by symbol of `perf report`: a symbol and all it calls, or itself alone."""
    found = {}
    for line in report.splitlines():
        match = re.match(r"\s*([0-9.]+)%.*?\[[.k]\]\s+(\S+)", line)
        if match:
            found.setdefault(match.group(2), float(match.group(1)))
    return found


def processor_time(system, backend_pids, keep_alive, file):
    def watch(seconds):
        return subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", "4999", "-g", "-o", file, "-p",
                                 ",".join(map(str, system.pids)), "--", "sleep", str(seconds)],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    one, said = _under_load(system, backend_pids, keep_alive, SECONDS, watch)
    if not os.path.exists(file):
        raise Unavailable(f"perf recorded nothing: {said.strip()[-200:]}")
    show = ["perf", "report", "-i", file, "-g", "none", "--stdio"]
    nested = _shares(run(*show, "--children", "--sort", "symbol"))
    objects = {}
    for line in run(*show, "--no-children", "--sort", "dso").splitlines():
        match = re.match(r"\s*([0-9.]+)%\s+(\S+)", line)
        if match:
            objects[match.group(2)] = float(match.group(1))
    kernel = sum(share for name, share in objects.items() if name.startswith(("[kernel", "bpf_prog", "[guest")))
    own = objects.get("metatapd", 0.0) + objects.get("haproxy", 0.0)
    work = {title: next((nested[name] for name in names if name in nested), None) for title, names in WORK}
    return {"kernel": kernel, "own": own, "libraries": max(0.0, sum(objects.values()) - kernel - own),
            "of_which": {title: share for title, share in work.items() if share is not None},
            "requests": one["requests"]}


def programs(system, backend_pids, keep_alive):
    """Nanoseconds a run and runs a request of our programs."""
    ids = {name: number for name, number in programs_of(system).items() if name.startswith("mt_")}
    if not ids:
        return {}
    old = run("sysctl", "-n", "kernel.bpf_stats_enabled").strip()
    run("sysctl", "-q", "kernel.bpf_stats_enabled=1")

    def read():
        out = {}
        for name, number in ids.items():
            shown = json.loads(run("bpftool", "-j", "prog", "show", "id", str(number)))
            out[name] = shown.get("run_time_ns", 0), shown.get("run_cnt", 0)
        return out
    try:
        before = read()
        how = loadgen("load", system.world.guests[0].netns, GENERATOR_THREADS, CLIENTS, 1, keep_alive, PATH)
        one = sample(system, backend_pids, **how)
        after = read()
    finally:
        run("sysctl", "-q", f"kernel.bpf_stats_enabled={old}")
    out = {}
    for name, (nanoseconds, runs) in after.items():
        more = runs - before[name][1]
        if more > one["requests"] / 2:
            out[name] = {"ns": (nanoseconds - before[name][0]) / more, "per_request": more / one["requests"]}
    return out


def where_time_goes(context):
    lacking = [tool for tool in ("strace", "perf") if not shutil.which(tool)]
    if lacking:
        reason = f"skipped, there is no {' nor '.join(lacking)}: scripts/install-deps.sh --for profile installs them"
        progress(f"  profile: {reason}")
        context.report["unavailable"]["profile"] = reason
        return {"skipped": reason}
    systems = raise_systems(context, ["theirs", "router", "tap", "fused", "limit"], "w", 1, 1)
    out = {}
    try:
        for name, system in systems.items():
            for keep_alive in (False, True):
                kind = "keep-alive" if keep_alive else "new connection"
                progress(f"  where the time goes: {name}, {kind}", end="")
                entry = out.setdefault(kind, {})[name] = {}
                pids = context.backend.pids
                for what, look in (
                        ("system_calls", lambda s=system, k=keep_alive: system_calls(s, pids, k, context.workspace.path("strace.txt"))),
                        ("processor_time", lambda s=system, k=keep_alive: processor_time(s, pids, k, context.workspace.path("perf.data"))),
                        ("programs", lambda s=system, k=keep_alive: programs(s, pids, k) if s.family == "ours" else {})):
                    try:
                        entry[what] = look()
                    except (RuntimeError, Unavailable, OSError, subprocess.TimeoutExpired) as error:
                        entry[what] = {"error": str(error)}
    finally:
        lower(systems)
    progress("", end="")
    return {"kinds": out, "clients": CLIENTS}

# SPDX-License-Identifier: Apache-2.0
"""One measurement, rounds of them, and what is read off."""

import json
import os
import statistics
import subprocess
import time

from labkit import BIN, ROOT, inside

from .resources import cpu_seconds, host_busy_seconds
from .workspace import progress

WRK_SCRIPT = os.path.join(ROOT, "bench", "wrk.lua")
SATURATED = 0.95
WARM_UP = 0.15  # seconds


def sample(system, backend_pids, command, netns=None, environment=None, threads=1):
    """Runs a load generator and charges everybody's processor time to the requests answered."""
    before = cpu_seconds(system.pids), cpu_seconds(backend_pids), host_busy_seconds()
    started = time.monotonic()
    popen = subprocess.Popen(inside(netns) + command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True, env=environment)
    out, err = popen.stdout.read(), popen.stderr.read()
    _, status, usage = os.wait4(popen.pid, 0)
    popen.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - started
    after = cpu_seconds(system.pids), cpu_seconds(backend_pids), host_busy_seconds()
    if popen.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {err.strip() or out.strip()}")
    line = next(line for line in reversed(out.splitlines()) if "{" in line)
    result = json.loads(line[line.index("{"):])
    client = usage.ru_utime + usage.ru_stime
    requests = max(result["requests"], 1)
    failures = {reason: count for reason, count in result["failures"].items() if count}
    proxy, backend, host = (b - a for a, b in zip(before, after))
    return {
        "requests": result["requests"], "rps": result["requests"] / result["seconds"],
        "failed": sum(failures.values()), "failures": failures, "latency_us": result["latency_us"],
        "cpu_proxy_us": proxy / requests * 1e6, "cpu_backend_us": backend / requests * 1e6,
        "cpu_client_us": client / requests * 1e6, "cpu_host_us": host / requests * 1e6,
        "elsewhere_cpus": max(0.0, host - proxy - backend - client) / wall,
        "client_load": result.get("busiest_thread", client / wall / threads),
        **{key: result[key] for key in ("last_seconds", "guest_done_us", "guests") if key in result},
    }


def wrk(guest, clients, seconds, keep_alive, path, threads=1, url=None, headers=""):
    lines = ["Connection: keep-alive" if keep_alive else "Connection: close"]
    lines += [line for line in headers.split("\n") if line]
    threads = min(threads, clients)
    return dict(threads=threads, command=["wrk", f"-t{threads}", f"-c{clients}", f"-d{max(1, round(seconds))}s",
                         "--timeout", "10s", "-s", WRK_SCRIPT, url or f"http://169.254.169.254{path}"],
                netns=guest, environment=dict(os.environ, WRK_HEADERS="\n".join(lines)))


def loadgen(kind, guests, threads=2, clients=0, seconds=1.0, keep_alive=False, path=None, extra=()):
    """`guests`: a file with one namespace a line, or the name of one."""
    command = [f"{BIN}/loadgen", kind, "--guests-file" if "/" in guests else "--guest", guests,
               "--threads", str(threads)]
    if kind == "load":
        command += ["--clients", str(clients), "--seconds", str(seconds)]
        command += ["--keep-alive"] if keep_alive else []
    command += ["--path", path] if path else []
    return dict(command=[*command, *extra])


def requests(guest, clients, seconds, keep_alive, path, threads=1, address="169.254.169.254", port=80,
             headers=()):
    """Requests of one guest: by wrk where a sample lasts a second or more, because wrk counts whole
    ones, and by our own generator where it is shorter."""
    if seconds >= 1:
        return wrk(guest, clients, seconds, keep_alive, path, threads, f"http://{address}:{port}{path}",
                   "\n".join(headers))
    extra = ["--address", address, "--port", str(port)]
    for header in headers:
        extra += ["--header", header]
    return loadgen("load", guest, threads, clients, seconds, keep_alive, path, extra)


def generator(seconds):
    return "wrk" if seconds >= 1 else "bench/loadgen"


def interleave(title, runners, rounds, seconds=None):
    """runners: {system name: function(seconds) → sample}. A B C A B C …, one warm-up of each first,
    which is shorter."""
    results = {name: [] for name in runners}
    failures = {}
    for number in range(-1, rounds):
        for name, runner in runners.items():
            if name in failures:
                continue
            progress(f"  {title}  round {max(number + 1, 0)}/{rounds}  {name:<12}", end="")
            try:
                one = runner(seconds if number >= 0 else WARM_UP)
            except Exception as error:  # one system's failure is its own
                failures[name] = str(error)
                progress(f"  {title}: {name} failed: {error}")
                continue
            if number >= 0:
                results[name].append(one)
    progress("", end="")
    return results, failures


def medians(samples):
    """The median of every figure, and the spread of the main ones (half the distance between the
    quartiles, in percent of the median)."""
    if not samples:
        return {}
    out = {}
    for key in samples[0]:
        values = [one[key] for one in samples if key in one]
        if isinstance(values[0], dict):
            names = {name for value in values for name in value}
            if key == "failures":
                out[key] = {name: sum(v.get(name, 0) for v in values) for name in sorted(names)}
            else:
                out[key] = {name: statistics.median(v[name] for v in values if name in v)
                            for name in values[0]}
        elif key == "failed":
            out[key] = sum(values)
        else:
            out[key] = statistics.median(values)
            if key in ("rps", "cpu_proxy_us", "cpu_host_us", "last_seconds"):
                out[key + "_spread"] = spread(values)
    out["client_saturated"] = bool(out.get("client_load", 0) >= SATURATED)
    return out


def spread(values):
    if len(values) < 4 or not statistics.median(values):
        return None
    low, _, high = statistics.quantiles(values, n=4)
    return 50.0 * (high - low) / statistics.median(values)


def paired_ratio(ours, theirs, key):
    """The median of the ratios round by round: neighbours in time see the same machine."""
    ratios = [a[key] / b[key] for a, b in zip(ours, theirs) if b.get(key)]
    return statistics.median(ratios) if ratios else None

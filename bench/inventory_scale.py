#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What one PostgreSQL with the inventory of many hosts has to do, and what a host holds.

    bench/inventory_scale.py [--instances 50000] [--hosts 200] [--rates 1,10,100] [--seconds 10]

Needs build/bin/inventory_hosts, metatapd and PostgreSQL's programs; prints a table in Markdown. The hosts that
follow are connections of inventory_hosts, which says what is real of them; memory is that of real daemons.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
for folder in ("tests/fault", "tests/netns", "tests/lab"):
    sys.path.insert(0, str(ROOT / folder))

import aloneapi  # noqa: E402
import mtlab  # noqa: E402
import postgres  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")
HOSTS = mtlab.BIN / "inventory_hosts"


def cpu_seconds(pid):
    """Of a process and all that it has started, those that have ended included."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return 0  # it has just ended, and is in its parent's sum
    own = sum(int(field) for field in fields[11:15]) / TICK
    return own + sum(cpu_seconds(child) for child in children)


def rows_read(server):
    time.sleep(1.5)  # its processes tell of what they read once a second
    return int(server.sql("SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables"))


class Followers:
    """So many hosts that follow, in one process."""

    def __init__(self, server, hosts, scope):
        self.server = server
        self.process = subprocess.Popen([HOSTS, server.url(), "follow", str(hosts), scope], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        cpu, started = cpu_seconds(server.process.pid), time.monotonic()
        assert self.process.stdout.readline() == "ready\n"
        self.start_cpu = cpu_seconds(server.process.pid) - cpu
        self.start_seconds = time.monotonic() - started

    def run(self, rate, seconds):
        rows, cpu = rows_read(self.server), cpu_seconds(self.server.process.pid)
        print(rate, seconds, file=self.process.stdin, flush=True)
        measured = json.loads(self.process.stdout.readline())
        measured["cpu"] = cpu_seconds(self.server.process.pid) - cpu
        measured["rows"] = rows_read(self.server) - rows
        return measured

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)


def daemon_of(server, folder, scope):
    """(memory in MB, seconds to start) of a daemon with the API alone."""
    folder.mkdir()
    daemon = aloneapi.Api(folder, {"database": server.url(), "scope": scope},
                          "[DEFAULT]\nhost = compute-000\n[inventory]\ndatabase_timeout = 60\n")
    started = time.monotonic()
    try:
        daemon.start()
        took = time.monotonic() - started
        time.sleep(5)  # the copy is written
        status = pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text()
        kilobytes = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        return kilobytes / 1024, took, daemon.status()["instances"]
    finally:
        daemon.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=50_000)
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--rates", default="1,10,100")
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    if why := postgres.missing():
        sys.exit(why)
    server = postgres.Postgres()
    server.stop()
    server.more += ["-c", "max_connections=600", "-c", "shared_buffers=512MB"]
    server.start()
    try:
        subprocess.run([HOSTS, server.url(), "fill", str(options.instances), str(options.hosts)], check=True)
        server.sql("VACUUM ANALYZE")
        print(f"{options.instances} instances, {options.hosts} hosts, {os.cpu_count()} processors, load average "
              f"{os.getloadavg()[0]:.1f}\n\n| scope | holds | memory of a host | its start |\n|---|---|---|---|")
        with tempfile.TemporaryDirectory(prefix="metatap-scale-") as folder:
            for scope in ("all", "host"):
                memory, took, instances = daemon_of(server, pathlib.Path(folder) / scope, scope)
                print(f"| `{scope}` | {instances} instances | {memory:.0f} MB | {took:.1f} s |", flush=True)
        print("\n| scope | changes a second | stored after | served by all whom it concerns after | 99 % | "
              "database: CPU a second | rows read a change |\n|---|---|---|---|---|---|---|")
        for scope in ("host", "all"):
            followers = Followers(server, options.hosts, scope)
            for rate in options.rates.split(","):
                got = followers.run(rate, options.seconds)
                missed = f", {got['missed']} missed" if got["missed"] else ""
                print(f"| `{scope}` | {got['changes'] / got['seconds']:.3g} | {got['stored_ms']:.1f} ms | "
                      f"{got['served_ms']:.1f} ms | {got['served_p99_ms']:.1f} ms{missed} | "
                      f"{got['cpu'] / got['seconds']:.2f} s | {got['rows'] / got['changes']:.0f} |", flush=True)
            followers.close()
    finally:
        server.close()


if __name__ == "__main__":
    main()

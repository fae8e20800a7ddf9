# SPDX-License-Identifier: Apache-2.0
"""The whole path: guest, haproxy, neutron-metadata-agent, nova-api-metadata, all of the
distribution's packages, beside metatap with all its stages.

The control plane behind them is real as well (neutron-server with ML2, RabbitMQ, MariaDB), in a
namespace of its own; only Keystone is left out (Neutron's "noauth"), which spares the chain work.
Configuration is the packages' own, with what is needed to connect the pieces."""

import json
import os
import re
import subprocess
import time

from .lab import BIN, Process, Unavailable, batch, inside, progress, run
from .loads import GENERATOR_THREADS, PATH, lower
from .measure import interleave, loadgen, medians, paired_ratio, sample, wrk
from .systems import BY_NAME, SECRET, FusedRouter, FusedTap, Haproxy
from .world import World, make_uuid

GUESTS = 20
COLD_ROUNDS = 5
NEUTRON = "http://127.0.0.1:9696"
BROKER = "rabbit://guest:guest@127.0.0.1:5672/"
MEMCACHED = 11211
DATABASES = ("neutron", "nova_api", "nova", "nova_cell0")
NEEDED = ("/usr/sbin/mariadbd", "/usr/bin/mariadb-install-db", "/usr/bin/epmd", "/usr/bin/memcached",
          "/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/bin/uwsgi_python3", "/usr/bin/nova-manage",
          "/usr/bin/nova-metadata-wsgi", "/etc/nova/nova-api-metadata-uwsgi.ini", "/usr/bin/neutron-api",
          "/usr/bin/neutron-rpc-server", "/usr/bin/neutron-db-manage", "/usr/bin/neutron-metadata-agent",
          "/etc/neutron/neutron-api-uwsgi.ini", "/usr/sbin/haproxy")
NOVA_FILES = ("/usr/share/nova-common/nova.conf",)
NEUTRON_FILES = ("/usr/share/neutron-common/neutron.conf",
                 "/usr/share/neutron-common/plugins/ml2/ml2_conf.ini")
FETCH = """import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with opener.open("http://169.254.169.254" + sys.argv[1], timeout=60) as answer:
    sys.stdout.write(answer.read().decode())
"""


def connection(database):
    return f"mysql+pymysql://openstack:openstack@127.0.0.1:3306/{database}"


def missing():
    return [path for path in NEEDED + NOVA_FILES + NEUTRON_FILES if not os.path.exists(path)]


class Group(Process):
    """A service and all its workers: everything in the session that `Lab.start` opened for it."""

    @property
    def pids(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == self.popen.pid and fields[0] not in "ZX":
                found.append(int(pid))
        return found or [self.popen.pid]


class ControlPlane:
    """What a cloud has once: database, broker, Neutron's server, Nova's schema."""

    def __init__(self, lab):
        self.lab = lab
        self.netns = lab.prefix + "control"
        self.processes = []
        self.memcached = None
        self.logs = {}

    @property
    def pids(self):
        return [pid for process in self.processes for pid in process.pids]

    def path(self, *parts):
        return self.lab.path("control", *parts)

    def folder(self, *parts):
        return os.path.dirname(self.path(*parts, ""))

    def start(self, name, command, environment=None):
        log = self.logs[name] = self.path(f"{name}.log")
        process = self.lab.start(command, self.netns, log, None,
                                 {**os.environ, "HOME": self.folder("home"), **(environment or {})})
        group = Group(process.popen)
        self.lab.processes[self.lab.processes.index(process)] = group
        return group

    def words(self, name, size=500):
        try:
            with open(self.logs[name]) as file:
                return file.read()[-size:]
        except (OSError, KeyError):
            return ""

    def until(self, name, process, ready, seconds=120):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if ready():
                return
            if process.popen.poll() is not None:
                raise Unavailable(f"{name} ended with {process.popen.returncode}: {self.words(name)}")
            time.sleep(0.1)
        raise Unavailable(f"{name} was not ready after {seconds} s: {self.words(name)}")

    def answers(self, port):
        done = subprocess.run(inside(self.netns) + ["/usr/bin/python3", "-c",
                              "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)",
                              str(port)], capture_output=True)
        return done.returncode == 0

    def finish(self, name, process):
        """A command of the set-up, started before."""
        code = process.popen.wait(300)
        self.lab.processes.remove(process)
        if code != 0:
            raise Unavailable(f"{name} ended with {code}: {self.words(name)}")

    def up(self):
        self.lab.add_namespaces([self.netns])
        batch(["link set lo up"], self.netns)
        progress("  control plane: database and broker", end="")
        broker = self.start_broker()
        database = self.start_database()
        self.write_configurations()
        self.until("mariadbd", database, lambda: self.answers(3306))
        self.processes += [broker, database]
        progress("  control plane: schemas", end="")
        self.make_schemas()
        self.until("rabbitmq", broker, lambda: self.answers(5672))
        progress("  control plane: neutron-server", end="")
        self.start_neutron()
        return self

    def start_database(self):
        data = self.path("mysql", "data")
        # Neither the machine's configuration nor its database is touched.
        run("mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db", "--user=root",
            "--auth-root-authentication-method=normal")
        sql = "".join(f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8;\n" for name in DATABASES)
        init = self.lab.write("control/init.sql", sql + "CREATE USER IF NOT EXISTS openstack@'%' IDENTIFIED BY "
                              "'openstack';\nGRANT ALL ON *.* TO openstack@'%';\n")
        return self.start("mariadbd", ["mariadbd", "--no-defaults", f"--datadir={data}", "--user=root",
                                       f"--socket={self.path('mysql.sock')}", f"--pid-file={self.path('mysql.pid')}",
                                       "--bind-address=127.0.0.1", "--port=3306", "--max-connections=4096",
                                       "--skip-name-resolve", f"--init-file={init}"])

    def start_broker(self):
        # Started here, or Erlang would leave a daemon of its own behind.
        self.processes.append(self.start("epmd", ["epmd", "-port", "4369", "-address", "127.0.0.1"]))
        cookie = self.lab.write("control/home/.erlang.cookie", "METATAPBENCH")
        os.chmod(cookie, 0o400)
        return self.start("rabbitmq", ["/usr/lib/rabbitmq/bin/rabbitmq-server"], {
            "RABBITMQ_NODENAME": "bench@localhost", "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": "5672", "RABBITMQ_DIST_PORT": "25672",
            "RABBITMQ_MNESIA_BASE": self.path("rabbit", "mnesia"), "RABBITMQ_LOG_BASE": self.path("rabbit", "log"),
            "RABBITMQ_LOGS": "-", "RABBITMQ_PID_FILE": self.path("rabbit", "pid"),
            "RABBITMQ_CONFIG_FILE": self.path("rabbit", "none"), "RABBITMQ_CONF_ENV_FILE": self.path("rabbit", "env"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.lab.write("control/rabbit/plugins", "[].\n")})

    def start_memcached(self):
        """Again, if there was one: then it is empty."""
        if self.memcached:
            self.lab.stop(self.memcached)
            self.processes.remove(self.memcached)
        self.memcached = self.start("memcached", ["memcached", "-u", "root", "-l", "127.0.0.1", "-p", str(MEMCACHED)])
        self.processes.append(self.memcached)
        self.until("memcached", self.memcached, lambda: self.answers(MEMCACHED))

    def write_configurations(self):
        self.neutron_files = [*NEUTRON_FILES, self.lab.write("control/neutron.conf", f"""[DEFAULT]
auth_strategy = noauth
transport_url = {BROKER}
state_path = {self.folder('neutron')}
api_paste_config = /etc/neutron/api-paste.ini
notify_nova_on_port_status_changes = False
notify_nova_on_port_data_changes = False
[database]
connection = {connection('neutron')}
[oslo_concurrency]
lock_path = {self.path('neutron', 'lock')}
[oslo_policy]
policy_file = policy.yaml
""")]
        self.nova_files = [*NOVA_FILES, self.nova_configuration("nova.conf", "")]

    def nova_configuration(self, name, more):
        return self.lab.write(f"control/{name}", f"""[DEFAULT]
transport_url = {BROKER}
state_path = {self.folder('nova')}
[api_database]
connection = {connection('nova_api')}
[database]
connection = {connection('nova')}
[neutron]
auth_type = none
endpoint_override = {NEUTRON}
service_metadata_proxy = true
metadata_proxy_shared_secret = {SECRET}
[oslo_concurrency]
lock_path = {self.path('nova', 'lock')}
{more}""")

    def options(self, files):
        return [f"--config-file={file}" for file in files]

    def make_schemas(self):
        neutron = self.start("neutron-db-manage", ["neutron-db-manage", *self.options(self.neutron_files), "upgrade",
                                                   "heads"])
        for name, *words in (("api_db", "api_db", "sync"),
                             ("map_cell0", "cell_v2", "map_cell0", "--database_connection", connection("nova_cell0")),
                             ("db", "db", "sync"),
                             ("create_cell", "cell_v2", "create_cell", "--name", "cell1", "--transport-url", BROKER,
                              "--database_connection", connection("nova"))):
            name = f"nova-manage-{name}"
            self.finish(name, self.start(name, ["nova-manage", *self.options(self.nova_files), *words]))
        self.finish("neutron-db-manage", neutron)

    def uwsgi(self, name, port, ini, arguments=(), environment=None):
        """As the package's start script does it, with the package's file; only paths and the user
        are replaced."""
        log = self.logs[name] = self.path(f"{name}.uwsgi.log")
        if os.path.exists(log):
            os.unlink(log)
        with open(ini) as file:
            text = re.sub(r"(?m)^(uid|gid) *=.*\n", "", file.read())
        text = re.sub(r"(?m)^logto *=.*$", f"logto = {log}", text)
        text = re.sub(r"(?m)^chdir *=.*$", f"chdir = {self.folder('home')}", text)
        file = self.lab.write(f"control/{name}.ini", text)
        process = self.start(name, ["/usr/bin/uwsgi_python3", "--http-socket", f"127.0.0.1:{port}", "--ini", file,
                                    *arguments], environment)
        self.logs[name] = log
        return process, max(int(number) for number in re.findall(r"(?m)^processes *= *(\d+)", text))

    def workers_ready(self, name):
        try:
            with open(self.logs[name]) as file:
                return len(re.findall(r"WSGI app 0 .* ready", file.read()))
        except OSError:
            return 0

    def start_neutron(self):
        options = self.options(self.neutron_files)
        rpc = self.start("neutron-rpc-server", ["neutron-rpc-server", *options])
        api, workers = self.uwsgi("neutron-api", 9696, "/etc/neutron/neutron-api-uwsgi.ini",
                                  ["--pyargv", " ".join(options)])
        self.processes += [rpc, api]
        self.until("neutron-api", api, lambda: self.workers_ready("neutron-api") >= workers)

    def register(self, world):
        """The guests of a world become Neutron's ports and Nova's instances, and the world takes
        over the names that Neutron gave."""
        wanted = {"neutron": NEUTRON, "project": world.project.replace("-", ""), "image": make_uuid("image"),
                  "networks": [{"name": f"{world.name}-{n.index}",
                                "guests": [{"mac": g.mac, "address": g.address, "instance": g.instance}
                                           for g in n.guests]} for n in world.networks]}
        done = subprocess.run(inside(self.netns) + ["/usr/bin/python3", os.path.join(os.path.dirname(__file__),
                              "openstack_rows.py"), *self.nova_files], input=json.dumps(wanted), text=True,
                              capture_output=True)
        if done.returncode != 0:
            raise Unavailable(f"instances could not be made: {done.stderr.strip()[-600:]}")
        for network, made in zip(world.networks, json.loads(done.stdout.splitlines()[-1])):
            network.id, network.subnet = made["id"], made["subnet"]
            network.router, network.router_port = made["router"], made["router_port"]
            network.qr = "qr-" + made["router_port"][:11]
            network.gateway = "qrouter-" + made["router"]
            for guest, port in zip(network.guests, made["ports"]):
                guest.port, guest.tap = port, "tap" + port[:11]

    def down(self):
        self.lab.stop(*self.processes)
        self.processes = []
        self.lab.drop_namespaces([self.netns])


def check_answers(system):
    """Every guest gets its own document, or there is nothing to measure."""
    for guest in system.world.guests:
        done = subprocess.run(inside(guest.netns) + ["/usr/bin/python3", "-c", FETCH, PATH], capture_output=True,
                              text=True)
        try:
            if json.loads(done.stdout)["uuid"] == guest.instance:
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
        self.backend = self.Socket(self.lab.path("control", f"{self.name}.sock"))
        self.world = World(self.lab, f"{self.name}{tag}", networks, guests, self.qrouter, self.rules)
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
        agent = self.lab.write(f"control/{self.name}-metadata_agent.ini", f"""[DEFAULT]
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
        self.lab.stop(*self.stages)
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
        self.lab.stop(*self.processes)
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
        system = kind(context.lab, context.backend, context.body_file)
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


def versions():
    packages = ["nova-api", "neutron-metadata-agent", "neutron-server", "rabbitmq-server", "mariadb-server-core",
                "memcached", "uwsgi-core"]
    text = run("dpkg-query", "-W", "-f", "${Package} ${Version}\n", *packages, check=False)
    return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)


def whole_path(context):
    lacking = missing()
    if lacking:
        reason = f"skipped, {lacking[0]} is missing: scripts/install-deps.sh --for openstack installs the real chain"
        progress(f"  chain: {reason}")
        context.report["unavailable"]["chain"] = reason
        return {"skipped": reason}
    control = ControlPlane(context.lab)
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

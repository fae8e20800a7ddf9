# SPDX-License-Identifier: Apache-2.0
"""The control plane of a cloud, of the distribution's packages: neutron-server with ML2, Nova's schema,
RabbitMQ, MariaDB and memcached, in a namespace of its own. Only Keystone is left out (Neutron's
"noauth"), which spares the chain work. Configuration is the packages' own, with what is needed to
connect the pieces."""

import json
import os
import re
import subprocess
import time

from labkit import Layout, inside, run

from .systems import SECRET
from .workspace import Process, Unavailable, progress
from .world import make_uuid

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

    def __init__(self, workspace):
        self.workspace = workspace
        self.netns = workspace.prefix + "control"
        self.processes = []
        self.memcached = None
        self.logs = {}

    @property
    def pids(self):
        return [pid for process in self.processes for pid in process.pids]

    def path(self, *parts):
        return self.workspace.path("control", *parts)

    def folder(self, *parts):
        return os.path.dirname(self.path(*parts, ""))

    def start(self, name, command, environment=None):
        log = self.logs[name] = self.path(f"{name}.log")
        process = self.workspace.start(command, self.netns, log, None,
                                       {**os.environ, "HOME": self.folder("home"), **(environment or {})})
        group = Group(process.popen)
        self.workspace.processes[self.workspace.processes.index(process)] = group
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
        self.workspace.processes.remove(process)
        if code != 0:
            raise Unavailable(f"{name} ended with {code}: {self.words(name)}")

    def up(self):
        layout = Layout()
        layout.namespace(self.netns)
        self.workspace.make(layout)
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
        init = self.workspace.write("control/init.sql", sql + "CREATE USER IF NOT EXISTS openstack@'%' IDENTIFIED BY "
                                    "'openstack';\nGRANT ALL ON *.* TO openstack@'%';\n")
        return self.start("mariadbd", ["mariadbd", "--no-defaults", f"--datadir={data}", "--user=root",
                                       f"--socket={self.path('mysql.sock')}", f"--pid-file={self.path('mysql.pid')}",
                                       "--bind-address=127.0.0.1", "--port=3306", "--max-connections=4096",
                                       "--skip-name-resolve", f"--init-file={init}"])

    def start_broker(self):
        # Started here, or Erlang would leave a daemon of its own behind.
        self.processes.append(self.start("epmd", ["epmd", "-port", "4369", "-address", "127.0.0.1"]))
        cookie = self.workspace.write("control/home/.erlang.cookie", "METATAPBENCH")
        os.chmod(cookie, 0o400)
        return self.start("rabbitmq", ["/usr/lib/rabbitmq/bin/rabbitmq-server"], {
            "RABBITMQ_NODENAME": "bench@localhost", "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": "5672", "RABBITMQ_DIST_PORT": "25672",
            "RABBITMQ_MNESIA_BASE": self.path("rabbit", "mnesia"), "RABBITMQ_LOG_BASE": self.path("rabbit", "log"),
            "RABBITMQ_LOGS": "-", "RABBITMQ_PID_FILE": self.path("rabbit", "pid"),
            "RABBITMQ_CONFIG_FILE": self.path("rabbit", "none"), "RABBITMQ_CONF_ENV_FILE": self.path("rabbit", "env"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.workspace.write("control/rabbit/plugins", "[].\n")})

    def start_memcached(self):
        """Again, if there was one: then it is empty."""
        if self.memcached:
            self.workspace.stop(self.memcached)
            self.processes.remove(self.memcached)
        self.memcached = self.start("memcached", ["memcached", "-u", "root", "-l", "127.0.0.1", "-p", str(MEMCACHED)])
        self.processes.append(self.memcached)
        self.until("memcached", self.memcached, lambda: self.answers(MEMCACHED))

    def write_configurations(self):
        self.neutron_files = [*NEUTRON_FILES, self.workspace.write("control/neutron.conf", f"""[DEFAULT]
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
        return self.workspace.write(f"control/{name}", f"""[DEFAULT]
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
        file = self.workspace.write(f"control/{name}.ini", text)
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
                                "guests": [{"mac": g.mac, "address": g.ip4, "instance": g.instance_id}
                                           for g in n.guests]} for n in world.networks]}
        done = subprocess.run(inside(self.netns) + ["/usr/bin/python3", os.path.join(os.path.dirname(__file__),
                              "openstack_rows.py"), *self.nova_files], input=json.dumps(wanted), text=True,
                              capture_output=True)
        if done.returncode != 0:
            raise Unavailable(f"instances could not be made: {done.stderr.strip()[-600:]}")
        for network, made in zip(world.networks, json.loads(done.stdout.splitlines()[-1])):
            network.be(made["id"], made["subnet"], made["router"], made["router_port"])
            for guest, port in zip(network.guests, made["ports"]):
                guest.be_port(port)

    def down(self):
        self.workspace.stop(*self.processes)
        self.processes = []
        self.workspace.drop_namespaces([self.netns])


def versions():
    packages = ["nova-api", "neutron-metadata-agent", "neutron-server", "rabbitmq-server", "mariadb-server-core",
                "memcached", "uwsgi-core"]
    text = run("dpkg-query", "-W", "-f", "${Package} ${Version}\n", *packages, check=False)
    return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)

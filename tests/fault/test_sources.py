# SPDX-License-Identifier: Apache-2.0
"""What the inventory comes from is slow, away, or not ours: the database, the file, the name server."""

import concurrent.futures
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time

import aloneapi
import mtlab
import postgres
import pytest
from aloneapi import LIMIT, PROJECT, SAMPLE, SECRET, STRANGER

def test_hung_database_holds_up_neither_watchdog_nor_operator_nor_guests(api, database):
    daemon = api({"database": database.url()}).start()
    daemon.metatap("apply", str(SAMPLE))
    assert daemon.ask()[::2] == (200, "full.novalocal")
    database.hang()

    def post():
        started = time.monotonic()
        return daemon.post_password("c2VjcmV0"), time.monotonic() - started
    with concurrent.futures.ThreadPoolExecutor() as pool:
        posts = [pool.submit(post) for _ in range(3)]
        added = pool.submit(daemon.metatap, "apply", str(SAMPLE), check=False)
        for _ in range(10):
            daemon.wait_until_told("WATCHDOG=1", 5)  # who waited for `apply` would do so for a minute
            assert daemon.ask()[0] == 200
            assert daemon.status()["instances"] == 2
        for posted in posts:
            (status, retry_after, text), took = posted.result()
            assert (status, int(retry_after) > 0) == (503, True), text
            assert took < LIMIT + 5, "the deadline of the password's answer"
        assert added.result().returncode != 0
        assert "postgresql://metatap@/postgres: " in added.result().stderr
    mtlab.wait_until(lambda: not daemon.status()["database_reachable"], 10, "status says so")
    assert daemon.admin("/healthz")[0] == 503
    assert "metatap_database_reachable 0" in daemon.admin("/metrics")[1]
    database.go_on()
    mtlab.wait_until(lambda: daemon.status()["database_reachable"], 10, "it is back")
    assert daemon.post_password("c2VjcmV0")[0] in (200, 409), "409: the first one was stored late"
    assert daemon.ask("/openstack/latest/password")[2] == "c2VjcmV0"


def test_start_with_the_database_down_serves_what_it_had_last(api, database):
    daemon = api({"database": database.url()}).start()
    daemon.metatap("apply", str(SAMPLE))
    assert daemon.post_password("c2VjcmV0")[0] == 200
    daemon.stop()
    database.stop()
    daemon.start()
    assert daemon.ask()[::2] == (200, "full.novalocal")
    assert daemon.ask("/openstack/latest/password")[2] == "c2VjcmV0"
    assert daemon.ask(uuid=STRANGER)[0] == 404, "known not to be there"
    status = daemon.status()
    assert status["served_from"] == "this host's copy" and status["age"] >= 0
    time.sleep(1.1)
    age = [line for line in daemon.admin("/metrics")[1].splitlines()
           if line.startswith("metatap_inventory_age_seconds ")]
    assert float(age[0].split()[1]) >= 1
    assert daemon.admin("/healthz")[0] == 503
    status, retry_after, _ = daemon.post_password("bGF0ZXI=")
    assert status == 409 or retry_after, "a password is set already, and that is known"
    database.start()
    mtlab.wait_until(lambda: daemon.status()["served_from"] == "the database's state", 15, "read")
    assert daemon.status()["age"] == 0
    mtlab.wait_until(lambda: daemon.admin("/healthz")[0] == 200, 20, "healthy")


def test_start_that_never_knew_anything_answers_503_until_it_does(api, database):
    database.stop()
    daemon = api({"database": database.url()}).start()
    assert "not known yet" in daemon.told, "what systemctl status shows"
    status, retry_after, _ = daemon.ask()
    assert (status, int(retry_after) > 0) == (503, True), "cloud-init gives up after a 404"
    assert daemon.status()["served_from"].startswith("nothing yet")
    code, text = daemon.admin("/healthz")
    assert code == 503 and "not known yet" in text
    assert "metatap_inventory_known 0" in daemon.admin("/metrics")[1]
    database.start()
    daemon.wait_until_told("STATUS=serving", 15)
    assert daemon.ask()[0] == 404, "now it is known not to be there"
    daemon.metatap("apply", str(SAMPLE))
    assert daemon.ask()[0] == 200


def test_first_inventory_that_is_refused_is_503_until_it_is_good(api, tmp_path):
    file = tmp_path / "inventory.json"
    file.write_text('{"format": "metatap-inventory/1", "ports": [{}]}')
    daemon = api({"file": file}).start()
    status, retry_after, _ = daemon.ask()
    assert (status, int(retry_after) > 0) == (503, True)
    assert '/ports/0: "id" is required' in daemon.status()["unknown_because"]
    file.write_text(SAMPLE.read_text())
    mtlab.wait_until(lambda: daemon.ask()[0] == 200, 20, "served")
    assert daemon.ask(uuid=STRANGER)[0] == 404


def test_inventory_file_that_is_missing_at_the_start_is_503_until_it_comes(api, tmp_path):
    file = tmp_path / "inventory.json"
    daemon = api({"file": file}).start()
    assert daemon.ask()[0] == 503
    file.write_text(SAMPLE.read_text())
    mtlab.wait_until(lambda: daemon.ask()[0] == 200, 20, "served")


def test_inventory_file_that_becomes_a_directory_or_goes_is_one_log_line(api, tmp_path):
    file = tmp_path / "inventory.json"
    file.write_text(SAMPLE.read_text())
    daemon = api({"file": file}).start()
    file.unlink()
    file.mkdir()
    mtlab.wait_until(lambda: "no regular file" in daemon.status()["file_error"], 20, "told")
    time.sleep(6)  # longer than the pause between two looks
    assert daemon.ask()[::2] == (200, "full.novalocal")
    assert daemon.log.read_text().count("no regular file") == 1
    file.rmdir()
    file.write_text(SAMPLE.read_text().replace('"full"', '"back"'))
    mtlab.wait_until(lambda: daemon.ask()[2] == "back.novalocal", 20, "taken up again")
    assert daemon.status()["file_error"] == ""


def test_manager_that_does_not_read_stops_nobody(api, tmp_path):
    """Nobody reads what systemd is told; the watchdog's messages fill its socket."""
    file = tmp_path / "inventory.json"
    file.write_text(SAMPLE.read_text())
    daemon = api({"file": file}).start()
    time.sleep(4)  # 20 messages; the kernel keeps some ten
    file.write_text(SAMPLE.read_text().replace('"full"', '"later"'))
    mtlab.wait_until(lambda: daemon.ask()[2] == "later.novalocal", 20, "the control thread goes on")
    assert daemon.status()["instances"] == 2


def test_what_the_file_says_is_what_there_is(api, tmp_path):
    file = tmp_path / "inventory.json"
    file.write_text(SAMPLE.read_text())
    daemon = api({"file": file}).start()
    assert str(file) in daemon.status()["source_of_truth"]
    added = tmp_path / "added.json"
    added.write_text(json.dumps({"uuid": STRANGER, "name": "mine", "project_id": PROJECT}))
    for command in (["apply", str(SAMPLE)], ["instance", "add", str(added)],
                    ["instance", "set", str(added)], ["instance", "remove", "full"]):
        done = daemon.metatap(*command, check=False)
        assert done.returncode == 1 and str(file) in done.stderr, command
    daemon.metatap("apply", str(SAMPLE), "--dry-run")


def test_what_commands_say_survives_a_restart(api, tmp_path):
    daemon = api().start()
    assert "metatap apply" in daemon.status()["source_of_truth"]
    daemon.metatap("apply", str(SAMPLE))
    added = tmp_path / "added.json"
    added.write_text(json.dumps({"uuid": STRANGER, "name": "mine", "project_id": PROJECT}))
    daemon.metatap("instance", "add", str(added))
    daemon.stop()
    daemon.start()
    assert daemon.ask(uuid=STRANGER)[::2] == (200, "mine.novalocal")
    assert daemon.ask()[0] == 200


@pytest.mark.parametrize("kind", ["mysql", "postgresql"])
def test_novas_database_is_noted_and_left_alone(api, database, kind):
    database.sql("CREATE TABLE instances (id integer)")
    url = database.url() if kind == "postgresql" else "mysql+pymysql://nova:hush@db/nova?charset=utf8"
    daemon = api(more=f"[database]\nconnection = {url}\n").start()
    daemon.metatap("apply", str(SAMPLE))
    log = daemon.log.read_text()
    assert f"{daemon.config}:" in log and "[database] connection is Nova's or Neutron's" in log
    assert "hush" not in log
    assert daemon.status()["database"].startswith("sqlite:")
    assert database.sql("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'metatap%'") == "0"


def test_database_of_another_program_is_refused_with_a_sentence(api, database):
    database.sql("CREATE TABLE instances (id integer)")
    daemon = api({"database": database.url()})
    done = subprocess.run([mtlab.BIN / "metatapd", "--stages", "api", "--config-file", daemon.config],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert "it belongs to another program (there is instances)" in done.stderr
    assert database.sql("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'metatap%'") == "0"


# --- what one host needs ----------------------------------------------------------------------------

def guest(name, host, more=None):
    """One object of an inventory: a guest of its own network, bound to that host."""
    return {"networks": [{"id": f"net-{name}"}],
            "ports": [{"id": name, "network_id": f"net-{name}", "mac_address": f"02:00:00:00:00:0{name}",
                       "device_id": name, "project_id": PROJECT, "binding:host_id": host, **(more or {})}],
            "instances": [{"uuid": name, "name": f"guest-{name}", "project_id": PROJECT}]}


@pytest.fixture
def hosts(tmp_path, database):
    """hosts(name, scope, host): a daemon that has started, with that database."""
    made = []

    def start(name, scope="host", host=None):
        (tmp_path / name).mkdir(exist_ok=True)
        made.append(aloneapi.Api(tmp_path / name, {"database": database.url(), "scope": scope},
                                 f"[DEFAULT]\nhost = {host or name}\n"))
        return made[-1].start()
    yield start
    for one in made:
        one.stop()


def put(daemon, folder, document):
    file = folder / "object.json"
    file.write_text(json.dumps(document))
    daemon.metatap("instance", "set", str(file))


def test_host_serves_its_own_guests_and_one_that_moves_to_it_at_once(hosts, database, tmp_path):
    controller = hosts("controller", scope="all")
    one, two = hosts("one"), hosts("two")
    for name, host in (("1", "one"), ("2", "two")):
        put(controller, tmp_path, guest(name, host))
    mtlab.wait_until(lambda: one.ask(uuid="1")[0] == two.ask(uuid="2")[0] == 200, 10, "each its own")
    assert (one.ask(uuid="2")[0], two.ask(uuid="1")[0]) == (404, 404)
    assert one.status()["instances"] == 1 and "what host one needs" in one.status()["database"]

    put(controller, tmp_path, guest("1", "one", {"binding:profile": {"migrating_to": "two"}}))
    mtlab.wait_until(lambda: two.ask(uuid="1")[0] == 200, 20, "served where it is going")
    assert one.ask(uuid="1")[0] == 200, "and where it is"
    put(controller, tmp_path, guest("1", "two"))
    mtlab.wait_until(lambda: one.ask(uuid="1")[0] == 404, 20, "it has left")
    assert two.ask(uuid="1")[::2] == (200, "guest-1.novalocal")

    # What the new host has is what it starts with, also while the database is away.
    two.stop()
    database.stop()
    two.start()
    assert (two.ask(uuid="1")[0], two.ask(uuid="2")[0]) == (200, 200)
    database.start()
    mtlab.wait_until(lambda: two.status()["served_from"] == "the database's state", 15, "read")


def test_host_with_a_part_keeps_passwords_and_refuses_what_takes_all(hosts, tmp_path):
    controller = hosts("controller", scope="all")
    for name, host in (("1", "one"), ("2", "two")):
        put(controller, tmp_path, guest(name, host))
    one = hosts("one")
    assert one.ask("/openstack/latest/password", "1", "POST", "c2VjcmV0")[0] == 200
    mtlab.wait_until(lambda: controller.ask("/openstack/latest/password", "1")[2] == "c2VjcmV0", 20, "stored")
    file = tmp_path / "object.json"
    for command in (["apply", str(SAMPLE)], ["apply", "--dry-run", str(SAMPLE)], ["export"],
                    ["instance", "set", str(file)], ["instance", "remove", "1"]):
        done = one.metatap(*command, check=False)
        assert done.returncode == 1 and "scope = all" in done.stderr, (command, done.stderr)
    assert controller.status()["instances"] == 2, "nothing was deleted that is not held there"


def test_host_by_a_name_that_no_port_has_is_told_once(hosts, tmp_path):
    controller = hosts("controller", scope="all")
    put(controller, tmp_path, guest("1", "one.example.net"))
    one = hosts("one")
    assert one.ask(uuid="1")[0] == 404
    put(controller, tmp_path, guest("2", "two.example.net"))
    one.stop()
    text = one.log.read_text()
    assert text.count("no port is bound to the host 'one'") == 1 and "'one.example.net'" in text


@pytest.mark.parametrize("options,told", [
    ({"scope": "host"}, "[inventory] scope: expected all; host only with source = database and postgresql://"),
    ({"scope": "host", "file": "/nowhere/inventory.json"}, "[inventory] scope: expected all; host only"),
    ({"scope": "some"}, "[inventory] scope = 'some': expected one of all, host"),
], ids=["sqlite", "file", "unknown"])
def test_scope_that_cannot_be_is_refused_with_its_place(api, options, told):
    daemon = api(options)
    for command in (["--check"], []):
        done = subprocess.run([mtlab.BIN / "metatapd", *command, "--stages", "api", "--config-file", daemon.config],
                              capture_output=True, text=True, timeout=30)
        assert done.returncode != 0 and told in done.stderr, done.stderr
        assert f"{daemon.config}:" in done.stderr


# --- a database over a network ---------------------------------------------------------------------

DATABASE, ANOTHER = ADDRESSES = ["192.0.2.1", "192.0.2.2"]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Two authorities, and the database's certificate by the first one."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-days", "2", *arguments], check=True, capture_output=True, cwd=folder)
    for name in ("right", "wrong"):
        openssl("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")
    openssl("-subj", "/CN=database", "-addext", f"subjectAltName=IP:{DATABASE}",
            "-addext", "basicConstraints=critical,CA:FALSE", "-CA", "right.crt", "-CAkey", "right.key",
            "-keyout", "database.key", "-out", "database.crt")
    return folder


@pytest.fixture(scope="module")
def network():
    """A namespace with addresses that are no loopback's."""
    name = f"mt{secrets.token_hex(3)}db"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        mtlab.labkit.ip_batch(["link set lo up", *(f"addr add {address}/32 dev lo" for address in ADDRESSES)],
                              name)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture(scope="module")
def remote_database(network):
    """remote_database(certificate or None): one that listens in that namespace, with TLS or without."""
    if why := postgres.missing():
        pytest.skip(why)
    server, now = postgres.Postgres(), [...]

    def listen(certificate=None):
        if now[0] != certificate:
            now[0] = certificate
            server.listen(ADDRESSES, network, certificate)
    yield listen
    server.close()


@pytest.mark.parametrize("host,options,refused", [
    (DATABASE, "?sslrootcert={folder}/right.crt", None),
    (DATABASE, "?sslrootcert={folder}/wrong.crt", "certificate verify failed"),
    (DATABASE, "", "certificate verify failed"),  # by the host's authorities
    (ANOTHER, "?sslrootcert={folder}/right.crt", "does not match"),  # it is another's
    (DATABASE, "?sslmode=require", None),
], ids=["right", "wrong", "unknown", "another-name", "told-otherwise"])
def test_database_over_a_network_shows_who_it_is(api, remote_database, network, certificates, host, options,
                                                 refused):
    remote_database(certificates / "database.crt")
    over_a_network(api, network, f"postgresql://metatap@{host}/postgres" + options.format(folder=certificates),
                   refused)


@pytest.mark.parametrize("options,refused", [("", "does not support SSL"), ("?sslmode=disable", None)],
                         ids=["by-default", "told-otherwise"])
def test_database_over_a_network_without_tls_is_refused_unless_told_otherwise(
        api, remote_database, network, options, refused):
    remote_database()
    over_a_network(api, network, f"postgresql://metatap@{DATABASE}/postgres{options}", refused)


def over_a_network(api, network, url, refused):
    """What --check and a start in that namespace make of it."""
    daemon = api({"database": url})
    daemon.prefix = ["nsenter", f"--net=/run/netns/{network}"]
    checked = subprocess.run([*daemon.prefix, mtlab.BIN / "metatapd", "--check", "--stages", "api",
                              "--config-file", daemon.config], capture_output=True, text=True, timeout=30)
    daemon.start()
    status = daemon.status()
    assert status["database_reachable"] == (refused is None), checked.stderr
    if refused is None:
        assert "go on without it" not in checked.stderr, checked.stderr
        daemon.metatap("apply", str(SAMPLE))
    else:
        assert refused in checked.stderr, checked.stderr
        assert refused in status["unknown_because"]
        assert daemon.metatap("apply", str(SAMPLE), check=False).returncode != 0


# --- the name server ------------------------------------------------------------------------------

NETWORK, PORT = "net-1", "port-1"
BLACK_HOLE = """
import socket, sys, time
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
time.sleep(300)
"""


def ask_agent(path):
    """The status of a request as Neutron's proxy sends it, and how long it took."""
    started = time.monotonic()
    with socket.socket(socket.AF_UNIX) as agent:
        agent.settimeout(60)
        agent.connect(str(path))
        agent.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                      b"X-Forwarded-For: 10.0.0.5\r\nX-Neutron-Network-ID: net-1\r\n\r\n")
        answer = agent.recv(65536)
    return int(answer.split()[1]), time.monotonic() - started


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_name_server_that_hangs_costs_a_request_no_more_than_its_deadline(tmp_path):
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps({
        "format": "metatap-inventory/1", "networks": [{"id": NETWORK}],
        "subnets": [{"id": "s", "network_id": NETWORK, "cidr": "10.0.0.0/24", "ip_version": 4}],
        "ports": [{"id": PORT, "network_id": NETWORK, "mac_address": "02:00:00:00:00:05",
                   "device_id": "i", "project_id": "p",
                   "fixed_ips": [{"subnet_id": "s", "ip_address": "10.0.0.5"}]}]}))
    config, names, hosts = (tmp_path / name for name in ("metatapd.conf", "resolv.conf", "hosts"))
    config.write_text(
        f"[DEFAULT]\nuser = root\nstate_path = {tmp_path}\nrun_path = {tmp_path}/run\n"
        f"metadata_proxy_shared_secret = {SECRET}\nnova_metadata_host = nova.example.net\n"
        f"[agent]\nnova_timeout = 3\n[inventory]\nfile = {inventory}\n")
    names.write_text("nameserver 127.0.0.1\noptions timeout:10 attempts:2\n")
    hosts.write_text("127.0.0.1 localhost\n")
    # A name server that hears and says nothing, in namespaces of their own.
    inside = ["unshare", "--net", "--mount", "sh", "-c",
              f"ip link set lo up; mount --bind {names} /etc/resolv.conf; "
              f"{mtlab.PYTHON} -c '{BLACK_HOLE}' & sleep 0.5; exec \"$@\"", "sh"]
    daemon = mtlab.Daemon("agent", tmp_path, ["--config-file", config, "--stages", "agent"],
                          prefix=inside)
    try:
        daemon.start()
        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            answers = list(pool.map(ask_agent, [tmp_path / "metadata_proxy"] * 5))
        assert {status for status, _ in answers} <= {503, 504}
        assert max(seconds for _, seconds in answers) < 5, "each its own nova_timeout, not one another's"
    finally:
        group = daemon.process.pid
        try:
            daemon.stop()
        finally:
            try:
                os.killpg(group, signal.SIGKILL)  # the name server
            except ProcessLookupError:
                pass

# SPDX-License-Identifier: Apache-2.0
"""The command line against a running daemon: `metatapd --stages api`, which needs no root."""

import base64
import concurrent.futures
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("METATAP_BIN", ROOT / "build" / "bin"))
SAMPLE = ROOT / "tests" / "data" / "nova-sample" / "inventory.json"
PYTHON = "/usr/bin/python3"
SECRET = "test-secret"
FULL = "d6452656-3124-57a4-98af-fbad778b56d7"

DONE, FAILED, USAGE, NOT_FOUND, CONFLICT, UNREACHABLE = range(6)

pytestmark = pytest.mark.skipif(not (BIN / "metatapd").exists(), reason=f"{BIN}/metatapd is not built")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Daemon:
    def __init__(self, folder, file=None):
        self.folder, self.port = folder, free_port()
        self.socket = folder / "run" / "admin.sock"
        self.config = folder / "metatapd.conf"
        self.config.write_text(
            f"[DEFAULT]\nstate_path = {folder}/state\nrun_path = {folder}/run\nuser = root\n"
            f"metadata_listen = 127.0.0.1\nmetadata_listen_port = {self.port}\n"
            f"metadata_proxy_shared_secret = {SECRET}\n"
            f"[inventory]\n{f'file = {file}' if file else ''}\n")
        self.log = folder / "log"
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [BIN / "metatapd", "--stages", "api", "--config-file", self.config], stderr=log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            if self.run("status").returncode == DONE:
                return self
            time.sleep(0.05)
        self.stop(signal.SIGKILL)  # no fixture does, of what has not begun
        raise AssertionError(f"metatapd does not start: {self.log.read_text()}")

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(timeout=20)
        return self.process.returncode

    def run(self, *arguments, text=None):
        return subprocess.run([BIN / "metatap", "--socket", self.socket, *arguments], input=text,
                              capture_output=True, text=True, timeout=60)

    def json(self, *arguments, **more):
        done = self.run("--json", *arguments, **more)
        assert done.returncode == DONE, done.stderr
        return json.loads(done.stdout)

    def ask(self, path, uuid=FULL, project="84db5c77d1b755f193cb8f0e36fc6553", method="GET", body=None):
        """What the agent would be answered for that instance."""
        signature = hmac.new(SECRET.encode(), uuid.encode(), hashlib.sha256).hexdigest()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, {
                "X-Instance-ID": uuid, "X-Tenant-ID": project, "X-Forwarded-For": "10.70.0.11",
                "X-Instance-ID-Signature": signature})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@pytest.fixture
def daemon(tmp_path):
    running = Daemon(tmp_path).start()
    yield running
    running.stop()


@pytest.fixture
def sample(daemon):
    done = daemon.run("apply", SAMPLE)
    assert done.returncode == DONE, done.stderr
    return daemon


def test_apply_is_served_at_once_and_exported_again(daemon):
    assert "instances  2 added" in daemon.run("apply", SAMPLE, "--dry-run").stdout
    assert daemon.ask("/latest/meta-data/hostname")[0] == 404
    assert daemon.run("apply", SAMPLE).returncode == DONE
    assert daemon.ask("/latest/meta-data/hostname") == (200, b"full.novalocal")
    exported = daemon.run("export").stdout
    assert daemon.run("apply", "-", text=exported).stdout == "nothing to change\n"
    document = json.loads(exported)
    wanted = json.loads(SAMPLE.read_text())
    for table in ("networks", "subnets", "routers", "ports", "instances"):
        assert len(document[table]) == len(wanted[table])
    assert document["instances"][0]["network_info"] == wanted["instances"][0]["network_info"]


def test_everything_survives_kill_9(sample):
    assert sample.ask("/openstack/latest/password", method="POST", body=b"c2VjcmV0")[0] == 200
    sample.stop(signal.SIGKILL)
    sample.start()
    assert sample.ask("/latest/meta-data/hostname") == (200, b"full.novalocal")
    assert sample.ask("/openstack/latest/password") == (200, b"c2VjcmV0")
    assert sample.ask("/openstack/latest/password", method="POST", body=b"x")[0] == 409


def test_the_operator_reads_and_clears_a_password(sample):
    assert sample.run("instance", "password", "full").stdout == ""
    assert sample.ask("/openstack/latest/password", method="POST", body=b"c2VjcmV0")[0] == 200
    assert sample.run("instance", "password", "full").stdout == "c2VjcmV0\n"
    assert "c2VjcmV0" not in sample.log.read_text()
    assert sample.run("instance", "password", FULL, "--clear").returncode == DONE
    assert sample.ask("/openstack/latest/password") == (200, b"")
    assert sample.ask("/openstack/latest/password", method="POST", body=b"again")[0] == 200


def test_what_a_proxy_lets_pass_is_answered_as_nova_does(sample):
    """The API has no limits of its own below those: long is not an error of HTTP's."""
    path = "/openstack/latest/password"
    status, body = sample.ask(path, method="POST", body=b"x" * 9000)
    assert status == 400 and b"Request is too large." in body
    assert sample.ask("/latest/" + "x" * 8000)[0] == 404
    assert sample.ask(path) == (200, b"")


def test_a_load_balancer_asks_without_a_signature(sample):
    connection = http.client.HTTPConnection("127.0.0.1", sample.port, timeout=10)
    try:
        connection.request("GET", "/healthcheck")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"OK")
        connection.request("HEAD", "/healthcheck")
        assert connection.getresponse().status == 204
    finally:
        connection.close()


def test_only_one_of_many_first_passwords_is_taken(sample):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(lambda n: sample.ask("/openstack/latest/password", method="POST",
                                                   body=b"p%d" % n)[0], range(48)))
    assert codes.count(200) == 1 and codes.count(409) == 47


def test_one_instance_at_a_time(sample):
    mine = {"uuid": "11111111-2222-4333-8444-555555555555", "name": "my first", "project_id": "p"}
    done = sample.run("instance", "add", "-", text=json.dumps(mine))
    assert done.returncode == DONE and "1 added" in done.stdout
    assert sample.ask("/latest/meta-data/hostname", mine["uuid"], "p") == (200, b"my-first.novalocal")
    assert sample.run("instance", "add", "-", text=json.dumps(mine | {"name": "b"})).returncode == CONFLICT
    assert sample.run("instance", "set", "-", text=json.dumps(mine | {"name": "b"})).returncode == DONE
    assert sample.ask("/latest/meta-data/hostname", mine["uuid"], "p") == (200, b"my-first.novalocal")
    assert sample.json("instance", "show", "b")["uuid"] == mine["uuid"]
    assert {row["name"] for row in sample.json("instance", "list")} == {"full", "dhcp", "b"}
    assert sample.run("instance", "remove", "b").returncode == DONE
    assert sample.run("instance", "remove", "b").returncode == NOT_FOUND
    assert sample.ask("/latest/meta-data/hostname", mine["uuid"], "p")[0] == 404


def test_a_broken_document_changes_nothing(sample):
    document = json.loads(SAMPLE.read_text())
    document["ports"][0]["mac_adress"] = "typo"
    done = sample.run("apply", "-", text=json.dumps(document))
    assert done.returncode == FAILED
    assert done.stderr == 'metatap: /ports/0/mac_adress: unknown key "mac_adress"; did you mean "mac_address"?\n'
    assert sample.ask("/latest/meta-data/hostname") == (200, b"full.novalocal")
    assert sample.run("apply", "/nonexistent").returncode == USAGE
    assert sample.run("frobnicate").returncode == USAGE


def test_the_file_is_followed(tmp_path):
    file = tmp_path / "inventory" / "all.json"
    file.parent.mkdir()
    shutil.copy(SAMPLE, file)
    daemon = Daemon(tmp_path, file).start()
    try:
        assert daemon.ask("/latest/meta-data/hostname") == (200, b"full.novalocal")
        document = json.loads(SAMPLE.read_text())
        document["instances"][0]["hostname"] = "renamed"
        (file.parent / "new").write_text(json.dumps(document))
        os.replace(file.parent / "new", file)
        deadline = time.monotonic() + 3
        while daemon.ask("/latest/meta-data/hostname")[1] != b"renamed.novalocal":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        file.write_text('{"format": "metatap-inventory/1", "ports": [{}]}')
        while not daemon.json("status")["inventory"]["file_error"]:
            assert time.monotonic() < deadline + 3
            time.sleep(0.02)
        assert '/ports/0: "id" is required' in daemon.json("status")["inventory"]["file_error"]
        assert daemon.ask("/latest/meta-data/hostname") == (200, b"renamed.novalocal")
        assert daemon.run("doctor").returncode == FAILED
    finally:
        daemon.stop()


def test_applying_while_guests_ask(sample):
    document = json.loads(SAMPLE.read_text())
    answers = set()

    def guest(_):
        for _ in range(60):
            answers.add(sample.ask("/latest/meta-data/hostname"))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        guests = [pool.submit(guest, n) for n in range(4)]
        for name in ("one", "two", "three", "four"):
            document["instances"][0]["hostname"] = name
            assert sample.run("apply", "-", text=json.dumps(document)).returncode == DONE
            assert sample.ask("/latest/meta-data/hostname")[1] == f"{name}.novalocal".encode()
        for waiting in guests:
            waiting.result()
    assert answers <= {(200, f"{name}.novalocal".encode())
                       for name in ("full", "one", "two", "three", "four")}


def test_a_newer_database_is_refused_with_a_sentence(daemon):
    daemon.stop()
    subprocess.run([PYTHON, "-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1])"
                    ".execute('PRAGMA user_version = 99')", daemon.folder / "state" / "metatap.db"],
                   check=True)
    process = subprocess.run([BIN / "metatapd", "--stages", "api", "--config-file", daemon.config],
                             capture_output=True, text=True, timeout=20)
    assert process.returncode != 0
    assert "schema 99 is newer than this program's" in process.stderr


def small_disk(folder):
    """A file system of 2 MB in a namespace of its own would need root; so does this."""
    folder.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "metatap-test", folder],
                          capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")


def test_a_full_disk_keeps_the_old_value(tmp_path):
    small_disk(tmp_path / "state")
    try:
        daemon = Daemon(tmp_path).start()
        try:
            assert daemon.run("apply", SAMPLE).returncode == DONE
            with open(tmp_path / "state" / "filler", "wb", buffering=0) as filler:
                try:
                    while True:
                        filler.write(b"x" * 4096)
                except OSError:
                    pass
            # The log may have room left for a few more pages: until it has not, a POST may do.
            refused = None
            for number in range(400):
                body = base64.b64encode(os.urandom(700))
                code = daemon.ask("/openstack/latest/password", method="POST", body=body)[0]
                if code == 503:
                    refused = body
                    break
                assert code == 200
                cleared = daemon.run("instance", "password", "full", "--clear")
                if cleared.returncode != DONE:
                    assert "full" in cleared.stderr
                    break
            else:
                pytest.fail("the disk never filled up")
            before = daemon.ask("/openstack/latest/password")
            assert before[0] == 200 and before[1] != refused
            assert daemon.ask("/latest/meta-data/hostname") == (200, b"full.novalocal")
            os.unlink(tmp_path / "state" / "filler")
            assert daemon.run("instance", "password", "full", "--clear").returncode == DONE
            assert daemon.ask("/openstack/latest/password", method="POST", body=b"ok")[0] == 200
        finally:
            daemon.stop()
    finally:
        subprocess.run(["umount", tmp_path / "state"], check=True)


def test_nobody_listens(tmp_path):
    done = subprocess.run([BIN / "metatap", "--socket", tmp_path / "none", "status"],
                          capture_output=True, text=True)
    assert done.returncode == UNREACHABLE
    assert "is metatapd running" in done.stderr


def test_status_ports_config_and_metrics_are_shown(sample):
    status = sample.json("status")
    assert status["inventory"]["instances"] == 2
    assert "inventory\n" in sample.run("status").stdout
    rows = sample.json("ports")
    assert {"ce9153db-08f3-55d0-b085-27ed33fb1f02"} <= {row["id"] for row in rows}
    assert "tapce9153db-08" in sample.run("ports").stdout
    shown = sample.run("config", "show").stdout
    assert "metadata_listen_port" in shown and SECRET not in shown
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(str(sample.socket))
        admin.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = b""
        while chunk := admin.recv(65536):
            text += chunk
    assert b'metatap_inventory_objects{kind="instance"} 2' in text


# --- config drive ---------------------------------------------------------------------------------

CLOUD_INIT = """
import json, sys
from cloudinit.sources import DataSourceConfigDrive as ds
got = ds.read_config_drive(sys.argv[1])
print(json.dumps({"version": got["version"], "metadata": {k: v for k, v in got["metadata"].items()
                  if k != "random_seed"}, "userdata": got["userdata"].decode(),
                  "files": {k: v.decode("latin-1") for k, v in got.get("files", {}).items()},
                  "networkdata": got["networkdata"], "vendordata": got["vendordata"],
                  "ec2": got["ec2-metadata"]}))
"""


def has_cloudinit():
    return subprocess.run([PYTHON, "-c", "import cloudinit.sources.DataSourceConfigDrive"],
                          capture_output=True).returncode == 0


def unpack(image, form, into):
    """Reads an image back with the tools of its format, not with ours."""
    into.mkdir()
    if form == "vfat":
        if not shutil.which("mcopy"):
            pytest.skip("mcopy (package mtools) is not installed")
        subprocess.run(["mcopy", "-s", "-Q", "-i", image, "::/", into],
                       check=True, env={**os.environ, "MTOOLS_SKIP_CHECK": "1"})
        label = subprocess.run(["mlabel", "-s", "-i", image, "::"], capture_output=True, text=True).stdout
        assert "config-2" in label
        return
    if not shutil.which("isoinfo"):
        pytest.skip("isoinfo (package genisoimage) is not installed")
    assert "Volume id: config-2\n" in subprocess.run(["isoinfo", "-d", "-i", image],
                                                     capture_output=True, text=True).stdout
    for path in subprocess.run(["isoinfo", "-R", "-f", "-i", image], capture_output=True,
                               text=True, check=True).stdout.splitlines():
        target = into / path.lstrip("/")
        content = subprocess.run(["isoinfo", "-R", "-i", image, "-x", path], capture_output=True).stdout
        if content or "." in target.name or target.name in ("user_data", "user-data"):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


@pytest.mark.parametrize("form", ["iso9660", "vfat"])
def test_config_drive_is_what_http_serves_and_cloud_init_reads_it(sample, tmp_path, form):
    image = tmp_path / "disk.config"
    if form == "vfat" and not shutil.which("mkfs.vfat", path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
        pytest.skip("mkfs.vfat (package dosfstools) is not installed")
    done = sample.run("config-drive", "full", "--format", form, "-o", image, "--admin-pass", "-",
                      text="pa55\n")
    assert done.returncode == DONE, done.stderr
    assert image.stat().st_mode & 0o777 == 0o600
    if form == "vfat":
        assert image.stat().st_size == 64 << 20
    tree = tmp_path / "tree"
    unpack(image, form, tree)
    paths = sorted(str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file())
    assert len(paths) == 4 + 45 + 3

    only_here = ("random_seed", "admin_pass", "files")
    for path in paths:
        content = (tree / path).read_bytes()
        if path.startswith("ec2/") and path.endswith(".json") or "/content/" in path:
            continue
        status, body = sample.ask("/" + (path[4:] if path.startswith("ec2/") else path))
        assert status == 200, path
        if path.endswith("meta_data.json"):
            mine, served = json.loads(content), json.loads(body)
            assert mine["admin_pass"] == "pa55"
            assert ("random_seed" in mine) == ("random_seed" in served)
            for key in only_here:
                mine.pop(key, None), served.pop(key, None)
            assert list(mine.items()) == list(served.items()), path
        else:
            assert content == body, path

    if not has_cloudinit():
        pytest.skip("cloud-init is not installed")
    read = subprocess.run([PYTHON, "-c", CLOUD_INIT, tree], capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    got = json.loads(read.stdout)
    wanted = json.loads(SAMPLE.read_text())["instances"][0]
    assert got["version"] == 2
    assert got["metadata"]["uuid"] == FULL and got["metadata"]["admin_pass"] == "pa55"
    assert got["userdata"].encode() == base64.b64decode(wanted["user_data"])
    assert got["files"] == {file["path"]: base64.b64decode(file["contents"]).decode("latin-1")
                            for file in wanted["personality"]}
    assert len(got["networkdata"]["links"]) == 3
    assert got["ec2"]["instance-id"] == "i-00000001"


def test_no_password_is_taken_from_the_command_line(sample, tmp_path):
    image = tmp_path / "disk.config"
    typed = sample.run("config-drive", "full", "-o", image, "--admin-pass", "hunter2")
    assert typed.returncode == USAGE and not image.exists()
    assert "hunter2" not in typed.stdout + typed.stderr
    assert "hunter2" not in sample.log.read_text()
    (tmp_path / "empty").write_text("\n")
    assert sample.run("config-drive", "full", "-o", image, "--admin-pass",
                      tmp_path / "empty").returncode == USAGE
    (tmp_path / "password").write_text("pa55 word\r\nnot this\n")
    assert sample.run("config-drive", "full", "-o", image, "--admin-pass",
                      tmp_path / "password").returncode == DONE
    content = image.read_bytes()
    assert b'"admin_pass": "pa55 word"' in content and b"not this" not in content


def check(folder, text, stages="agent,api"):
    """What `metatapd --check` makes of a configuration: exit status and words."""
    config = folder / "checked.conf"
    config.write_text(text)
    done = subprocess.run([BIN / "metatapd", "--check", "--stages", stages, "--config-file", config],
                          capture_output=True, text=True, timeout=30)
    return done.returncode, done.stderr.replace(str(folder) + "/", "")


SECRET_LINE = "metadata_proxy_shared_secret = %s\n"


@pytest.mark.parametrize("stages,text,place", [
    ("api", "", "default: [DEFAULT]"),
    ("agent", "[DEFAULT]\nmetadata_proxy_shared_secret =\n", "checked.conf:2: [DEFAULT]"),
    ("agent", "[neutron]\n" + SECRET_LINE % "s3cret", "default: [DEFAULT]"),
    ("agent", "[DEFAULT]\n" + SECRET_LINE % "CHANGE-ME", "checked.conf:2: [DEFAULT]"),
    ("api", "[DEFAULT]\n" + SECRET_LINE % "s" + "[neutron]\n" + SECRET_LINE % "CHANGE-ME",
     "checked.conf:4: [neutron]"),
    ("dataplane,proxy,agent,api", "[DEFAULT]\n" + SECRET_LINE % "CHANGE-ME",
     "checked.conf:2: [DEFAULT]"),
    ("agent,api", "[DEFAULT]\n" + SECRET_LINE % "s3cret-a" + "[neutron]\n" + SECRET_LINE % "s3cret-b",
     "checked.conf:4: [neutron]"),
])
def test_a_secret_that_proves_nothing_is_refused(tmp_path, stages, text, place):
    status, said = check(tmp_path, text, stages)
    assert status == 78, said
    assert f"{place} metadata_proxy_shared_secret is " in said
    assert "s3cret" not in said
    started = subprocess.run([BIN / "metatapd", "--stages", stages, "--config-file",
                              tmp_path / "checked.conf"], capture_output=True, timeout=30)
    assert started.returncode == 78


def test_agent_and_api_in_one_process_need_no_secret(tmp_path):
    for stages in ("dataplane,proxy,agent,api", "agent,api", "dataplane,proxy"):
        assert check(tmp_path, "", stages)[0] == 0
    assert check(tmp_path, "[neutron]\nservice_metadata_proxy = false\n", "api")[0] == 0
    assert check(tmp_path, "[DEFAULT]\n" + SECRET_LINE % "CHANGE-ME", "dataplane,proxy")[0] == 0


NEUTRON = "[agent]\ndirectory = neutron\n[neutron]\n"
OVN = "[agent]\ndirectory = ovn\n[ovn]\n"


@pytest.mark.parametrize("text,wrong", [
    ("[DEFAULT]\nnova_metadata_host = not a host\n", ":2: [DEFAULT] nova_metadata_host: expected an IP"),
    ("[DEFAULT]\nnova_metadata_host = 10.0.0.256\n", ":2: [DEFAULT] nova_metadata_host"),
    ("[DEFAULT]\nnova_metadata_port = 65536\n", ":2: [DEFAULT] nova_metadata_port"),
    ("[DEFAULT]\nnova_metadata_protocol = ftp\n", ":2: [DEFAULT] nova_metadata_protocol"),
    ("[DEFAULT]\nmetadata_proxy_socket_mode = 0666\n", ":2: [DEFAULT] metadata_proxy_socket_mode"),
    ("[DEFAULT]\nmetadata_proxy_user = no-such-user\n", ":2: [DEFAULT] metadata_proxy_user"),
    ("[DEFAULT]\nmetadata_proxy_group = no-such-group\n", ":2: [DEFAULT] metadata_proxy_group"),
    ("[DEFAULT]\nmetadata_backlog = 0\n", ":2: [DEFAULT] metadata_backlog"),
    ("[DEFAULT]\nmetadata_listen = nova-api\n", ":2: [DEFAULT] metadata_listen: expected an IP"),
    ("[DEFAULT]\nmetadata_workers = -1\n", ":2: [DEFAULT] metadata_workers"),
    ("[metadata_haproxy]\ntimeout_client = 0\n", ":2: [metadata_haproxy] timeout_client"),
    ("[metadata_rate_limiting]\nip_versions = 4, 5\n", ":2: [metadata_rate_limiting] ip_versions"),
    ("[metadata_rate_limiting]\nrate_limit_enabled = maybe\n",
     ":2: [metadata_rate_limiting] rate_limit_enabled"),
    ("[api]\nvendordata_providers = StaticJSON, FancyJSON\n", ":2: [api] vendordata_providers"),
    ("[api]\nvendordata_dynamic_targets = a@http://h, b@nova:80\n",
     ":2: [api] vendordata_dynamic_targets: expected name@URL, but of b 'nova:80'"),
    ("[api]\nvendordata_dynamic_connect_timeout = 2\n", ":2: [api] vendordata_dynamic_connect_timeout"),
    ("[api]\ndhcp_domain = a b\n", ":2: [api] dhcp_domain"),
    ("[api]\nmetadata_cache_expiration = -1\n", ":2: [api] metadata_cache_expiration"),
    (NEUTRON + "auth_url = keystone:5000\n", ":4: [neutron] auth_url: expected an http"),
    (NEUTRON + "auth_url = http://k/v3\nauth_type = v2password\n", ":5: [neutron] auth_type"),
    (NEUTRON + "auth_type = none\n", "[neutron] endpoint_override is needed"),
    (NEUTRON + "auth_type = none\nendpoint_override = neutron\n", ":5: [neutron] endpoint_override"),
    (NEUTRON + "auth_type = none\nendpoint_override = http://n\nvalid_interfaces = inside\n",
     ":6: [neutron] valid_interfaces"),
    (NEUTRON + "auth_type = none\nendpoint_override = http://n\nkeyfile = /k\n", ":6: [neutron] keyfile"),
    (NEUTRON + "auth_type = none\nendpoint_override = https://n\ncafile = /nowhere\n", "read /nowhere"),
    (OVN + "[ovs]\novsdb_connection = 127.0.0.1:6640\n", ":5: [ovs] ovsdb_connection: expected unix:PATH, tcp:"),
    (OVN + "[ovs]\novsdb_connection =\n", ":5: [ovs] ovsdb_connection: expected a remote"),
    (OVN + "ovn_sb_connection = tcp:192.0.2.1:6642,ssl:nowhere\n", ":4: [ovn] ovn_sb_connection: expected unix:"),
    (OVN + "ovn_sb_connection = ssl:192.0.2.1:6642\n", "[ovn] ovn_sb_connection: OVSDB remote 'ssl:192.0.2.1:6642': "
     "a CA certificate must be given"),
    (OVN + "ovn_sb_connection = ssl:192.0.2.1:6642\novn_sb_ca_cert = /nowhere\n",
     "[ovn] ovn_sb_connection: OVSDB remote 'ssl:192.0.2.1:6642': read /nowhere"),
])
def test_an_option_of_neutrons_or_novas_is_checked_and_named(tmp_path, text, wrong):
    status, said = check(tmp_path, text)
    assert (status, wrong in said) == (78, True), said


def test_what_neutron_and_nova_take_is_taken(tmp_path):
    status, said = check(tmp_path, """[DEFAULT]
nova_metadata_host = nova-api.example.org
metadata_workers = 4096
[metadata_haproxy]
timeout_server = 200000
[api]
vendordata_providers = DynamicJSON
vendordata_dynamic_targets = a@https://[2001:db8::1]:99/x@y
vendordata_dynamic_connect_timeout = 7200
dhcp_domain = my_domain.example
[neutron]
auth_type = none
endpoint_override = http://neutron:9696/
valid_interfaces = internalURL, public
metadata_proxy_shared_secrets = typing error
[agent]
directory = neutron
""")
    assert status == 0, said


def test_config_drive_says_what_is_wrong(sample, tmp_path):
    assert sample.run("config-drive", "nobody", "-o", tmp_path / "x").returncode == NOT_FOUND
    assert sample.run("config-drive", "full", "-o", tmp_path / "x", "--format", "ext4").returncode == USAGE
    assert sample.run("config-drive", "full", "-o", tmp_path / "none" / "x").returncode == NOT_FOUND
    assert list(tmp_path.glob("x*")) == []


def test_the_command_loads_no_database():
    """Of what the daemon is linked with it takes only what it needs: a script may call it often."""
    needed = subprocess.run(["ldd", BIN / "metatap"], capture_output=True, text=True, check=True).stdout
    assert "libssl" in needed
    assert not [name for name in ("libpq", "libsqlite3", "libvirt") if name in needed], needed

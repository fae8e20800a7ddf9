# SPDX-License-Identifier: Apache-2.0
"""Our agent between its real neighbours: Neutron's haproxy in front, a metadata API behind."""

import hashlib
import hmac
import json
import os
import pathlib
import secrets
import shutil
import socket
import subprocess
import threading
import time

import mtlab
import pytest
from labkit import inside, neutron

SECRET = "s3cret"
NETWORK, ROUTER = "11111111-1111-4111-8111-111111111111", "51111111-1111-4111-8111-111111111111"
INSTANCE, PROJECT = "41111111-1111-4111-8111-111111111111", "project-1"
ADDRESS, ADDRESS6 = "10.77.0.5", "fd77::5"
INVENTORY = {
    "format": "metatap-inventory/1",
    "networks": [{"id": NETWORK}],
    "subnets": [
        {"id": "21111111-1111-4111-8111-111111111111", "network_id": NETWORK,
         "cidr": "10.77.0.0/24", "ip_version": 4},
        {"id": "22222222-1111-4111-8111-111111111111", "network_id": NETWORK,
         "cidr": "fd77::/64", "ip_version": 6}],
    "routers": [{"id": ROUTER}],
    "ports": [
        {"id": "31111111-1111-4111-8111-111111111111", "network_id": NETWORK,
         "mac_address": "fa:16:3e:77:00:05", "device_id": INSTANCE, "project_id": PROJECT,
         "device_owner": "compute:nova",
         "fixed_ips": [{"subnet_id": "21111111-1111-4111-8111-111111111111",
                        "ip_address": ADDRESS},
                       {"subnet_id": "22222222-1111-4111-8111-111111111111",
                        "ip_address": ADDRESS6}]},
        {"id": "32222222-1111-4111-8111-111111111111", "network_id": NETWORK,
         "mac_address": "fa:16:3e:77:00:fe", "device_id": ROUTER, "project_id": PROJECT,
         "device_owner": "network:router_interface",
         "fixed_ips": [{"subnet_id": "21111111-1111-4111-8111-111111111111",
                        "ip_address": "10.77.0.254"}]}],
    "instances": [{"uuid": INSTANCE, "project_id": PROJECT, "display_name": "one"}]}
DHCP_BINDS = (f"{neutron.METADATA4}:80",)


def haproxy_in(namespace, folder, id, binds, kind, socket):
    """One that Neutron's agents would start there, in the foreground."""
    config = folder / f"haproxy-{secrets.token_hex(3)}.cfg"
    config.write_text(neutron.haproxy_config(id, binds, kind, socket, folder / "haproxy.pid",
                                             user="root", group="root"))
    return subprocess.Popen([*inside(namespace), "haproxy", "-db", "-f", str(config)])


class Stage:
    """metatapd with the stages asked for, in a directory of its own."""

    def __init__(self, folder, stages, **options):
        self.folder = folder
        (folder / "inventory.json").write_text(json.dumps(INVENTORY))
        config = folder / "metatapd.conf"
        config.write_text(
            f"[DEFAULT]\nstate_path = {folder}\nrun_path = {folder}/run\nuser = root\n"
            f"metadata_proxy_shared_secret = {SECRET}\n"
            + "".join(f"{key} = {value}\n" for key, value in options.items())
            + f"[neutron]\nservice_metadata_proxy = true\nmetadata_proxy_shared_secret = {SECRET}\n"
            f"[inventory]\nfile = {folder}/inventory.json\n")
        self.daemon = mtlab.Daemon("agent", folder, ["--config-file", config, "--stages", stages])
        self.daemon.start()

    @property
    def socket(self):
        return self.folder / "metadata_proxy"


@pytest.fixture
def stage(tmp_path):
    made = []

    def make(stages, **options):
        made.append(Stage(tmp_path, stages, **options))
        return made[-1]
    yield make
    for one in made:
        one.daemon.stop()


@pytest.fixture
def namespace():
    name = f"mt{secrets.token_hex(3)}agent"
    subprocess.run(["ip", "netns", "add", name], check=True)
    inside = ["ip", "-n", name]
    try:
        for command in (["link", "set", "lo", "up"],
                        ["addr", "add", f"{ADDRESS}/32", "dev", "lo"],
                        ["addr", "add", f"{ADDRESS6}/128", "dev", "lo"],
                        ["addr", "add", "169.254.169.254/32", "dev", "lo"]):
            subprocess.run([*inside, *command], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def haproxy(namespace, tmp_path):
    running = []

    def start(stage, id, binds, kind):
        running.append(haproxy_in(namespace, tmp_path, id, binds, kind, stage.socket))
    yield start
    for process in running:
        process.terminate()
        process.wait(10)


def ask(namespace, source, url, *more):
    """(status, body) of a request from that address, tried until haproxy listens."""
    for _ in range(100):
        done = subprocess.run(
            [*inside(namespace), "curl", "-sg", "--noproxy", "*", "--interface", source, "-w",
             "\n%{http_code}", *more, url],
            capture_output=True, timeout=30)
        if done.returncode != 7:
            break
        time.sleep(0.05)
    assert done.returncode == 0, done
    body, _, status = done.stdout.rpartition(b"\n")
    return int(status), body


def crawl(namespace, source, base, path="/latest/meta-data/"):
    """Every leaf below a listing."""
    status, body = ask(namespace, source, base + path)
    assert status == 200, (path, status)
    leaves = {}
    for line in body.decode().splitlines():
        if line.endswith("/"):
            leaves |= crawl(namespace, source, base, path + line)
        elif "=" in line:
            leaves |= crawl(namespace, source, base, path + line.split("=")[0] + "/")
        else:
            code, leaf = ask(namespace, source, base + path + line)
            assert code == 200, path + line
            leaves[path + line] = leaf
    return leaves


needs_haproxy = pytest.mark.skipif(not shutil.which("haproxy") or os.geteuid() != 0,
                                   reason="needs haproxy and root")


@needs_haproxy
@pytest.mark.parametrize("id,binds,kind,base,source", [
    (NETWORK, DHCP_BINDS, "network", "http://169.254.169.254", ADDRESS),
    (ROUTER, neutron.ROUTER_BINDS, "router", "http://169.254.169.254:9697", ADDRESS),
    (ROUTER, neutron.ROUTER_BINDS, "router", "http://[::1]:9697", ADDRESS6),
    (NETWORK, DHCP_BINDS, "ovn", "http://169.254.169.254", ADDRESS),
], ids=["dhcp", "router", "router-v6", "ovn"])
def test_behind_neutrons_haproxy(stage, haproxy, namespace, id, binds, kind, base, source):
    haproxy(stage("agent,api"), id, binds, kind)
    leaves = crawl(namespace, source, base)
    assert leaves["/latest/meta-data/local-ipv4"] == ADDRESS.encode()
    assert leaves["/latest/meta-data/hostname"].startswith(b"one")
    status, body = ask(namespace, source, base + "/openstack/latest/meta_data.json")
    assert (status, json.loads(body)["uuid"]) == (200, INSTANCE)
    assert ask(namespace, source, base + "/openstack/latest/nothing")[0] == 404
    # Spoofed identities change nothing; the guest's own X-Forwarded-For makes two, which is 400.
    spoof = ["-H", "X-Instance-ID: forged", "-H", "X-Tenant-ID: forged",
             "-H", "X_Neutron_Network_ID: forged"]
    status, body = ask(namespace, source, base + "/openstack/latest/meta_data.json", *spoof)
    assert (status, json.loads(body)["uuid"]) == (200, INSTANCE)
    assert ask(namespace, source, base + "/", "-H", "X-Forwarded-For: 10.77.0.254")[0] == 400
    # A port tag, which only our own proxy can sign, is refused: that guest's own affair.
    tag = ["-H", "X-Metatap-Port-ID: 32222222-1111-4111-8111-111111111111"]
    for forged in (tag, [*tag, "-H", "X-Metatap-Port-Signature: " + "0" * 64]):
        assert ask(namespace, source, base + "/openstack/latest/meta_data.json", *forged)[0] == 503
    password = base + "/openstack/latest/password"
    assert ask(namespace, source, password, "-d", "c2VjcmV0")[0] == 200
    assert ask(namespace, source, password) == (200, b"c2VjcmV0")
    assert ask(namespace, source, password, "-d", "other")[0] == 409
    # Chunked, with Expect: haproxy and the agent read it whole.
    assert ask(namespace, source, password, "-H", "Transfer-Encoding: chunked", "-H",
               "Expect: 100-continue", "-d", "again")[0] == 409


@needs_haproxy
def test_an_unknown_address_is_404_for_every_accept(stage, haproxy, namespace):
    haproxy(stage("agent,api"), NETWORK, DHCP_BINDS, "network")
    base = "http://169.254.169.254/latest/meta-data/"
    status, body = ask(namespace, "127.0.0.1", base)
    assert (status, len(body)) == (404, 154)
    status, body = ask(namespace, "127.0.0.1", base, "-H", "Accept:")
    assert (status, body) == (404, b"404 Not Found\n\nThe resource could not be found.\n\n   ")
    status, body = ask(namespace, "127.0.0.1", base, "-H", "Accept: application/json")
    assert (status, json.loads(body)["code"]) == (404, "404 Not Found")


class Nova:
    """Writes down each request as it came, byte for byte, and answers with the next response."""

    def __init__(self, responses):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.seen, self.responses = [], list(responses)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while self.responses:
            connection, _ = self.listener.accept()
            with connection:
                while self.responses:
                    data = b""
                    while b"\r\n\r\n" not in data:
                        part = connection.recv(65536)
                        if not part:
                            break
                        data += part
                    if not data:
                        break
                    head, _, body = data.partition(b"\r\n\r\n")
                    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n")
                                   if line.lower().startswith(b"content-length:")), 0)
                    while len(body) < length:
                        body += connection.recv(65536)
                    self.seen.append((head.decode(), body))
                    connection.sendall(self.responses.pop(0))
        self.listener.close()


def reply(status, body=b"", *headers):
    lines = [f"HTTP/1.1 {status} X", "Content-Type: application/octet-stream",
             f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def over(path, *more):
    done = subprocess.run(["curl", "-sgi", "--unix-socket", str(path), *more],
                          capture_output=True, timeout=30, check=True)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode(), body


def test_headers_on_the_wire_are_the_contracts(stage):
    gzip = bytes([0x1F, 0x8B, 8, 0, 255]) + os.urandom(3000)
    nova = Nova([reply(200, gzip, "X-Secret: x", "Set-Cookie: y"), reply(409, b"inner"),
                 reply(503, b"inner", "Retry-After: 7"), reply(302, b"", "Location: http://x/")])
    one = stage("agent", nova_metadata_host="127.0.0.1", nova_metadata_port=nova.port)
    identity = ["-H", f"X-Neutron-Network-ID: {NETWORK}", "-H", "X-Forwarded-For: " + ADDRESS]
    status, head, body = over(one.socket, *identity, "-H", "Cookie: c", "-H", "X-Instance-ID: no",
                              "-H", "X-Metadata-Provider: no", "http://guest/a%20b?c=d")
    assert (status, body) == (200, gzip)
    assert "X-Secret" not in head and "Set-Cookie" not in head
    assert "Content-Type: application/octet-stream" in head
    assert over(one.socket, *identity, "-d", "payload", "http://guest/p")[0] == 409
    status, head, body = over(one.socket, *identity, "http://guest/busy")
    assert status == 503 and "Retry-After: 7" in head and b"inner" not in body
    assert over(one.socket, *identity, "http://guest/moved")[0] == 500
    signature = hmac.new(SECRET.encode(), INSTANCE.encode(), hashlib.sha256).hexdigest()
    wanted = {"x-forwarded-for": ADDRESS, "x-instance-id": INSTANCE, "x-tenant-id": PROJECT,
              "x-instance-id-signature": signature, "host": f"127.0.0.1:{nova.port}"}
    lines = [["GET /a%20b?c=d HTTP/1.1", b""], ["POST /p HTTP/1.1", b"payload"]]
    for (head, body), (line, payload) in zip(nova.seen, lines):
        first, *rest = head.split("\r\n")
        headers = dict(item.split(": ", 1) for item in rest)
        headers = {name.lower(): value for name, value in headers.items()}
        assert len(headers) == len(rest), "a header was sent twice"
        assert (first, body) == (line, payload)
        assert headers.pop("connection", "keep-alive").lower() in ("keep-alive", "close")
        assert int(headers.pop("content-length", "0")) == len(payload)
        assert headers == wanted


def test_an_api_that_is_not_there_is_503_with_retry_after(stage):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    one = stage("agent", nova_metadata_host="127.0.0.1", nova_metadata_port=port)
    status, head, _ = over(one.socket, "-H", f"X-Neutron-Network-ID: {NETWORK}",
                           "-H", "X-Forwarded-For: " + ADDRESS, "http://guest/latest/")
    assert status == 503 and "retry-after:" in head.lower()


def test_the_socket_has_neutrons_mode(stage):
    one = stage("agent,api", metadata_proxy_socket_mode="all")
    assert pathlib.Path(one.socket).stat().st_mode & 0o777 == 0o666

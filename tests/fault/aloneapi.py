# SPDX-License-Identifier: Apache-2.0
"""metatapd with the API alone, as its neighbours meet it: the agent, an operator, systemd."""

import hashlib
import hmac
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import time

import mtlab

SAMPLE = mtlab.labkit.ROOT / "tests/data/nova-sample/inventory.json"
FULL, PROJECT = "d6452656-3124-57a4-98af-fbad778b56d7", "84db5c77d1b755f193cb8f0e36fc6553"
SECRET = "secret-of-a-test"
STRANGER = "11111111-2222-4333-8444-555555555555"
LIMIT = 2  # [inventory] database_timeout, in seconds


class Api:
    """metatapd with the API alone, what it tells systemd, and how it is asked."""

    def __init__(self, folder, inventory=None, more=""):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.admin_socket = folder / "run/admin.sock"
        self.config = folder / "metatapd.conf"
        self.config.write_text(
            # The folder of a test is closed to all but root.
            f"[DEFAULT]\nuser = root\nstate_path = {folder}/state\nrun_path = {folder}/run\n"
            f"metadata_listen = 127.0.0.1\nmetadata_listen_port = {self.port}\n"
            f"metadata_proxy_shared_secret = {SECRET}\n"
            f"[inventory]\ndatabase_timeout = {LIMIT}\n"
            + "".join(f"{key} = {value}\n" for key, value in (inventory or {}).items()) + more)
        self.notify_path = folder / "notify"
        self.log = folder / "log"
        self.process, self.told = None, ""
        self.prefix = []  # what the daemon is run by

    def start(self):
        self.notify_path.unlink(missing_ok=True)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(self.notify_path))
        self.told = ""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, mtlab.BIN / "metatapd", "--stages", "api", "--config-file", self.config],
                stdin=subprocess.DEVNULL, stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": str(self.notify_path), "WATCHDOG_USEC": "400000"})
        self.wait_until_told("READY=1", 20)
        return self

    def wait_until_told(self, text, seconds):
        """Until systemd has been told that; returns all that it was told meanwhile."""
        deadline, before = time.monotonic() + seconds, len(self.told)
        while text not in self.told[before:]:
            ready, _, _ = select.select([self.notify], [], [], 0.1)
            self.told += self.notify.recv(4096).decode() + "\n" if ready else ""
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"not told within {seconds} s: {text}"
        return self.told[before:]

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
        if self.process:
            self.notify.close()

    def ask(self, path="/latest/meta-data/hostname", uuid=FULL, method="GET", body=None):
        """(status, Retry-After or None, body)"""
        signature = hmac.new(SECRET.encode(), uuid.encode(), hashlib.sha256).hexdigest()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {
                "X-Instance-ID": uuid, "X-Tenant-ID": PROJECT, "X-Forwarded-For": "10.70.0.11",
                "X-Instance-ID-Signature": signature})
            response = connection.getresponse()
            return response.status, response.headers["Retry-After"], response.read().decode()
        finally:
            connection.close()

    def post_password(self, text):
        return self.ask("/openstack/latest/password", method="POST", body=text)

    def metatap(self, *arguments, check=True):
        return mtlab.metatap(self.admin_socket, *arguments, check=check)

    def status(self):
        return json.loads(self.metatap("--json", "status").stdout)["inventory"]

    def admin(self, path):
        """(status, text) of the admin socket."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(10)
            admin.connect(str(self.admin_socket))
            admin.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answer = b""
            while more := admin.recv(65536):
                answer += more
        head, _, text = answer.decode().partition("\r\n\r\n")
        return int(head.split()[1]), text

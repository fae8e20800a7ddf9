# SPDX-License-Identifier: Apache-2.0
"""SIGHUP and its siblings: what is followed, what is refused, and that nothing ends by them."""

import http.server
import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
import time

import mtlab
import pytest

HOSTNAME = "/latest/meta-data/local-hostname"


@pytest.fixture(scope="module")
def served(make_lab, deploy):
    return deploy(make_lab(), config={"DEFAULT": {"drain_time": 4}})


def tell(deployment, number, said):
    """Sends a signal, and returns what the log says from then on, once it has said that."""
    daemon = deployment.data_plane
    start = len(daemon.log.read_text())
    daemon.process.send_signal(number)
    return mtlab.wait_until(lambda: (text := daemon.log.read_text()[start:]) and said in text and text,
                            5, f"the log says: {said}")


@pytest.fixture()
def overlay(served):
    """The daemon's second configuration file; as it was afterwards."""
    file = served.lab.state / "test.conf"
    before = file.read_text()
    yield file
    file.write_text(before)
    tell(served, signal.SIGHUP, "reload: ")


def test_options_that_changed_are_named(served, overlay):
    overlay.write_text("[DEFAULT]\ndrain_time = 7\n[proxy]\nmax_connections_per_port = 7\n")
    said = tell(served, signal.SIGHUP, "a restart is needed")
    assert "changed: [DEFAULT] drain_time\n" in said
    assert "a restart is needed for [proxy] max_connections_per_port\n" in said
    said = tell(served, signal.SIGHUP, "a restart is needed")
    assert "no option has changed that takes a reload" in said
    assert served.lab["red1"].get(HOSTNAME).status == 200


def test_debug_is_followed(served, overlay):
    overlay.write_text("[DEFAULT]\ndebug = true\n")
    tell(served, signal.SIGHUP, "changed: [DEFAULT] debug")
    overlay.write_text("")
    tell(served, signal.SIGHUP, "changed: [DEFAULT] debug")


@pytest.mark.parametrize("broken,said", [
    ("[DEFAULT]\ndrain_time = soon\n", "drain_time"),
    ("[dataplane]\nslots = 1\n", "slots"),
    ("this is no configuration\n", "test.conf:1"),
], ids=["no number", "too few", "no option"])
def test_a_broken_configuration_is_refused(served, overlay, broken, said):
    overlay.write_text(broken)
    text = tell(served, signal.SIGHUP, "the configuration stays as it was")
    assert said in text
    assert served.data_plane.running and served.lab["red1"].get(HOSTNAME).status == 200


def test_the_inventory_is_read_at_once(served):
    """Also where nothing about the file tells that it is another."""
    file = served.lab.inventory_file
    before = file.read_text()
    old = os.stat(file)
    name = served.lab["red1"].get(HOSTNAME).text
    changed = before.replace('"red1"', '"der1"')
    assert len(changed) == len(before) and changed != before
    try:
        with open(file, "r+", encoding="utf-8") as same:
            same.write(changed)
        os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
        time.sleep(0.5)
        tell(served, signal.SIGHUP, "inventory.json applied")
        # The worker that is coming says so, and then takes the former one's place.
        mtlab.wait_until(lambda: served.lab["red1"].get(HOSTNAME).text == name.replace("red1", "der1"),
                         5, "it is served")
    finally:
        served.lab.write_inventory(before)
        mtlab.wait_until(lambda: served.lab["red1"].get(HOSTNAME).text == name, 5, "as before")


def test_other_signals_end_nothing(served):
    tell(served, signal.SIGUSR1, "debug lines are written")
    tell(served, signal.SIGUSR1, "debug lines are not written any more")
    assert served.data_plane.running and served.lab["red1"].get(HOSTNAME).status == 200


# ---- certificates

def certify(folder, name):
    """A certificate authority that is its own server, for 127.0.0.1."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / f"{name}.key",
                    "-out", folder / f"{name}.crt"], check=True, capture_output=True)


class Api(http.server.ThreadingHTTPServer):
    daemon_threads = True

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *rest):
            pass

    def __init__(self, port, folder, name):
        self.allow_reuse_address = True
        super().__init__(("127.0.0.1", port), self.Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
        self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_certificates_are_read_again(make_lab, deploy, tmp_path):
    for name in ("old", "new"):
        certify(tmp_path, name)
    trusted = tmp_path / "trusted.crt"
    trusted.write_bytes((tmp_path / "old.crt").read_bytes())
    lab = make_lab()
    port = lab.plan.api_port()
    api = Api(port, tmp_path, "old")
    try:
        deployment = deploy(lab, "dataplane,proxy,agent", config={
            "DEFAULT": {"user": "root", "nova_metadata_protocol": "https", "auth_ca_cert": trusted,
                        "nova_metadata_host": "127.0.0.1", "nova_metadata_port": port}})
        guest = lab["red1"]
        assert guest.get("/").status == 200
        api.close()
        api = Api(port, tmp_path, "new")
        mtlab.wait_until(lambda: guest.get("/").status == 503, 12, "it is not trusted")
        trusted.write_text("no certificate")
        said = tell(deployment, signal.SIGHUP, "the old one goes on")
        assert str(trusted) in said, said
        trusted.write_bytes((tmp_path / "new.crt").read_bytes())
        tell(deployment, signal.SIGHUP, "finishes what it has")
        assert guest.get("/").status == 200
    finally:
        api.close()

# SPDX-License-Identifier: Apache-2.0
"""Neutron says whose port it is, and is away when the daemon starts again: who is shown to be the same
guest is served, everybody else is told to come again."""

import contextlib
import http.server
import json
import sqlite3
import threading
import urllib.parse

import mtlab
import pytest

STABLE = "/openstack/2012-08-10/meta_data.json"


class Neutron(http.server.ThreadingHTTPServer):
    """GET /v2.0/ports, by id alone. Without Keystone (auth_type = none)."""

    daemon_threads = allow_reuse_address = True

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            url = urllib.parse.urlsplit(self.path)
            asked = urllib.parse.parse_qs(url.query).get("id", [])
            found = [port for port in self.server.ports if port["id"] in asked]
            self.server.asked += asked
            body = json.dumps({"ports": found}).encode()
            self.send_response(200 if url.path == "/v2.0/ports" else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *rest):
            pass

    def __init__(self, ports, port=0):
        self.ports, self.asked = ports, []
        super().__init__(("127.0.0.1", port), self.Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


def who(guest):
    """The uuid it is told it is, or the status and when to come again."""
    answer = guest.get(STABLE, timeout=5)
    if answer.status == 200:
        return json.loads(answer.body)["uuid"]
    return answer.status, int(answer.header("retry-after") or 0) > 0


COME_AGAIN = (503, True)


def status_of(deployment):
    return json.loads(mtlab.metatap(deployment.admin_socket, "--json", "status").stdout)["neutron"]


def kept(file):
    """The ports that the file knows."""
    with contextlib.suppress(sqlite3.OperationalError):  # its tables are being made
        if file.exists():
            with contextlib.closing(sqlite3.connect(file, timeout=10)) as database:
                return {row[0] for row in
                        database.execute("SELECT id FROM object WHERE kind = 'ports'")}
    return set()


@pytest.fixture()
def world():
    """A lab, Neutron beside it, and a daemon that asks it; the ports as Neutron has them."""
    lab = mtlab.TestLab()
    neutron = deployment = None
    try:
        lab.up()
        ports = json.loads(lab.inventory_file.read_text())["ports"]
        neutron = Neutron(ports)
        deployment = mtlab.Deployment(lab, config={
            "agent": {"directory": "neutron"},
            "neutron": {"auth_type": "none", "timeout": 2,
                        "endpoint_override": f"http://127.0.0.1:{neutron.server_port}"}}).start()
        yield lab, neutron, deployment
    finally:
        if deployment:
            deployment.close()
        if neutron:
            neutron.close()
        lab.close()


def test_start_without_neutron_serves_who_is_still_the_same(world):
    lab, neutron, deployment = world
    red, blue, green = lab["red1"], lab["blue1"], lab["red2"]
    assert who(red) == red.instance_id
    assert who(blue) == blue.instance_id
    memory = lab.state / "state" / "neutron.snapshot"
    mtlab.wait_until(lambda: kept(memory) == {red.port_id, blue.port_id}, 5, "both are kept")
    deployment.stop()
    neutron.close()
    # Meanwhile another device is plugged in for one of them, for whichever guest.
    lab.unplug("blue1")
    lab.replug("blue1")
    deployment.start()
    assert who(red) == red.instance_id, "the same device since Neutron was asked"
    assert who(blue) == COME_AGAIN, "whose that device is, nobody here knows"
    assert who(green) == COME_AGAIN, "it was never asked for"
    status = status_of(deployment)
    assert (status["reachable"], status["remembered"]) == (False, 2), status
    assert "metatap_neutron_oldest_answer_seconds" in \
        mtlab.admin_get(deployment.admin_socket, "/metrics")

    # It is back, and the second port has another owner by now.
    next(port for port in neutron.ports if port["id"] == blue.port_id).update(
        device_id=red.instance_id, project_id=lab.plan.networks[red.network].project_id)
    again = Neutron(neutron.ports, neutron.server_port)
    try:
        mtlab.wait_until(lambda: who(blue) == red.instance_id, 30, "whose it is now is known")
        mtlab.wait_until(lambda: who(green) == green.instance_id, 5, "and the one that is new")
        assert who(red) == red.instance_id
        assert status_of(deployment)["reachable"]
    finally:
        again.close()


def test_what_goes_while_neutron_is_away_is_not_believed_afterwards(world):
    """The daemon runs on; the port's device goes and comes back."""
    lab, neutron, _ = world
    red, blue = lab["red1"], lab["blue1"]
    assert (who(red), who(blue)) == (red.instance_id, blue.instance_id)
    neutron.close()
    lab.unplug("blue1")
    lab.replug("blue1")
    mtlab.wait_until(lambda: blue.run("attempt", STABLE, timeout=2) == 503, 5, "nobody knows whose it is")
    assert who(red) == red.instance_id

# SPDX-License-Identifier: Apache-2.0
"""Bytes arrive as they were sent: big answers and bodies over a true TAP with its offloads."""

import base64
import hashlib
import http.server
import os
import threading

import mtlab
import pytest

BIG = os.urandom(4 << 20)


class Origin(mtlab.LocalServer):
    """Stands where the agent does: behind the UNIX socket that Neutron's agent listens on."""

    request_queue_size = 128

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, body):
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.answer(BIG if self.path == "/big" else b"small")

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(hashlib.sha256(body).hexdigest().encode() + b" %d" % len(body))

        def address_string(self):
            return "proxy"

        def log_message(self, *_):
            pass

    def __init__(self, path):
        path.unlink(missing_ok=True)
        super().__init__(str(path), self.Handler)
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.shutdown()
        self.server_close()


@pytest.fixture(scope="module", params=[1450, 1500, 9000])
def served(request, make_lab, deploy):
    lab = make_lab(mtu=request.param)
    origin = Origin(lab.state / "run/metadata_proxy")
    yield deploy(lab, "dataplane,proxy")
    origin.close()


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", ["red1", "multi", "red2", "subport", "onlink"])
def test_four_megabytes_down_and_eight_kilobytes_up(served, name, family):
    guest = served.lab[name]
    answer = guest.get("/big", family)
    assert answer.status == 200
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(BIG).digest()
    body = os.urandom(8192)
    answer = guest.get("/echo", family, method="POST", body=body)
    assert answer.text == f"{hashlib.sha256(body).hexdigest()} 8192"


def test_body_that_comes_late_and_in_pieces(served):
    guest = served.lab["red1"]
    assert guest.run("slow_post", "/echo", b"x" * 5000, 700, 0.02).text.endswith(" 5000")


def test_smaller_mtu_on_the_way(served):
    """A guest whose own link is narrower than it told: packets must not be lost for it."""
    guest = served.lab["blue1"]
    mtlab.labkit.ip_batch(["link set eth0 mtu 1280"], guest.netns)
    try:
        answer = guest.get("/big", timeout=3)
        assert answer.body == BIG
    finally:
        net = served.lab.plan.networks[guest.network]
        mtlab.labkit.ip_batch([f"link set eth0 mtu {net.mtu}"], guest.netns)


def test_big_user_data_through_all_stages(make_lab, deploy):
    """The largest that Nova stores: 65 535 characters of base64, binary inside."""
    lab = make_lab()
    data = os.urandom(49149)
    text = base64.b64encode(data).decode()
    lab.edit_inventory(lambda document: next(
        row for row in document["instances"] if row["display_name"] == "red1").update(user_data=text))
    deployment = deploy(lab)
    answer = lab["red1"].get("/openstack/latest/user_data")
    assert (answer.status, answer.body == data) == (200, True)
    assert lab["red1"].get("/latest/user-data").body == data
    assert b"blue" in lab["blue1"].get("/latest/user-data").body
    assert deployment.data_plane.running

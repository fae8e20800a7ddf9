# SPDX-License-Identifier: Apache-2.0
"""Neighbours and guests that want more than their share: what it costs, and what others still get."""

import contextlib
import json
import pathlib
import socket
import socketserver
import threading
import time

import mtlab
import pytest

STABLE = "/openstack/2012-08-10/meta_data.json"
GET = f"GET {STABLE} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
HALF = b"GET / HT"


def resident(daemon):
    """Bytes."""
    status = pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def still_open(sock):
    sock.setblocking(False)
    try:
        return sock.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def status_of(deployment):
    return json.loads(mtlab.metatap(deployment.admin_socket, "status", "--json").stdout)


class Staller(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """An agent that announces a long answer, says `first` bytes of it and then no more."""

    daemon_threads = True
    request_queue_size = 256
    LENGTH = 64 << 20

    def __init__(self, path, first):
        path.unlink(missing_ok=True)
        self.end, self.asked, lock, outer = threading.Event(), 0, threading.Lock(), self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                head = b""
                while b"\r\n\r\n" not in head and (more := self.request.recv(65536)):
                    head += more
                try:
                    self.request.sendall(
                        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % outer.LENGTH
                        + b"x" * first)
                except OSError:
                    pass
                with lock:
                    outer.asked += 1
                outer.end.wait()
        super().__init__(str(path), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.end.set()
        self.shutdown()
        self.server_close()


@pytest.fixture()
def stalled(make_lab):
    """stalled(first, config): a proxy whose agent stalls."""
    made = []

    def make(first, config):
        lab = make_lab()
        deployment = mtlab.Deployment(lab, "dataplane,proxy", config=config)
        staller = Staller(lab.state / "run/metadata_proxy", first)
        made.append((deployment, staller))
        return deployment.start(), staller

    yield make
    for deployment, staller in made:
        staller.close()
        deployment.close()


def test_announced_length_costs_nothing_until_it_comes(stalled):
    deployment, staller = stalled(1000, {"proxy": {"workers": 2}})
    before = resident(deployment.data_plane)
    assert deployment.lab["red1"].run("hold", GET, 8) == 8
    mtlab.wait_until(lambda: staller.asked == 8, 5, "all have been asked")
    time.sleep(0.3)  # for the proxy to read what was said
    grown = resident(deployment.data_plane) - before
    print(f"8 stalled answers of 64 MiB: {before >> 20} MiB + {grown >> 10} KiB")
    assert grown < 8 << 20


def test_what_comes_is_bounded_for_all_together(stalled):
    """Each says 16 MiB and stalls: beyond max_memory the guest is told to come back."""
    deployment, staller = stalled(16 << 20, {"DEFAULT": {"max_memory": 64}})
    red = deployment.lab["red1"]
    before = resident(deployment.data_plane)
    assert red.run("hold", GET, 12) == 12
    mtlab.wait_until(
        lambda: status_of(deployment)["overload"]["memory_refused"] >= 6, 20, "some are refused")
    assert resident(deployment.data_plane) - before < 160 << 20
    assert status_of(deployment)["overload"]["memory"] <= 64 << 20
    red.run("release")


def test_requests_in_flight_beyond_the_budget_are_told_to_come_back(stalled):
    deployment, staller = stalled(0, {"DEFAULT": {"max_requests_in_flight": 4},
                                      "proxy": {"workers": 1}})
    red, blue = deployment.lab["red1"], deployment.lab["blue1"]
    assert red.run("hold", GET, 4) == 4
    mtlab.wait_until(lambda: staller.asked == 4, 5, "all have been asked")
    answer = blue.get(STABLE)
    assert answer.status == 503
    assert int(answer.header("retry-after")) >= 1
    overload = status_of(deployment)["overload"]
    assert (overload["requests_in_flight"], overload["requests_refused"]) == (4, 1)
    metrics = mtlab.admin_get(deployment.admin_socket, "/metrics")
    assert 'metatap_overload_requests_in_flight 4' in metrics
    assert 'metatap_overload_actions_total{kind="request_refused"} 1' in metrics


def test_empty_lines_do_not_keep_a_connection(make_lab, deploy):
    deployment = deploy(make_lab(), config={"metadata_haproxy": {"timeout_http_keep_alive": 2}})
    held = deployment.lab["red1"].run("drip_empty_lines", STABLE, 0.2, 15)
    assert held < 8


def test_operator_gets_in_when_guests_take_all_they_can(make_lab):
    """With few descriptors, and no cap that would spare them."""
    lab = make_lab()
    deployment = mtlab.Deployment(
        lab, config={"proxy": {"max_connections_per_port": 10000,
                               "max_connections_per_network": 10000}},
        prefix=["prlimit", "--nofile=256:256"])
    with_guests = [lab["red1"], lab["blue1"]]
    try:
        deployment.start()
        for guest in with_guests:
            guest.send("hold", HALF, 400)
        for guest in with_guests:
            guest.receive()
        status = status_of(deployment)
        assert status["overload"]["connections"] >= status["overload"]["max_connections"] / 3
        assert mtlab.admin_get(deployment.admin_socket, "/metrics")
        for guest in with_guests:
            guest.run("release")
        mtlab.wait_until(lambda: with_guests[0].run("attempt", STABLE) == 200, 10, "served again")
        assert "cannot accept" not in deployment.data_plane.tail(1000)
    finally:
        deployment.close()


def test_one_peer_of_the_api_leaves_room_for_the_agent(make_lab, deploy):
    lab = make_lab()
    deployment = deploy(lab, "split", config={"api": {"max_connections": 64}})
    peer = []
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):  # those beyond its share are reset
                sock = socket.create_connection(("127.0.0.1", lab.plan.api_port()), timeout=0.5,
                                                source_address=("127.0.0.77", 0))
                peer.append(sock)
                sock.sendall(HALF)
        mtlab.wait_until(lambda: sum(map(still_open, peer)) <= 36, 5, "it has its share and no more")
        for _ in range(5):
            assert lab["red1"].get(STABLE).status == 200
    finally:
        for sock in peer:
            sock.close()
    assert deployment.data_plane.running


def test_ports_that_take_all_they_can_leave_room_for_one_that_has_none(make_lab, deploy):
    lab = make_lab()
    deployment = deploy(lab, config={"proxy": {"max_connections_per_network": 32,
                                               "max_connections_per_port": 64}})
    red, neighbour = lab["red1"], lab["red2"]
    try:
        red.run("hold", HALF, 100)
        assert neighbour.get(STABLE).status == 200
        assert status_of(deployment)["proxy"]["over_fair_share"] > 0
    finally:
        red.run("release")


def test_guest_with_many_addresses_of_no_port_leaves_room_for_ports(make_lab, deploy):
    """In a router's namespace whoever has no port security may use any address of its network."""
    lab = make_lab("router")
    deployment = deploy(lab, config={"proxy": {"max_connections_per_network": 32,
                                               "max_connections_unknown": 8}})
    guest = lab["g0"]
    mtlab.wait_until(lambda: guest.run("attempt", STABLE) == 200, 10, "served")
    addresses = [f"10.0.0.{last}" for last in range(100, 200)]
    mtlab.labkit.host.ip_batch([f"addr add {address}/24 dev {guest.device}"
                                for address in addresses], guest.netns)
    try:
        guest.run("hold", HALF, 1, addresses)
        assert status_of(deployment)["proxy"]["over_unknown_cap"] > 0
        assert guest.get(STABLE, source=guest.ip4).status == 200
    finally:
        guest.run("release")


def test_failing_vendordata_target_is_not_asked_by_every_request(make_lab, deploy):
    lab = make_lab()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        listener.close()  # nobody is there
    deployment = deploy(lab, config={"api": {
        "vendordata_providers": "StaticJSON,DynamicJSON",
        "vendordata_dynamic_targets": f"late@http://127.0.0.1:{port}/"}})
    red = lab["red1"]
    for _ in range(100):
        answer = red.get("/openstack/latest/vendor_data2.json")
        assert (answer.status, json.loads(answer.text)) == (200, {"static": {}, "late": {}})
    api = status_of(deployment)["api"]
    assert api["vendordata_asked"] < 10
    assert api["vendordata_spared"] > 80
    assert deployment.data_plane.tail(1000).count("vendordata target late") == 1

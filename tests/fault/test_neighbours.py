# SPDX-License-Identifier: Apache-2.0
"""Neighbours that are slow, dead or hostile: what the guest then sees, and how it ends."""

import json
import signal
import socketserver
import threading
import time

import mtlab
import pytest

STABLE = "/openstack/2012-08-10/meta_data.json"


@pytest.fixture()
def split():
    """Three processes, which can be killed one by one."""
    with mtlab.serving("split") as deployment:
        yield deployment


@pytest.mark.parametrize("stage", ["agent", "api"])
def test_killed_neighbour_is_503_until_it_is_back(split, stage):
    guest = split.lab["red1"]
    daemon = next(daemon for daemon in split.daemons if daemon.name == stage)
    assert guest.get(STABLE).status == 200
    for _ in range(3):
        daemon.stop(signal.SIGKILL)
        answer = guest.get(STABLE)  # at once, and not when a deadline of ours has passed
        assert answer.status == 503, "what cloud-init waits for"
        assert int(answer.header("retry-after")) >= 1
        daemon.start()
        mtlab.wait_until(lambda: guest.get(STABLE).status == 200, 10, "served again")


def test_killed_data_plane_comes_back_with_every_identity(split):
    guests = [split.lab[name] for name in ("red1", "blue1", "red2", "blue2", "subport", "onlink")]
    for _ in range(3):
        split.data_plane.stop(signal.SIGKILL)
        split.data_plane.start()
        for guest in guests:
            assert json.loads(guest.get(STABLE).body)["uuid"] == guest.instance_id


class Stub(mtlab.LocalServer):
    """An agent that answers these very bytes (or nothing) to whatever is asked."""

    def __init__(self, path, answer):
        path.unlink(missing_ok=True)
        self.answer = answer
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                head = b""
                while b"\r\n\r\n" not in head and (more := self.request.recv(65536)):
                    head += more
                if outer.answer is None:
                    time.sleep(8)
                else:
                    self.request.sendall(outer.answer)
        super().__init__(str(path), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


@pytest.fixture(scope="module")
def stubbed(make_lab, deploy):
    lab = make_lab()
    deployment = deploy(lab, "dataplane,proxy", config={"metadata_haproxy": {"timeout_server": 2}})
    stub = Stub(lab.state / "run/metadata_proxy", b"")
    yield deployment, stub
    stub.close()


@pytest.mark.parametrize("answer,status", [
    (b"", 502), (b"nonsense\r\n\r\n", 502), (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", 502),
    (b"HTTP/1.1 200 OK\nContent-Type: text/plain\nContent-Length: 2\n\nok", 200), (None, 504)],
    ids=["closes", "nonsense", "cut-short", "bare-line-feeds", "silent"])
def test_agent_that_misbehaves(stubbed, answer, status):
    deployment, stub = stubbed
    stub.answer = answer
    guest = deployment.lab["red1"]
    try:
        assert guest.get("/", timeout=6).status == status
    except mtlab.RemoteError:
        # Bytes that had gone to the guest before the answer broke off cannot be taken back.
        assert answer and b"abc" in answer
    assert deployment.data_plane.running


class Talker(socketserver.ThreadingMixIn):
    """An agent or API that keeps its connections, tells each request who asked, and after the
    first answer on a connection says what nobody asked for."""

    daemon_threads = True
    STOLEN = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"
    UNASKED = {
        "second response": STOLEN,
        "timeout": b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 6\r\n\r\nstolen",
        "interim": b"HTTP/1.1 100 Continue\r\n\r\n" + STOLEN,
        "rubbish": b"stolen\r\n\r\n",
        "end": b"",
    }

    def start(self, who):
        """`who`: the header that names the guest."""
        self.who, self.unasked, self.pause, self.said = who, None, 0, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            server, data = self.server, b""
            while True:
                while b"\r\n\r\n" not in data:
                    more = self.request.recv(65536)
                    if not more:
                        return
                    data += more
                head, _, data = data.partition(b"\r\n\r\n")
                method = head.split()[0]
                asked = next(line.split(b": ")[1] for line in head.split(b"\r\n")
                             if line.lower().startswith(server.who + b":"))
                answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(asked)
                self.request.sendall(answer + (b"" if method == b"HEAD" else asked))
                if server.unasked is None:
                    continue
                time.sleep(server.pause)
                try:
                    self.request.sendall(server.UNASKED[server.unasked])
                finally:
                    server.said += 1
                if server.unasked == "end":
                    return

    def close(self):
        self.shutdown()
        self.server_close()


class LocalTalker(Talker, mtlab.LocalServer):
    pass


class TcpTalker(Talker, socketserver.TCPServer):
    allow_reuse_address = True


@pytest.fixture(scope="module")
def talking_agent(make_lab, deploy):
    lab = make_lab()
    deployment = deploy(lab, "dataplane,proxy", config={"proxy": {"workers": 1}})
    path = lab.state / "run/metadata_proxy"
    path.unlink(missing_ok=True)
    agent = LocalTalker(str(path), Talker.Handler).start(b"x-forwarded-for")
    yield deployment, agent, lambda guest: guest.ip4
    agent.close()


@pytest.fixture(scope="module")
def talking_api(make_lab, deploy):
    lab = make_lab()
    api = TcpTalker(("127.0.0.1", lab.plan.api_port()), Talker.Handler).start(b"x-instance-id")
    yield (deploy(lab, "dataplane,proxy,agent", config={"proxy": {"workers": 1}}), api,
           lambda guest: guest.instance_id)
    api.close()


@pytest.mark.parametrize("pause", [0, 0.03], ids=["at-once", "late"])
@pytest.mark.parametrize("unasked", Talker.UNASKED)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("neighbour", ["talking_agent", "talking_api"])
def test_no_guest_gets_what_another_one_or_nobody_asked_for(request, neighbour, method, unasked,
                                                            pause):
    deployment, talker, identity = request.getfixturevalue(neighbour)
    red, other = deployment.lab["red1"], deployment.lab["red2"]
    assert identity(red) != identity(other)
    talker.unasked, talker.pause = unasked, pause

    def ask(guest, method="GET"):
        """Its answer, when what nobody asked for has been said as well: else that comes while the
        next one asks, who is then told 502."""
        said = talker.said
        answer = guest.get("/", method=method)
        mtlab.wait_until(lambda: talker.said > said, 5, "what nobody asked for", pause=0.001)
        return answer
    for _ in range(5):
        assert ask(red, method).status == 200
        answer = ask(other)
        assert (answer.status, answer.text) == (200, identity(other))


def test_half_open_and_idle_connections_of_one_guest_do_not_starve_another(split):
    red, blue = split.lab["red1"], split.lab["blue1"]
    assert red.run("hoard", 2000) > 0
    for _ in range(20):
        assert blue.get(STABLE).status == 200  # and not when the others have been idle for too long
    red.run("release")
    mtlab.wait_until(lambda: red.run("attempt", STABLE) == 200, 5, "its own turn again")


def test_client_that_sends_a_byte_at_a_time(split):
    red, blue = split.lab["red1"], split.lab["blue1"]
    red.send("drip", f"GET {STABLE} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 0.01)
    for _ in range(20):
        assert blue.get(STABLE).status == 200
    answer = red.receive()
    assert json.loads(answer.body)["uuid"] == red.instance_id


def test_killed_in_the_middle_of_load(split):
    """Whatever arrives is right; what fails was begun while the daemon was down, or is the one
    request that was in flight when it was killed."""
    red = split.lab["red1"]
    red.run("start_polling", STABLE, interval=0.002, timeout=0.5)
    away = []
    for _ in range(3):
        time.sleep(1)  # an attempt begun while it was down takes half a second to fail
        down = time.time()
        split.data_plane.stop(signal.SIGKILL)
        split.data_plane.start()
        away.append((down, time.time()))
    time.sleep(1)
    seen = red.run("stop_polling")
    told = {json.loads(body)["uuid"] for _, status, body in seen if status == 200}
    assert told == {red.instance_id}
    failed = [began for began, status, _ in seen if status != 200]
    for down, up in away:
        in_flight = [began for began in failed if down - 0.5 < began < down]
        assert len(in_flight) <= 1
        failed = [began for began in failed if began not in in_flight and not down <= began <= up]
    assert failed == []
    assert seen[-1][1] == 200

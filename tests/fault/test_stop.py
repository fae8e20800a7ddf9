# SPDX-License-Identifier: Apache-2.0
"""An orderly end: who asks is answered first, nobody else answers afterwards where that is not
wanted, and a second daemon does not end the first one."""

import json
import pathlib
import signal
import socketserver
import subprocess
import sys
import threading

import bpfkit
import labkit
import mtlab
import pytest
import routerkit

PATH = "/latest/meta-data/instance-id"
BODY = b"the whole answer " * 8000


@pytest.fixture()
def fresh():
    """fresh(topology, …): a lab and its deployment, not started; all gone with the test."""
    labs, deployments = [], []

    def make(topology="tap", form="fused", config=None, **options):
        labs.append(mtlab.TestLab(topology, **options))
        deployments.append(mtlab.Deployment(labs[-1].up(), form, config=config))
        return deployments[-1]

    yield make
    for deployment in deployments:
        deployment.close()
    for lab in labs:
        lab.close()


# ---- requests in progress

class SlowAgent(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    """Answers when the test says so."""

    def __init__(self, path):
        path.unlink(missing_ok=True)
        outer, self.asked, self.may_answer = self, threading.Event(), threading.Event()

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                while b"\r\n\r\n" not in self.request.recv(65536):
                    pass
                outer.asked.set()
                outer.may_answer.wait()
                self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)
                                     + BODY)
        super().__init__(str(path), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.may_answer.set()
        self.shutdown()
        self.server_close()


def slow_world(fresh, topology, drain_time=60):
    """A guest, and an agent that takes its time."""
    deployment = fresh(topology, "dataplane,proxy", config={"DEFAULT": {"drain_time": drain_time}})
    agent = SlowAgent(deployment.lab.state / "run/metadata_proxy")
    deployment.start()
    if topology == "router":
        routerkit.wait_steered(deployment.lab, 3)
    guest = deployment.lab["red1" if topology == "tap" else "g0"]
    return deployment, agent, guest


def stop(deployment):
    """Its process, which has begun to stop."""
    process = deployment.data_plane.process
    process.send_signal(signal.SIGTERM)
    mtlab.wait_until(lambda: "stopping: SIGTERM" in deployment.tail(), 30, "it has been told")
    return process


@pytest.mark.parametrize("topology", ["tap", "router"])
def test_a_request_in_progress_is_answered_whole(fresh, topology):
    deployment, agent, guest = slow_world(fresh, topology)
    try:
        guest.send("get", "/", timeout=60)
        assert agent.asked.wait(10)
        process = stop(deployment)
        another = deployment.lab["red2" if topology == "tap" else "g1"]

        def comes_in():
            agent.asked.clear()
            another.run("attempt", "/", timeout=0.5)
            return agent.asked.is_set()
        mtlab.wait_until(lambda: not comes_in(), 10, "nobody new comes in")
        assert process.poll() is None, "it waits for the request"
        agent.may_answer.set()
        answer = guest.receive()
        assert (answer.status, answer.body) == (200, BODY)
        assert process.wait(30) == 0
        assert "cut off" not in deployment.tail()
    finally:
        agent.close()


@pytest.mark.parametrize("how", ["drain_time", "second signal"])
def test_a_drain_has_an_end(fresh, how):
    deployment, agent, guest = slow_world(fresh, "tap", 1 if how == "drain_time" else 60)
    try:
        guest.send("get", "/", timeout=60)
        assert agent.asked.wait(10)
        process = stop(deployment)
        if how == "second signal":
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, "the agent never answers"
        assert "1 connections were cut off" in deployment.tail()
        with pytest.raises(mtlab.RemoteError):
            guest.receive()
        assert not deployment.pins.exists()
    finally:
        agent.close()


def test_idle_connections_do_not_hold_it_up(fresh):
    deployment = fresh(config={"DEFAULT": {"drain_time": 60}}).start()
    guest = deployment.lab["red1"]
    guest.run("open_connection", PATH)
    assert deployment.data_plane.stop(seconds=30) == 0


# ---- refused while nobody listens

NEIGHBOUR = """
import http.server, socket, sys, threading
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "9")
        self.end_headers()
        self.wfile.write(b"neighbour")
    def log_message(self, *rest):
        pass
class V6(http.server.HTTPServer):
    address_family = socket.AF_INET6
    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()
servers = [http.server.HTTPServer(("169.254.169.254", 80), Answer), V6(("::", 80), Answer)]
for server in servers:
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


class Neighbour:
    """red2 has the metadata addresses, too, and answers at them; red1 looks for them on its link."""

    def __init__(self, lab):
        self.lab, spec = lab, lab.guest("red2")
        self.ip("red2", "addr", "add", "169.254.169.254/32", "dev", spec.device)
        self.ip("red2", "-6", "addr", "add", "fe80::a9fe:a9fe/128", "dev", spec.device, "nodad")
        self.ip("red1", "route", "replace", "169.254.169.254/32", "dev", lab.guest("red1").device)
        self.process = subprocess.Popen(
            [*labkit.inside(spec.netns), sys.executable, "-c", NEIGHBOUR], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == "ready\n"

    def ip(self, guest, *arguments):
        subprocess.run(["ip", "-n", self.lab.guest(guest).netns, *arguments], check=True,
                       capture_output=True)

    def answers(self, family):
        """What red1 gets, and from whom."""
        self.ip("red1", "neigh", "flush", "all")
        try:
            return self.lab["red1"].get(PATH, family, timeout=2).text
        except mtlab.RemoteError:
            return None

    def close(self):
        self.process.kill()
        self.process.communicate()


def metatapd(deployment, *arguments):
    daemon = deployment.data_plane
    at = daemon.arguments.index("--stages")
    return subprocess.run([*daemon.arguments[:at], *arguments], capture_output=True, text=True,
                          timeout=60)




@pytest.mark.parametrize("attach", bpfkit.WAYS)
@pytest.mark.parametrize("policy", ["pass", "refuse"])
def test_who_answers_after_an_orderly_stop(fresh, policy, attach):
    deployment = fresh(config={"dataplane": {"when_down": policy, "attach": attach}}).start()
    lab, host_device = deployment.lab, deployment.lab.guest("red1").host_device
    neighbour = Neighbour(lab)
    try:
        for _ in range(2):
            ours = {neighbour.answers(family) for family in (4, 6)}
            assert len(ours) == 1 and ours & {None, "neighbour"} == set()
            assert deployment.stop() == [0]
            after = [neighbour.answers(family) for family in (4, 6)]
            assert after == (["neighbour"] * 2 if policy == "pass" else [None] * 2)
            assert lab["red1"].run("ping", "10.0.0.11")[0], "nothing else is refused"
            # What is left is programs and who is who: no namespace, no device.
            assert not pathlib.Path("/run/netns", f"{lab.id}-metatap").exists()
            assert deployment.pins.exists() == (policy == "refuse")
            deployment.data_plane.start()
        deployment.stop()
        done = metatapd(deployment, "--uninstall")
        assert done.returncode == 0, done.stderr
        assert not deployment.pins.exists()
        assert "mt_tap" not in subprocess.run(["tc", "filter", "show", "dev", host_device, "ingress"],
                                              capture_output=True, text=True).stdout
        assert "qdisc ingress" not in subprocess.run(["tc", "qdisc", "show", "dev", host_device],
                                                     capture_output=True, text=True).stdout
        assert [neighbour.answers(family) for family in (4, 6)] == ["neighbour"] * 2
    finally:
        neighbour.close()


def test_a_ports_own_word_on_who_answers_comes_first(fresh):
    """red1's requests are refused, red2's pass on, whatever the configuration says for all."""
    for everybody, own, after in (("pass", "refuse", None), ("refuse", "pass", "neighbour")):
        deployment = fresh(config={"dataplane": {"when_down": everybody}})
        mac = deployment.lab.guest("red1").mac

        def say(document):
            for port in document["ports"]:
                if port["mac_address"] == mac:
                    port["metatap"] = {"when_down": own}

        deployment.lab.edit_inventory(say)
        deployment.start()
        neighbour = Neighbour(deployment.lab)
        try:
            assert neighbour.answers(4) not in (None, "neighbour")
            assert deployment.stop() == [0]
            assert neighbour.answers(4) == after
            done = metatapd(deployment, "--uninstall")
            assert done.returncode == 0, done.stderr
            assert neighbour.answers(4) == "neighbour"
        finally:
            neighbour.close()
            deployment.close()


@pytest.mark.parametrize("attach", bpfkit.WAYS)
def test_uninstall_takes_away_what_a_killed_daemon_left(fresh, attach):
    deployment = fresh("router", routers=2, config={"dataplane": {"attach": attach}}).start()
    lab = deployment.lab
    routerkit.wait_served(lab)
    mtlab.wait_until(lambda: lab["g0"].run("attempt", PATH) == 200, 5, "served")
    busy = metatapd(deployment, "--uninstall")
    assert busy.returncode == 1 and "another metatapd uses" in busy.stderr
    assert lab["g0"].get(PATH).status == 200
    deployment.data_plane.stop(signal.SIGKILL)
    done = metatapd(deployment, "--uninstall")
    assert done.returncode == 0, done.stderr
    assert not deployment.pins.exists()
    assert not (lab.state / "run/namespaces.journal").exists()
    for name in routerkit.namespaces_of(lab):
        shown = "".join(routerkit.inside(name, "tc", *what.split()) for what in
                        ("qdisc show", "filter show dev lo ingress"))
        assert "clsact" not in shown and "ingress" not in shown, shown
        assert "240.254.98.254" not in routerkit.inside(name, "ip", "route", "show", "table", "local")
    assert metatapd(deployment, "--uninstall").returncode == 0, "nothing there is success"


# ---- a second daemon

@pytest.mark.parametrize("same,said", [
    ("run_path", "dataplane.lock ([DEFAULT] run_path)"),
    ("pin_path", "([dataplane] pin_path)"),
    ("namespace", "same [dataplane] namespace"),
])
def test_a_second_daemon_is_refused_and_harms_nothing(fresh, same, said):
    deployment = fresh().start()
    lab = deployment.lab
    other = {"run_path": f"run_path = {lab.state}/other\nmetadata_proxy_socket = {lab.state}/other/p",
             "pin_path": f"pin_path = /sys/fs/bpf/{lab.id}-other",
             "namespace": f"namespace = {lab.id}-other"}
    del other[same]
    overlay = lab.state / "second.conf"
    overlay.write_text(f"[DEFAULT]\nstate_path = {lab.state}/other-state\n{other.get('run_path', '')}\n"
                       f"[dataplane]\n{other.get('pin_path', '')}\n{other.get('namespace', '')}\n")
    before = lab["red1"].get(PATH).body
    done = metatapd(deployment, "--config-file", str(overlay))
    try:
        assert done.returncode == 1 and said in done.stderr, done.stderr
        assert lab["red1"].get(PATH).body == before
        assert json.loads(mtlab.metatap(deployment.admin_socket, "--json", "status").stdout)["taps"]
        assert (deployment.pins / "mt_slots").exists()
    finally:
        pins = pathlib.Path(f"/sys/fs/bpf/{lab.id}-other")
        if pins.exists():
            subprocess.run(["rm", "-rf", str(pins)], check=True)


@pytest.mark.parametrize("stage,said", [("agent", "another process listens there"),
                                        ("api", "Address already in use")])
def test_a_second_agent_or_api_at_the_same_place(fresh, stage, said):
    """With run directories of their own: the sockets tell."""
    deployment = fresh(form="split").start()
    lab = deployment.lab
    overlay = lab.state / "second.conf"
    overlay.write_text(f"[DEFAULT]\nrun_path = {lab.state}/other\nport_tag_key = {'k' * 40}\n")
    daemon = next(daemon for daemon in deployment.daemons if daemon.name == stage)
    done = subprocess.run([*daemon.arguments, "--config-file", str(overlay)], capture_output=True,
                          text=True, timeout=30)
    assert done.returncode == 1 and said in done.stderr, done.stderr
    assert lab["red1"].get(PATH).status == 200

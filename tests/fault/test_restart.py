# SPDX-License-Identifier: Apache-2.0
"""The supervisor is restarted, upgraded or killed alone, the worker is replaced: guests do not notice.

METATAP_LONG=1 does each twenty times under a thousand new connections a second (and kills fifty
workers); otherwise it is a few times under some. How long answers took is told to scripts/fire.sh."""

import os
import pathlib
import pwd
import signal
import socket
import struct
import time

import labkit
import mtlab
import pytest
import routerkit
from labkit.manager import Manager
from test_stop import metatapd
from test_worker import VERSION, kill, name_of, status, worker_of

# What a test says of itself is for scripts/fire.sh, which asks for reports that can hold it.
pytestmark = pytest.mark.filterwarnings("ignore:record_property is incompatible")

LONG = os.environ.get("METATAP_LONG") == "1"
TIMES, RATE, DEATHS = (20, 1000, 50) if LONG else (2, 100, 3)
PATH = "/latest/meta-data/instance-id"
# So many connections wait while nobody accepts that one port's share must not be what is tested.
ROOM = {"proxy": {"max_connections_per_port": 8192, "max_connections_per_network": 16384},
        "DEFAULT": {"max_connections": 32768}}
NEXT = mtlab.BIN / "metatapd-next"


class World:
    """A lab with a daemon, how it is restarted, and a guest of each family that keeps asking."""

    def __init__(self, mode, kept_by, config=None, most=4096, watchdog=None, listen=False):
        self.mode, self.kept_by, self.listen = mode, kept_by, listen
        self.lab = mtlab.TestLab(mode, **({"routers": 2} if mode == "router" else {}))
        self.manager = self.deployment = None
        try:
            self.lab.up()
            if kept_by == "systemd":
                self.manager = Manager(self.lab.state / "manager", most, watchdog)
            self.deployment = mtlab.Deployment(self.lab, config=config or ROOM,
                                               arguments=["--steering=listen"] * listen,
                                               manager=self.manager)
            self.deployment.start()
            self.settle()
        except BaseException:
            self.close()
            raise
        self.guests = [self.lab[name] for name in list(self.lab.guests)[:2]]
        for guest, family in zip(self.guests, (4, 6)):
            mtlab.wait_until(lambda: guest.run("attempt", PATH, family) == 200, 10, "it is served")
        self.mark = 0  # in the log

    def is_well(self):
        return self.daemon.running and worker_of(self.deployment) is not None

    def log(self):
        return self.daemon.log.read_text()

    def said(self):
        """Since the test has it."""
        return self.log()[self.mark:]

    @property
    def daemon(self):
        return self.deployment.data_plane

    def settle(self):
        if self.listen:
            routerkit.wait_served(self.lab, listen=True)
        elif self.mode == "router":
            routerkit.wait_steered(self.lab, 3)

    def begin(self, rate=RATE):
        for guest, family in zip(self.guests, (4, 6)):
            guest.run("start", PATH, family, rate / 2, module="steadyload")

    def end(self, swaps=()):
        """No request failed. Says how long they took, and those within a second of each swap."""
        took, near = [], []
        for guest in self.guests:
            done, failures = guest.run("stop", module="steadyload")
            assert not failures, (len(failures), failures[:5], self.daemon.tail())
            took += [seconds for _, seconds in done]
            near += [seconds for due, seconds in done
                     if any(at - 0.1 <= due <= at + 1 for at in swaps)]
        assert len(took) > 10
        said = (f"0 of {len(took)} requests failed; p99 {quantile(took)} ms, slowest "
                f"{quantile(took, 1)} ms")
        return said + (f", p99 near a swap {quantile(near)} ms" if near else "")

    def restart(self, how=signal.SIGUSR2):
        self.daemon.restart(how)
        self.settle()

    def slots(self):
        """Who has which number, in which namespace."""
        owners = sorted((row["formatted"]["key"], row["formatted"]["value"]["kind"],
                         row["formatted"]["value"]["port_id"])
                        for row in self.deployment.dump("mt_owners"))
        space = pathlib.Path("/run/netns", f"{self.lab.id}-metatap")
        return owners, space.stat().st_ino

    def close(self):
        if self.deployment:
            self.deployment.close()
        self.lab.close()
        if self.manager:
            self.manager.close()


def quantile(seconds, part=0.99):
    """In ms; 1: the longest."""
    return round(sorted(seconds)[min(int(len(seconds) * part), len(seconds) - 1)] * 1000, 1)


@pytest.fixture(scope="module")
def worlds():
    """Those that are as usual, which tests share."""
    made = {}
    yield made
    for one in made.values():
        one.close()


@pytest.fixture()
def world(worlds):
    """world(mode, kept_by): serving. With other options: one for this test alone."""
    made = []

    def make(*kind, **options):
        if options:
            made.append(World(*kind, **options))
            return made[-1]
        if kind in worlds and not worlds[kind].is_well():
            worlds.pop(kind).close()
        if kind not in worlds:
            worlds[kind] = World(*kind)
        worlds[kind].mark = len(worlds[kind].log())
        return worlds[kind]
    yield make
    for one in made:
        one.close()


WAYS = {"the worker": signal.SIGUSR2, "systemd": signal.SIGUSR2,
        "the worker, after kill -9": signal.SIGKILL}


@pytest.mark.parametrize("mode", ["tap", "router"])
@pytest.mark.parametrize("way", WAYS)
def test_a_restart_loses_no_request(world, mode, way, record_property):
    here = world(mode, way.split(",")[0])
    before = here.slots()
    here.begin()
    swaps = []
    for _ in range(TIMES):
        time.sleep(0.5)
        swaps.append(time.monotonic())
        here.restart(WAYS[way])
    time.sleep(0.5)
    record_property("sent", f"{RATE} connections/s, {TIMES} restarts")
    record_property("noticed", here.end(swaps))
    assert here.slots() == before, "each number has its owner, in the same namespace"
    for guest in here.guests:
        for family in (4, 6):
            assert guest.get(PATH, family).status == 200
    said = here.said()
    assert "made anew" not in said and "lost" not in said, said


@pytest.mark.parametrize("mode", ["tap", "router"])
def test_a_reload_loses_no_request(world, mode, record_property):
    here = world(mode, "the worker")
    here.begin()
    swaps = []
    for _ in range(TIMES):
        time.sleep(0.5)
        worker = worker_of(here.deployment)
        swaps.append(time.monotonic())
        here.daemon.process.send_signal(signal.SIGHUP)
        mtlab.wait_until(lambda: name_of(worker) != "metatap-worker", 15, "the old one is gone")
    record_property("sent", f"{RATE} connections/s, {TIMES} reloads")
    record_property("noticed", here.end(swaps))


@pytest.mark.skipif(not NEXT.exists(), reason=f"{NEXT} is not built")
@pytest.mark.parametrize("mode", ["tap", "router"])
@pytest.mark.parametrize("kept_by", ["the worker", "systemd"])
def test_another_build_takes_over_and_gives_back(world, mode, kept_by, record_property):
    """Other BPF programs, and a map more: each in turn."""
    here = world(mode, kept_by)
    before = here.slots()
    programs = [str(mtlab.BIN / "metatapd"), str(NEXT)]
    here.begin()
    swaps = []
    for turn in range(TIMES):
        time.sleep(0.5)
        here.daemon.arguments[0] = programs[(turn + 1) % 2]
        swaps.append(time.monotonic())
        here.restart()
        assert (here.deployment.pins / "mt_next").exists()
    record_property("sent", f"{RATE} connections/s, {TIMES} replacements")
    record_property("noticed", here.end(swaps))
    assert here.slots() == before


@pytest.mark.parametrize("mode", ["tap", "router"])
def test_a_killed_worker_loses_what_it_had_and_no_more(world, mode, record_property):
    """And the next connection is answered soon."""
    here = world(mode, "the worker")
    guest = here.guests[0]
    took = []
    for _ in range(DEATHS):
        pid = worker_of(here.deployment)
        kill(pid)
        began = time.monotonic()
        assert guest.get(PATH).status == 200
        took.append(time.monotonic() - began)
        mtlab.wait_until(lambda: worker_of(here.deployment) not in (None, pid), 10, "another worker")
        time.sleep(1.5)  # eight in ten seconds would close the gate
    record_property("sent", f"{DEATHS} times kill -9")
    record_property("noticed", f"the next answer after {quantile(took, 0.5)} ms, at most {quantile(took, 1)} ms")
    assert max(took) < 5


def test_open_connections_outlive_a_restart_until_they_are_idle(world):
    """A request that the old worker has is answered by it, while the new one serves already."""
    here = world("tap", "the worker")
    connection = here.guests[0].run("open_connection", PATH, 4)
    old = worker_of(here.deployment)
    here.restart()
    mtlab.wait_until(lambda: name_of(old) != "metatap-worker", 10, "the old worker has ended")
    assert connection and status(here.deployment)["worker"]["pid"] != old


# ---- when nobody comes, and when somebody else does

def leave(here, how=signal.SIGUSR2):
    """The supervisor goes; its worker, which serves on."""
    worker = worker_of(here.deployment)
    process, here.daemon.process = here.daemon.process, None
    process.send_signal(how)
    process.wait(10)
    assert name_of(worker) == "metatap-worker"
    return worker


def with_time(seconds, **more):
    return {"DEFAULT": {"hand_over_time": seconds, **more}}


def has_ended(pid, seconds=15):
    mtlab.wait_until(lambda: name_of(pid) != "metatap-worker", seconds, "the worker has ended")


@pytest.mark.parametrize("how", [signal.SIGUSR2, signal.SIGKILL])
def test_without_a_successor_it_serves_for_a_while_and_ends(world, how):
    here = world("tap", "the worker", config=with_time(2))
    worker = leave(here, how)
    assert here.guests[0].get(PATH).status == 200
    has_ended(worker)
    assert "no other supervisor came" in here.said()
    assert here.guests[0].run("attempt", PATH, timeout=0.5) != 200, "nobody listens"
    here.daemon.start()
    assert here.guests[0].get(PATH).status == 200


def test_hand_over_time_0_ends_it_at_once(world):
    here = world("tap", "the worker", config=with_time(0))
    worker = worker_of(here.deployment)
    process, here.daemon.process = here.daemon.process, None
    process.kill()
    process.wait(10)
    has_ended(worker, 2)


def test_it_can_be_told_to_end(world):
    here = world("tap", "the worker")
    worker = leave(here)
    os.kill(worker, signal.SIGTERM)
    has_ended(worker, 5)


def test_uninstalling_ends_it_first(world):
    here = world("tap", "the worker", config=with_time(60))
    worker = leave(here, signal.SIGKILL)
    done = metatapd(here.deployment, "--uninstall")
    assert done.returncode == 0, done.stderr
    has_ended(worker, 5)
    assert not here.deployment.pins.exists()
    assert not pathlib.Path("/run/netns", f"{here.lab.id}-metatap").exists()


def test_it_does_not_serve_by_what_has_changed(world):
    """Ports that come or go need a supervisor: who is who would not be true."""
    here = world("tap", "the worker", config=ROOM)
    worker = leave(here)
    here.lab.edit_inventory(lambda document: document["ports"].pop())
    has_ended(worker)
    assert "ports have changed" in here.said()


def test_what_went_meanwhile_is_nobodys_afterwards(world):
    """A port that went while no supervisor ran: its number is not used on, its guest is not served."""
    here = world("tap", "systemd", config=ROOM)
    name = list(here.lab.guests)[0]
    port = here.lab.guests[name].port_id
    process, here.daemon.process = here.daemon.process, None
    workers = mtlab.children_of(process.pid)
    process.send_signal(signal.SIGUSR2)
    process.wait(10)
    mtlab.kill_all(workers)
    here.lab.edit_inventory(lambda document: document.update(
        ports=[row for row in document["ports"] if row["id"] != port]))
    here.daemon.start()
    assert not [row for row in here.deployment.dump("mt_owners")
                if row["formatted"]["value"]["port_id"] == port]
    assert here.lab[name].run("attempt", PATH, timeout=0.5) != 200
    other = list(here.lab.guests)[1]
    assert here.lab[other].get(PATH).status == 200


def refused(here):
    """Another supervisor does not start; what it says."""
    daemon = here.daemon.start(wait=False)
    assert daemon.process.wait(15) == 1, daemon.tail()
    daemon.process = None
    return daemon.tail(8)


def test_maps_of_another_layout_leave_the_worker_in_place(world):
    here = world("tap", "the worker")
    before = here.slots()
    worker = leave(here)
    overlay = here.lab.state / "test.conf"
    good = overlay.read_text()
    overlay.write_text(labkit.config_text({**ROOM, "dataplane": {"slots": 1000}}))
    said = refused(here)
    assert "not laid out as ours" in said, said
    assert here.guests[0].get(PATH).status == 200, "the old worker goes on"
    overlay.write_text(good)
    here.daemon.start()
    assert here.slots() == before and here.guests[0].get(PATH).status == 200
    has_ended(worker)


def frame(kind, body=b"", version=VERSION):
    return struct.pack("=IHHQBB6x", 0x6D746368, version, kind, len(body), 0, 0) + body


def knock(here):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(5)
    sock.connect(str(here.lab.state / "run/dataplane/worker.sock"))
    return sock


SUCCEED = 108
STRANGERS = {
    "of another layout": frame(SUCCEED, struct.pack("=I", 99)),
    "of another version": frame(SUCCEED, struct.pack("=I", 3), version=9),
    "that talks nonsense": b"GET / HTTP/1.1\r\n\r\n",
    "that goes at once": None,
}


def test_a_supervisor_that_is_none_gets_nothing(world):
    here = world("tap", "the worker")
    worker = leave(here)
    for what, words in STRANGERS.items():
        with knock(here) as sock:
            if words:
                sock.send(words)
                said, descriptors, _, _ = socket.recv_fds(sock, 4096, 8)  # its hello
                assert b"metatap-worker" in said and not descriptors, what
                _, descriptors, _, _ = socket.recv_fds(sock, 4096, 8)
                assert not descriptors, what
        assert here.guests[0].get(PATH).status == 200, what
    here.daemon.start()
    has_ended(worker)
    assert here.guests[0].get(PATH, 6).status == 200


class FalseWorker:
    """Listens where the worker would, as its user, and says what the test wants."""

    def __init__(self, here, says):
        self.path = here.lab.state / "run/dataplane/worker.sock"
        self.path.unlink(missing_ok=True)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                sock.bind(str(self.path))
                user = worker_user()
                os.setgid(user.pw_gid)
                os.setuid(user.pw_uid)
                sock.listen(1)
                peer = sock.accept()[0]
                for text, descriptors in says():
                    socket.send_fds(peer, [text], descriptors)
                time.sleep(60)
            finally:
                os._exit(0)
        mtlab.wait_until(self.path.exists, 5, "its socket")
        time.sleep(0.2)

    def ended(self):
        return os.waitpid(self.pid, os.WNOHANG)[0] == self.pid


def worker_user():
    for name in ("metatap", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    return None


def with_fd(kind, count):
    return struct.pack("=IHHQBB6x", 0x6D746368, VERSION, kind, 0, count, 0)


HELLO_BODY = struct.pack("=I", 1) + b"x"
KEPT, HANDED = 7, 8


def own_listener():
    """A socket that listens on the metadata port, but where a guest never comes by."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(1)
    return sock


SAYINGS = {
    "nothing": (lambda: [], "does not answer"),
    "half a message": (lambda: [(frame(1, HELLO_BODY), []), (frame(KEPT)[:10], [])], "breaks off"),
    "a socket that does not arrive": (
        lambda: [(frame(1, HELLO_BODY), []), (with_fd(KEPT, 1), [])], "0 arrived"),
    "another number of sockets": (
        lambda: [(frame(1, HELLO_BODY), []),
                 (frame(HANDED, struct.pack("=II", 3, 0)), [])], "not all of its sockets"),
}


@pytest.mark.parametrize("what", SAYINGS)
def test_a_worker_that_is_not_well_is_ended_and_believed_in_nothing(world, what):
    here = world("tap", "the worker")
    says, why = SAYINGS[what]
    here.daemon.stop(signal.SIGKILL)
    stranger = FalseWorker(here, says)
    try:
        here.daemon.start()
        assert why in here.said(), here.said()
        mtlab.wait_until(stranger.ended, 5, "it has been ended")
    except BaseException:
        mtlab.kill_all([stranger.pid])
        raise
    assert here.guests[0].get(PATH).status == 200


def test_sockets_that_are_no_listeners_of_ours_are_not_used(world):
    here = world("tap", "the worker")
    here.daemon.stop(signal.SIGKILL)
    with own_listener() as stranger:
        FalseWorker(here, lambda: [
            (frame(1, HELLO_BODY), []), (with_fd(KEPT, 1), [stranger.fileno()]),
            (frame(HANDED, struct.pack("=II", 1, 0)), [])])
        here.daemon.start()
        assert here.guests[0].get(PATH).status == 200
        assert "0 listening sockets taken over" in here.said()


# ---- systemd's side

def test_a_store_that_is_full_is_a_sentence_and_a_restart_still_serves(world):
    here = world("router", "systemd", most=2)
    assert len(here.manager.stored) == 2 and here.manager.refused == 0
    assert "keeps 2 of our listening sockets and no more" in here.said()
    here.restart()
    for guest in here.guests:
        for family in (4, 6):
            assert guest.get(PATH, family).status == 200


def test_what_is_closed_is_kept_no_longer(world):
    """Its namespace could not go while somebody has it."""
    here = world("router", "systemd", config=ROOM)
    kept = len(here.manager.stored)
    name = routerkit.namespaces_of(here.lab)[0]
    labkit.run("ip", "netns", "del", name)
    mtlab.wait_until(lambda: len(here.manager.stored) < kept, 5, "its listeners are gone")


def test_after_a_stop_there_is_nothing_left(world):
    here = world("tap", "systemd")
    assert here.manager.stored
    worker = worker_of(here.deployment)
    assert here.daemon.stop() == 0
    mtlab.wait_until(lambda: not here.manager.stored, 5, "nothing is kept")
    assert name_of(worker) != "metatap-worker"
    assert not here.deployment.pins.exists()
    assert f"{here.lab.id}-metatap" not in labkit.namespaces_present()


def test_a_stop_leaves_no_worker_behind(world):
    here = world("tap", "the worker")
    worker = worker_of(here.deployment)
    assert here.daemon.stop() == 0
    assert name_of(worker) != "metatap-worker" and not here.deployment.pins.exists()


def test_the_watchdog_is_fed_by_the_supervisor_and_not_when_it_hangs(world):
    here = world("tap", "systemd", watchdog=1)
    mtlab.wait_until(lambda: len(here.manager.beats) > 2, 5, "it tells that it turns")
    here.daemon.process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(0.3)
        beats = len(here.manager.beats)
        time.sleep(1.5)
        assert len(here.manager.beats) == beats, "the worker does not speak for it"
    finally:
        here.daemon.process.send_signal(signal.SIGCONT)
    mtlab.wait_until(lambda: len(here.manager.beats) > beats, 5, "it turns again")
    here.daemon.restart()
    beats = len(here.manager.beats)
    mtlab.wait_until(lambda: len(here.manager.beats) > beats, 5, "and so does the next")


def test_without_bpf_a_restart_loses_no_request(world):
    """Who is who goes by addresses there, and is told before anybody can come by."""
    here = world("router", "the worker", listen=True)
    here.begin()
    for _ in range(TIMES):
        time.sleep(0.5)
        here.restart()
    time.sleep(0.5)
    here.end()

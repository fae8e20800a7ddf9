# SPDX-License-Identifier: Apache-2.0
"""The process that reads what guests send: it has no rights, and when it dies or is replaced guests
are served on."""

import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import time

import labkit
import mtlab
import pytest
import routerkit
from labkit import process
from labkit.process import name_of

VERSION = int(re.search(r"kVersion = (\d+)", (labkit.ROOT / "userspace/channel/socket.hpp").read_text())[1])

PATH = "/latest/meta-data/instance-id"
NOBODY_SERVES = "guests are left to the other path"


def status(deployment):
    return json.loads(mtlab.metatap(deployment.admin_socket, "--json", "status").stdout)


def worker_of(deployment):
    """Its process id, as the kernel has it."""
    return next(iter(process.children_of(deployment.data_plane.process.pid, "metatap-worker")), None)


def kill(pid):
    """Returns once no thread of it runs: what it accepts while it dies is lost with it."""
    os.kill(pid, signal.SIGKILL)

    def is_dead():
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
        except OSError:
            return True
    mtlab.wait_until(is_dead, 5, "it is dead", pause=0.001)


def another_worker(deployment, than):
    return mtlab.wait_until(lambda: (lambda pid: pid if pid not in (None, than) else None)(
        worker_of(deployment)), 10, "another worker")


@pytest.fixture(scope="module")
def tap(make_lab, deploy):
    return deploy(make_lab())


@pytest.fixture()
def router(make_lab, deploy):
    deployment = deploy(make_lab("router", routers=2, haproxy=2))
    routerkit.wait_steered(deployment.lab, 3)
    yield deployment
    deployment.close()


def test_it_has_no_rights(tap):
    shown = pathlib.Path(f"/proc/{worker_of(tap)}/status").read_text()
    facts = dict(line.split(":\t", 1) for line in shown.splitlines())
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(facts[kind], 16) == 0, kind
    assert facts["Seccomp"] == "2" and facts["NoNewPrivs"] == "1"
    assert "0" not in facts["Uid"].split() and "0" not in facts["Gid"].split()
    assert "0" not in facts["Groups"].split()


def test_it_sees_no_namespace_and_no_pin(tap):
    """It could not use them; it does not even find them."""
    for folder in ("/run/netns", "/sys/fs/bpf"):
        seen = subprocess.run(["nsenter", "-t", str(worker_of(tap)), "-m", "ls", "-A", folder],
                              capture_output=True, text=True)
        assert seen.returncode == 0 and seen.stdout == "", seen
    assert f"{tap.lab.id}-metatap" in labkit.namespaces_present()


def test_a_namespace_that_goes_is_not_kept_by_it(tap):
    name = f"{tap.lab.id}-passing"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        mounts = pathlib.Path(f"/proc/{worker_of(tap)}/mountinfo").read_text()
        assert name not in mounts and "/run/netns/" not in mounts
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_it_holds_nothing_of_the_data_plane(tap):
    """Sockets and the table of callers, which it can only read; no program, map or link."""
    kinds = process.descriptors(worker_of(tap))
    assert not [kind for kind in kinds if "bpf" in kind or "net:[" in kind], kinds


def test_status_names_both(tap):
    said = status(tap)
    assert said["supervisor"]["pid"] == tap.data_plane.process.pid
    assert said["worker"]["pid"] == worker_of(tap)
    assert said["worker"]["restarts"] >= 0
    assert said["taps"]["devices"] and "proxy" in said


@pytest.mark.parametrize("mode", ["tap", "router"])
def test_killed_it_is_replaced_and_connections_wait(mode, request):
    deployment = request.getfixturevalue(mode)
    names = list(deployment.lab.guests)[:3]
    before = status(deployment)["worker"]["restarts"]
    time.sleep(5)  # other tests' deaths are not these
    for turn in range(5):
        guest = deployment.lab[names[turn % len(names)]]
        pid = worker_of(deployment)
        kill(pid)
        for family in (4, 6):
            answer = guest.get(PATH, family)
            assert answer.status == 200
        assert another_worker(deployment, pid) != pid
        time.sleep(1)  # eight in ten seconds would close the gate
    assert deployment.data_plane.running
    assert status(deployment)["worker"]["restarts"] == before + 5
    for name in names:
        answer = deployment.lab[name].get(PATH)
        assert answer.text == deployment.lab[name].get(PATH, 6).text


@pytest.mark.parametrize("mode", ["tap", "router"])
def test_replaced_under_load_no_request_fails(mode, request):
    deployment = request.getfixturevalue(mode)
    names = list(deployment.lab.guests)[:2]
    guests = [deployment.lab[name] for name in names]
    for number, guest in enumerate(guests):
        guest.run("start", PATH, 4 if number == 0 else 6, module="routerload")
    pids = [worker_of(deployment)]
    for _ in range(5):
        deployment.data_plane.process.send_signal(signal.SIGHUP)
        mtlab.wait_until(lambda: name_of(pids[-1]) != "metatap-worker", 15, "the old one is gone")
        pids.append(worker_of(deployment))
    assert len(set(pids)) == 6
    for guest in guests:
        answers, failures, _ = guest.run("stop", module="routerload")
        assert failures == []
        assert set(answers) == {("metatap", 200)} and sum(answers.values()) > 20
    assert status(deployment)["worker"]["pid"] == pids[-1]


def test_killed_under_load_only_what_it_had_is_lost(tap):
    guest = tap.lab["red1"]
    guest.run("start", PATH, module="routerload")
    for _ in range(2):
        time.sleep(0.5)
        pid = worker_of(tap)
        os.kill(pid, signal.SIGKILL)
        another_worker(tap, pid)
        time.sleep(0.5)
    answers, failures, _ = guest.run("stop", module="routerload")
    assert len(failures) <= 2, "one at a time asks, so one at a time is lost"
    assert set(answers) == {("metatap", 200)}


def test_dying_again_and_again_it_leaves_guests_to_the_other_path_until_it_is_well(router):
    guest = router.lab[list(router.lab.guests)[0]]
    overlay = router.lab.state / "test.conf"
    good = overlay.read_text()
    overlay.write_text(good + "\n[proxy]\nworkers = many\n")
    kill(worker_of(router))
    mtlab.wait_until(lambda: NOBODY_SERVES in router.data_plane.log.read_text(), 20,
                     "the gate is closed")
    assert "No server is available" in guest.get(PATH).text, "haproxy's own words"
    assert router.data_plane.running
    overlay.write_text(good)
    mtlab.wait_until(lambda: "guests are ours again" in router.data_plane.log.read_text(), 40,
                     "a worker that is well")
    assert guest.get(PATH).status == 200


def test_a_configuration_that_is_wrong_leaves_the_worker_in_place(tap):
    overlay = tap.lab.state / "test.conf"
    good = overlay.read_text()
    pid = worker_of(tap)
    overlay.write_text(good + "\n[proxy]\nworkers = many\n")
    try:
        tap.data_plane.process.send_signal(signal.SIGHUP)
        mtlab.wait_until(lambda: "the configuration stays as it was" in
                         tap.data_plane.log.read_text(), 10, "a word about it")
    finally:
        overlay.write_text(good)
    assert worker_of(tap) == pid
    assert tap.lab["red1"].get(PATH).status == 200


def test_killed_with_its_supervisor_nobody_listens(router):
    """The other path's turn, at once. Killed alone, the supervisor is replaced: test_restart.py."""
    guest = router.lab[list(router.lab.guests)[0]]
    mtlab.wait_until(lambda: guest.get(PATH).status == 200, 10, "it is ours again")
    router.data_plane.stop(signal.SIGKILL)
    assert "No server is available" in guest.get(PATH).text, "haproxy's own words"
    router.data_plane.start()
    routerkit.wait_steered(router.lab, 3)
    mtlab.wait_until(lambda: guest.get(PATH).status == 200, 10, "it is ours again")


def test_without_a_data_plane_there_is_one_process_without_rights(make_lab, deploy):
    deployment = deploy(make_lab(), "agent,api")
    facts = pathlib.Path(f"/proc/{deployment.data_plane.process.pid}/status").read_text()
    assert re.search(r"^CapEff:\t0+$", facts, re.M) and re.search(r"^Seccomp:\t2$", facts, re.M)
    assert not re.search(r"^Uid:\t0\b", facts, re.M)
    assert worker_of(deployment) is None


def test_no_such_user_is_a_sentence(make_lab):
    lab = make_lab()
    deployment = mtlab.Deployment(lab, config={"DEFAULT": {"user": "nobody-of-that-name"}})
    daemon = deployment.data_plane.start(wait=False)
    assert daemon.process.wait(10) != 0
    assert "there is no user nobody-of-that-name" in daemon.log.read_text()
    assert f"{lab.id}-metatap" not in labkit.namespaces_present()


def message(kind, body=b"", version=VERSION, descriptors=0, length=None):
    """As channel/socket.cpp has it."""
    return struct.pack("=IHHQBB6x", 0x6D746368, version, kind,
                       len(body) if length is None else length, descriptors, 0) + body


def text(value):
    return struct.pack("=I", len(value)) + value


HELLO, INVENTORY = 1, 2
A_PATH = (b"\1" + struct.pack("=QI", 1, 1) + text(b"../x") + b"\1\0\0"  # one network
          + struct.pack("=I", 0) * 7)
STRANGERS = {
    "of another version": (message(HELLO, text(b"x"), version=1), f"version 1, ours is {VERSION}"),
    "no message at all": (b"GET / HTTP/1.1\r\nHost: supervisor\r\n\r\n", "it is none"),
    "one that breaks off": (message(HELLO, b"x", length=100), "length is wrong"),
    "of an unknown kind": (message(77), "something unknown: kind 77"),
    "malformed": (message(INVENTORY, b"\1"), "malformed"),
    "without its descriptor": (message(HELLO, text(b"x"), descriptors=1), "0 arrived"),
    "an id that is a path": (message(INVENTORY, A_PATH), "has an id that is none"),
}


@pytest.fixture(scope="module")
def replaceable(make_lab, deploy):
    """A daemon whose program on disk can be another one when the next worker is started."""
    lab = make_lab()
    program = lab.state / "metatapd"
    shutil.copy(mtlab.BIN / "metatapd", program)
    return deploy(lab, program=program), program


@pytest.mark.parametrize("what", STRANGERS)
def test_a_worker_that_talks_nonsense_is_ended_and_changes_nothing(replaceable, what):
    deployment, program = replaceable
    said, why = STRANGERS[what]
    pid = worker_of(deployment)
    before = len(deployment.data_plane.log.read_text())
    fresh = program.with_suffix(".new")
    fresh.write_text("#!/usr/bin/python3\nimport socket, time\n"
                     f"socket.socket(fileno=3).send({said!r})\ntime.sleep(60)\n")
    fresh.chmod(0o755)
    fresh.rename(program)
    deployment.data_plane.process.send_signal(signal.SIGHUP)

    def told():
        return deployment.data_plane.log.read_text()[before:]
    mtlab.wait_until(lambda: "the old one goes on" in told(), 15, "the end of the stranger")
    assert why in told(), told()
    assert worker_of(deployment) == pid
    assert deployment.lab["red1"].get(PATH).status == 200

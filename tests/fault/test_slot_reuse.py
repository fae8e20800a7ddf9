# SPDX-License-Identifier: Apache-2.0
"""A slot's number changes hands: what its former owner left unacknowledged never reaches the next
one's wire, whatever that one sends."""

import base64
import signal
import subprocess

import mtlab
import pytest
from rawport import ACK, RST, RawPort

BIG = b"#!/bin/sh\n# " + b"secret of A " * 3400
LONGER_THAN_RETRIES = 4.0  # the kernel repeats after 0.2, 0.4, 0.8 and 1.6 s


WAYS = [(4, "auto"), (6, "auto"), (4, "clsact")]


@pytest.fixture(params=WAYS, ids=lambda way: f"IPv{way[0]}-{way[1]}")
def ports(request):
    """A lab whose inventory holds two raw ports, of two tenants with the same address, and no other;
    by which family they ask and how they are attached."""
    family, attach = request.param
    lab = mtlab.TestLab()
    made, deployments = [], []
    try:
        lab.up()
        made += [RawPort(lab, 1, "red", family), RawPort(lab, 2, "blue", family)]

        def change(document):
            template = document["instances"][0]
            document["ports"] = [port.row() for port in made]
            document["instances"] = [
                {**template, "uuid": port.instance,
                 "user_data": base64.b64encode(BIG if port is made[0] else b"of B").decode()}
                for port in made]
        lab.edit_inventory(change)

        def deploy(slots=17):
            deployments.append(mtlab.Deployment(lab, config={
                "dataplane": {"slots": slots, "quarantine": 0, "attach": attach}}))
            return deployments[-1].start()
        yield (*made, deploy)
    finally:
        for deployment in deployments:
            deployment.close()
        for port in made:
            port.close()
        lab.close()


def gone(deployment, port):
    """The daemon has seen that the device went."""
    mtlab.wait_until(lambda: not any(row["formatted"]["value"]["port_id"] == port.id
                                     for row in deployment.dump("mt_slots")), 5, "its row is gone")


def nothing_comes(port, old, seq, theirs, seconds=LONGER_THAN_RETRIES):
    """Listens, then answers as the owner of the old connection would, and listens again."""
    heard = port.receive(seconds)
    assert not [segment for segment in heard if segment[0] == old], heard
    for at in range(0, 20000, 536):
        port.send(old, ACK, seq, theirs + at)
    heard = port.receive(1.0)
    assert not [segment for segment in heard if segment[0] == old and not segment[1] & RST], heard
    assert not b"".join(data for *_, data in heard)


def serves(port, source, body):
    _, _, came = port.ask(source)
    assert came > len(body)


def test_killed_and_the_number_has_a_new_owner(ports):
    a, b, deploy = ports
    daemon = deploy()
    a.plug()
    seq, theirs, came = a.ask(40000)
    assert came > 0
    a.unplug()
    gone(daemon, a)
    daemon.data_plane.stop(signal.SIGKILL)
    b.plug()
    daemon.data_plane.start()
    nothing_comes(b, 40000, seq, theirs)
    serves(b, 40001, b"of B")


def test_killed_and_the_device_goes_while_nobody_runs(ports):
    a, b, deploy = ports
    daemon = deploy()
    a.plug()
    seq, theirs, _ = a.ask(40000)
    daemon.data_plane.stop(signal.SIGKILL)
    a.unplug()
    b.plug()
    daemon.data_plane.start()
    nothing_comes(b, 40000, seq, theirs)
    b.open(40001, 15)  # the one number is free again at the daemon's next look


def test_killed_and_another_device_gets_the_very_ifindex(ports):
    """Nobody runs: what is left of the connection still speaks, and its device's number is B's."""
    a, b, deploy = ports
    daemon = deploy()
    a.plug()
    a.ask(40000)
    ifindex = a.ifindex
    daemon.data_plane.stop(signal.SIGKILL)
    a.unplug()
    b.plug(ifindex)
    heard = b.receive(LONGER_THAN_RETRIES)
    assert not heard
    counted = daemon.reasons()
    assert counted["return_stale"] > 0, counted
    daemon.data_plane.start()
    serves(b, 40001, b"of B")


@pytest.mark.parametrize("slots", [32, 17])
def test_killed_and_started_with_other_maps(ports, slots):
    """With `slots` changed the pinned maps are discarded: nothing may rest on them."""
    a, b, deploy = ports
    daemon = deploy(slots=64)
    a.plug()
    seq, theirs, _ = a.ask(40000)
    a.unplug()
    gone(daemon, a)
    daemon.data_plane.stop(signal.SIGKILL)
    b.plug()
    deploy(slots=slots)
    nothing_comes(b, 40000, seq, theirs)
    serves(b, 40001, b"of B")


def test_the_daemon_lives_and_the_number_has_a_new_owner(ports):
    a, b, deploy = ports
    daemon = deploy()  # one number, for one port at a time
    a.plug()
    seq, theirs, _ = a.ask(40000)
    a.unplug()
    gone(daemon, a)
    b.plug()
    mtlab.wait_until(lambda: any(row["formatted"]["value"]["port_id"] == b.id
                                 for row in daemon.dump("mt_slots")), 10, "B has a number")
    nothing_comes(b, 40000, seq, theirs)
    serves(b, 40001, b"of B")


def test_a_hundred_owners_of_a_few_numbers(ports):
    *both, deploy = ports
    daemon = deploy(slots=19)
    for turn in range(100):
        port, source = both[turn % 2], 41000 + turn
        port.plug()
        _, _, came = port.ask(source, seconds=15)
        assert came
        # Anything for another source port is somebody else's.
        heard = port.receive(0.05)
        assert {segment[0] for segment in heard} <= {source}, (turn, heard)
        port.unplug()
    log = daemon.data_plane.log.read_text(errors="replace")
    assert " E " not in log and " C " not in log, daemon.tail()


@pytest.mark.parametrize("ports", WAYS[:1], indirect=True)
def test_a_second_daemon_with_the_same_namespace_is_refused(ports):
    a, _, deploy = ports
    daemon = deploy()
    a.plug()
    lab = daemon.lab
    overlay = lab.state / "second.conf"
    overlay.write_text(f"[DEFAULT]\nrun_path = {lab.state}/second\n"
                       f"metadata_proxy_socket = {lab.state}/second/proxy\n"
                       f"[dataplane]\npin_path = /sys/fs/bpf/{lab.id}/second\n")
    (lab.state / "second").mkdir()
    done = subprocess.run([str(mtlab.BIN / "metatapd"), "--config-file", lab.config_file,
                           "--config-file", overlay], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "same [dataplane] namespace" in done.stderr, done.stderr
    serves(a, 40000, b"")

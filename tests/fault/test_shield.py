# SPDX-License-Identifier: Apache-2.0
"""[agent] shield: an API that is slow, down or asked by all at once, and guests that notice nothing."""

import json
import os
import re
import signal
import time

import labkit
import mtlab
import pytest

META = "/openstack/latest/meta_data.json"
BOOT = [META, "/openstack/latest/user_data", "/openstack/latest/vendor_data.json",
        "/openstack/latest/network_data.json", "/latest/meta-data/hostname"]


@pytest.fixture()
def shielded(make_lab, deploy):
    """Three processes, so that the API may go alone."""
    lab = make_lab()
    return deploy(lab, "split", config={"agent": {"shield": "true", "shield_ttl": 1,
                                                 "shield_patience": 1, "shield_stale": 60}})


def stage(deployment, name):
    return next(daemon for daemon in deployment.daemons if daemon.name == name)


def without_seed(answer):
    if answer.body.startswith(b"{"):
        document = json.loads(answer.body)
        return {**document, "random_seed": None}, document.get("random_seed")
    return answer.body, None


def boot(guest):
    answers = [guest.get(path, timeout=8) for path in BOOT]
    assert [answer.status for answer in answers] == [200] * len(BOOT)
    return answers


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["down", "hung"])
def test_guests_boot_again_while_the_api_is(shielded, how):
    guests = [shielded.lab[name] for name in ("red1", "blue1")]
    before = {guest.spec.name: boot(guest) for guest in guests}
    assert not any(answer.header("age") for answer in before["red1"])
    api = stage(shielded, "api")
    if how == signal.SIGSTOP:
        os.kill(api.process.pid, how)
    else:
        api.stop(how)
    try:
        time.sleep(2.1)
        for guest in guests:
            for answer, known in zip(boot(guest), before[guest.spec.name]):
                (body, seed), (known_body, known_seed) = without_seed(answer), without_seed(known)
                assert body == known_body, "its own, and all of it"
                assert seed is None or seed != known_seed, "the seed is fresh"
                assert int(answer.header("age")) >= 1
                assert answer.header("cache-status").startswith("metatap; hit; ttl=-")
        if how == signal.SIGKILL:  # one that hangs would have its whole nova_timeout
            assert guests[0].get("/1.0/meta-data/local-ipv4").status == 503, "nothing is made up"
    finally:
        if how == signal.SIGSTOP:
            os.kill(api.process.pid, signal.SIGCONT)
        else:
            api.start()

    def fresh():
        answer = guests[0].get(META, timeout=8)
        return answer.status == 200 and not answer.header("age")
    mtlab.wait_until(fresh, 10, "the API's own answers again")


def boot_paths():
    text = (labkit.ROOT / "userspace/agent/boot_paths.hpp").read_text()
    return re.findall(r'^    "(/[^"]*)",$', text, re.M)


def test_a_first_boot_is_served_although_the_api_went_before_it(shielded):
    """What it asks for was fetched when its port came."""
    time.sleep(4)  # ports are met every two seconds; nobody has asked for anything
    stage(shielded, "api").stop(signal.SIGKILL)
    try:
        assert len(boot_paths()) > 20
        for name in ("red1", "blue1"):
            guest = shielded.lab[name]
            answers = {path: guest.get(path, timeout=8) for path in boot_paths()}
            assert {path: answer.status for path, answer in answers.items()
                    if answer.status != 200} == {}
            told = json.loads(answers["/openstack/2018-08-27/meta_data.json"].body)
            assert told["uuid"] == guest.instance_id
            assert answers["/latest/meta-data/local-ipv4"].text == guest.ip4
    finally:
        stage(shielded, "api").start()


def test_a_change_at_the_api_is_seen_after_the_time(shielded):
    guest = shielded.lab["red1"]
    boot(guest)
    shielded.lab.edit_inventory(lambda document: document["instances"][0].update(hostname="renamed"))

    def renamed():
        return guest.get("/latest/meta-data/hostname").body.startswith(b"renamed")
    mtlab.wait_until(renamed, 10, "the new name")


def test_what_one_is_told_no_other_is(shielded):
    names = ("red1", "blue1", "red2", "blue2")
    for _ in range(2):
        for name in names:
            guest = shielded.lab[name]
            assert json.loads(guest.get(META).body)["uuid"] == guest.instance_id

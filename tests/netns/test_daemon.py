# SPDX-License-Identifier: Apache-2.0
"""The daemon as an operator meets it: start, stop, mistakes, neighbours."""

import json
import pathlib
import re
import signal
import subprocess
import time

import mtlab
import pytest

PATH = "/latest/meta-data/instance-id"


@pytest.fixture()
def fresh():
    """fresh(): a lab; ended daemons and all with the test."""
    labs, deployments = [], []

    def make(form="fused", start=True, **more):
        lab = mtlab.TestLab()
        labs.append(lab)
        deployment = mtlab.Deployment(lab.up(), form, **more)
        deployments.append(deployment)
        return deployment.start() if start else deployment

    yield make
    for deployment in deployments:
        deployment.close()
    for lab in labs:
        lab.close()


def run_to_the_end(deployment, seconds=15):
    """Starts it without waiting; returns its exit status and what it said."""
    daemon = deployment.daemons[0].start(wait=False)
    try:
        status = daemon.process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"still runs after {seconds} s:\n{daemon.tail()}") from None
    return status, daemon.tail()


def test_broken_inventory_is_refused_and_the_old_one_stays(fresh):
    deployment = fresh()
    lab = deployment.lab
    good = lab.inventory_file.read_text()
    expected = lab["red1"].get(PATH).body

    document = json.loads(good)
    document["ports"][3]["fixed_ips"][0]["ip_address"] = "10.0.0.999"
    for broken, said in ((json.dumps(document), "/ports/3/fixed_ips/0/ip_address"),
                         (good[:len(good) // 2], ""), ("", "")):
        marker = len(deployment.data_plane.log.read_text())
        lab.write_inventory(broken)
        mtlab.wait_until(lambda: len(deployment.data_plane.log.read_text()) > marker, 5,
                         "a word about the broken inventory")
        time.sleep(0.2)
        assert said in deployment.data_plane.log.read_text()[marker:]
        assert lab["red1"].get(PATH).body == expected
        assert lab["blue1"].get(PATH).status == 200

    changed = json.loads(good)
    for row in changed["instances"]:
        row["hostname"] = row["hostname"] + "-renamed"
    lab.write_inventory(json.dumps(changed))
    mtlab.wait_until(lambda: lab["red1"].get("/latest/meta-data/local-hostname").text
                     == "red1-renamed.novalocal", 5, "the repaired inventory is served")
    assert lab["red1"].get(PATH).body == expected, "EC2 ids are kept for ever"


def test_broken_inventory_at_start(fresh):
    """It says what is wrong and where, serves what it had (nothing), and the repaired one at once."""
    deployment = fresh(start=False)
    lab = deployment.lab
    good = lab.inventory_file.read_text()
    document = json.loads(good)
    document["networks"][0]["mtuu"] = 9
    lab.write_inventory(json.dumps(document))
    deployment.start()
    assert "/networks/0/mtuu" in deployment.data_plane.log.read_text()
    assert lab["red1"].run("attempt", PATH) != 200
    lab.write_inventory(good)
    mtlab.wait_until(lambda: lab["red1"].run("attempt", PATH) == 200, 5, "served once repaired")


@pytest.mark.parametrize("drop", ["net_admin", "bpf,sys_admin", "net_admin,bpf,sys_admin"])
def test_missing_capability_is_one_sentence_and_an_error(fresh, drop):
    prefix = ["setpriv", "--inh-caps", ",".join("-" + name for name in drop.split(",")),
              "--bounding-set", ",".join("-" + name for name in drop.split(","))]
    deployment = fresh(start=False, prefix=prefix)
    status, said = run_to_the_end(deployment)
    assert status > 0, said
    last = said.strip().splitlines()[-1].lower()
    assert "cap_" in last, said
    assert not (pathlib.Path("/run/netns") / f"{deployment.lab.id}-metatap").exists()
    assert not deployment.pins.exists()


def test_option_that_makes_no_sense(fresh):
    deployment = fresh(start=False, config={"DEFAULT": {"metadata_listen_port": "http"}})
    status, said = run_to_the_end(deployment)
    assert status > 0, said
    assert "metadata_listen_port" in said


def test_several_daemons_side_by_side(fresh):
    """Two labs whose guests have the same addresses, a daemon each."""
    first, second = fresh(), fresh("split")
    for deployment in (first, second):
        for name in ("red1", "blue1"):
            guest = deployment.lab[name]
            answer = guest.get("/openstack/2012-08-10/meta_data.json")
            assert json.loads(answer.body)["uuid"] == guest.instance_id
    assert all(status == 0 for status in first.stop())
    guest = second.lab["red1"]
    assert json.loads(guest.get("/openstack/2012-08-10/meta_data.json").body)["uuid"] == \
        guest.instance_id


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_restart_serves_again_at_once(fresh, how):
    deployment = fresh()
    guest = deployment.lab["red1"]
    before = guest.get(PATH).body
    status = deployment.data_plane.stop(how)
    assert status == (0 if how == signal.SIGTERM else -signal.SIGKILL)
    deployment.data_plane.start()
    mtlab.wait_until(lambda: guest.run("attempt", PATH, timeout=0.3) == 200, 5, "served again")
    assert guest.get(PATH).body == before


def test_guests_are_not_cut_off_while_the_daemon_is_away(fresh):
    """Without it their other traffic goes on, and their network is as it was."""
    deployment = fresh()
    red = deployment.lab["red1"]
    deployment.data_plane.stop(signal.SIGKILL)
    good, text = red.run("ping", "10.0.0.11")
    assert good, text
    assert red.run("attempt", PATH) != 200


def test_slots_read_like_a_table(fresh):
    """What `bpftool map dump pinned` prints has the ids of the ports as text."""
    deployment = fresh()
    deployment.lab["red1"].get(PATH)
    text = subprocess.run(["bpftool", "map", "dump", "pinned", str(deployment.pins / "mt_slots")],
                          capture_output=True, text=True).stdout
    for guest in deployment.lab.guests.values():
        assert guest.port_id in text


def test_logs_hold_no_secret(fresh):
    deployment = fresh("split")
    for name in ("red1", "ghost"):
        deployment.lab[name].get(PATH, headers=[("X-Instance-ID-Signature", "f00d" * 16)])
    for daemon in deployment.daemons:
        text = daemon.log.read_text()
        assert f"secret-of-{deployment.lab.id}" not in text
        assert "f00d" * 16 not in text


def test_options_of_the_sample_configuration_exist(fresh):
    """Every option in it, also those commented out, is one that somebody reads."""
    sample = (mtlab.labkit.ROOT / "packaging/metatapd.conf").read_text()
    text = re.sub(r"^# (\w+ = )", r"\1", sample, flags=re.M)
    text = text.replace("user = metatap", "user = nobody")  # here is no package that made one
    deployment = fresh(start=False)
    file = deployment.lab.state / "sample.conf"
    file.write_text(text)
    daemon = deployment.daemons[0]
    # First, so that the lab's own paths win.
    at = daemon.arguments.index("--config-file")
    daemon.arguments[at:at] = ["--config-file", str(file)]
    deployment.start()
    assert deployment.lab["red1"].get(PATH).status == 200
    assert str(file) not in daemon.log.read_text(), daemon.tail()

# SPDX-License-Identifier: Apache-2.0
"""Devices come, go and come back; who asks is always who is plugged in now."""

import json
import pathlib
import signal
import time

import mtlab
import pytest

STABLE = "/openstack/2012-08-10/meta_data.json"


@pytest.fixture()
def served():
    """A lab for each test: they pull cables."""
    with mtlab.serving() as deployment:
        yield deployment


def who(guest, **more):
    """The uuid it is told it is, or why not."""
    try:
        answer = guest.get(STABLE, timeout=0.5, **more)
        return json.loads(answer.body)["uuid"] if answer.status == 200 else answer.status
    except mtlab.RemoteError as error:
        return str(error).splitlines()[0]


def within_a_moment(guest, expected):
    """Below the 5 s of the slow look at everything, so by an event; a moment on a busy machine."""
    mtlab.wait_until(lambda: who(guest) == expected, 4, f"{guest.name} is served")


def index_of(device):
    return int(pathlib.Path("/sys/class/net", device, "ifindex").read_text())


def test_replug_with_the_same_name_and_with_the_same_ifindex(served):
    guest = served.lab["red1"]
    index = index_of(guest.host_device)
    for wish in (0, index, 0):
        assert who(guest) == guest.instance_id
        served.lab.unplug("red1")
        served.lab.replug("red1", ifindex=wish)
        if wish:
            assert index_of(guest.host_device) == wish
        within_a_moment(guest, guest.instance_id)


def test_ifindex_that_another_had_brings_no_identity_along(served):
    """red1 goes, and at once the blue guest's cable comes up with red1's ifindex."""
    lab = served.lab
    red, blue = lab["red1"], lab["blue1"]
    for _ in range(5):
        index = index_of(red.host_device)
        blue.run("start_polling", STABLE, interval=0.002, timeout=0.2)
        lab.unplug("blue1")
        lab.unplug("red1")
        lab.replug("blue1", ifindex=index)
        assert index_of(blue.host_device) == index
        lab.replug("red1")
        time.sleep(1.2)
        seen = blue.run("stop_polling")
        told = {json.loads(body)["uuid"] for _, status, body in seen if status == 200}
        assert told == {blue.instance_id}
        assert seen[-1][1] == 200
        within_a_moment(red, red.instance_id)


def test_rename_changes_who_it_is(served):
    """A name that is no port's is nobody; with the port's name it is that port."""
    lab = served.lab
    guest = lab["red1"]
    name, other = guest.host_device, f"{guest.host_device[:-2]}zz"
    assert who(guest) == guest.instance_id
    mtlab.labkit.ip_batch([f"link set {name} down", f"link set {name} name {other}",
                           f"link set {other} up"])
    try:
        mtlab.wait_until(lambda: who(guest) != guest.instance_id, 1.5, "identity is withdrawn")
    finally:
        mtlab.labkit.ip_batch([f"link set {other} down", f"link set {other} name {name}",
                               f"link set {name} up"])
    within_a_moment(guest, guest.instance_id)


def test_names_swapped_between_tenants(served):
    """Orchestration gone wrong: the device is what counts, and its name says whose it is."""
    lab = served.lab
    red, blue = lab["red1"], lab["blue1"]
    one, two, spare = red.host_device, blue.host_device, f"{red.host_device[:-2]}zz"
    mtlab.labkit.ip_batch([
        f"link set {one} down", f"link set {two} down", f"link set {one} name {spare}",
        f"link set {two} name {one}", f"link set {spare} name {two}",
        f"link set {one} up", f"link set {two} up"])
    # red's cable now has the name of blue's port: it is blue's instance that is plugged there.
    within_a_moment(red, blue.instance_id)
    within_a_moment(blue, red.instance_id)
    lab.plan.wires = [wire for wire in lab.plan.wires if wire[0] not in (one, two)]


def test_open_connection_does_not_outlive_its_device(served):
    guest = served.lab["red1"]
    assert guest.run("open_connection", STABLE)[0] == 200
    served.lab.unplug("red1")
    served.lab.replug("red1")
    within_a_moment(guest, guest.instance_id)
    # The old connection's peer was revoked: it is not answered any more.
    assert guest.run("use_connection", STABLE) in (None, "ConnectionError", "ConnectionResetError",
                                                   "TimeoutError", "BrokenPipeError")


def test_port_that_changes_hands_in_the_inventory(served):
    lab = served.lab
    red, blue = lab["red1"], lab["blue1"]
    assert who(red) == red.instance_id

    def move(document):
        for port in document["ports"]:
            if port["id"] == red.port_id:
                port["device_id"] = lab.guest("red2").instance_id
    lab.edit_inventory(move)
    within_a_moment(red, lab.guest("red2").instance_id)
    assert who(blue) == blue.instance_id


@pytest.mark.parametrize("kind", ["port", "network"])
def test_admin_state_down_stops_metadata(served, kind):
    lab = served.lab
    guest = lab["red1"]
    key = guest.port_id if kind == "port" else lab.plan.networks["red"].id

    def set_state(up):
        def change(document):
            for row in document[kind + "s"]:
                if row["id"] == key:
                    row["admin_state_up"] = up
        lab.edit_inventory(change)
    set_state(False)
    mtlab.wait_until(lambda: who(guest) != guest.instance_id, 2, "metadata stops")
    assert who(lab["blue1"]) == lab["blue1"].instance_id
    set_state(True)
    within_a_moment(guest, guest.instance_id)


def test_new_port_is_served_without_disturbing_others(served):
    """A port and its device appear while others keep asking over open connections."""
    lab = served.lab
    guest, other = lab["red1"], lab["blue1"]
    spec = guest.spec

    def remove(document):
        document["ports"] = [port for port in document["ports"] if port["id"] != spec.port_id]
    whole = json.loads(lab.inventory_file.read_text())
    lab.edit_inventory(remove)
    mtlab.wait_until(lambda: who(guest) != guest.instance_id, 2, "the port is unknown")
    other.run("open_connection", STABLE)
    lab.write_inventory(json.dumps(whole))
    within_a_moment(guest, guest.instance_id)
    assert other.run("use_connection", STABLE) == 200


def test_restart_keeps_numbers_although_a_new_port_sorts_first():
    """Killed, so that the maps alone tell the next process which number is whose."""
    lab = mtlab.TestLab()
    deployment = None

    def numbers():
        owners = {row["formatted"]["value"]["port_id"]: row["formatted"]["key"]
                  for row in deployment.dump("mt_owners")}
        return {port: slot for port, slot in owners.items() if port}  # the device of `first` has one, too
    try:
        lab.up()
        whole = lab.inventory_file.read_text()
        first = min(json.loads(whole)["ports"], key=lambda port: port["id"])
        lab.edit_inventory(lambda document: document["ports"].remove(first))
        deployment = mtlab.Deployment(lab).start()
        before = numbers()
        assert len(before) >= 3 and first["id"] not in before
        deployment.data_plane.stop(signal.SIGKILL)
        lab.write_inventory(whole)
        deployment.data_plane.start()
        after = numbers()
        assert {port: after[port] for port in before} == before
        assert after[first["id"]] not in before.values()
        for name in ("red1", "blue1"):
            assert who(lab[name]) == lab[name].instance_id
    finally:
        if deployment:
            deployment.close()
        lab.close()

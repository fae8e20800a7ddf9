# SPDX-License-Identifier: Apache-2.0
"""A guest waits until its answer changes, and hears of it; conditional requests."""

import json
import os
import resource
import signal
import time

import mtlab
import pytest
from labkit.process import pss_bytes

PATH = "/openstack/latest/meta_data.json"
WAIT = PATH + "?wait_for_change=true"


@pytest.fixture(scope="module", params=["fused", "split"])
def served(request):
    """With the stages apart nobody tells the proxy, so that it looks for itself."""
    with mtlab.serving(request.param, {"proxy": {"change_poll": 1}}) as deployment:
        yield deployment


def rename(lab, guest, name):
    def change(document):
        instance = next(row for row in document["instances"] if row["uuid"] == guest.instance_id)
        instance["display_name"] = name
    lab.edit_inventory(change)


def waiting(deployment):
    said = json.loads(mtlab.metatap(deployment.admin_socket, "status", "--json").stdout)
    return said["proxy"]["waiting"]


def name_in(answer):
    assert answer.status == 200, answer
    return json.loads(answer.text)["name"]


@pytest.mark.parametrize("family", [4, 6])
def test_a_guest_hears_of_its_change_and_of_no_other(served, family):
    red, blue = served.lab["red1"], served.lab["blue1"]
    rename(served.lab, red, "before")
    mtlab.wait_until(lambda: name_in(red.get(PATH)) == "before", 10, "the first name")
    first = red.get(WAIT + "&last_etag=0", family)
    tag = first.header("etag")
    red.send("get", WAIT + f"&last_etag={tag.replace(chr(34), '%22')}&timeout_sec=60", family,
             device=red.device, timeout=90)
    mtlab.wait_until(lambda: waiting(served) == 1, 10, "it waits")
    rename(served.lab, blue, f"another{family}")
    mtlab.wait_until(lambda: name_in(blue.get(PATH)) == f"another{family}", 10, "blue's name")
    assert waiting(served) == 1
    rename(served.lab, red, "after")
    answer = red.receive(30)
    assert name_in(answer) == "after"
    assert answer.header("etag") not in (None, tag)
    assert waiting(served) == 0


def test_what_a_guest_has_is_not_sent_again(served):
    red = served.lab["red1"]
    tag = red.get(PATH, headers=[("If-None-Match", "")]).header("etag")
    again = red.get(PATH, headers=[("If-None-Match", tag)])
    assert (again.status, again.body, again.header("etag")) == (304, b"", tag)


def test_a_reload_answers_who_waits(served):
    """The worker that goes tells what there is; the guest asks the next one."""
    red = served.lab["red1"]
    tag = red.get(PATH, headers=[("If-None-Match", "")]).header("etag").replace('"', "%22")
    red.send("get", WAIT + f"&last_etag={tag}", device=red.device, timeout=90)
    mtlab.wait_until(lambda: waiting(served) == 1, 10, "it waits")
    served.data_plane.process.send_signal(signal.SIGHUP)
    assert name_in(red.receive(30))
    mtlab.wait_until(lambda: waiting(served) == 0, 10, "nobody waits")


def test_a_guest_that_goes_leaves_nothing(served):
    red = served.lab["red1"]
    assert red.run("attempt", WAIT + "&timeout_sec=60", device=red.device, timeout=1.0) != 200
    mtlab.wait_until(lambda: waiting(served) == 0, 10, "nobody waits")


def test_more_than_may_wait_are_told_so():
    with mtlab.serving(config={"proxy": {"max_waiting_per_port": 2}}) as deployment:
        red = deployment.lab["red1"]
        red.send("park", WAIT + "&timeout_sec=3", 3, device=red.device, module="longpolls")
        assert sorted(red.receive(60)) == [200, 200, 503]


# No network may take what four want, and a daemon keeps a part of its descriptors for other things.
DESCRIPTORS = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
MANY = min(10_000, DESCRIPTORS // 20 * 7) if os.environ.get("METATAP_LONG") == "1" else 300
ROOM = {"DEFAULT": {"max_connections": 8 * MANY},
        "dataplane": {"syn_rate": 0},
        "proxy": {"max_waiting": MANY, "max_waiting_per_port": MANY,
                  "max_connections_per_port": 4 * MANY, "max_connections_per_network": 4 * MANY}}


def test_many_wait_and_each_hears():
    """METATAP_LONG=1: ten thousand, where there are descriptors for them."""
    with mtlab.serving(config=ROOM) as deployment:
        lab = deployment.lab
        guests = [lab[name] for name in ("red1", "blue1", "subport", "onlink")]
        source = {guest.name: {"source": guest.ip4} if guest.kind == "vlan" else {} for guest in guests}
        ours = {guest.instance_id for guest in guests}

        def rename_all(name):
            def change(document):
                for row in document["instances"]:
                    if row["uuid"] in ours:
                        row["display_name"] = name
            lab.edit_inventory(change)
        rename_all("before")
        mtlab.wait_until(lambda: all(name_in(guest.get(PATH)) == "before" for guest in guests), 10,
                         "the first name")
        process = deployment.data_plane.process.pid
        pids = [process, *mtlab.children_of(process)]
        bare = pss_bytes(pids)
        for guest in guests:
            guest.run("start", WAIT, MANY // len(guests), device=guest.device, module="longpolls",
                      **source[guest.name])
        mtlab.wait_until(lambda: waiting(deployment) == MANY, 60, "all wait")
        held = pss_bytes(pids) - bare
        assert guests[0].get(WAIT).status == 503  # one more
        assert guests[0].get(PATH).status == 200
        for guest in guests:
            guest.send("finish", 60, module="longpolls")
        begun = time.monotonic()
        rename_all("after")
        heard = [one for guest in guests for one in guest.receive(90)]
        assert [status for status, _ in heard] == [200] * MANY
        at = sorted(when - begun for _, when in heard)
        print(f"{MANY} waiting: {held / MANY:.0f} bytes each; of a change the first hears after "
              f"{at[0] * 1000:.0f} ms, the last after {at[-1] * 1000:.0f} ms")
        mtlab.wait_until(lambda: waiting(deployment) == 0, 10, "nobody waits")

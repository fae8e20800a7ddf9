# SPDX-License-Identifier: Apache-2.0
"""/metatap/v1/: what a guest may read of how it is treated, and of what it has read."""

import contextlib
import json

import mtlab
import pytest
import routerkit
from test_tokens import TOKEN, TTL

USER_DATA = "/openstack/latest/user_data"


def page(guest, name, **more):
    answer = guest.get(f"/metatap/v1/{name}", **more)
    assert answer.status == 200, answer
    assert answer.header("Content-Type") == "application/json"
    return json.loads(answer.text)


def read_by(guest):
    """Path classes of what the guest is told that it has read, without the pages themselves."""
    return [answer["path"] for answer in page(guest, "access")["answers"]
            if answer["path"] != "metatap"]


@contextlib.contextmanager
def deployed(lab, form, config):
    deployment = mtlab.Deployment(lab, form, config)
    try:
        yield deployment.start()
    finally:
        deployment.close()


KEPT = {"proxy": {"ledger": "$state_path/ledger", "sealed": "user_data"}}


@pytest.mark.parametrize("form", ["fused", "split"])
def test_a_guest_reads_its_own_and_nobody_elses(make_lab, form):
    with deployed(make_lab(), form, KEPT) as deployment:
        lab = deployment.lab
        red, blue = lab["red1"], lab["blue1"]  # the same address, MAC and source port
        assert red.get(USER_DATA).status == 200
        assert red.get("/nothing", headers=[(TOKEN, "bad")]).status == 401
        assert blue.get("/openstack").status == 200
        mtlab.wait_until(lambda: read_by(red) == ["user_data", "other"], 5, "red's own")
        mtlab.wait_until(lambda: read_by(blue) == ["listing"], 5, "blue's own")
        refused = next(answer for answer in page(red, "access", family=6)["answers"]
                       if answer["verdict"] == "refused")
        assert (refused["reason"], refused["token"]) == ("token_invalid", "invalid")
        assert not {"port", "instance", "address", "up_ms"} & set(refused)

        status = page(red, "status")
        assert status["sealed"] == ["user_data"] and not status["sealed_now"]
        assert status["access"]["tokens"] == "optional" and status["access"]["invalid"] == 1
        assert status["budget"]["connections"] == 1
        assert page(blue, "status")["access"]["invalid"] == 0
        for method in ("HEAD", "POST"):
            answer = red.get("/metatap/v1/access", method=method)
            assert (answer.status, answer.header("Allow")) == (405, "GET")
        assert red.get("/metatap/v1/secrets").status == 404

        lab.unplug("red1")
        lab.replug("red1")
        mtlab.wait_until(lambda: red.run("attempt", "/metatap/v1/access") == 200, 5,
                         "the next guest boots")
        assert read_by(red) == []
        assert read_by(blue) == ["listing"]


def test_where_tokens_are_required_they_are_here_too():
    config = {"proxy": {"tokens": "required", "ledger": "$state_path/ledger"}}
    with mtlab.serving(config=config) as deployment:
        guest = deployment.lab["red1"]
        for name in ("status", "access"):
            assert guest.get(f"/metatap/v1/{name}").status == 401
        token = guest.get("/latest/api/token", method="PUT", headers=[(TTL, "60")]).text
        status = page(guest, "status", headers=[(TOKEN, token)])
        assert status["access"]["required_now"]
        assert status["access"]["first_token_ago_s"] is not None


def test_another_instance_behind_a_router_reads_nothing_of_the_former(make_lab):
    lab = make_lab("router", routers=1)
    daemon = routerkit.daemon_of(lab, config=KEPT)
    daemon.start()
    try:
        guest = lab["g0"]
        mtlab.wait_until(lambda: guest.run("attempt", USER_DATA) == 200, 10, "it is served")
        mtlab.wait_until(lambda: "user_data" in read_by(guest), 5, "it is told")

        def to_another(document):
            port = next(row for row in document["ports"] if row["id"] == guest.port_id)
            instance = next(row for row in document["instances"]
                            if row["uuid"] == port["device_id"])
            port["device_id"] = "8c3c9a5e-0000-4000-8000-000000000001"
            document["instances"].append({**instance, "uuid": port["device_id"]})
        lab.edit_inventory(to_another)
        mtlab.wait_until(lambda: read_by(guest) == [], 10, "the next guest reads its own")
        assert guest.get("/openstack").status == 200
        mtlab.wait_until(lambda: read_by(guest) == ["listing"], 5, "the next guest's own")
    finally:
        daemon.stop()

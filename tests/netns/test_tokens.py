# SPDX-License-Identifier: Apache-2.0
"""Session tokens, the ratchet, sealed paths and forwarded connections, as guests meet them."""

import contextlib
import json
import signal
import subprocess
import time

import labkit
import mtlab
import pytest

PATH = "/openstack/2012-08-10/meta_data.json"
USER_DATA = "/openstack/latest/user_data"
TTL, TOKEN = "X-aws-ec2-metadata-token-ttl-seconds", "X-aws-ec2-metadata-token"
LATE_WINDOW = 2  # seconds


def token_of(guest, seconds=600, **more):
    answer = guest.get("/latest/api/token", method="PUT", headers=[(TTL, str(seconds))], **more)
    assert answer.status == 200, answer
    assert answer.header(TTL) == str(seconds)
    return answer.text


def plain(guest, path=PATH, **more):
    return guest.get(path, **more).status


def with_token(guest, token, path=PATH, **more):
    return guest.get(path, headers=[(TOKEN, token)], **more).status


def set_policy(lab, table, key, **policy):
    """"metatap" of the object with that id (or uuid)."""
    def change(document):
        for row in document[table]:
            if key in (row.get("id"), row.get("uuid")):
                row["metatap"] = policy
    lab.edit_inventory(change)


def port_row(deployment, guest):
    rows = json.loads(mtlab.metatap(deployment.admin_socket, "ports", "--json").stdout)
    return next(row for row in rows if row["id"] == guest.port_id)


def served_with(**proxy):
    return mtlab.serving(config={"proxy": proxy})


def another_worker(deployment, number):
    """As an upgrade replaces it, or after one that dies."""
    pid = deployment.data_plane.process.pid
    (worker,) = mtlab.children_of(pid)
    subprocess.run(["kill", f"-{number.value}", str(pid if number == signal.SIGHUP else worker)],
                   check=True)
    mtlab.wait_until(lambda: mtlab.children_of(pid) not in ([], [worker]) and
                     len(mtlab.children_of(pid)) == 1, 20, "another worker serves")


@pytest.fixture(scope="module", params=["fused", "split"])
def served(request, make_lab, deploy):
    return deploy(make_lab(), request.param)


@pytest.mark.parametrize("family", [4, 6])
def test_a_token_is_its_guests_alone(served, family):
    red, blue = served.lab["red1"], served.lab["blue1"]
    assert plain(red, family=family) == 200  # optional: as without tokens
    token = token_of(red, family=family)
    assert with_token(red, token, family=family) == 200
    assert with_token(red, token, family=10 - family) == 200
    assert with_token(blue, token, family=family) == 401  # the same address, MAC and source port
    assert with_token(red, token[:-1], family=family) == 401
    access = port_row(served, red)["access"]
    assert access["tokens"] == "optional" and not access["required_now"]
    assert access["issued"] >= 1 and access["valid"] >= 2 and access["invalid"] >= 1
    assert port_row(served, blue)["access"]["valid"] == 0


def test_what_is_no_request_for_a_token(served):
    guest = served.lab["red2"]

    def ask(method="PUT", headers=((TTL, "60"),), **more):
        return guest.get("/latest/api/token", method=method, headers=list(headers), **more)
    assert ask(headers=[]).status == 400
    assert ask(headers=[(TTL, "21601")]).status == 400
    assert ask(headers=[(TTL, "60"), ("X-Forwarded-For", "10.0.0.9")]).status == 403
    assert ask(body=b"a body").status == 400
    assert (ask("GET").status, ask("GET").header("Allow")) == (405, "PUT")
    assert with_token(guest, "A" * (1 << 20)) == 431


@pytest.mark.parametrize("family", [4, 6])
def test_a_token_travels_one_hop_and_other_answers_as_far_as_ever(served, family):
    """What leaves is seen by a guest that reads the frames themselves."""
    guest = served.lab["red2"]
    put = f"PUT /latest/api/token HTTP/1.1\r\nHost: a\r\n{TTL}: 60\r\n\r\n".encode()
    get = f"GET {PATH} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    seen = guest.run("hops_of_answers", guest.address(family), [get, put, get], module="rawguest")
    assert seen[0] == {64} and seen[2] == {64}, seen
    assert seen[1] == {1}, seen


def test_ratchet_restart_kill_and_replug():
    with served_with(tokens="ratchet") as deployment:
        lab = deployment.lab
        red, blue = lab["red1"], lab["blue1"]
        assert plain(red) == 200
        token = token_of(red)
        assert plain(red) == 200
        assert with_token(red, token) == 200
        assert plain(red) == 401
        # A proxy inside the guest, that was told to fetch a page.
        assert plain(red, headers=[("X-Forwarded-For", "203.0.113.9")]) == 401
        access = port_row(deployment, red)["access"]
        assert access["required_now"] and access["plain_refused"] == 2
        assert plain(blue) == 200  # nobody else is concerned
        for how in (signal.SIGTERM, signal.SIGKILL):
            deployment.data_plane.stop(how)
            deployment.data_plane.start()
            assert plain(red) == 401
            assert with_token(red, token) == 200
            assert plain(blue) == 200
        for number in (signal.SIGHUP, signal.SIGKILL):
            another_worker(deployment, number)
            assert with_token(red, token) == 200
            assert plain(red) == 401
        lab.unplug("red1")
        lab.replug("red1")
        mtlab.wait_until(lambda: red.run("attempt", PATH) == 200, 5, "the next guest boots")
        assert with_token(red, token) == 401  # the same port and address, another guest
        assert not port_row(deployment, red)["access"]["required_now"]


def test_after_the_window_plain_requests_and_sealed_paths_are_refused():
    with served_with(tokens="ratchet", boot_window=LATE_WINDOW,
                     sealed="user_data, vendor_data*") as deployment:
        lab = deployment.lab
        red, blue = lab["red1"], lab["blue1"]
        set_policy(lab, "ports", blue.port_id, tokens="optional")
        set_policy(lab, "ports", lab["red2"].port_id, sealed=False, tokens="optional")
        late = {"family": 4, "path": "/openstack/latest/user_data"}
        mtlab.wait_until(lambda: plain(red) == 401, 10, "the window is over")
        mtlab.wait_until(lambda: plain(blue) == 200, 10, "the port's policy is followed")
        assert plain(blue, **late) == 403
        assert plain(blue, "/latest/user-data") == 403
        assert plain(blue, "/latest//meta-data/..//user%2ddata") == 403
        assert plain(blue, **late, source_port=1000) == 200  # root in the guest
        assert with_token(blue, token_of(blue), **late) == 200
        assert plain(lab["red2"], **late) == 200
        access = port_row(deployment, blue)["access"]
        assert access["sealed_refused"] == 3 and access["boot_window_left_s"] == 0


def test_what_is_answered_once_is_so_until_the_guest_is_plugged_in_again():
    with served_with(read_once="user_data") as deployment:
        lab = deployment.lab
        red, blue = lab["red1"], lab["blue1"]
        first = red.get(USER_DATA)
        assert first.status == 200 and first.body

        def refused(path=USER_DATA, **more):
            answer = red.get(path, **more)
            return answer.status == 403 and "answered once" in answer.text
        mtlab.wait_until(refused, 5, "it is refused from then on")
        assert refused("/latest/user-data", family=6)
        assert refused("/2009-04-04//user%2ddata", source_port=1000)
        assert refused(headers=[(TOKEN, token_of(red))])
        assert plain(red) == 200  # all else
        assert plain(blue, USER_DATA) == 200  # nobody else is concerned
        assert port_row(deployment, red)["access"]["read_once_refused"] >= 4
        for number in (signal.SIGHUP, signal.SIGKILL):
            another_worker(deployment, number)
            assert refused()
        deployment.data_plane.stop(signal.SIGKILL)
        deployment.data_plane.start()
        assert refused()
        set_policy(lab, "ports", red.port_id, read_once=[])
        mtlab.wait_until(lambda: plain(red, USER_DATA) == 200, 10, "the operator has opened it")
        assert plain(red, USER_DATA) == 200
        set_policy(lab, "instances", red.instance_id, read_once=["meta_data.json"])
        set_policy(lab, "ports", red.port_id)
        mtlab.wait_until(lambda: plain(red) == 403, 10, "the instance's is followed")
        assert plain(red, USER_DATA) == 200
        set_policy(lab, "instances", red.instance_id)
        mtlab.wait_until(refused, 10, "as configured")
        lab.unplug("red1")
        lab.replug("red1")
        mtlab.wait_until(lambda: red.run("attempt", USER_DATA) == 200, 5, "the next guest boots")
        mtlab.wait_until(refused, 5, "once")


@contextlib.contextmanager
def container_behind(guest):
    """A namespace behind NAT inside a guest, as a container or a nested guest is."""
    name, inner = f"{guest.netns}c", "172.30.0.2"

    def inside(namespace, *command):
        subprocess.run(["ip", "netns", "exec", namespace, *command], check=True)
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", guest.netns, "link", "add", "inner0", "type", "veth", "peer",
                        "name", "eth0", "netns", name], check=True)
        labkit.ip_batch(["addr add 172.30.0.1/24 dev inner0", "link set inner0 up"], guest.netns)
        labkit.ip_batch([f"addr add {inner}/24 dev eth0", "link set eth0 up", "link set lo up",
                         "route add default via 172.30.0.1"], name)
        inside(guest.netns, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        inside(guest.netns, "iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "172.30.0.0/24",
               "-j", "MASQUERADE")
        yield name
    finally:
        subprocess.run(["ip", "netns", "exec", guest.netns, "iptables", "-t", "nat", "-F",
                        "POSTROUTING"], check=False)
        subprocess.run(["ip", "-n", guest.netns, "link", "del", "inner0"], check=False)
        subprocess.run(["ip", "netns", "del", name], check=False)


def status_from(namespace, path=PATH, *arguments, seconds="2"):
    """0: no answer."""
    done = subprocess.run(["ip", "netns", "exec", namespace, "curl", "-s", "-m", seconds, "-o",
                           "/dev/null", "-w", "%{http_code}", *arguments,
                           f"http://169.254.169.254{path}"], capture_output=True, text=True)
    return int(done.stdout)


def test_who_is_behind_a_guest_is_counted_refused_or_allowed(make_lab, deploy):
    deployment = deploy(make_lab())
    lab, guest = deployment.lab, deployment.lab["red1"]
    forwarded = lambda: port_row(deployment, guest)["forwarded_inside"]  # noqa: E731
    with container_behind(guest) as container:
        assert plain(guest) == 200 and forwarded() == 0
        assert status_from(container) == 200 and forwarded() == 1
        # A token does not travel that far, though the request for it did.
        assert status_from(container, "/latest/api/token", "-X", "PUT", "-H", f"{TTL}: 60") == 0
        assert port_row(deployment, guest)["access"]["issued"] > 0
        metrics = mtlab.admin_get(deployment.admin_socket, "/metrics")
        assert f'port="{guest.port_id}"' in metrics.split("metatap_port_forwarded_total{")[1]
        set_policy(lab, "instances", guest.instance_id, forwarded_inside="refuse")
        mtlab.wait_until(lambda: status_from(container, seconds="0.5") == 0, 10,
                         "the container is refused")
        assert plain(guest) == 200
        assert deployment.reasons()["forwarded_inside"] > 0
        set_policy(lab, "ports", guest.port_id, forwarded_inside="allow")
        mtlab.wait_until(lambda: status_from(container) == 200, 10, "the container is allowed")
        counted = forwarded()
        assert status_from(container) == 200 and forwarded() == counted


def test_a_fleet_of_late_identities_loses_no_first_request():
    """Guests ask as soon as their devices are there; who they are is told two seconds later."""
    with served_with() as deployment:
        lab = deployment.lab
        guests = [lab[name] for name in ("red1", "red2", "blue1", "blue2", "multi")]
        whole = lab.inventory_file.read_text()
        document = json.loads(whole)
        known = {guest.port_id for guest in guests}
        document["ports"] = [port for port in document["ports"] if port["id"] not in known]
        lab.write_inventory(json.dumps(document))
        for guest in guests:
            mtlab.wait_until(lambda one=guest: one.run("attempt", PATH, timeout=0.3) != 200, 10,
                             "the port is unknown")
            guest.send("attempt", PATH, timeout=40.0)
        time.sleep(2)
        lab.write_inventory(whole)
        assert [guest.receive() for guest in guests] == [200] * len(guests)

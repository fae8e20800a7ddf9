# SPDX-License-Identifier: Apache-2.0
"""`metatap import` against Keystone, Neutron and Nova as fakecloud.py has them, and a daemon that gets what it wrote."""

import itertools
import json
import os
import signal
import stat
import subprocess
import threading
import time

import pytest

from fakecloud import NETWORK, PASSWORD, PROJECT, SECRET, Cloud, port, server, stamp
from test_cli import BIN, DONE, FAILED, NOT_FOUND, UNREACHABLE, USAGE, Daemon

DENIED = 7

pytestmark = pytest.mark.skipif(not (BIN / "metatap").exists(), reason=f"{BIN}/metatap is not built")


@pytest.fixture
def cloud():
    running = Cloud()
    yield running
    running.close()


@pytest.fixture
def daemon(tmp_path):
    (tmp_path / "daemon").mkdir()
    running = Daemon(tmp_path / "daemon").start()
    yield running
    running.stop()


def plain_environment():
    return {name: value for name, value in os.environ.items() if not name.startswith("OS_")}


def metatap(*arguments, environment=(), folder=None):
    done = subprocess.run([BIN / "metatap", *map(str, arguments)], capture_output=True, text=True, timeout=120,
                          env={**plain_environment(), **dict(environment)}, cwd=folder)
    for secret in (PASSWORD, SECRET, "a-token-of-mine", "token-1"):
        assert secret not in done.stdout + done.stderr
    return done


def imported(cloud, *arguments, what="openrc", **environment):
    done = metatap("import", what, *arguments, environment=cloud.environment(**environment))
    assert done.returncode == DONE, done.stderr
    return json.loads(done.stdout)


def told(done):
    return [line.removeprefix("metatap: ") for line in done.stderr.splitlines()]


def test_what_is_imported_is_applied_and_served(cloud, daemon, tmp_path):
    file = tmp_path / "inventory.json"
    done = metatap("--json", "import", "openrc", "-o", file, environment=cloud.environment())
    assert done.returncode == DONE, done.stderr
    summary = json.loads(done.stdout)
    assert [summary[key] for key in ("networks", "subnets", "routers", "ports", "servers", "left_out")] == [2, 2, 1, 4, 2, 0]
    assert {"ec2_ids", "block_device_mappings", "system_metadata"} <= {each["key"] for each in summary["not_told"]}
    assert any("not told: ec2_ids: " in line for line in told(done))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    applied = daemon.run("apply", file)
    assert applied.returncode == DONE, applied.stderr
    uuid = next(iter(cloud.tables["servers"]))
    meta = json.loads(daemon.ask("/openstack/latest/meta_data.json", uuid)[1])
    assert (meta["hostname"], meta["availability_zone"], meta["project_id"]) == ("web-1.novalocal", "az-1", PROJECT)
    assert meta["public_keys"] == {"mykey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAlice alice"}
    assert list(meta["meta"]) == ["zeta", "alpha"]
    assert daemon.ask("/openstack/latest/user_data", uuid) == (200, b"#cloud-config\n")
    assert daemon.ask("/latest/meta-data/instance-type", uuid) == (200, b"m1.tiny")
    # In the order in which Nova has attached them, which is not that of their ids.
    links = json.loads(daemon.ask("/openstack/latest/network_data.json", uuid)[1])["links"]
    assert [link["ethernet_mac_address"] for link in links] == ["fa:16:3e:00:00:09", "fa:16:3e:00:00:02"]
    assert links[0]["mtu"] == 1442
    assert daemon.run("apply", file).stdout == "nothing to change\n"


def test_neutron_and_nova_alone(cloud):
    neutron = imported(cloud, what="neutron")
    assert len(neutron["ports"]) == 4 and neutron["servers"] == []
    assert not any(target.startswith("/compute") for _, target, _ in cloud.asked)
    nova = imported(cloud, what="nova")
    assert len(nova["servers"]) == 2 and nova["ports"] == []


def test_what_the_apis_answer_is_applied_as_it_is(cloud, daemon, tmp_path):
    document = {"format": "metatap-inventory/1", **{key: list(table.values()) for key, table in cloud.tables.items()}}
    (tmp_path / "raw.json").write_text(json.dumps(document))
    done = daemon.run("apply", tmp_path / "raw.json")
    assert done.returncode == DONE, done.stderr
    uuid = next(iter(cloud.tables["servers"]))
    assert daemon.ask("/latest/meta-data/hostname", uuid) == (200, b"web-1.novalocal")


def test_credentials_and_where_they_come_from(cloud, tmp_path):
    here = {"HOME": str(tmp_path)}
    named = {key: value for key, value in cloud.environment().items()}
    openrc = tmp_path / "admin-openrc.sh"
    openrc.write_text("#!/usr/bin/env bash\nunset OS_CLOUD\n" + "".join(
        f'export {name}="{value}"\n' for name, value in named.items()) +
        'if [ -z "$OS_REGION_NAME" ]; then unset OS_REGION_NAME; fi\nexport OS_INTERFACE=public\n')
    assert metatap("import", "openrc", openrc, environment=here).returncode == DONE
    assert metatap("import", "neutron", "--openrc", openrc, environment=here).returncode == DONE
    # As Horizon writes it: the password is asked for, and the file is not run.
    openrc.write_text(openrc.read_text().replace(f'"{PASSWORD}"', "$OS_PASSWORD_INPUT"))
    done = metatap("import", "openrc", openrc, environment=here)
    assert done.returncode == FAILED and "OS_PASSWORD is needed" in done.stderr and "line 5" in done.stderr
    assert metatap("import", "openrc", openrc, environment={**here, "OS_PASSWORD": PASSWORD}).returncode == DONE
    folder = tmp_path / ".config" / "openstack"
    folder.mkdir(parents=True)
    (folder / "clouds.yaml").write_text(
        "clouds:\n  lab: &lab\n    auth:\n      auth_url: " + cloud.url + "/identity\n      application_credential_id: app\n"
        "    auth_type: v3applicationcredential\n    region_name: RegionOne\n  other:\n    <<: *lab\n    auth_type: kerberos\n")
    (folder / "secure.yaml").write_text(f"clouds:\n  lab:\n    auth:\n      application_credential_secret: {SECRET}\n")
    assert metatap("import", "nova", "--os-cloud", "lab", environment=here).returncode == DONE
    assert cloud.sign_ins[-1] == {"identity": {"methods": ["application_credential"], "application_credential": {
        "id": "app", "secret": SECRET}}}
    assert metatap("import", "nova", environment={**here, "OS_CLOUD": "lab"}).returncode == DONE
    token = {**here, "OS_AUTH_URL": cloud.url + "/identity", "OS_TOKEN": "a-token-of-mine", "OS_PROJECT_NAME": "admin"}
    assert metatap("import", "neutron", environment=token).returncode == DONE
    assert cloud.sign_ins[-1]["scope"] == {"project": {"name": "admin", "domain": {"name": "Default"}}}


@pytest.mark.parametrize("arguments,environment,code,sentence", [
    (["openrc"], {}, FAILED, "OS_AUTH_URL is needed"),
    (["nova", "--os-cloud", "nowhere"], {}, NOT_FOUND, "no clouds.yaml for cloud 'nowhere'"),
    (["openrc", "/nonexistent/openrc"], {}, NOT_FOUND, "/nonexistent/openrc"),
    (["openrc", "--follow"], {}, USAGE, "--output"),
    (["openrc"], {"OS_AUTH_URL": "http://k", "OS_AUTH_TYPE": "v3kerberos"}, FAILED, "OS_AUTH_TYPE"),
    (["openrc"], {"OS_AUTH_URL": "ftp://k", "OS_USERNAME": "u", "OS_PASSWORD": "p", "OS_PROJECT_NAME": "s"}, FAILED,
     "auth_url"),
    (["nova"], {"OS_AUTH_URL": "http://127.0.0.1:1", "OS_USERNAME": "u", "OS_PASSWORD": "p", "OS_PROJECT_NAME": "s"},
     UNREACHABLE, "Keystone at http://127.0.0.1:1 cannot be asked (503)")])
def test_what_cannot_be_begun_is_a_sentence(arguments, environment, code, sentence, tmp_path):
    done = metatap("import", *arguments, environment={"HOME": str(tmp_path), **environment})
    assert done.returncode == code and sentence in done.stderr and not done.stdout


def status(code, body=b"", headers=()):
    def answer(handler):
        handler.answer(code, body, headers)
        return True
    return answer


def cut_off(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"ports": [')
    handler.close_connection = True
    return True


FORBIDDEN = {"forbidden": {"code": 403, "message": "Policy doesn't allow os_compute_api:servers:detail:get_all_tenants"}}


@pytest.mark.parametrize("path,answer,code,sentence", [
    ("sign-in", status(401, {}), DENIED, "refuses user 'admin' in project 'admin': check username, password, project"),
    ("sign-in", status(404, b"<!doctype html>"), FAILED, "has no /identity/v3/auth/tokens"),
    ("sign-in", status(200, {}), FAILED, "gave no token"),
    ("sign-in", status(500, {}), UNREACHABLE, "answered with status 500"),
    ("/v2.0/ports", status(403, FORBIDDEN), DENIED, "Policy doesn't allow"),
    ("/v2.0/ports", status(404, {}), NOT_FOUND, "has no ports (404)"),
    ("/v2.0/ports", status(200, b"<html>"), UNREACHABLE, "not a JSON object"),
    ("/v2.0/ports", status(200, {"ports": [{}]}), UNREACHABLE, "without an id"),
    ("/v2.0/ports", status(200, {"ports": [{"id": "p"}], "ports_links": [{"rel": "next", "href": "/v2.0/ports?x"}]}),
     UNREACHABLE, "its pages go on"),
    ("/compute/v2.1/servers/detail", status(403, FORBIDDEN), DENIED, "to list servers"),
    ("/compute/v2.1/", status(200, b"[]"), UNREACHABLE, "does not say its version"),
    ("/v2.0/subnets", status(200, {"subnets": [{"id": "s", "network_id": NETWORK, "cidr": "10.0.0.0/99"}]}), FAILED,
     "/subnets/0/cidr"),
])
def test_what_goes_wrong_is_a_sentence_and_leaves_what_was_there(cloud, tmp_path, path, answer, code, sentence):
    file = tmp_path / "inventory.json"
    file.write_text("as it was")
    cloud.broken[path] = answer
    done = metatap("import", "openrc", "-o", file, environment=cloud.environment())
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert file.read_text() == "as it was"
    assert [each.name for each in tmp_path.iterdir()] == ["inventory.json"]


def test_a_service_that_is_busy_is_asked_again(cloud):
    answers = itertools.chain([status(429, {}, [("Retry-After", "0")]), status(503, b"<html>"), cut_off],
                              itertools.repeat(lambda _: None))
    cloud.broken["/v2.0/ports"] = lambda handler: next(answers)(handler)
    done = metatap("import", "neutron", environment=cloud.environment())
    assert done.returncode == DONE, done.stderr
    assert "is asked too often (429): asked again in 0 s" in done.stderr
    assert len(json.loads(done.stdout)["ports"]) == 4
    cloud.broken["/v2.0/ports"] = status(500, {"NeutronError": {"message": "Request Failed: internal server error"}})
    done = metatap("import", "neutron", environment=cloud.environment())
    assert done.returncode == UNREACHABLE and "internal server error" in done.stderr and not done.stdout


def test_a_catalogue_without_the_service(cloud):
    cloud.catalog.pop()
    done = metatap("import", "openrc", environment=cloud.environment())
    assert done.returncode == FAILED and "names no compute endpoint in region 'RegionOne'" in done.stderr


def test_pages_and_a_token_that_ends_in_the_middle(cloud):
    for number in range(100, 150):
        fresh = port(number, cloud.network["id"], cloud.subnet["id"], f"10.1.1.{number}")
        cloud.tables["ports"][fresh["id"]] = fresh
    cloud.page, cloud.token_uses = 7, 5
    document = imported(cloud)
    assert len(document["ports"]) == 54
    assert len(cloud.sign_ins) >= 3
    assert any("marker=" in target for _, target, _ in cloud.asked)


@pytest.mark.parametrize("kind,path", [("ports", "/v2.0/ports"), ("subnets", "/v2.0/subnets"),
                                       ("servers", "/compute/v2.1/servers/detail")])
def test_a_page_that_begins_after_what_has_gone(cloud, kind, path):
    """Each says so in its own way, and Neutron's subnets begin anew without a word."""
    cloud.page = 1
    gone, seen = [], len(cloud.tables[kind])

    def vanish(handler):
        if "marker=" in handler.path and not gone:
            gone.append(handler.path.partition("marker=")[2].partition("&")[0])
            cloud.tables[kind].pop(gone[0])
    cloud.broken[path] = vanish
    document = imported(cloud)
    assert len(gone) == 1
    if kind == "subnets":  # that one is known until it is read anew
        assert len(document[kind]) == seen
    else:
        assert len(document[kind]) == seen - 1


def test_what_refers_to_what_has_gone_has_gone_too(cloud, daemon):
    def vanish(_):
        cloud.tables["subnets"].pop(cloud.subnet["id"], None)
    cloud.broken["/v2.0/subnets"] = vanish
    done = metatap("import", "openrc", environment=cloud.environment())
    assert done.returncode == DONE and "left out, as what they refer to is gone or hidden: 3" in done.stderr
    assert [each["mac_address"] for each in json.loads(done.stdout)["ports"]] == ["fa:16:3e:00:00:02"]
    assert daemon.run("apply", "-", text=done.stdout).returncode == DONE


def test_a_credential_that_keystone_does_not_know(cloud):
    """It says 404 of what it does not find, and a token of no project has no endpoints."""
    here = {"OS_AUTH_URL": cloud.url + "/identity"}
    done = metatap("import", "nova", environment={**here, "OS_APPLICATION_CREDENTIAL_ID": "gone",
                                                  "OS_APPLICATION_CREDENTIAL_SECRET": SECRET})
    assert done.returncode == DENIED and "refuses application credential 'gone'" in done.stderr
    done = metatap("import", "nova", environment={**here, "OS_TOKEN": "nonsense", "OS_PROJECT_NAME": "admin"})
    assert done.returncode == DENIED and "refuses the token: it may have expired" in done.stderr
    done = metatap("import", "nova", environment={**here, "OS_TOKEN": "a-token-of-mine"})
    assert done.returncode == FAILED and "as no project is named: project_name" in done.stderr


def test_an_older_nova_and_one_that_tells_little(cloud, daemon):
    cloud.microversion = "2.38"
    document = imported(cloud)
    assert document["servers"][0]["flavor"]["original_name"] == "m1.old"
    assert daemon.run("apply", "-", text=json.dumps(document)).returncode == DONE
    cloud.microversion = "2.1"
    cloud.keypairs.clear()
    done = metatap("import", "openrc", environment=cloud.environment())
    assert done.returncode == DONE
    assert "not told: user_data: of 2 servers" in done.stderr
    assert "not told: keypairs: 1 keys of users, such as" in done.stderr
    assert daemon.run("apply", "-", text=done.stdout).returncode == DONE


def test_a_key_of_somebody_else_by_the_same_name_is_not_taken(cloud):
    first = next(iter(cloud.tables["servers"].values()))
    first["user_id"] = "somebody-else"
    document = imported(cloud, "--own-project")
    assert "keypairs" not in document["servers"][0]


def test_more_than_is_known_and_less_than_is_there(cloud, daemon):
    """Keys of a newer API, a server without ports, a cell that does not answer, a trunk."""
    first = next(iter(cloud.tables["ports"].values()))
    first["binding:new"] = {"from": "the future"}
    lone, lost = server(7, "lone", [], []), server(8, "lost", [], [])
    cloud.tables["servers"][lone["id"]] = lone
    cloud.tables["servers"][lost["id"]] = {key: lost[key] for key in ("id", "tenant_id", "created", "links")} | {
        "status": "UNKNOWN"}
    sub = port(50, cloud.second["id"], "22222222-4444-4444-8444-000000000002", "10.2.0.50", device_owner="trunk:subport")
    cloud.tables["ports"][sub["id"]] = sub
    first["trunk_details"] = {"trunk_id": "t", "sub_ports": [
        {"port_id": sub["id"], "segmentation_id": 101, "segmentation_type": "vlan"}]}
    done = metatap("import", "openrc", environment=cloud.environment())
    assert done.returncode == DONE, done.stderr
    assert "ports/binding:new: nothing that metatap knows, in 1 objects" in done.stderr
    assert f"servers: 1, such as {lost['id']}: their cell does not answer" in done.stderr
    document = json.loads(done.stdout)
    assert "lone" in [each["name"] for each in document["servers"]]
    tagged = next(each for each in document["ports"] if each["id"] == sub["id"])
    assert (tagged["device"], tagged["vlan"]) == ("tap" + first["id"][:11], 101)
    assert tagged["device_id"] == first["device_id"]
    assert daemon.run("apply", "-", text=done.stdout).returncode == DONE
    # It is the guest's, and no interface of it.
    links = json.loads(daemon.ask("/openstack/latest/network_data.json", first["device_id"])[1])["links"]
    assert first["mac_address"] in [link["ethernet_mac_address"] for link in links]
    assert sub["mac_address"] not in [link["ethernet_mac_address"] for link in links]


def wait_for(what, seconds=20):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.05)


def test_told_to_end_in_the_middle(cloud, tmp_path):
    file, asked, done = tmp_path / "inventory.json", threading.Event(), threading.Event()
    file.write_text("as it was")

    def silent(_):
        asked.set()
        done.wait(30)
    cloud.broken["/v2.0/subnets"] = silent
    process = subprocess.Popen([BIN / "metatap", "import", "openrc", "-o", file], stderr=subprocess.PIPE, text=True,
                               env={**plain_environment(), **cloud.environment()})
    try:
        assert asked.wait(30)
        process.terminate()
        assert "told to end before it was done" in process.communicate(timeout=20)[1]
    finally:
        done.set()
        process.kill()
        process.wait()
    assert process.returncode == FAILED
    assert file.read_text() == "as it was" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("filters_by_time", [False, True], ids=["all", "changed_since"])
def test_it_follows_what_changes(cloud, tmp_path, filters_by_time):
    cloud.filters_by_time = filters_by_time
    file, log = tmp_path / "inventory.json", tmp_path / "log"
    file.write_text("{}")
    file.chmod(0o640)
    with open(log, "w") as written:
        process = subprocess.Popen([BIN / "metatap", "import", "openrc", "-o", file, "--follow", "1"], stderr=written,
                                   env={**plain_environment(), **cloud.environment()})
    try:
        def document():
            return json.loads(file.read_text())
        wait_for(lambda: "ports" in document())
        assert stat.S_IMODE(file.stat().st_mode) == 0o640
        gone_port, gone_server = list(cloud.tables["ports"])[2], list(cloud.tables["servers"])[1]
        fresh = port(77, cloud.network["id"], cloud.subnet["id"], "10.1.0.77")
        with cloud.lock:
            cloud.tables["ports"][fresh["id"]] = fresh
            cloud.tables["ports"].pop(gone_port)
            cloud.deleted[gone_server] = {**cloud.tables["servers"].pop(gone_server), "status": "DELETED",
                                          "updated": stamp(time.time())}
        wait_for(lambda: len(document()["servers"]) == 1)
        assert {each["id"] for each in document()["ports"]} == set(cloud.tables["ports"])
        refused = sum("changed_since=" in target for _, target, _ in cloud.asked)
        assert refused > 1 if filters_by_time else refused == 1
        assert filters_by_time == any("fields=id" in target for _, target, _ in cloud.asked)
        assert any("changes-since=" in target for _, target, _ in cloud.asked)
        # What only changed its status is no change.
        before = file.stat().st_ino
        fresh["status"], fresh["updated_at"] = "DOWN", stamp(time.time())
        seen = len(cloud.asked)
        wait_for(lambda: len(cloud.asked) > seen + 30)
        assert file.stat().st_ino == before
        cloud.broken["/v2.0/ports"] = status(403, FORBIDDEN)
        wait_for(lambda: "stays as it is" in log.read_text())
        assert len(document()["ports"]) == 4 and process.poll() is None
        del cloud.broken["/v2.0/ports"]
        wait_for(lambda: "all is well again" in log.read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == DONE
    finally:
        process.kill()
        process.wait()
    assert PASSWORD not in log.read_text()
    assert [each.name for each in tmp_path.iterdir() if each.name not in ("log",)] == ["inventory.json"]

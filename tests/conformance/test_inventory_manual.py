# SPDX-License-Identifier: Apache-2.0
"""What docs/inventory.md shows is taken as it stands there, and the JSON Schema says the same of it."""

import json
import os
import re
import shutil
import subprocess

import pytest
from test_cli import BIN, DONE, FAILED, ROOT, SAMPLE, daemon  # noqa: F401

MANUAL = (ROOT / "docs/inventory.md").read_text().partition("<!-- keys -->")[0]
SCHEMA = json.loads((ROOT / "packaging/metatap-inventory.schema.json").read_text())
EXAMPLES = re.findall(r"^```json\n(.*?)^```$", MANUAL, re.M | re.S)
# Of an import's commands test_import.py says what they do: they take a cloud.
COMMANDS = re.findall(r"^    (metatap (?!import ).*)$", MANUAL, re.M)
# What the manual's mistakes are said of.
MISTAKEN = {"format": "metatap-inventory/1", "networks": [{"id": "n"}],
            "ports": [{"id": "p", "network_id": "n", "mac": "02:00:00:00:00:01", "mac_policy": "any"}],
            "instances": [{"uuid": "a"}, {"uuid": "b", "key_data": "ssh-ed25519 AAAA me"}]}


def shell(daemon, text, folder):
    return subprocess.run(
        ["/bin/sh", "-ec", f'metatap() {{ {BIN}/metatap --socket {daemon.socket} "$@"; }}\n{text}'],
        capture_output=True, text=True, cwd=folder, env={**os.environ, "HOME": str(folder)})


def schema_takes(document):
    jsonschema = pytest.importorskip("jsonschema")
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(document)


def daemon_takes(daemon, document):
    return daemon.run("apply", "--dry-run", "-", text=json.dumps(document)).returncode == DONE


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_is_taken(daemon, tmp_path, text):
    (tmp_path / "inventory.json").write_text(text)
    done = daemon.run("apply", tmp_path / "inventory.json")
    assert done.returncode == DONE, done.stderr
    assert schema_takes(json.loads(text))
    assert daemon.json("instance", "list")


def test_the_shortest_document_is_all_that_a_guest_needs(daemon):
    """Five lines, a guest that is told what they say, and nothing that nobody said."""
    daemon.run("apply", "-", text=EXAMPLES[0])
    said = json.loads(EXAMPLES[0])["guests"][0]
    (row,) = daemon.json("instance", "list")
    def answer(path):
        status, body = daemon.ask(path, row["uuid"], "")
        assert status == 200
        return body.decode()
    told = json.loads(answer("/openstack/latest/meta_data.json"))
    assert told["hostname"].split(".")[0] == said["hostname"]
    assert list(told["public_keys"].values()) == said["ssh_keys"]
    assert answer("/openstack/latest/user_data") == said["user_data"]
    assert answer("/latest/meta-data/instance-type") == "custom"


def test_ec2_ids_survive_the_loss_of_the_database(daemon):
    """Of guests in few words: in whatever company and order they come back."""
    guests = [{"name": name, "device": f"tap-{name}"} for name in "abc"]
    def ids(order):
        document = {"format": "metatap-inventory/1", "guests": [guests[at] for at in order]}
        assert daemon.run("apply", "-", text=json.dumps(document)).returncode == DONE
        shown = [daemon.json("instance", "show", guests[at]["name"]) for at in order]
        return {one["name"]: (one["uuid"], one["ec2_ids"], one["reservation_id"]) for one in shown}
    before = ids([0, 1])
    assert daemon.stop() == 0
    shutil.rmtree(daemon.folder / "state")
    daemon.start()
    after = ids([2, 1, 0])
    assert {name: after[name] for name in before} == before


def test_every_command_does_what_it_says(daemon, tmp_path):
    assert any(command.startswith("metatap instance add ") for command in COMMANDS)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_ed25519.pub").write_text("ssh-ed25519 AAAA me\n")
    (tmp_path / "cloud.yaml").write_text("#cloud-config\n")
    for command in COMMANDS:
        done = shell(daemon, command, tmp_path)
        assert done.returncode == DONE, command + ": " + done.stderr
    assert daemon.json("instance", "list")[0]["name"] == "vm1"


def test_mistakes_are_told_as_the_manual_says(daemon, tmp_path):
    said = re.search(r"^    \$ (metatap apply inventory.json)\n((?:    .*\n)+)", MANUAL, re.M)
    (tmp_path / "inventory.json").write_text(json.dumps(MISTAKEN))
    done = shell(daemon, said[1], tmp_path)
    assert done.returncode == FAILED
    assert done.stderr.splitlines() == re.findall(r"^    (.*)$", said[2], re.M)


@pytest.mark.parametrize("change,taken", [
    ({}, True),
    ({"guests": [{"device": "vnet0", "hostname": "a", "dhcp": False, "addresses": ["10.0.0.5/24"]}]}, True),
    ({"guests": [{"device": "vnet0", "hostnam": "a"}]}, False),
    ({"guests": [{"device": 7}]}, False),
    ({"guests": [{"device": "vnet0", "addresses": "10.0.0.5/24"}]}, False),
    ({"guests": [{"device": "vnet0", "user_data": {"text": "a", "base64": ""}}]}, False),
    ({"guests": [{"device": "vnet0", "metatap": {"tokens": "sometimes"}}]}, False),
    ({"ports": [{"id": "p", "network_id": "n", "vlan": 4095, "mac_policy": "any"}], "networks": [{"id": "n"}]}, False),
    ({"networks": [{"id": "n", "status": "ACTIVE", "provider:segmentation_id": 7}]}, True),
    ({"networks": [{"name": "without an id"}]}, False),
    ({"guest": []}, False),
    ({"format": "metatap-inventory/2"}, False)])
def test_the_schema_and_the_reader_agree(daemon, change, taken):
    document = {"format": "metatap-inventory/1", **change}
    assert daemon_takes(daemon, document) == taken
    assert schema_takes(document) == taken


def test_the_schema_takes_what_is_exported(daemon):
    exported = daemon.run("apply", SAMPLE)
    assert exported.returncode == DONE, exported.stderr
    assert schema_takes(json.loads(SAMPLE.read_text()))
    assert schema_takes(daemon.json("export"))

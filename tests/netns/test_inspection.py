# SPDX-License-Identifier: Apache-2.0
"""docs/inspection.md: each command in it works, on Debian 12's bpftool, and shows what it says."""

import re
import signal
import subprocess

import mtlab
import pytest

DOCUMENT = mtlab.labkit.ROOT / "docs/inspection.md"


def commands():
    """The indented lines of the document."""
    return [line.strip() for line in DOCUMENT.read_text().splitlines() if line.startswith("    ")]


def mentioned():
    """Commands in its sentences, of which some have nothing to show here."""
    text = " ".join(line for line in DOCUMENT.read_text().splitlines() if not line.startswith("    "))
    return re.findall(r"`((?:bpftool|ip|tc|metatap) [^`]+)`", text)


def rows_of(deployment, name):
    return [row.get("formatted", row) for row in deployment.dump(name)]


def key(number):
    return " ".join(str(byte) for byte in number.to_bytes(4, "little"))


@pytest.fixture(scope="module")
def deployment():
    with mtlab.serving() as one:
        yield one


@pytest.fixture()
def owner(deployment):
    """Of red1's slot: its number, and the row as people see it."""
    port = deployment.lab["red1"].port_id
    for row in rows_of(deployment, "mt_owners"):
        if row["value"]["port_id"] == port:
            return row["key"], row["value"]
    raise AssertionError(f"no slot of {port} in mt_owners")


def reason_names(deployment):
    return {row["value"]["name"]: (row["key"], row["value"]["outcome"])
            for row in rows_of(deployment, "mt_reason_names") if row["value"]["name"]}


@pytest.fixture()
def type_in(deployment, owner):
    """type_in(command): done as the document has it, of red1 in this lab."""
    slot, row = owner
    ifindex = next(port["key"]["ifindex"] for port in rows_of(deployment, "mt_ports") if port["value"] == slot)
    number, _ = reason_names(deployment)["steered_v4"]

    def run(command):
        for word, value in (("SLOT", key(slot)), ("REASON", key(number)), ("IFINDEX", str(ifindex)),
                            ("DEVICE", row["device"])):
            command = re.sub(rf"\b{word}\b|(?<=_){word}", value, command)
        command = command.replace("exec metatap ", f"exec {deployment.lab.id}-metatap ")
        command = re.sub("^metatap ", f"{mtlab.BIN}/metatap --socket {deployment.admin_socket} ", command)
        return subprocess.run(["bash", "-c", command], cwd=deployment.pins, capture_output=True, text=True)
    return run


def all_show_something(deployment, type_in):
    assert commands()[0] == "cd /sys/fs/bpf/metatap" and deployment.pins.parent.name == "bpf"
    done = 0
    for command in commands()[1:]:
        if " links/" in command and not any((deployment.pins / "links").glob("tap_*")):
            continue  # filters have no links
        result = type_in(command)
        assert result.returncode == 0 and result.stdout.strip(), f"{command}: {result.stdout}{result.stderr}"
        done += 1
    return done


def test_each_command_of_the_document_works(deployment, type_in):
    deployment.lab["red1"].get("/latest/meta-data/instance-id")
    assert all_show_something(deployment, type_in) >= 12
    assert len(mentioned()) >= 8
    for command in mentioned():
        result = type_in(command)
        assert result.returncode in (0, 1, 10) and not result.stderr, f"{command}: {result.stdout}{result.stderr}"


def test_owners_are_those_in_use_and_no_others(deployment):
    guests = {guest.port_id for guest in deployment.lab.guests.values()}
    owners = [row["value"]["port_id"] for row in rows_of(deployment, "mt_owners")]
    shown = set(owners)
    assert len(owners) == len(shown)
    in_use = {row["value"]["port_id"] for row in rows_of(deployment, "mt_slots") if row["value"]["kind"] != 0}
    assert shown == in_use and guests & shown


def test_a_refused_packet_is_found_with_its_name(deployment, owner):
    """A guest that asks from an address that is not its own: the row of its slot names the reason."""
    slot, _ = owner
    number, outcome = reason_names(deployment)["spoofed_v4"]
    assert outcome == "drop"

    def refused():
        return sum(row["value"] for row in rows_of(deployment, "mt_slot_reasons")
                   if row["key"] == {"slot": slot, "reason": number})

    before = refused()
    red = deployment.lab["red1"]
    address = ["10.0.0.99/24", "dev", red.spec.device]
    subprocess.run(["ip", "-n", red.spec.netns, "addr", "add", *address], check=True)
    try:
        red.run("attempt", "/", source="10.0.0.99")
        assert refused() > before
    finally:
        subprocess.run(["ip", "-n", red.spec.netns, "addr", "del", *address], check=True)


def test_every_reason_has_its_name(deployment):
    text = mtlab.REASONS.read_text()
    wanted = dict(re.findall(r'^MT_REASON\((\w+), "[^"]*", (\w+)\)', text, re.M))
    assert {name: outcome for name, (_, outcome) in reason_names(deployment).items()} == wanted


def test_it_works_without_a_daemon(deployment, type_in):
    """As it says; the last one here, for it kills both processes."""
    deployment.data_plane.stop(signal.SIGKILL)
    assert all_show_something(deployment, type_in) >= 12

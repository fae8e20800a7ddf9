# SPDX-License-Identifier: Apache-2.0
"""Changes of many devices at once: "applied" is said when they are in effect, and meanwhile the
daemon answers."""

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import threading
import time
import uuid

import bpfkit
import mtlab
import pytest

MANY = 500


class AdminConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(path, method="GET", target="/v1/status", body=None):
    connection = AdminConnection(path)
    try:
        connection.request(method, target, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.fixture()
def served():
    lab = mtlab.TestLab()
    deployment = None
    devices = []
    try:
        lab.up()
        # Without a pattern of devices: each is attached when a port claims it, not before.
        lab.config_file.write_text(re.sub(r"^devices =.*\n", "", lab.config_file.read_text(),
                                          flags=re.M))
        # Without a file: the commands say what there is.
        deployment = mtlab.Deployment(
            lab, config={"dataplane": {"slots": "4096"}, "inventory": {"file": ""}}).start()
        status, answer = ask(deployment.admin_socket, "PUT", "/v1/inventory",
                             lab.inventory_file.read_text())
        assert status == 200, answer
        yield deployment, devices
    finally:
        if deployment:
            deployment.close()
        mtlab.labkit.ip_batch([f"link del {device}" for device in devices])
        lab.close()


def add_ports(document, count):
    """`count` more ports, and the names of their devices."""
    template = next(port for port in document["ports"] if "device" not in port)
    names = []
    for number in range(count):
        # The first six digits are the lab's own, and the first eleven make the device's name.
        own = template["id"][:6] + f"{0x80 + (number >> 8):02x}-{number & 255:02x}"
        port = {**template, "id": own + str(uuid.uuid4())[11:], "device_id": "", "fixed_ips": [],
                "mac_address": f"fa:16:3e:7f:{number >> 8:02x}:{number & 255:02x}"}
        document["ports"].append(port)
        names.append("tap" + port["id"][:11])
    return names


def steered(status, names):
    return {device["device"] for device in status["taps"]["devices"]
            if device["state"] == "steered" and device["device"] in names}


def test_many_taps_applied_at_once(served):
    deployment, devices = served
    document = json.loads(deployment.lab.inventory_file.read_text())
    names = set(add_ports(document, MANY))
    mtlab.labkit.ip_batch([f"tuntap add dev {name} mode tap" for name in sorted(names)])
    devices += sorted(names)

    answer = {}

    def apply():
        begin = time.monotonic()
        answer["status"], answer["body"] = ask(deployment.admin_socket, "PUT", "/v1/inventory",
                                               json.dumps(document))
        answer["took"] = time.monotonic() - begin
    thread = threading.Thread(target=apply)
    thread.start()
    waits, between = [], 0
    while thread.is_alive():
        begin = time.monotonic()
        _, status = ask(deployment.admin_socket)
        waits.append(time.monotonic() - begin)
        between += 0 < len(steered(status, names)) < MANY
    thread.join()
    assert answer["status"] == 200, answer
    # What it says it is: in effect, all of it.
    _, status = ask(deployment.admin_socket)
    assert len(steered(status, names)) == MANY
    assert between, "nobody was answered while the devices had their turns"
    print(f"{MANY} taps applied in {answer['took'] * 1000:.0f} ms; {len(waits)} status requests "
          f"meanwhile, {between} of them half way, slowest {max(waits) * 1000:.0f} ms")

    # And away again.
    document["ports"] = [port for port in document["ports"] if "tap" + port["id"][:11] not in names]
    assert ask(deployment.admin_socket, "PUT", "/v1/inventory", json.dumps(document))[0] == 200
    _, status = ask(deployment.admin_socket)
    assert not [device for device in status["taps"]["devices"] if device["device"] in names]
    links = deployment.pins / "links"
    shown = {int(name.name.removeprefix("tap_")) for name in links.glob("tap_*")}
    left = json.loads(subprocess.run(["ip", "-j", "link"], capture_output=True, text=True).stdout)
    assert not shown & {link["ifindex"] for link in left if link["ifname"] in names}


def test_a_change_of_an_instance_is_in_effect_when_it_is_answered(served):
    deployment, devices = served
    lab = deployment.lab
    guest = lab["red1"]
    document = json.loads(lab.inventory_file.read_text())
    without = {**document, "ports": [port for port in document["ports"]
                                     if port["id"] != guest.port_id]}
    for wanted, state in ((without, False), (document, True)) * 3:
        assert ask(deployment.admin_socket, "PUT", "/v1/inventory", json.dumps(wanted))[0] == 200
        assert (guest.host_device in steered(ask(deployment.admin_socket)[1],
                                             {guest.host_device})) == state


@pytest.mark.skipif(not bpfkit.has_tcx(), reason="this kernel has no TCX (6.6)")
def test_a_tap_that_takes_no_program_is_named_by_the_command(served):
    """The kernel takes some 60 programs on a device, and no more."""
    deployment, _ = served
    lab = deployment.lab
    guest, file = lab["red1"], lab.state / "wanted.json"
    document = json.loads(lab.inventory_file.read_text())
    port = next(row for row in document["ports"] if row["id"] == guest.port_id)

    def apply(name, **more):
        port["device_owner"] = "compute:" + name
        # Something that the data plane goes by, so that it looks again.
        port["allowed_address_pairs"] = [{"ip_address": f"10.0.0.{100 + sum(name.encode()) % 100}"}]
        file.write_text(json.dumps({**document, **more}))
        return mtlab.metatap(deployment.admin_socket, "apply", str(file), check=False)

    def row():
        rows = json.loads(mtlab.metatap(deployment.admin_socket, "--json", "ports").stdout)
        return next(row for row in rows if row["id"] == guest.port_id)
    assert apply("", ports=[row for row in document["ports"] if row is not port]).returncode == 0
    crowd = [bpfkit.load(f"crowd{number}", bpfkit.OK) for number in range(64)]
    links = []
    try:
        with contextlib.suppress(OSError):
            for program in crowd:
                links.append(bpfkit.tcx_attach(program, guest.host_device))
        done = apply("first")
        assert done.returncode == 6, done.stdout + done.stderr
        assert "applied as revision" in done.stdout
        assert f"not in effect: tap {guest.host_device}: " in done.stderr
        shown = row()
        assert shown["state"] == "error" and shown["reason"] in done.stderr
        # Whoever changes something else is not told of it.
        instance = lab.state / "other.json"
        instance.write_text(json.dumps({**document["instances"][-1], "display_name": "another"}))
        mtlab.metatap(deployment.admin_socket, "instance", "set", str(instance))
        # However often it is tried, it goes on with the one number that it has.
        for name in "abcdefgh":
            assert apply(name).returncode == 6
        assert row()["slot"] == shown["slot"]
        os.close(links.pop())
        assert apply("last").returncode == 0
        assert row()["state"] == "steered" and row()["slot"] == shown["slot"]
    finally:
        for descriptor in links + crowd:
            os.close(descriptor)

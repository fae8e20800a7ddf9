# SPDX-License-Identifier: Apache-2.0
"""Taps that are there before anybody says whose they are."""

import base64
import contextlib
import json
import socket
import threading
import time

import labkit
import mtlab
import pytest
from guesthttp import Connection

GUESTS = 200
LATE = 2.0  # seconds
PATH = "/latest/user-data"


class Crowd:
    """So many guests, each behind a device of its own. They share a namespace: none of them needs more of a guest
    than its end of the cable."""

    def __init__(self, lab, count):
        self.lab, self.netns = lab, f"{lab.id}-crowd"
        self.guests = []
        network = lab.plan.networks["red"]
        for number in range(count):
            self.guests.append({
                "id": f"{lab.plan.tag}ff-{number:04x}-4000-8000-000000000001", "network_id": network.id,
                "device": f"tap{lab.plan.tag}c{number}", "mac_address": f"fa:16:3e:00:99:{number:02x}",
                "device_id": lab.plan.uuid("instance", f"crowd{number}"), "device_owner": "compute:nova",
                "fixed_ips": [{"subnet_id": network.subnet4, "ip_address": f"10.0.0.{20 + number}"}]})
        labkit.ip_batch([f"netns add {self.netns}"])

    def plug(self):
        labkit.ip_batch([line for number, port in enumerate(self.guests) for line in (
            f"link add {port['device']} type veth peer name g{number} address {port['mac_address']}"
            f" netns {self.netns}",
            f"link set {port['device']} addrgenmode none up")])
        labkit.ip_batch([line for number, port in enumerate(self.guests) for line in (
            f"addr add {port['fixed_ips'][0]['ip_address']}/32 dev g{number}",
            f"link set g{number} up",
            f"route add 169.254.169.254 dev g{number} metric {number + 1}")], self.netns)

    def ask_all(self, results):
        """One request of each, all at once: the status and body, or what went wrong."""
        def one(number):
            port = self.guests[number]
            try:
                with socket.socket() as sock:
                    sock.settimeout(30)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, f"g{number}".encode())
                    sock.bind((port["fixed_ips"][0]["ip_address"], 0))
                    sock.connect(("169.254.169.254", 80))
                    answer = Connection(sock).request(PATH)
                    results[number] = (answer.status, answer.body)
            except OSError as error:
                results[number] = (type(error).__name__, str(error))

        def all_of_them():
            labkit.enter_netns(self.netns)  # threads begin where their maker is
            threads = [threading.Thread(target=one, args=(number,)) for number in range(len(self.guests))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        asking = threading.Thread(target=all_of_them)
        asking.start()
        return asking

    def close(self):
        labkit.ip_batch([f"netns del {self.netns}"])  # and with it the cables


def data_of(number):
    return f"user data of guest {number}".encode()


@contextlib.contextmanager
def crowd_of(count, config, form="fused"):
    lab = mtlab.TestLab()
    try:
        made = Crowd(lab.up(), count)
        deployment = mtlab.Deployment(lab, form, config={"dataplane": {"slots": 1024}, **config})
        try:
            deployment.start()
            yield made, deployment
        finally:
            deployment.close()
            made.close()
    finally:
        lab.close()


@pytest.fixture(params=["fused", "split"])
def crowd(request):
    """Split, each stage reads for itself what there is, and not all at the same moment."""
    with crowd_of(GUESTS, {"proxy": {"hold_unknown": 30}}, request.param) as made:
        yield made


@pytest.mark.parametrize("longest", (0, 1))
def test_whoever_is_not_told_of_in_time_is_answered_503(longest):
    with crowd_of(1, {"proxy": {"hold_unknown": longest}}) as (guest, deployment):
        results = {}
        guest.plug()
        guest.ask_all(results).join(60)
        assert results[0][0] == 503
        status = json.loads(mtlab.metatap(deployment.admin_socket, "status", "--json").stdout)
        assert status["proxy"]["held_unknown"] == 1
        device = next(row for row in status["taps"]["devices"] if row["device"] == guest.guests[0]["device"])
        assert device["state"] == "unclaimed" and "wait" in device["reason"]
        assert deployment.reasons()["steered_unknown"] > 0


def test_nobodys_first_request_fails(crowd):
    crowd, deployment = crowd
    results = {}
    crowd.plug()
    asking = crowd.ask_all(results)
    time.sleep(LATE)
    assert not results, "nobody is told anything before it is known who it is"

    def tell(document):
        template = document["instances"][0]
        document["ports"] += crowd.guests
        document["instances"] += [
            {**template, "uuid": port["device_id"], "user_data": base64.b64encode(data_of(number)).decode()}
            for number, port in enumerate(crowd.guests)]
    crowd.lab.edit_inventory(tell)
    asking.join(60)
    wrong = {number: result for number, result in results.items() if result != (200, data_of(number))}
    assert len(results) == GUESTS and not wrong
    proxy = json.loads(mtlab.metatap(deployment.admin_socket, "status", "--json").stdout)["proxy"]
    assert proxy["held"] == 0 and proxy["held_unknown"] == 0
    assert proxy["held_known"] > 0

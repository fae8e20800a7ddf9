# SPDX-License-Identifier: Apache-2.0
"""Guests use source ports again at once, and the daemon dies and comes back meanwhile: what the
kernel remembers of a connection of one side is never in the way of one that the other side has.

METATAP_LONG=1 asks 200 000 times in each mode, which takes a quarter of an hour; otherwise it is
REQUESTS."""

import dataclasses
import os
import signal

import pytest
import routerkit
from mtlab import Deployment, RemoteError, labkit, wait_until

LONG = os.environ.get("METATAP_LONG") == "1"
REQUESTS = {"router": 20000, "dhcp": 4000, "tap": 4000}
PORTS = 200
TURN = 2 * PORTS + 100  # more than all ports take, on each side
HOSTNAME = "/latest/meta-data/hostname"


class Place:
    """A guest, its daemon, and who answers it when that is not there."""

    def __init__(self, lab, guest, daemon, families=(4, 6)):
        self.lab, self.guest, self.daemon, self.families = lab, guest, daemon, families

    def who(self, family):
        """From a port of its own: those of the test are the test's."""
        try:
            answer = self.guest.get(HOSTNAME, family, timeout=1.0)
        except RemoteError:
            return "nobody"
        return answer.header("x-answered-by") or "metatap"


@pytest.fixture(scope="module", params=["router", "dhcp", "tap"])
def place(request, make_lab, tmp_path_factory):
    socket = tmp_path_factory.mktemp("agent") / "socket"
    agent = routerkit.StubAgent(socket, "neutron", read_once=False)
    daemon = None
    try:
        if request.param == "router":
            lab = make_lab("router", routers=1, haproxy=1, socket=str(socket))
            daemon = routerkit.daemon_of(lab)
            yield request.param, Place(lab, lab["g0"], daemon)
        elif request.param == "dhcp":
            lab = make_lab("dhcp", haproxy=1, socket=str(socket))
            daemon = routerkit.daemon_of(lab)
            yield request.param, Place(lab, lab["onlink"], daemon)
        else:
            lab = make_lab("tap")
            gateway = f"{lab.id}-gw-red"
            labkit.ip_batch(["addr add 169.254.169.254/32 dev lo"], gateway)
            other = type(lab["red1"])(lab.guest("red2"))
            other.spec = dataclasses.replace(other.spec, netns=gateway)
            other.run("serve_instead", module="routerload")
            daemon = Deployment(lab).data_plane
            yield request.param, Place(lab, lab["red1"], daemon, (4,))
            other.close()
    finally:
        if daemon:
            daemon.stop(signal.SIGKILL)
        agent.close()


def test_no_request_hangs_whatever_ports_are_used_again(place):
    mode, place = place
    total = 200_000 if LONG else REQUESTS[mode]
    answers, failures, slowest, turn = {}, [], 0.0, 0

    def ask():
        for family in place.families:
            seen, failed, worst = place.guest.run("burst", HOSTNAME, TURN, family, ports=PORTS,
                                                  module="routerload")
            for key, count in seen.items():
                answers[key] = answers.get(key, 0) + count
            failures.extend((turn, family, *failure) for failure in failed)
            yield seen, worst

    while sum(answers.values()) < total:
        expected = "haproxy" if turn % 2 == 0 else "metatap"
        if expected == "metatap":
            place.daemon.start()
        for family in place.families:
            wait_until(lambda family=family: place.who(family) == expected, 10,
                       f"{expected} answers")
        for seen, worst in ask():
            # Between the turns nothing dies: not one may be lost, and each is the right one's.
            assert set(seen) == {(expected, 200)} and not failures, (turn, seen, failures)
            slowest = max(slowest, worst)
        if expected == "metatap":
            # Mostly killed; one that stops in order lets go the same way.
            place.daemon.stop(signal.SIGTERM if turn % 8 == 7 else signal.SIGKILL)
        turn += 1
    print(f"{mode}: {total} requests from {PORTS} ports in {turn} turns: {answers}, slowest "
          f"{slowest * 1000:.0f} ms")

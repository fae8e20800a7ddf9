# SPDX-License-Identifier: Apache-2.0
"""A live router with Neutron's rules and haproxy, taken over and given back under load."""

import collections
import os
import signal
import time

import pytest
import routerkit
from mtlab import wait_until

CYCLES = int(os.environ.get("METATAP_TAKEOVER_CYCLES", "50"))
HOSTNAME = "/latest/meta-data/hostname"
PORTS = 32  # that the guests ask from, over and over


@pytest.fixture(scope="module")
def live(make_lab, tmp_path_factory):
    stub = tmp_path_factory.mktemp("agent") / "socket"
    agent = routerkit.StubAgent(stub, "neutron", read_once=False)
    lab = make_lab("router", routers=1, haproxy=1, socket=str(stub))
    wait_until(lambda: lab["g0"].run("attempt", "/") == 200, 5, "haproxy's answer")
    yield lab
    agent.close()


def who(lab, family=4, guest="g0"):
    answer = lab[guest].get(HOSTNAME, family)
    return answer.status, answer.header("x-answered-by") or "metatap"


def test_taken_over_and_given_back_under_load(live):
    lab, guests = live, ("g0", "second1")
    daemon = routerkit.daemon_of(lab)
    for guest in guests:
        lab[guest].run("start", HOSTNAME, 4 if guest == "g0" else 6, 0.0, 5.0, PORTS,
                       module="routerload")

    def answered(guest, whom):
        return lab[guest].run("look", module="routerload")[0].get((whom, 200), 0)

    def all_ports_used(whom):
        """Both have asked from every one of their ports since, and the same one answered."""
        before = {guest: answered(guest, whom) for guest in guests}
        wait_until(lambda: all(answered(guest, whom) > before[guest] + PORTS for guest in guests),
                   20, f"{PORTS} answers of {whom}")
    killed = stopped = 0
    windows = []
    try:
        for cycle in range(CYCLES):
            daemon.start()
            wait_until(lambda: who(lab, guest="second2") == (200, "metatap"), 5, "taken over",
                       0.005)
            all_ports_used("metatap")
            begin = time.monotonic()
            if cycle % 2:
                daemon.stop()
                stopped += 1
            else:
                daemon.stop(signal.SIGKILL)
                killed += 1
                windows.append((begin, time.monotonic() + 0.5))
            # The very next connection is haproxy's.
            assert who(lab, guest="second2") == (200, "haproxy")
            assert who(lab, 6, guest="second2") == (200, "haproxy")
            all_ports_used("haproxy")
    finally:
        daemon.stop()
        results = [lab[guest].run("stop", module="routerload") for guest in guests]
    total = {}
    failures = [failure for _, failed, _ in results for failure in failed]
    for answers, _, _ in results:
        for key, count in answers.items():
            total[key] = total.get(key, 0) + count
    print(f"{CYCLES} takeovers ({killed} ended by kill -9, {stopped} by SIGTERM): {total}, "
          f"{len(failures)} requests lost in killed processes; slowest answer "
          f"{max(slowest for _, _, slowest in results) * 1000:.0f} ms")
    assert set(total) == {("haproxy", 200), ("metatap", 200)}
    # Only a killed process may lose requests: of each of the two loops the one in flight, and one
    # that came while the kernel had closed the connections and not yet the listener.
    lost = collections.Counter()
    for at, *what in failures:
        window = next((window for window in windows if window[0] <= at <= window[1]), None)
        assert window, (at, what, windows)
        lost[window] += 1
    assert all(count <= 4 for count in lost.values()), lost


def test_a_connection_stays_where_it_began(live):
    lab = live
    status, body = lab["g0"].run("open_connection", HOSTNAME)
    assert status == 200 and b"neutron" in body
    daemon = routerkit.daemon_of(lab).start()
    try:
        wait_until(lambda: who(lab, guest="second2")[1] == "metatap", 5, "taken over")
        assert who(lab) == (200, "metatap")
        # haproxy keeps the one it has.
        assert lab["g0"].run("use_connection", HOSTNAME) == 200
    finally:
        daemon.stop()


def test_nothing_of_neutrons_is_changed(live):
    lab = live
    name = routerkit.namespaces_of(lab)[0]

    def rules():
        text = routerkit.inside(name, "iptables-save") + routerkit.inside(name, "ip6tables-save")
        return [line for line in text.splitlines() if not line.startswith(("#", ":"))]
    before = rules()
    daemon = routerkit.daemon_of(lab).start()
    try:
        wait_until(lambda: who(lab)[1] == "metatap", 5, "taken over")
        assert rules() == before
    finally:
        daemon.stop()
    assert rules() == before

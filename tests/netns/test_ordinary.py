# SPDX-License-Identifier: Apache-2.0
"""Traffic that is not metadata passes as if nobody were there."""

import mtlab
import pytest


@pytest.fixture(scope="module")
def served(make_lab, deploy):
    return deploy(make_lab())


@pytest.mark.parametrize("pair", ["red1 red2", "red1 multi", "trunk red1", "blue2 blue1"])
@pytest.mark.parametrize("family", [4, 6])
def test_tcp_and_ping_through_the_bridge(served, pair, family):
    sender, receiver = (served.lab[name] for name in pair.split())
    assert mtlab.longest_segment(sender, receiver, family, 8000 + family, 16 << 20) > 20000, \
        "segmentation offload is lost on the way"
    for size in (56, 1400, 4000):  # the last in fragments
        good, text = sender.run("ping", receiver.address(family), 3, size)
        assert good, text


@pytest.mark.parametrize("port", [81, 443, 8080])
def test_other_ports_of_the_address_are_left_alone(served, port):
    """Passed on to the network, where nobody answers: neither a reset nor a metadata page."""
    before = served.reasons()["other_port"]
    assert served.lab["red1"].run("attempt_port", "169.254.169.254", port) == "TimeoutError"
    assert served.reasons()["other_port"] > before


def test_web_server_of_a_neighbour_is_reached(served):
    """Port 80 is only special at the metadata address."""
    receiver, sender = served.lab["red2"], served.lab["red1"]
    receiver.run("serve_bytes", receiver.ip4, 80, 1 << 20)
    sent, seen = sender.run("send_bytes", receiver.ip4, 80, 1 << 20)
    assert sent == seen


def test_ping_of_the_metadata_address(served):
    good, text = served.lab["red1"].run("ping", "169.254.169.254", 3)
    assert good, text
    good, text = served.lab["onlink"].run("ping", "169.254.169.254", 3)
    assert good, text

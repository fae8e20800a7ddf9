# SPDX-License-Identifier: Apache-2.0
"""The daemon with the rights that the unit gives it, and no others."""

import json
import re
import signal
import subprocess

import labkit
import mtlab
import pytest
import routerkit
from labkit import unit

UNIT = labkit.ROOT / "packaging/metatapd.service"
AS_THE_UNIT = [mtlab.PYTHON, "-B", unit.__file__, str(UNIT)]
PATH = "/latest/meta-data/instance-id"


def test_taps(make_lab, deploy):
    lab = make_lab()
    deployment = deploy(lab, prefix=AS_THE_UNIT)
    for family in (4, 6):
        assert lab["red1"].get(PATH, family).status == 200
    # Seen by all, though the unit has mounts of its own.
    assert "169.254.169.254" in labkit.run("ip", "-n", f"{lab.id}-metatap", "addr", "show", "lo")

    deployment.data_plane.restart()
    assert "taken over from the process before us" in deployment.data_plane.log.read_text()
    assert lab["red1"].get(PATH).status == 200
    deployment.data_plane.stop(signal.SIGKILL)
    deployment.data_plane.start()
    assert lab["red1"].get(PATH).status == 200

    assert deployment.stop() == [0]
    assert f"{lab.id}-metatap" not in labkit.namespaces_present()
    assert not deployment.pins.exists()
    assert not re.search(r"\b(CAP_|not permitted|denied)", deployment.data_plane.log.read_text())


def test_routers(make_lab, deploy):
    """Also what only looks: devices are heard of at once, and a haproxy is named."""
    lab = make_lab("router", routers=2, haproxy=1)
    deployment = deploy(lab, prefix=AS_THE_UNIT)
    routerkit.wait_steered(lab, 3)
    for guest in lab.guests:
        for family in (4, 6):
            assert lab[guest].get(PATH, family).status == 200
    first, _ = routerkit.namespaces_of(lab)
    routerkit.wait_haproxy(first)
    shown = mtlab.metatap(deployment.admin_socket, "--json", "doctor", check=False).stdout
    about = {finding["subject"]: finding["message"] for finding in json.loads(shown)}
    assert "haproxy, pid" in about[first] and "REDIRECT --to-ports 9697" in about[first]
    said = deployment.data_plane.log.read_text()
    assert not re.search(r"CAP_|not permitted|denied|looked for every", said), said


def test_dhcp_ports(make_lab, deploy):
    lab = make_lab("dhcp")
    deploy(lab, prefix=AS_THE_UNIT)
    routerkit.wait_steered(lab, 3)
    for guest in ("onlink", "routed", "inside"):
        assert lab[guest].get(PATH).status == 200


def test_a_hang_up_does_not_end_it(make_lab, deploy):
    """What ExecReload sends."""
    lab = make_lab()
    deployment = deploy(lab, prefix=AS_THE_UNIT)
    assert "-HUP $MAINPID" in unit.Unit(UNIT).get("ExecReload")
    deployment.data_plane.process.send_signal(signal.SIGHUP)
    mtlab.wait_until(lambda: "reload: " in deployment.data_plane.log.read_text(), 5, "a word about it")
    assert lab["red1"].get(PATH).status == 200


@pytest.mark.parametrize("name,most", [("metatapd.service", 4.0), ("metatap-agent.service", 1.5),
                                       ("metatap-api.service", 1.5)])
def test_exposure(name, most):
    try:
        said = subprocess.run(["systemd-analyze", "security", "--offline=true",
                               str(labkit.ROOT / "packaging" / name)], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("systemd-analyze is not installed")
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", said.stdout)
    if not exposure:
        pytest.skip(f"systemd-analyze: {said.stderr.strip()}")
    assert float(exposure[1]) <= most, said.stdout
    version = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True).stdout
    document = (labkit.ROOT / "docs/security.md").read_text()
    if f"of {version.splitlines()[0].partition(' (')[0]} (" in document:
        assert f"| `{name}` | {exposure[1]} |" in document

# SPDX-License-Identifier: Apache-2.0
import os
import pathlib
import sys

import pytest

here = pathlib.Path(__file__).resolve().parent
for folder in (here, here.parent / "lab"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
import mtlab  # noqa: E402


def missing():
    """Why this machine cannot raise a lab, or nothing."""
    if os.geteuid() != 0:
        return "needs root"
    if not pathlib.Path("/dev/net/tun").exists():
        return "needs /dev/net/tun"
    if not (mtlab.BIN / "metatap-tapwire").exists():
        return f"{mtlab.BIN}/metatap-tapwire is not built"
    return None


def pytest_collection_modifyitems(items):
    why = missing()
    if why:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="module")
def make_lab():
    """make_lab(topology, **options): labs that go away with the module."""
    made = []

    def make(topology="tap", **options):
        lab = mtlab.TestLab(topology, **options)
        made.append(lab)
        return lab.up()

    yield make
    for lab in reversed(made):
        lab.close()


@pytest.fixture(scope="module")
def lab(make_lab):
    return make_lab()


@pytest.fixture(scope="module")
def deploy():
    """deploy(lab, form, config=…): running daemons that end with the module."""
    made = []

    def make(lab, form="fused", **more):
        deployment = mtlab.Deployment(lab, form, **more)
        made.append(deployment)
        return deployment.start()

    yield make
    for deployment in reversed(made):
        deployment.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the end of the daemons' logs."""
    report = (yield).get_result()
    if report.when == "call" and report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, mtlab.Deployment):
                try:
                    report.sections.append((f"{name}: metatapd", value.tail()))
                except OSError:
                    pass



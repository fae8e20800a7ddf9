# SPDX-License-Identifier: Apache-2.0
"""The fixtures of the namespace tests: labs and daemons."""

import pathlib
import sys

import pytest

here = pathlib.Path(__file__).resolve().parent
for folder in (here, here.parent / "netns", here.parent / "lab"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from netns_fixtures import *  # noqa: E402,F401,F403
import aloneapi  # noqa: E402
import postgres  # noqa: E402


@pytest.fixture
def api(tmp_path):
    """api(inventory, more): an Api with these options, in a folder of the test's."""
    made = []

    def make(inventory=None, more=""):
        made.append(aloneapi.Api(tmp_path, inventory, more))
        return made[-1]
    yield make
    for one in made:
        one.stop()


@pytest.fixture
def database():
    why = postgres.missing()
    if why:
        pytest.skip(why)
    server = postgres.Postgres()
    yield server
    server.close()

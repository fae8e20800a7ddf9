# SPDX-License-Identifier: Apache-2.0
"""The fixtures of the namespace tests: labs and daemons."""

import pathlib
import sys

here = pathlib.Path(__file__).resolve().parent
for folder in (here, here.parent / "netns", here.parent / "lab"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from netns_fixtures import *  # noqa: E402,F401,F403

# SPDX-License-Identifier: Apache-2.0
"""The benchmark's parts. Namespaces, guests and what Neutron puts beside them come from the tests' lab."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "tests/lab"))

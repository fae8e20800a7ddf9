# SPDX-License-Identifier: Apache-2.0
"""Topologies by name. Each module has DESCRIPTION, OPTIONS {name: (default, help)} and
build(plan), which fills in a labkit.Plan."""

import importlib
import pathlib

from ..host import LabError


def names():
    return sorted(path.stem for path in pathlib.Path(__file__).parent.glob("[a-z]*.py"))


def module(name):
    if name not in names():
        raise LabError(f"no topology '{name}'; there are: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")


def build(plan):
    chosen = module(plan.topology)
    unknown = set(plan.options) - set(chosen.OPTIONS) - {"mtu"}
    if unknown:
        raise LabError(f"topology {plan.topology} has no option {', '.join(sorted(unknown))}")
    for name, (default, _) in chosen.OPTIONS.items():
        if plan.options.get(name) is None:
            plan.options[name] = default
        else:
            plan.options[name] = type(default)(plan.options[name])
    chosen.build(plan)

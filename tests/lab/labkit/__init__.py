# SPDX-License-Identifier: Apache-2.0
"""The lab: tenants, networks and guests as network namespaces on this machine, for the tests, the
demo and the benchmark.

    host        commands, `ip -batch`, namespaces entered
    process     whether processes live and are ready, and how they are ended
    layout      namespaces with devices and settings, written down and then made
    plan        what a topology asks for, and the inventory that describes it
    rows        rows of that inventory
    neutron     routers, DHCP servers, rules and haproxy as Neutron's agents leave them
    topologies  plans by name
    lab         raises what a plan says, and takes it away again
    unit        units of systemd, and programs run as they say
    manager     what systemd is told by a service and keeps for it
    clean_root  a copy of this system to install into, and systemctl's stand-in there (systemctl.py)
"""

from .host import (BIN, CLONE_NEWNET, NETNS, ROOT, LabError, enter_netns, inside, ip_batch,  # noqa: F401
                   namespaces_present, run, together, write_sysctls)
from .lab import Lab, labs_up  # noqa: F401
from .layout import Layout  # noqa: F401
from .plan import STATE, Guest, Network, Plan, config_text, guest_commands, prefix  # noqa: F401

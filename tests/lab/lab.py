# SPDX-License-Identifier: Apache-2.0
"""scripts/lab.sh: raises and removes labs."""

import argparse
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import labkit  # noqa: E402
from labkit import topologies  # noqa: E402


def up(args):
    options = dict(option.split("=", 1) for option in args.option)
    if args.mtu:
        options["mtu"] = args.mtu
    lab = labkit.Lab(args.id, args.topology, **options).up()
    print(f"lab {lab.id} is up: {len(lab.guests)} guests, {len(lab.plan.networks)} networks "
          f"({topologies.module(args.topology).DESCRIPTION})")
    status(args)
    print(f"\n  metatapd --config-file {lab.config_file}     serve it"
          f"\n  scripts/lab.sh exec --id {lab.id} {next(iter(lab.guests))} curl http://169.254.169.254/"
          f"\n  scripts/lab.sh down --id {lab.id}")


def down(args):
    for id in labkit.labs_up() if args.all else [args.id]:
        labkit.Lab(id).down()


def execute(args):
    guest = labkit.Lab.load(args.id).guest(args.guest)
    command = args.command or [os.environ.get("SHELL", "/bin/sh")]
    labkit.enter_netns(guest.netns)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise labkit.LabError(f"{command[0]}: {error.strerror}") from None


def status(args):
    lab = labkit.Lab.load(args.id)
    rows = [("GUEST", "TENANT", "ADDRESS", "MAC", "BEHIND", "HOST DEVICE", "NAMESPACE")]
    for guest in lab.guests.values():
        net = lab.plan.networks[guest.network]
        rows.append((guest.name, net.tenant, guest.ip4, guest.mac, guest.behind, guest.host_device,
                     guest.netns))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def inventory(args):
    print(labkit.Lab.load(args.id).inventory_file.read_text(), end="")


def listing(_):
    for id in labkit.labs_up():
        lab = labkit.Lab.load(id)
        print(f"{id}  {lab.plan.topology}  {len(lab.guests)} guests")


def main():
    parser = argparse.ArgumentParser(prog="scripts/lab.sh", description=__doc__.split(": ")[1])
    verbs = parser.add_subparsers(required=True, metavar="up|down|exec|status|inventory|list")

    def verb(name, function, help):
        command = verbs.add_parser(name, help=help, description=help)
        command.set_defaults(function=function)
        command.add_argument("--id", default="demo", help="which lab (default: demo)")
        return command

    raising = verb("up", up, "raise a lab (an older one of that id is removed first)")
    raising.add_argument("--topology", default="tap", choices=topologies.names())
    raising.add_argument("--mtu", type=int, help="MTU of the tenants' networks")
    raising.add_argument("-o", "--option", action="append", default=[], metavar="KEY=VALUE",
                         help="an option of the topology")
    verb("down", down, "remove all of it, also after a crash").add_argument(
        "--all", action="store_true", help="every lab on this machine")
    running = verb("exec", execute, "run a command inside a guest")
    running.add_argument("guest")
    running.add_argument("command", nargs=argparse.REMAINDER)
    verb("status", status, "the guests as a table")
    verb("inventory", inventory, "the inventory document that metatapd is given")
    verb("list", listing, "the labs on this machine")
    args = parser.parse_args()
    try:
        args.function(args)
    except labkit.LabError as error:
        sys.exit(f"lab: {error}")


if __name__ == "__main__":
    main()

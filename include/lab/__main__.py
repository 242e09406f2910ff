"""The lab's command line: `python -m include.lab up | state | fault | ssh | make-inventory`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

import yaml

from include.lab.client import LabClient
from include.lab.errors import LabError
from include.lab.lab import LabOptions, run_lab
from include.lab.start_states import SCENARIOS
from include.lab.topology import make_inventory


def main(argv: list[str] | None = None) -> int:
    """Run one command; a LabError is printed and gives status 1."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.do(arguments))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def _up(arguments: argparse.Namespace) -> int:
    options = LabOptions(
        inventory=arguments.inventory,
        state=arguments.state,
        scenario=arguments.scenario,
        pace=arguments.pace,
        isolation=arguments.isolation,
        pcs=arguments.pcs,
        self_maintenance=arguments.self_maintenance,
        new_host_keys=not arguments.keep_host_keys,
        installer_status=arguments.installer_status,
    )
    asyncio.run(run_lab(options))
    return 0


def _make_inventory(arguments: argparse.Namespace) -> int:
    inventory = make_inventory(
        arguments.name,
        arguments.network,
        arguments.computes,
        dvs=arguments.dvs,
        batch_size=arguments.batch_size,
        pace=arguments.pace,
    )
    yaml.safe_dump(inventory, sys.stdout, sort_keys=False)
    return 0


def _state(arguments: argparse.Namespace) -> int:
    print(json.dumps(LabClient(arguments.state).state(), indent=2))
    return 0


def _fault(arguments: argparse.Namespace) -> int:
    try:
        fault = json.loads(arguments.fault)
    except json.JSONDecodeError as problem:
        raise LabError(f"the fault is not JSON: {problem}") from problem
    LabClient(arguments.state).fault(fault)
    return 0


def _ssh(arguments: argparse.Namespace) -> int:
    line = LabClient(arguments.state).ssh_command(arguments.host, " ".join(arguments.command))
    os.execvp(line[0], line)


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m include.lab", description="An embedded TECS site on loopback addresses."
    )
    commands = top.add_subparsers(required=True, metavar="command")
    up = commands.add_parser("up", help="make the site and serve it until interrupted")
    up.set_defaults(do=_up)
    up.add_argument("--inventory", type=Path, required=True)
    up.add_argument("--state", type=Path, required=True, help="directory of this lab, made afresh")
    up.add_argument("--scenario", choices=SCENARIOS, default="A")
    up.add_argument("--pace", type=float, help="how many times faster than real time; default: the inventory's")
    up.add_argument("--isolation", choices=("auto", "userns", "path"), default="auto")
    up.add_argument("--pcs", choices=("0.11", "0.9"), default="0.11")
    up.add_argument("--no-self-maintenance", dest="self_maintenance", action="store_false")
    up.add_argument("--keep-host-keys", action="store_true", help="a reinstalled host keeps its SSH host key")
    up.add_argument("--installer-status", choices=("zero", "honest"), default="zero")
    for name, do, text in (
        ("state", _state, "print the truth about the site as JSON"),
        ("fault", _fault, "inject a fault"),
        ("ssh", _ssh, "log in to a host"),
    ):
        command = commands.add_parser(name, help=text)
        command.set_defaults(do=do)
        command.add_argument("--state", type=Path, required=True)
        if name == "fault":
            command.add_argument("fault", help="JSON; see docs/lab.md")
        if name == "ssh":
            command.add_argument("host")
            command.add_argument("command", nargs=argparse.REMAINDER)
    make = commands.add_parser("make-inventory", help="print an inventory for a lab")
    make.set_defaults(do=_make_inventory)
    make.add_argument("--name", default="lab")
    make.add_argument("--network", default="127.1")
    make.add_argument("--computes", type=int, default=2)
    make.add_argument("--dvs", type=int, default=1)
    make.add_argument("--batch-size", type=int, default=1)
    make.add_argument("--pace", type=float, default=20)
    return top


if __name__ == "__main__":
    sys.exit(main())

"""The cluster lab's command line: `python -m include.cluster_lab --help` lists its commands."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from include.cluster_lab.base_tree import base_tree
from include.cluster_lab.client import ClusterLabClient
from include.cluster_lab.cloud_layer import layers
from include.cluster_lab.director import direct, remove_lab
from include.cluster_lab.lab import Options
from include.cluster_lab.machine import require_able
from include.cluster_lab.pacemaker import TRANSPORTS
from include.lab.errors import LabError
from include.lab.start_states import SCENARIOS


def main(argv: list[str] | None = None) -> int:
    """Run one command; a LabError is printed and gives status 1."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.do(arguments))
    except LabError as error:
        print(f"cluster lab: {error}", file=sys.stderr)
        return 1


def _check(arguments: argparse.Namespace) -> int:
    require_able(print)
    print("the cluster lab can run on this machine")
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
    layers(base_tree(print), print)
    return 0


def _up(arguments: argparse.Namespace) -> int:
    options = Options(
        state=arguments.state,
        scenario=arguments.scenario,
        transport=arguments.transport,
        pace=arguments.pace,
        honest=arguments.installer_status == "honest",
        self_maintenance=arguments.self_maintenance,
        with_cloud=arguments.cloud,
    )
    direct(options)
    return 0


def _start(arguments: argparse.Namespace) -> int:
    lab = ClusterLabClient.start(arguments.state, "--scenario", arguments.scenario, say=print)
    print(f"The lab runs in the background; its log is {lab.log}. Log in:")
    for host in json.loads((lab.state_dir / "ready.json").read_text())["hosts"]:
        print(f"  python -m include.cluster_lab ssh --state {arguments.state} {host}")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    remove_lab(arguments.state)
    print("nothing of the lab is left on this machine but its state directory and its caches")
    return 0


def _state(arguments: argparse.Namespace) -> int:
    print(json.dumps(ClusterLabClient(arguments.state).state(), indent=2))
    return 0


def _begin(arguments: argparse.Namespace) -> int:
    ClusterLabClient(arguments.state).begin(arguments.scenario)
    return 0


def _fault(arguments: argparse.Namespace) -> int:
    try:
        fault = json.loads(arguments.fault)
    except json.JSONDecodeError as problem:
        raise LabError(f"the fault is not JSON: {problem}") from problem
    ClusterLabClient(arguments.state).fault(fault)
    return 0


def _ssh(arguments: argparse.Namespace) -> int:
    line = ClusterLabClient(arguments.state).ssh_command(arguments.host, " ".join(arguments.command))
    os.execvp(line[0], line)


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m include.cluster_lab", description="A TECS site of real HA hosts on this machine."
    )
    commands = top.add_subparsers(required=True, metavar="command")
    texts = {
        "up": (_up, "make the site and serve it until interrupted"),
        "start": (_start, "make the site in the background; returns when it is ready"),
        "down": (_down, "end the site, or remove what a killed one left"),
        "state": (_state, "print the truth about the site as JSON"),
        "begin": (_begin, "put the running site into a scenario's starting state"),
        "fault": (_fault, "inject a fault"),
        "ssh": (_ssh, "log in to a host, or run a command there"),
    }
    for name, do, text in (
        ("check", _check, "see whether the site can be made on this machine; installs the programs that it lacks"),
        ("prepare", _prepare, "make what every site is made from, and keep it on this machine"),
    ):
        commands.add_parser(name, help=text).set_defaults(do=do)
    made = {}
    for name, (do, text) in texts.items():
        made[name] = commands.add_parser(name, help=text)
        made[name].set_defaults(do=do)
        made[name].add_argument("--state", type=lambda text: Path(text).resolve(), required=True)
    made["up"].add_argument("--scenario", choices=SCENARIOS, default="A")
    made["up"].add_argument("--transport", choices=TRANSPORTS, default="udpu")
    made["up"].add_argument("--pace", type=float, default=60, help="how many times faster the stand-in bin is")
    made["up"].add_argument("--installer-status", choices=("zero", "honest"), default="zero")
    made["up"].add_argument("--no-self-maintenance", dest="self_maintenance", action="store_false")
    made["up"].add_argument("--no-cloud", dest="cloud", action="store_false", help="without OpenStack and VMs")
    made["start"].add_argument("--scenario", choices=SCENARIOS, default="A")
    made["begin"].add_argument("scenario", choices=SCENARIOS)
    made["fault"].add_argument("fault", help="JSON")
    made["ssh"].add_argument("host")
    made["ssh"].add_argument("command", nargs=argparse.REMAINDER)
    return top


if __name__ == "__main__":
    sys.exit(main())

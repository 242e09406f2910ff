"""crm_mon of Pacemaker 2.1 or, on a lab with pcs 0.9, 1.1.

Emulated: -1 (--one-shot), text; -r (--inactive) and -f (--failcounts), which only Pacemaker 1.1's XML needs to show what
runs nowhere and how often something failed; -n and -A, which change nothing here; XML by --as-xml (-X), and on Pacemaker 2
by --output-as=xml. Stopped clusters and unknown options answer with each generation's words, stream and status.
Not emulated: the interactive screen, node attributes and history; of failures, all but a floating IP that does not stop.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from include.lab.cluster_view import status_text
from include.lab.pacemaker import seen_by
from include.lab.programs.standin import Here, Refused
from include.lab.status_xml import failure_xml_result, status_xml_deprecated, status_xml_old, status_xml_result

LONG = {
    "--one-shot": "1",
    "--inactive": "r",
    "--group-by-node": "n",
    "--failcounts": "f",
    "--show-node-attributes": "A",
    "--as-xml": "X",
}
NOT_RUNNING = (
    "error: Could not connect to launcher: Connection refused",
    "crm_mon: Connection to cluster failed: Connection refused",
)
HELP = """\
crm_mon - Provides a summary of cluster's current state.

Outputs varying levels of detail in a number of different formats.

Usage: crm_mon mode [options]
Options:"""


@dataclass(frozen=True)
class Asked:
    """The letters of the options given, and whether XML in Pacemaker 2's own form is wanted."""

    letters: frozenset[str]
    result: bool


def main(here: Here, argv: list[str]) -> int:
    """Print the cluster's state once."""
    with here.changing() as world:
        new = world.pcs == "0.11"
        asked = _asked(argv, new)
        if asked is None:
            return 0
        request = " ".join(["crm_mon", *argv])
        if not world.machines[here.host].runs("pacemaker"):
            return _not_running(asked, request) if new else _not_running_old()
        seen = seen_by(world, world.machines[here.host])
        if asked.result:
            text = status_xml_result(seen, request)
        elif "X" in asked.letters:
            text = status_xml_deprecated(seen) if new else status_xml_old(seen, asked.letters)
        else:
            text = status_text(seen)
    print(text, end="")
    return 0


def _asked(argv: list[str], new: bool) -> Asked | None:
    """What is asked for; None when Pacemaker 1.1 has printed its help with status 0 instead."""
    letters: set[str] = set()
    result = long_before = False
    for argument in argv:
        if argument == "--output-as=xml" and new:
            result = True
        elif argument in LONG:
            letters.add(LONG[argument])
            long_before = True
        elif argument.startswith("-") and argument[1:] and set(argument[1:]) <= set(LONG.values()):
            letters.update(argument[1:])
        elif new:
            raise Refused(f"crm_mon: Unknown option {argument}", 64)
        else:
            _refuse_as_1_1_does(argument, long_before)
            return None
    if not (result or letters & {"1", "X"}):
        raise Refused("crm_mon: the lab has no interactive screen; use -1", 64)
    return Asked(frozenset(letters), result)


def _refuse_as_1_1_does(argument: str, long_before: bool) -> None:
    unknown = f"crm_mon: unrecognized option '{argument}'"
    if not long_before:
        raise Refused(f"{unknown}\n{HELP}")
    # After a long option that it knows, 1.1 takes an unknown one for a request for help.
    print(unknown, file=sys.stderr)
    print(HELP)


def _not_running(asked: Asked, request: str) -> int:
    if asked.result:
        print(failure_xml_result(request, NOT_RUNNING), end="")
        return 102
    said = list(NOT_RUNNING)
    if "X" in asked.letters:
        print(status_xml_deprecated(None), end="")
        said.insert(0, "Not connected")
    print("\n".join(said), file=sys.stderr)
    return 102


def _not_running_old() -> int:
    # On standard output: 1.1 treats it as one more line for the screen.
    print("\nConnection to cluster failed: Transport endpoint is not connected")
    return 107

"""crm_mon of Pacemaker 2.1 or, on a lab with pcs 0.9, 1.1.

Emulated: -1 (--one-shot), text; -r, -n, -f and -A, which change nothing here; XML by --as-xml (-X), and on
Pacemaker 2 by --output-as=xml. Stopped clusters answer with each generation's message and status.
Not emulated: the interactive screen, failures, node attributes and history.
"""

from __future__ import annotations

from include.lab.cluster_view import status_text
from include.lab.programs.standin import Here, Refused
from include.lab.status_xml import status_xml_old, status_xml_result

IGNORED = {"--one-shot", "--inactive", "--group-by-node", "--failcounts", "--show-node-attributes"}
LETTERS = "1rnfAX"


def main(here: Here, argv: list[str]) -> int:
    """Print the cluster's state once."""
    with here.changing() as world:
        new = world.pcs == "0.11"
        xml = _wants_xml(argv, new)
        if not world.machines[here.host].runs("pacemaker"):
            if new:
                raise Refused(
                    "error: Could not connect to launcher: Connection refused\n"
                    "crm_mon: Connection to cluster failed: Connection refused",
                    102,
                )
            raise Refused("Connection to cluster failed: Transport endpoint is not connected", 107)
        if xml and "--output-as=xml" in argv:
            text = status_xml_result(world, " ".join(["crm_mon", *argv]))
        elif xml:
            text = status_xml_old(world)
        else:
            text = status_text(world)
    print(text, end="")
    return 0


def _wants_xml(argv: list[str], new: bool) -> bool:
    xml = once = False
    for argument in argv:
        if argument == "--as-xml" or (argument == "--output-as=xml" and new):
            xml = True
        elif argument in IGNORED:
            once = once or argument == "--one-shot"
        elif (
            argument.startswith("-")
            and not argument.startswith("--")
            and set(argument[1:]) <= set(LETTERS)
            and argument != "-"
        ):
            xml, once = xml or "X" in argument, once or "1" in argument
        elif new:
            raise Refused(f"crm_mon: Unknown option {argument}", 64)
        else:
            raise Refused(
                f"crm_mon: unrecognized option '{argument}'\ncrm_mon - Provides a summary of cluster's current state.",
                22,
            )
    if not (xml or once):
        raise Refused("crm_mon: the lab has no interactive screen; use -1", 64)
    return xml

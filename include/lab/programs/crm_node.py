"""crm_node. Emulated: -n (--name), the node's own name to Pacemaker. Not emulated: everything else."""

from __future__ import annotations

from include.lab.programs.standin import Here, Refused


def main(here: Here, argv: list[str]) -> int:
    """Print this node's name. Of a stopped cluster, Pacemaker 1.1 says the host's name instead of refusing."""
    if argv not in (["-n"], ["--name"]):
        raise Refused(f"crm_node: Unknown option {' '.join(argv)}", 64)
    with here.changing() as world:
        machine = world.machines[here.host]
        if machine.runs("pacemaker"):
            name = machine.node
        elif world.pcs == "0.11":
            raise Refused("error: Could not connect to controller: Connection refused", 102)
        else:
            name = machine.name
    print(name)
    return 0

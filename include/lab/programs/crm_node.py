"""crm_node. Emulated: -n (--name), the node's own name to Pacemaker. Not emulated: everything else."""

from __future__ import annotations

from include.lab.programs.standin import Here, Refused


def main(here: Here, argv: list[str]) -> int:
    """Print this node's name."""
    if argv not in (["-n"], ["--name"]):
        raise Refused(f"crm_node: Unknown option {' '.join(argv)}", 64)
    with here.changing() as world:
        machine = world.machines[here.host]
        if not machine.runs("pacemaker"):
            raise Refused("error: Could not connect to controller: Transport endpoint is not connected", 102)
    print(machine.node)
    return 0

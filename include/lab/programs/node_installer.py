"""lab-node-installer: what the installer on the Daisy host has done on a node, over SSH. Hidden; the lab's own."""

from __future__ import annotations

from include.lab.installation import finish, lay_packages
from include.lab.programs.standin import Here, Refused


def main(here: Here, argv: list[str]) -> int:
    """Lay down the packages, or finish the installation."""
    match argv:
        case ["packages" | "finish" as phase, release]:
            with here.changing() as world:
                act = lay_packages if phase == "packages" else finish
                act(world, world.machines[here.host], release)
                world.record(here.host, "installer", argv, f"{phase} of release {release}")
            return 0
    raise Refused("usage: lab-node-installer {packages | finish} RELEASE")

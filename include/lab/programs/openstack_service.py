"""openstack-service of RDO. Emulated: restart, start, stop, status and list, with optional names of units.

It acts only on enabled units whose name begins with openstack or neutron; openstack-nova-storage is not enabled and
therefore left alone. Not emulated: the grouping of services by project beyond a plain prefix.
"""

from __future__ import annotations

import sys

from include.lab.programs.standin import Here, Refused
from include.lab.programs.systemctl import failure_text, start_unit, stop_unit
from include.lab.world import Machine

RESTART_TAKES = 6.0


def main(here: Here, argv: list[str]) -> int:
    """Act on every enabled OpenStack unit."""
    match argv:
        case ["restart" | "start" | "stop" | "status" | "list" as verb, *names] if not any(
            n.startswith("-") for n in names
        ):
            pass
        case _:
            raise Refused("Usage: openstack-service action [services]\n\n  action: list, start, stop, restart, status")
    if verb in ("status", "list"):
        with here.changing() as world:
            machine = world.machines[here.host]
        for unit in _enabled(machine, names):
            print(unit if verb == "list" else f"MainPID=0 Id={unit}.service ActiveState={machine.units[unit].state}")
        return 0
    failed = []
    with here.changing() as world:
        machine = world.machines[here.host]
        for unit in _enabled(machine, names):
            if verb in ("stop", "restart"):
                stop_unit(world, machine, unit)
            if verb in ("start", "restart") and not start_unit(world, machine, unit):
                failed.append(unit)
        world.record(here.host, "openstack-service", argv, f"failed: {', '.join(failed) or 'none'}")
    here.wait(RESTART_TAKES)
    for unit in failed:
        print(failure_text(unit), file=sys.stderr)
    return 1 if failed else 0


def _enabled(machine: Machine, names: list[str]) -> list[str]:
    ours = [unit for unit, is_ in machine.units.items() if is_.enabled and unit.startswith(("openstack", "neutron"))]
    prefixes = [form for name in names for form in (name, f"openstack-{name}")]
    return sorted(unit for unit in ours if not prefixes or unit.startswith(tuple(prefixes)))

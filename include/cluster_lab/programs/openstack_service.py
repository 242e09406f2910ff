"""openstack-service of RDO, over real systemd units. Emulated: restart, start, stop, status and list, with names.

It acts only on enabled units whose name begins with openstack or neutron; openstack-nova-storage is not enabled and
therefore left alone. Not emulated: the grouping of services by project beyond a plain prefix.
"""

from __future__ import annotations

import subprocess
import sys

USAGE = "Usage: openstack-service action [services]\n\n  action: list, start, stop, restart, status"


def main(argv: list[str]) -> int:
    """Act on every enabled OpenStack unit."""
    match argv:
        case ["restart" | "start" | "stop" | "status" | "list" as verb, *names] if not any(
            name.startswith("-") for name in names
        ):
            pass
        case _:
            print(USAGE, file=sys.stderr)
            return 1
    units = _enabled(names)
    if verb == "list":
        print("\n".join(unit.removesuffix(".service") for unit in units))
        return 0
    if not units:
        return 0
    if verb == "status":
        show = ["systemctl", "show", "--property=MainPID,Id,ActiveState", *units]
        blocks = subprocess.run(show, capture_output=True, text=True, check=True).stdout.strip().split("\n\n")
        print("\n".join(" ".join(block.splitlines()) for block in blocks))
        return 0
    return subprocess.run(["systemctl", verb, *units], check=False).returncode


def _enabled(names: list[str]) -> list[str]:
    listing = ["systemctl", "list-unit-files", "--state=enabled", "--no-legend", "openstack*", "neutron*"]
    found = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.splitlines()
    units = [line.split()[0] for line in found]
    prefixes = tuple(form for name in names for form in (name, f"openstack-{name}"))
    return sorted(unit for unit in units if not prefixes or unit.startswith(prefixes))

"""rpm. Emulated: `rpm -q [--qf|--queryformat FORMAT] NAME...` for openstack-nova-common.

FORMAT knows %{NAME}, %{VERSION}, %{RELEASE}, %{INSTALLTIME}, %{ARCH} and backslash escapes; RELEASE is the TECS
release. Not emulated: other packages (not installed), every other mode.
"""

from __future__ import annotations

import re

from include.lab.programs.standin import Here, Refused
from include.lab.world import Machine

PACKAGE = "openstack-nova-common"


def main(here: Here, argv: list[str]) -> int:
    """Print what the query asks of each package."""
    wanted, packages = _parse(argv)
    with here.changing() as world:
        machine = world.machines[here.host]
    missing = 0
    for package in packages:
        if package != PACKAGE or machine.release is None:
            print(f"package {package} is not installed")
            missing += 1
        else:
            print(_filled(wanted, machine), end="" if wanted is not None else "\n")
    return missing


def _parse(argv: list[str]) -> tuple[str | None, list[str]]:
    wanted: str | None = None
    query = False
    packages: list[str] = []
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        if argument in ("-q", "--query"):
            query = True
        elif argument in ("--qf", "--queryformat") and rest:
            wanted = rest.pop(0)
        elif argument.startswith(("--qf=", "--queryformat=")):
            wanted = argument.partition("=")[2]
        elif argument.startswith("-"):
            raise Refused(f"rpm: {argument}: unknown option")
        else:
            packages.append(argument)
    if not query:
        raise Refused("RPM version 4.11.3: the lab emulates -q only")
    if not packages:
        raise Refused("rpm: no arguments given for query")
    return wanted, packages


def _filled(wanted: str | None, machine: Machine) -> str:
    text = "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}" if wanted is None else wanted
    tags = {
        "NAME": PACKAGE,
        "VERSION": "2014.2.2",
        "RELEASE": str(machine.release),
        "INSTALLTIME": str(machine.installed_at),
        "ARCH": "noarch",
    }

    def value(match: re.Match[str]) -> str:
        tag = match[1].upper()
        if tag not in tags:
            raise Refused(f'error: incorrect format: unknown tag: "{match[1]}"')
        return tags[tag]

    return re.sub(r"%\{(\w+)\}", value, text).replace("\\n", "\n").replace("\\t", "\t")

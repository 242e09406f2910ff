"""What runs on a host that is on: the units that are in service on a host of its kind."""

from __future__ import annotations

import time

from include.cluster_lab.host import Host
from include.lab.errors import LabError
from include.lab.service_units import units_of

IN_SERVICE_WITHIN = 90.0
"""Seconds that the units of a busy host may take until all of them are active."""

POLL = 0.5


def start_unenabled(host: Host) -> None:
    """Those units run that are in service though nobody enabled them."""
    if host.site.role == "compute":
        host.run("systemctl", "start", "openstack-nova-storage")


def services(host: Host) -> dict[str, bool]:
    """The units that are in service on a host of this kind, and whether systemd has each as active."""
    names = list(units_of(host.site.role))
    if not names or not host.running:
        return dict.fromkeys(names, False)
    # A unit that does not exist is inactive to `show`.
    shown = host.run("systemctl", "show", "--property=ActiveState", "--value", *names).stdout.split()
    return {name: state == "active" for name, state in zip(names, shown, strict=True)}


def wait_for_services(host: Host, within: float = IN_SERVICE_WITHIN) -> None:
    """Every unit in service on the host is active; LabError, which names the others, when it is not so in time."""
    deadline = time.monotonic() + within
    while wanting := [name for name, active in services(host).items() if not active]:
        if time.monotonic() > deadline:
            raise LabError(f"{host.site.name}: {', '.join(wanting)} not active within {within:g} s")
        time.sleep(POLL)

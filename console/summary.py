"""What a run has made of the cluster, from its live state read over SSH: Airflow is not asked, and is not believed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from console.errors import ConsoleError
from console.progress import clock
from include.runbook.cluster import Cluster
from include.runbook.errors import RunbookError
from include.runbook.reach import Credentials, CredentialsOf
from include.runbook.survey import Survey, survey
from include.runbook.timings import RUNBOOK_TOTAL
from include.runbook.vms import hosts_by_name


@dataclass(frozen=True)
class Expected:
    """What must be true at the end: these hosts on this release, and whether a ban that was there may stay (C)."""

    release: str
    hosts: tuple[str, ...]
    ban_may_stay: bool


@dataclass(frozen=True)
class Times:
    """Seconds that the run took and that its steps were planned to take on this cluster, at its pace."""

    taken: float
    planned: float
    pace: float


def read_live_state(cluster: Cluster, connections: Path) -> Survey:
    """One reading of every host now. Raises ConsoleError where not even the Daisy host can be read."""
    try:
        return asyncio.run(survey(cluster, credentials_from(connections)))
    except RunbookError as error:
        raise ConsoleError(f"The live state of {cluster.name} could not be read: {error}") from error


def credentials_from(connections: Path) -> CredentialsOf:
    """Look-up of credentials in the file of connections that Airflow's local secrets back end reads, too."""
    known: dict[str, Any] = json.loads(connections.read_text())

    def credentials_of(connection_id: str) -> Credentials:
        if connection_id not in known:
            raise ConsoleError(f"{connections} has no connection {connection_id}; it has {', '.join(sorted(known))}.")
        entry = known[connection_id]
        extra = entry.get("extra") or {}
        if isinstance(extra, str):
            extra = json.loads(extra)
        return Credentials.of(entry["login"], entry.get("password"), extra)

    return credentials_of


def shortcomings(before: Survey, after: Survey, cluster: Cluster, expected: Expected) -> tuple[str, ...]:
    """Each thing that keeps the cluster from being proven right, as a sentence; empty when it is proven."""
    a = cluster.controllers.a.name
    allowed = set(before.constraints) if expected.ban_may_stay else set()
    found = [*after.unread.values(), *after.problems]
    found += [
        f"{host} is on {after.releases.get(host) or 'no release'}, not on {expected.release}"
        for host in expected.hosts
        if after.releases.get(host) != expected.release
    ]
    if after.active != a:
        found.append(f"{after.active or 'no controller'} is active, not {a}")
    found += [f"the constraint {name} is still there" for name in after.constraints if name not in allowed]
    if after.maintenance and not before.maintenance:
        found.append("Pacemaker is in maintenance mode")
    were, are = hosts_by_name(before.vms, after.vms)
    found += [f"the VM {vm} is lost" for vm in sorted(were.keys() - are.keys())]
    found += [f"the VM {vm} is on no known host" for vm, host in are.items() if host not in after.releases]
    for compute in cluster.computes:
        if not after.services.get(compute.name):
            found.append(f"nova-compute is not up on {compute.name}")
    return tuple(found)


def summary(before: Survey, after: Survey, cluster: Cluster, times: Times, wanting: Sequence[str]) -> RenderableType:
    """The end of a run on one page: every host and VM before and after, who is active, the time taken, the verdict."""
    hosts = Table(
        "Host", "Release before", "Release after", "Role", "nova-compute", title="Hosts", title_justify="left"
    )
    for node in cluster.nodes:
        hosts.add_row(
            node.name,
            _release(before.releases.get(node.name)),
            _release(after.releases.get(node.name)),
            _role(node.name, before, after),
            {True: "up", False: "DOWN", None: ""}[after.services.get(node.name)],
        )
    vms = Table("VM", "Host before", "Host after", title="VMs", title_justify="left")
    were, are = hosts_by_name(before.vms, after.vms)
    for vm in sorted({*were, *are}):
        vms.add_row(vm, were.get(vm, "-"), are.get(vm, "-"))
    facts = [
        f"Constraints on {cluster.float_ip_resource}: {', '.join(after.constraints) or 'none'}",
        f"Maintenance mode: {'on' if after.maintenance else 'off'}",
        *_time_lines(times, len(cluster.computes)),
    ]
    verdict = (
        Text("The live state is NOT proven right:\n  " + "\n  ".join(wanting), "bold red")
        if wanting
        else Text("The live state is proven right, read from every host just now.", "bold green")
    )
    return Group(hosts, vms, *facts, verdict)


def _time_lines(times: Times, computes: int) -> list[str]:
    at_pace = "" if times.pace == 1 else f" at pace {times.pace:g}"
    real = "" if times.pace == 1 else f" ({clock(times.planned * times.pace)} in real time)"
    return [
        f"Time: {clock(times.taken)}{at_pace}; planned for the steps alone: {clock(times.planned)}{real}",
        f"The runbook by hand, scenario A with one compute: {clock(RUNBOOK_TOTAL)} ({RUNBOOK_TOTAL:,} s); "
        f"computes in this cluster: {computes}",
    ]


def _release(name: str | None) -> str:
    return name or "none"


def _role(name: str, before: Survey, after: Survey) -> str:
    was, now = name == before.active, name == after.active
    if was and now:
        return "active"
    if now:
        return "active (took over)"
    return "standby (was active)" if was else ""

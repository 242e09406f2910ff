"""The cluster as it is: releases, active controller, constraints, VMs and services, read from every host at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from include.runbook import facts
from include.runbook.both_views import one_view
from include.runbook.cluster import Cluster
from include.runbook.errors import RunbookError
from include.runbook.goals import (
    CONSTRAINTS,
    CRM_MON,
    PROPERTIES,
    THIS_NODE,
    all_started,
    cloud,
    cluster_status,
    compute_services,
    node_name,
    release_of,
    release_probe,
    servers_in,
    services_in,
)
from include.runbook.reach import CredentialsOf, sweep
from include.runbook.step import Read

ALL_SERVERS = "openstack server list --all-projects --long --limit -1 -f json"


@dataclass(frozen=True)
class Survey:
    """One reading of the whole cluster. What could not be read is named, never guessed: of a host in `unread`, of the
    cluster in `problems`.

    `not_started`: what Pacemaker does not run as it should, in words; empty where every resource is started.
    """

    releases: dict[str, str | None]
    active: str | None
    online: tuple[str, ...]
    constraints: tuple[str, ...]
    maintenance: bool
    vms: dict[str, str]
    services: dict[str, bool]
    not_started: str = ""
    problems: tuple[str, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)


def wanting(survey: Survey, cluster: Cluster, release: str, hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Return what keeps the cluster from being proven back: empty when `hosts` are on the release and all is well."""
    found = list(survey.problems)
    found += [
        survey.unread.get(name) or f"{name} has {survey.releases.get(name) or 'no release'}, expected {release}"
        for name in hosts
        if survey.releases.get(name) != release
    ]
    if survey.active != cluster.controllers.a.name:
        found.append(f"{survey.active or 'no controller'} is active, expected {cluster.controllers.a.name}")
    computes = [compute.name for compute in cluster.computes if compute.name in hosts]
    found += [f"nova-compute is not up on {name}" for name in computes if not survey.services.get(name)]
    return tuple(found)


async def survey(cluster: Cluster, credentials_of: CredentialsOf) -> Survey:
    """Read the cluster now."""
    a, b = cluster.controllers.a, cluster.controllers.b
    status, name, agreed = Read(a, CRM_MON), Read(a, THIS_NODE), one_view(cluster)
    constraints, properties = Read(a, CONSTRAINTS), Read(a, PROPERTIES)
    servers, services = Read(a, cloud(cluster, ALL_SERVERS)), Read(a, compute_services(cluster))
    probes = {host: release_probe(cluster, host) for host in cluster.nodes}
    whole = all_started(a)
    reads = [status, name, *agreed.reads, *whole.reads, constraints, properties, servers, services, *probes.values()]
    answers = await sweep(cluster, reads, credentials_of)
    problems: list[str] = []
    unread: dict[str, str] = {}
    releases: dict[str, str | None] = {}
    for host, probe in probes.items():
        try:
            releases[host.name] = release_of(cluster, host, answers.output(probe))
        except RunbookError as error:
            unread[host.name] = str(error)
    active: str | None = None
    online: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    maintenance = False
    vms: dict[str, str] = {}
    up: dict[str, bool] = {}
    try:
        seen = cluster_status(a, answers.output(status))
        here = node_name(a, answers.output(name))
        where = seen.located(cluster.float_ip_resource)
        online = tuple(node.name for node in seen.nodes if node.online)
        if len(where) == 1:
            active = a.name if where[0] == here else b.name
        found = facts.parse_constraints(answers.output(constraints).stdout, source=f"{a.name}: {CONSTRAINTS}")
        ids = tuple(c.id for c in found if c.resource == cluster.float_ip_resource)
        kept = facts.parse_cluster_properties(answers.output(properties).stdout, source=f"{a.name}: {PROPERTIES}")
        maintenance = facts.maintenance_by(kept) is not None
        vms = {vm.name: vm.host or "nowhere" for vm in servers_in(a, ALL_SERVERS, answers.output(servers))}
        up = {s.host: s.up for s in services_in(a, "compute service list", answers.output(services))}
    except RunbookError as error:
        problems.append(str(error))
    started, views = answers.judge(whole), answers.judge(agreed)
    if not views.met:
        problems.append(views.found)
    trouble = "" if started.met else started.found
    return Survey(releases, active, online, ids, maintenance, vms, up, trouble, tuple(problems), unread)

"""The cluster as it is: releases, active controller, constraints, VMs and services, read from every host at once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from include.runbook import facts
from include.runbook.both_views import one_view
from include.runbook.cinder_archive import CINDER_CONF, LISTING
from include.runbook.cinder_backends import read_back_ends
from include.runbook.cluster import Cluster, Host
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
from include.runbook.reach import CredentialsOf, Sweep, sweep
from include.runbook.remote_python import program
from include.runbook.step import Goal, Read
from include.runbook.vms import NOWHERE, Vm

ALL_SERVERS = "openstack server list --all-projects --long --limit -1 -f json"


@dataclass(frozen=True)
class Survey:
    """One reading of the whole cluster. What could not be read is named, never guessed: of a host in `unread`, of the
    cluster in `problems`.

    `vms` by id. `not_started`: what Pacemaker does not run as it should, in words; empty where every resource is started.
    `back_ends`: cinder's enabled ones by controller, of those that have a cinder.conf.
    """

    releases: dict[str, str | None]
    active: str | None
    online: tuple[str, ...]
    constraints: tuple[str, ...]
    maintenance: bool
    vms: Mapping[str, Vm]
    services: dict[str, bool]
    not_started: str = ""
    problems: tuple[str, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)
    back_ends: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


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


@dataclass(frozen=True)
class Questions:
    """The reads that a survey of the cluster is made of, so that a sweep that is due anyway can ask them along."""

    cluster: Cluster
    status: Read
    name: Read
    agreed: Goal
    whole: Goal
    constraints: Read
    properties: Read
    servers: Read
    services: Read
    probes: Mapping[Host, Read]
    back_ends: Mapping[Host, Read]

    @property
    def reads(self) -> tuple[Read, ...]:
        """Every read of the survey."""
        of_pair = (self.status, self.name, *self.agreed.reads, *self.whole.reads, self.constraints, self.properties)
        return (*of_pair, self.servers, self.services, *self.probes.values(), *self.back_ends.values())


def questions(cluster: Cluster) -> Questions:
    """Return what is to be read of the cluster."""
    a = cluster.controllers.a
    return Questions(
        cluster,
        status=Read(a, CRM_MON),
        name=Read(a, THIS_NODE),
        agreed=one_view(cluster),
        whole=all_started(a),
        constraints=Read(a, CONSTRAINTS),
        properties=Read(a, PROPERTIES),
        servers=Read(a, cloud(cluster, ALL_SERVERS)),
        services=Read(a, compute_services(cluster)),
        probes={host: release_probe(cluster, host) for host in cluster.nodes},
        back_ends={
            host: Read(host, program(LISTING, "back-ends", host.path(CINDER_CONF)))
            for host in (a, cluster.controllers.b)
        },
    )


async def survey(cluster: Cluster, credentials_of: CredentialsOf) -> Survey:
    """Read the cluster now."""
    asked = questions(cluster)
    return surveyed(asked, await sweep(cluster, asked.reads, credentials_of))


def surveyed(asked: Questions, answers: Sweep) -> Survey:
    """Return the survey that the answers to its questions make."""
    cluster = asked.cluster
    a, b = cluster.controllers.a, cluster.controllers.b
    problems: list[str] = []
    unread: dict[str, str] = {}
    releases: dict[str, str | None] = {}
    for host, probe in asked.probes.items():
        try:
            releases[host.name] = release_of(cluster, host, answers.output(probe))
        except RunbookError as error:
            unread[host.name] = str(error)
    active: str | None = None
    online: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    maintenance = False
    vms: dict[str, Vm] = {}
    up: dict[str, bool] = {}
    try:
        seen = cluster_status(a, answers.output(asked.status))
        here = node_name(a, answers.output(asked.name))
        where = seen.located(cluster.float_ip_resource)
        online = tuple(node.name for node in seen.nodes if node.online)
        if len(where) == 1:
            active = a.name if where[0] == here else b.name
        found = facts.parse_constraints(answers.output(asked.constraints).stdout, source=f"{a.name}: {CONSTRAINTS}")
        ids = tuple(c.id for c in found if c.resource == cluster.float_ip_resource)
        kept = facts.parse_cluster_properties(answers.output(asked.properties).stdout, source=f"{a.name}: {PROPERTIES}")
        maintenance = facts.maintenance_by(kept) is not None
        listed = servers_in(a, ALL_SERVERS, answers.output(asked.servers))
        vms = {vm.id: Vm(vm.name, vm.host or NOWHERE, vm.status) for vm in listed}
        up = {s.host: s.up for s in services_in(a, "compute service list", answers.output(asked.services))}
    except RunbookError as error:
        problems.append(str(error))
    started, views = answers.judge(asked.whole), answers.judge(asked.agreed)
    if not views.met:
        problems.append(views.found)
    trouble = "" if started.met else started.found
    back_ends = _back_ends(asked, answers)
    return Survey(releases, active, online, ids, maintenance, vms, up, trouble, tuple(problems), unread, back_ends)


def _back_ends(asked: Questions, answers: Sweep) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for host, read in asked.back_ends.items():
        # A controller without a cinder.conf has none to be named, and nothing else is asked of it here.
        with suppress(RunbookError):
            found[host.name] = read_back_ends(host.name, LISTING.name, answers.output(read)).enabled
    return found

"""What must hold before a scenario may begin, as goals on live state. They only read, and all are reported at once."""

from __future__ import annotations

from collections.abc import Sequence

from include.runbook import facts
from include.runbook.cluster import Cluster, Host
from include.runbook.goals import (
    CONSTRAINTS,
    CRM_MON,
    THIS_NODE,
    cluster_status,
    command_succeeds,
    compute_services,
    has_release,
    node_name,
    release_of,
    release_probe,
    servers_in,
    servers_on,
    services_in,
)
from include.runbook.plan import nodes_rolled_back
from include.runbook.request import batches
from include.runbook.shell import Output, quote
from include.runbook.step import Goal, Read, Run, Verdict


def preconditions(run: Run) -> tuple[Goal, ...]:
    """Return what must hold before the run's scenario changes anything."""
    cluster = run.cluster
    goals = [reachable(host) for host in _concerned(run)]
    goals += [known_release(cluster, host) for host in cluster.nodes if host in _concerned(run)]
    goals += [installer_whole(run), daisys_data_present(cluster)]
    a = cluster.controllers.a
    goals += [has_release(cluster, a, run.target), a_can_be_active(run), no_foreign_constraint(cluster)]
    if run.dag != "rollback_controller" and not run.vm_policy.allows_outage:
        goals += [room_to_drain(run, batch) for batch in batches(run)]
    return tuple(goals)


def _concerned(run: Run) -> tuple[Host, ...]:
    cluster = run.cluster
    return (cluster.daisy, cluster.controllers.a, *nodes_rolled_back(run))


def reachable(host: Host) -> Goal:
    """The host answers by SSH with the key that is pinned for it."""
    return command_succeeds(f"{host.name} is reached by SSH", host, "echo reached")


def known_release(cluster: Cluster, host: Host) -> Goal:
    """The host has one of the inventory's releases, or none."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        release = release_of(cluster, host, outputs[0])
        return Verdict(True, f"{host.name} has " + (f"release {release}" if release else "no release"))

    return Goal(f"the release of {host.name} is one of the inventory's", (release_probe(cluster, host),), judge)


def installer_whole(run: Run) -> Goal:
    """The old release's installer lies on the Daisy host with the SHA-256 that the inventory states."""
    daisy = run.cluster.daisy
    release = run.cluster.releases[run.target]
    path = quote(daisy.path(release.bin))
    command = (
        f"test -f {path} || {{ echo {path} is missing; exit 1; }}; sum=$(sha256sum < {path} | cut -d' ' -f1); "
        f'test "$sum" = {release.sha256} || {{ echo {path} is corrupt: its SHA-256 is "$sum", '
        f"the inventory says {release.sha256}; exit 1; }}; echo {path} is whole"
    )
    return command_succeeds(f"the installer of release {run.target} is whole on {daisy.name}", daisy, command)


def daisys_data_present(cluster: Cluster) -> Goal:
    """Daisy's tecs.conf and mappings.json of the cluster can be read (A4.3)."""
    folder = quote(cluster.daisy.path(f"{cluster.paths.tecs_data}/{cluster.daisy.cluster_id}"))
    command = f"ls -l {folder}/tecs.conf {folder}/mappings.json"
    return command_succeeds("Daisy's data of the cluster is there", cluster.daisy, command)


def a_can_be_active(run: Run) -> Goal:
    """A is a healthy member of the cluster, and the node that is active now is one that the scenario expects."""
    cluster = run.cluster
    a, resource = cluster.controllers.a, cluster.float_ip_resource
    switches = run.dag == "rollback_cluster"

    def judge(outputs: Sequence[Output]) -> Verdict:
        if not outputs[0].ok:
            return Verdict(False, f"Pacemaker does not answer on {a.name}: {outputs[0].tail}")
        status, here = cluster_status(a, outputs[0]), node_name(a, outputs[1])
        node = next((n for n in status.nodes if n.name == here), None)
        where = status.located(resource)
        if node is None or here not in status.online or node.standby or node.maintenance:
            return Verdict(False, f"{a.name} ({here}) is not able to run resources")
        if not any(r.id == resource for r in status.resources):
            return Verdict(False, f"Pacemaker knows no resource {resource}")
        if len(where) != 1:
            return Verdict(False, f"{resource} is started on {', '.join(where) or 'no node'}; expected exactly one")
        if not switches and where != (here,):
            return Verdict(
                False,
                f"{resource} is on {where[0]}, not on {a.name} ({here}): B is active. If the whole upgrade proved bad, "
                "rollback_cluster (scenario A) is the one that switches back",
            )
        return Verdict(True, f"{resource} is on {where[0]}; {a.name} ({here}) is online")

    expected = "A is healthy" + ("" if switches else " and active")
    return Goal(expected, (Read(a, CRM_MON), Read(a, THIS_NODE)), judge)


def no_foreign_constraint(cluster: Cluster) -> Goal:
    """Every constraint on the float IP is one that `ban` or `move` made: others are not ours to remove."""
    a, resource = cluster.controllers.a, cluster.float_ip_resource

    def judge(outputs: Sequence[Output]) -> Verdict:
        found = facts.parse_constraints(outputs[0].stdout, source=f"{a.name}: {CONSTRAINTS}")
        foreign = [c.id for c in found if c.resource == resource and not c.is_cli]
        return Verdict(not foreign, f"foreign: {', '.join(foreign)}" if foreign else "no foreign constraint")

    return Goal(f"nobody else constrains {resource}", (Read(a, CONSTRAINTS),), judge)


def room_to_drain(run: Run, batch: Sequence[Host]) -> Goal:
    """If the batch's computes have VMs, another compute that is up and enabled can take them."""
    cluster, a = run.cluster, run.cluster.controllers.a
    names = {compute.name for compute in batch}
    lists = [servers_on(cluster, compute) for compute in batch]

    def judge(outputs: Sequence[Output]) -> Verdict:
        services = services_in(a, compute_services(cluster), outputs[0])
        others = [s.host for s in services if s.host not in names and s.up and s.enabled]
        busy = []
        for compute, command, listing, probe in zip(
            batch, lists, outputs[1 : len(batch) + 1], outputs[len(batch) + 1 :], strict=True
        ):
            done = release_of(cluster, compute, probe) == run.target
            if not done and servers_in(a, command, listing):
                busy.append(compute.name)
        if busy and not others:
            return Verdict(
                False,
                f"{', '.join(busy)} has VMs and there is no other compute, up and enabled, to move them to; "
                "trigger with vm_policy accept_outage or node_faulty if someone answers for their outage",
            )
        return Verdict(True, f"VMs can move to {', '.join(others)}" if busy else "there are no VMs to move")

    reads = (
        Read(a, compute_services(cluster)),
        *(Read(a, command) for command in lists),
        *(release_probe(cluster, compute) for compute in batch),
    )
    return Goal(f"VMs of {', '.join(sorted(names))} have somewhere to go", reads, judge)

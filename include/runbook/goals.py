"""Predicates on live state that several steps share. Each names what it reads and judges the output purely."""

from __future__ import annotations

from collections.abc import Sequence

from include.runbook import facts
from include.runbook.cluster import Cluster, Host
from include.runbook.custody import reinstalling_folder
from include.runbook.errors import FactUnreadable
from include.runbook.shell import Output, last_lines, quote
from include.runbook.step import Goal, Read, Run, Verdict, any_of

CRM_MON = """\
x=$(crm_mon -1 --output-as=xml 2>/dev/null) || x=$(crm_mon -1 -r -f --as-xml) || { s=$?; printf '%s\\n' "$x" >&2; exit $s; }
printf '%s\\n' "$x\""""
"""The cluster's status as XML, by Pacemaker 2.x and, where that option is unknown, by 1.1.

Of resources that run nowhere 1.1 tells only when it is asked (-r). Letters only: after a long option that it knows, 1.1
answers an unknown one with its help and status 0. That the cluster is stopped 1.1 says on standard output.
"""

CONSTRAINTS = "cibadmin --query --scope constraints"
PROPERTIES = "cibadmin --query --scope crm_config"
THIS_NODE = "crm_node -n"
"""Prints the name that Pacemaker has for the host: never derived from addresses."""


def command_succeeds(sentence: str, host: Host, command: str) -> Goal:
    """The command ends with status 0; what was found is what it printed."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        output = outputs[0]
        found = last_lines(output.stdout + output.stderr, 6) or (
            "true" if output.ok else f"exit status {output.status}"
        )
        return Verdict(output.ok, found)

    return Goal(sentence, (Read(host, command),), judge)


# ---- releases ------------------------------------------------------------------------------------------------------


def release_probe(cluster: Cluster, host: Host) -> Read:
    """Return the read that asks a host for its release. rpm translates its words, so the locale is fixed."""
    return Read(host, f"LC_ALL=C; export LC_ALL; {cluster.probes.release}")


def release_of(cluster: Cluster, host: Host, output: Output) -> str | None:
    """Return the release that the probe's output names; None when nothing is installed.

    A probe that fails in any other way than by saying so is unreadable: a broken probe must not look like a clean host.
    """
    complains = output.stderr.strip() and (output.status == 1 or not output.stdout.strip())
    if output.status not in (0, 1) or complains:
        raise FactUnreadable(host.name, cluster.probes.release, output.tail or f"exit status {output.status}")
    return facts.parse_release(output.stdout, cluster.release_reports, source=f"{host.name}: {cluster.probes.release}")


def not_installed(cluster: Cluster, host: Host) -> Goal:
    """No TECS release is installed on the host."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        release = release_of(cluster, host, outputs[0])
        return Verdict(release is None, f"{host.name} has " + (f"release {release}" if release else "no release"))

    return Goal(f"no release is installed on {host.name}", (release_probe(cluster, host),), judge)


def has_release(cluster: Cluster, host: Host, wanted: str) -> Goal:
    """The host's packages are those of the release, whether or not their installation came to its end."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        release = release_of(cluster, host, outputs[0])
        return Verdict(release == wanted, f"{host.name} has " + (f"release {release}" if release else "no release"))

    return Goal(f"{host.name} has release {wanted}", (release_probe(cluster, host),), judge)


def upgrade_note(cluster: Cluster, host: Host) -> str:
    """Return the path of the note on the host that says how far its upgrade has come: `begun`, or `done`."""
    return host.path(f"{cluster.paths.state}/upgrade")


def no_upgrade_under_way(cluster: Cluster, host: Host) -> Read:
    """Return the read that succeeds where no upgrade of the host has begun, or it has ended well."""
    note = quote(upgrade_note(cluster, host))
    return Read(host, f"test ! -e {note} || grep -qx done {note}")


def returned(run: Run, host: Host) -> Goal:
    """The host has the target release, and neither a reinstallation nor an upgrade of it has begun and is not proven.

    Packages alone do not tell: an upgrade that broke off early leaves the old release's name on a host that is neither.
    """
    cluster = run.cluster
    notes = quote(reinstalling_folder(cluster))

    def judge(outputs: Sequence[Output]) -> Verdict:
        release = release_of(cluster, host, outputs[0])
        found = f"{host.name} has " + (f"release {release}" if release else "no release")
        if not outputs[1].ok:
            return Verdict(
                False, f"{found}, and whether its reinstallation has begun cannot be read: {outputs[1].tail}"
            )
        if host.name in outputs[1].stdout.split():
            return Verdict(False, f"{found}, and its reinstallation has begun and is not proven")
        if not outputs[2].ok:
            note = upgrade_note(cluster, host)
            return Verdict(False, f"{found}, and its upgrade has begun and has not ended well (as {note} says)")
        return Verdict(release == run.target, found)

    # One reading for all hosts: for each of hundreds, the Daisy host would be asked one by one.
    reinstalling = Read(cluster.daisy, f"test ! -e {notes} || ls -A {notes}")
    reads = (release_probe(cluster, host), reinstalling, no_upgrade_under_way(cluster, host))
    return Goal(f"{host.name} is {'' if run.upgrades else 'back '}on release {run.target}", reads, judge)


def taken_down(run: Run, host: Host) -> Goal:
    """The bad release is off the host: it has none, or the target release, however far that installation came (A4.5)."""
    return any_of(not_installed(run.cluster, host), has_release(run.cluster, host, run.target))


# ---- the HA pair ---------------------------------------------------------------------------------------------------


def float_ip_on(cluster: Cluster, host: Host) -> Goal:
    """The float IP resource is started on the host and nowhere else: the host is the active controller."""
    name = cluster.float_ip_resource

    def judge(outputs: Sequence[Output]) -> Verdict:
        status, here = cluster_status(host, outputs[0]), node_name(host, outputs[1])
        where = status.located(name)
        found = f"{name} is started on {', '.join(where) or 'no node'} ({host.name} is {here} to Pacemaker)"
        return Verdict(where == (here,), "; ".join([found, *troubles(status, name)]))

    return Goal(f"{name} is started on {host.name} only", (Read(host, CRM_MON), Read(host, THIS_NODE)), judge)


def not_banned_from(cluster: Cluster, host: Host) -> Goal:
    """No constraint made by `ban` or `move` keeps the float IP off the host."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        here = node_name(host, outputs[1])
        against = [c for c in _ours(cluster, host, outputs[0]) if (c.node == here) == c.is_ban]
        return Verdict(not against, _constraints_found([c.id for c in against]))

    reads = (Read(host, CONSTRAINTS), Read(host, THIS_NODE))
    return Goal(f"no constraint keeps {cluster.float_ip_resource} off {host.name}", reads, judge)


def only_peer_banned(cluster: Cluster, host: Host) -> Goal:
    """The one constraint on the float IP is a ban from the other controller, by the name that Pacemaker has for it."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        here = node_name(host, outputs[1])
        peers = {node.name for node in cluster_status(host, outputs[2]).nodes} - {here}
        constraints = _ours(cluster, host, outputs[0])
        met = len(constraints) == 1 and constraints[0].is_ban and {constraints[0].node} == peers
        return Verdict(met, _constraints_found([c.id for c in constraints]))

    sentence = f"{cluster.float_ip_resource} is banned from {host.name}'s peer, and by nothing else constrained"
    return Goal(sentence, (Read(host, CONSTRAINTS), Read(host, THIS_NODE), Read(host, CRM_MON)), judge)


def unconstrained(cluster: Cluster, host: Host) -> Goal:
    """Nothing that `ban` or `move` made constrains the float IP, as read on the host."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        constraints = _ours(cluster, host, outputs[0])
        return Verdict(not constraints, _constraints_found([c.id for c in constraints]))

    return Goal(f"no ban or preference is left on {cluster.float_ip_resource}", (Read(host, CONSTRAINTS),), judge)


def managed(host: Host) -> Goal:
    """Pacemaker manages its resources: neither maintenance-mode nor TECS's `unmanaged` is set."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        properties = facts.parse_cluster_properties(outputs[0].stdout, source=f"{host.name}: {PROPERTIES}")
        by = facts.maintenance_by(properties)
        return Verdict(by is None, f"{by} is set" if by else "the cluster is managed")

    return Goal("the cluster is in neither maintenance nor unmanaged mode", (Read(host, PROPERTIES),), judge)


def all_started(host: Host) -> Goal:
    """Every node is online, and every resource is started and none has failed, as seen from the host (A5.7)."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        status = cluster_status(host, outputs[0])
        away = [node.name for node in status.nodes if node.name not in status.online]
        wanting = [r.id for r in status.resources if r.failed or not r.nodes]
        if away or wanting:
            told = [f"offline: {', '.join(away)}"] if away else []
            told += [f"not started: {', '.join(wanting)}"] if wanting else []
            return Verdict(
                False, "; ".join([*told, *(each for r in dict.fromkeys(wanting) for each in troubles(status, r))])
            )
        if not status.resources:
            return Verdict(False, "Pacemaker has no resource at all")
        return Verdict(True, f"{len(status.nodes)} nodes online, {len(status.resources)} resources started")

    return Goal("every node is online and every resource is started", (Read(host, CRM_MON),), judge)


def nothing_fails_on(host: Host) -> Goal:
    """No resource is stopped or failed because the host could not run it. What does not run for its peer's sake is left alone."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        status, here = cluster_status(host, outputs[0]), node_name(host, outputs[1])
        failing = [r.id for r in status.resources if (r.failed or not r.nodes) and _fails_on(here, r, status)]
        told = [trouble for resource in dict.fromkeys(failing) for trouble in troubles(status, resource)]
        if not failing:
            return Verdict(True, f"no resource fails on {host.name}")
        return Verdict(False, "; ".join([f"{host.name} could not run {', '.join(dict.fromkeys(failing))}", *told]))

    return Goal(f"whatever is to run on {host.name} runs", (Read(host, CRM_MON), Read(host, THIS_NODE)), judge)


def nothing_else_has_failed_on(host: Host, resource: str) -> Goal:
    """Pacemaker knows of no other resource that the host could not run, also where another node runs that now."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        status, here = cluster_status(host, outputs[0]), node_name(host, outputs[1])
        failed = dict.fromkeys(r.id for r in status.resources if r.id != resource and _fails_on(here, r, status))
        told = [trouble for each in failed for trouble in troubles(status, each)]
        return Verdict(not failed, "; ".join(told) or f"nothing else has failed on {host.name}")

    return Goal(
        f"nothing but {resource} has failed on {host.name}", (Read(host, CRM_MON), Read(host, THIS_NODE)), judge
    )


def _fails_on(node: str, resource: facts.Resource, status: facts.ClusterStatus) -> bool:
    actions = [a for a in status.failed_actions if a.node == node and a.operation.startswith(f"{resource.id}_")]
    counts = [c for c in status.fail_counts if c.node == node and c.resource == resource.id and c.keeps_off]
    return bool(actions or counts or (resource.failed and node in resource.nodes))


def troubles(status: facts.ClusterStatus, resource: str) -> list[str]:
    """Say what Pacemaker could not do with the resource, on which node, what that means and what is to be done."""
    cure = f"`pcs resource cleanup {resource}`"
    actions = [action for action in status.failed_actions if action.operation.startswith(f"{resource}_")]
    counts = [count for count in status.fail_counts if count.resource == resource and count.keeps_off]
    held = {action.node: action.reason for action in actions if action.stopped(resource)}
    blocked = {node for found in status.resources if found.id == resource and found.blocked for node in found.nodes}
    told = [
        f"{node} does not let go of {resource}: its stop failed ({held.get(node, 'it is blocked')}), and Pacemaker moves it "
        f"nowhere; see to it on {node} that it is really given up, then {cure}"
        for node in sorted(held.keys() | blocked)
    ]
    told += [
        f"{resource} may not run on {count.node}: it failed there {_times(count.count)}; mend the cause, then {cure}"
        for count in counts
        if count.node not in held
    ]
    spoken_of = held.keys() | {count.node for count in counts}
    told += [f"{action}; once its cause is mended, {cure}" for action in actions if action.node not in spoken_of]
    return told


def _times(count: int) -> str:
    return "too often" if count >= facts.INFINITY else f"{count} times"


def cluster_status(host: Host, output: Output) -> facts.ClusterStatus:
    """Parse crm_mon's XML as read on the host."""
    if not output.ok:
        told = f"Pacemaker does not answer on {host.name}: {output.tail or f'exit status {output.status}'}"
        cure = "see `systemctl status corosync pacemaker`; once its cause is mended, `pcs cluster start` there"
        raise FactUnreadable(host.name, "crm_mon", f"{told}; {cure}")
    return facts.parse_cluster_status(output.stdout, source=f"{host.name}: crm_mon")


def node_name(host: Host, output: Output) -> str:
    """Return the host's Pacemaker name from `crm_node -n`."""
    name = output.stdout.strip()
    if not output.ok or not name:
        raise FactUnreadable(host.name, THIS_NODE, output.tail or "nothing")
    return name


def _ours(cluster: Cluster, host: Host, output: Output) -> list[facts.Constraint]:
    constraints = facts.parse_constraints(output.stdout, source=f"{host.name}: {CONSTRAINTS}")
    return [c for c in constraints if c.resource == cluster.float_ip_resource and c.is_cli]


def _constraints_found(ids: Sequence[str]) -> str:
    return f"constraints: {', '.join(ids)}" if ids else "no such constraint"


# ---- the cloud -----------------------------------------------------------------------------------------------------


def cloud(cluster: Cluster, command: str, *, on: Host | None = None) -> str:
    """Return an OpenStack CLI command with the cloud's credentials, which never leave the controller: A, or the one named."""
    return f". {quote((on or cluster.controllers.a).path(cluster.paths.openrc))} && {command}"


def servers_in(host: Host, command: str, output: Output) -> tuple[facts.Server, ...]:
    """Parse a list of VMs; a failed command is never read as an empty list."""
    if not output.ok:
        raise FactUnreadable(host.name, command, output.tail or f"exit status {output.status}")
    return facts.parse_servers(output.stdout, source=f"{host.name}: {command}")


def compute_services(cluster: Cluster, *, on: Host | None = None) -> str:
    """Return the command, for A or the controller that is named, that lists the nova-compute services as JSON."""
    return cloud(cluster, "openstack compute service list --service nova-compute --long -f json", on=on)


def services_in(host: Host, command: str, output: Output) -> tuple[facts.ComputeService, ...]:
    """Parse the list of compute services; a failed command is never read as an empty list."""
    if not output.ok:
        raise FactUnreadable(host.name, command, output.tail or f"exit status {output.status}")
    return facts.parse_compute_services(output.stdout, source=f"{host.name}: {command}")

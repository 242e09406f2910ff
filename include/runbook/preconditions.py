"""What must hold before a scenario may begin, as goals on live state. They only read, and all are reported at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from include.runbook import facts
from include.runbook.both_views import one_view
from include.runbook.cluster import Cluster, Host
from include.runbook.container import daisys_file, where_daisy_runs
from include.runbook.goals import (
    CONSTRAINTS,
    CRM_MON,
    THIS_NODE,
    all_started,
    cluster_status,
    command_succeeds,
    float_ip_on,
    has_release,
    managed,
    node_name,
    nothing_fails_on,
    release_of,
    release_probe,
    troubles,
)
from include.runbook.reach import CredentialsOf, sweep
from include.runbook.replication import a_has_everything
from include.runbook.room import rooms_to_drain
from include.runbook.shell import Output, quote
from include.runbook.step import Goal, Read, Run, Verdict, all_of, any_of
from include.runbook.steps.databases import schemas_known, schemas_safe
from include.runbook.survey import Survey, questions, surveyed


@dataclass(frozen=True)
class Finding:
    """One precondition as it was found."""

    met: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.met else 'FAIL'}  {self.text}"


@dataclass(frozen=True)
class Findings:
    """Every precondition as it was found. `excused`: what fails for no more computes than the run may lose."""

    all: tuple[Finding, ...]
    wanting: tuple[Finding, ...]
    excused: tuple[Finding, ...]


async def look(run: Run, credentials_of: CredentialsOf) -> Findings:
    """Read every host and judge every precondition of the run's scenario. Nothing is changed."""
    answers = await sweep(run.cluster, _reads(run), credentials_of)
    return findings(run, answers.judge)


async def look_and_survey(run: Run, credentials_of: CredentialsOf) -> tuple[Findings, Survey]:
    """Judge every precondition, and survey the cluster as the run finds it, in one sweep over the hosts."""
    asked = questions(run.cluster)
    answers = await sweep(run.cluster, [*_reads(run), *asked.reads], credentials_of)
    return findings(run, answers.judge), surveyed(asked, answers)


def _reads(run: Run) -> list[Read]:
    goals = (*preconditions(run), *(goal for goals in of_each_compute(run).values() for goal in goals))
    return [read for goal in goals for read in goal.reads]


def findings(run: Run, judge: Callable[[Goal], Verdict]) -> Findings:
    """Judge every precondition. Computes that fail by themselves are excused as long as the run may lose so many."""

    def found(goal: Goal) -> Finding:
        verdict = judge(goal)
        return Finding(verdict.met, f"{goal.sentence}: {verdict.found}")

    of_each = {name: [found(goal) for goal in goals] for name, goals in of_each_compute(run).items()}
    failed = tuple(finding for each in of_each.values() for finding in each if not finding.met)
    lost = {name for name, each in of_each.items() if not all(finding.met for finding in each)}
    too_many = len(lost) > run.failures_allowed
    of_whole = [found(goal) for goal in preconditions(run, lost)]
    return Findings(
        (*of_whole, *(finding for each in of_each.values() for finding in each)),
        (*(finding for finding in of_whole if not finding.met), *(failed if too_many else ())),
        () if too_many else failed,
    )


def of_each_compute(run: Run) -> dict[str, tuple[Goal, ...]]:
    """Return what must hold of each compute by itself; some may fail (failure_budget)."""
    computes = () if run.dag == "rollback_controller" else run.computes
    return {compute.name: (reachable(compute), known_release(run.cluster, compute)) for compute in computes}


def preconditions(run: Run, lost: Collection[str] = ()) -> tuple[Goal, ...]:
    """Return what must hold before the run's scenario changes anything, besides what is about a compute by itself.

    The run goes on without the computes that are `lost`.
    """
    cluster = run.cluster
    controllers = (cluster.controllers.a,) if run.of_computes else (cluster.controllers.a, cluster.controllers.b)
    goals = [reachable(host) for host in (cluster.daisy, *controllers)]
    goals += [known_release(cluster, host) for host in controllers]
    goals += [installer_whole(run), daisys_data_present(cluster)]
    if run.upgrades:
        return (*goals, *_before_an_upgrade(run, lost))
    a = cluster.controllers.a
    goals += [has_release(cluster, a, run.target), a_can_be_active(run), no_foreign_constraint(cluster)]
    goals += [one_view(cluster), nothing_stuck(run)]
    if not run.of_computes:
        goals += [a_has_everything(cluster, switching=run.dag == "rollback_cluster"), schemas_safe(run)]
    if run.dag == "rollback_controller":
        goals.append(nothing_fails_on(a))
    else:
        goals += rooms_to_drain(run, lost)
    return tuple(goals)


def _before_an_upgrade(run: Run, lost: Collection[str]) -> tuple[Goal, ...]:
    """Return what must hold before an upgrade: the cluster is well, and could be rolled back if the new release is bad."""
    cluster = run.cluster
    a, b = cluster.controllers.a, cluster.controllers.b
    back = replace(run, target=cluster.target_release)
    rooms = rooms_to_drain(run, lost)
    if run.of_computes:
        # The run that it is a batch of has looked at the pair; here the controllers are only asked.
        return (no_foreign_constraint(cluster), one_view(cluster), *rooms)
    return (
        any_of(
            float_ip_on(cluster, a),
            all_of(float_ip_on(cluster, b), has_release(cluster, b, run.target)),
            sentence=f"A is active, or B is, on release {run.target}",
        ),
        one_view(cluster),
        all_started(a),
        managed(a),
        nothing_stuck(run),
        no_foreign_constraint(cluster),
        installer_whole(back),
        schemas_known(back),
        *rooms,
    )


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
    files = " ".join(quote(daisys_file(cluster, name)) for name in ("tecs.conf", "mappings.json"))
    container = cluster.daisy.container
    where = f", in the container {container.name}" if container else ""
    command = where_daisy_runs(cluster, f"ls -l {files}")
    return command_succeeds(f"Daisy's data of the cluster is there{where}", cluster.daisy, command)


def a_can_be_active(run: Run) -> Goal:
    """A is a healthy member of the cluster, and the node that is active now is one that the scenario expects."""
    cluster = run.cluster
    a, resource = cluster.controllers.a, cluster.float_ip_resource
    switches = run.dag == "rollback_cluster"

    def judge(outputs: Sequence[Output]) -> Verdict:
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


def nothing_stuck(run: Run) -> Goal:
    """No node holds the float IP fast and, where A is to take over, no resource is stuck on B or kept off A by failures."""
    cluster = run.cluster
    a, float_ip = cluster.controllers.a, cluster.float_ip_resource
    switches = run.dag == "rollback_cluster"

    def judge(outputs: Sequence[Output]) -> Verdict:
        status, here = cluster_status(a, outputs[0]), node_name(a, outputs[1])
        stuck = [r.id for r in status.resources if r.blocked or any(f.stopped(r.id) for f in status.failed_actions)]
        if switches:
            stuck += [count.resource for count in status.fail_counts if count.node == here and count.keeps_off]
        concerned = [resource for resource in dict.fromkeys(stuck) if switches or resource == float_ip]
        told = [trouble for resource in concerned for trouble in troubles(status, resource)]
        return Verdict(not told, "; ".join(told) or "nothing is stuck")

    sentence = "every resource can come to A" if switches else f"no node holds {float_ip} fast"
    return Goal(sentence, (Read(a, CRM_MON), Read(a, THIS_NODE)), judge)


def no_foreign_constraint(cluster: Cluster) -> Goal:
    """Every constraint on the float IP is one that `ban` or `move` made: others are not ours to remove."""
    a, resource = cluster.controllers.a, cluster.float_ip_resource

    def judge(outputs: Sequence[Output]) -> Verdict:
        found = facts.parse_constraints(outputs[0].stdout, source=f"{a.name}: {CONSTRAINTS}")
        foreign = [c.id for c in found if c.resource == resource and not c.is_cli]
        return Verdict(not foreign, f"foreign: {', '.join(foreign)}" if foreign else "no foreign constraint")

    return Goal(f"nobody else constrains {resource}", (Read(a, CONSTRAINTS),), judge)

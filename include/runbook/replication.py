"""Predicates on the data that A and B replicate (DRBD): what the inventory says of it, and which side may be the source."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from include.runbook import drbd
from include.runbook.cluster import Cluster, Host
from include.runbook.drbd import Replica, Replication
from include.runbook.shell import Output
from include.runbook.step import Goal, Read, Verdict

DRBD_D = "/etc/drbd.d"
WEB_DATA = f"{DRBD_D}/WebData.res"
"""The resource file of a DRBD set-up (A5.5). The installer does not make it."""


def replicated_as_declared(cluster: Cluster) -> Goal:
    """A replicates exactly what the inventory says. B does too, or nothing: a reinstallation takes its files away."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        both = _both(cluster, outputs)
        wrong = _undeclared(cluster, *both)
        return Verdict(not wrong, "; ".join(wrong or map(_shown, both)))

    said = f"the DRBD resources {', '.join(cluster.drbd_resources)}" if cluster.drbd_resources else "no DRBD resource"
    return Goal(f"A and B have {said}: storage is {cluster.storage} in the inventory", _reads(cluster), judge)


def _undeclared(cluster: Cluster, a: Replication, b: Replication) -> list[str]:
    declared = set(cluster.drbd_resources)
    wrong = [found for found in (a, b) if set(found.resources) != declared or (found.files and not declared)]
    if declared and not b.resources:
        wrong = [found for found in wrong if found is a]
    return [f"{_shown(found)}, the inventory says storage {cluster.storage}" for found in wrong]


def _shown(found: Replication) -> str:
    if found.resources:
        return f"{found.host} has the DRBD resources {', '.join(found.resources)}"
    return f"{found.host} has no DRBD resource" + (f", but {', '.join(found.files)}" if found.files else "")


def a_has_everything(cluster: Cluster, *, switching: bool = False) -> Goal:
    """A is the source, and B is not in use and holds nothing that A never had: B's copies may be made from A's.

    `switching`: A may also be the side that is about to take over, equal at this moment to a B that is Primary.
    """

    def missing(a: Replica, b: Replica) -> str | None:
        if switching and b.role == "Primary/Secondary":
            return drbd.keeps_from_being_in_sync(a, b)
        return drbd.keeps_from_being_source(a) or drbd.keeps_from_being_overwritten(b, a)

    expected = "A is Primary and UpToDate, and B holds nothing that A never had"
    return _for_each(cluster, expected + (", or they are equal and B is Primary" if switching else ""), missing)


def b_follows_a(cluster: Cluster) -> Goal:
    """A is the source, and B is connected to it: its copies are being made from A's, or are equal."""
    return _for_each(
        cluster,
        "B gets its data from A",
        lambda a, b: drbd.keeps_from_being_source(a) or drbd.keeps_from_following(b, a),
    )


def in_sync(cluster: Cluster) -> Goal:
    """Both sides say of every replicated resource: connected, A Primary, B Secondary, UpToDate on both."""
    return _for_each(
        cluster,
        "A is Primary, B Secondary, connected, UpToDate/UpToDate",
        lambda a, b: drbd.keeps_from_being_in_sync(b, a),
    )


def _for_each(cluster: Cluster, sentence: str, problem_of: Callable[[Replica, Replica], str | None]) -> Goal:
    """Judge each declared resource by its copies on A and B; where none is declared, that none is there is judged."""
    if not cluster.drbd_resources:
        return replicated_as_declared(cluster)

    def judge(outputs: Sequence[Output]) -> Verdict:
        a, b = _both(cluster, outputs)
        pairs = [(a.replica(name), b.replica(name)) for name in cluster.drbd_resources]
        wrong = _undeclared(cluster, a, b) or [problem for pair in pairs if (problem := problem_of(*pair))]
        if not wrong:
            return Verdict(True, "; ".join(mine.shown for mine, _ in pairs))
        return Verdict(False, "; ".join(wrong))

    return Goal(f"of {', '.join(cluster.drbd_resources)}: {sentence}", _reads(cluster), judge)


def _reads(cluster: Cluster) -> tuple[Read, ...]:
    return tuple(Read(host, _command(host)) for host in (cluster.controllers.a, cluster.controllers.b))


def _command(host: Host) -> str:
    return drbd.state(host.path(DRBD_D))


def _both(cluster: Cluster, outputs: Sequence[Output]) -> tuple[Replication, Replication]:
    hosts = (cluster.controllers.a, cluster.controllers.b)
    a, b = (
        drbd.parse_state(output, source=f"{host.name}: drbdadm role, cstate, dstate, get-gi")
        for host, output in zip(hosts, outputs, strict=True)
    )
    return a, b

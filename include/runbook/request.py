"""What an operator asked for, checked against the inventories before any host is touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from include.runbook.cluster import Cluster, Compute, shown
from include.runbook.errors import RequestRefused
from include.runbook.scenarios import UPGRADES
from include.runbook.step import OnFailure, Run, VmPolicy

KNOWN = {
    "cluster",
    "target_release",
    "computes",
    "computes_first",
    "vm_policy",
    "return_vms",
    "take_over",
    "accept_newer_schema",
    "parent",
    "on_failure",
    "window_end",
}


def read_request(
    conf: Mapping[str, Any], clusters: Mapping[str, Cluster], *, owner: str, user: str, dag: str, computes_asked: bool
) -> Run:
    """Return the run that was asked for; raise RequestRefused with every problem, one a line.

    `computes_asked`: the scenario is about chosen computes (C); otherwise it is about all of the cluster's.
    """
    problems = [
        f"unknown parameter {shown(key)}; expected one of {', '.join(sorted(KNOWN))}"
        for key in sorted(set(conf) - KNOWN)
    ]
    cluster = clusters.get(str(conf.get("cluster")))
    if cluster is None:
        problems.append(
            f"cluster: {shown(conf.get('cluster'))} has no inventory; expected one of {', '.join(sorted(clusters))}"
        )
        raise RequestRefused(_told(problems))
    target = conf.get("target_release") or (_newer(cluster) if dag in UPGRADES else cluster.target_release)
    if not isinstance(target, str) or target not in cluster.releases:
        known = ", ".join(cluster.releases)
        problems.append(f"target_release: {shown(target)} is not a release of {cluster.name}; expected one of {known}")
    elif dag in UPGRADES and target == cluster.target_release:
        problems.append(f"target_release: {shown(target)} is the release to return to; expected the one to upgrade to")
    policy = _policy(conf.get("vm_policy", VmPolicy.MIGRATE.value), cluster, problems)
    if computes_asked and not conf.get("computes"):
        problems.append("computes: none given; expected the names of the computes to roll back")
    computes = _computes("computes", conf.get("computes"), cluster, problems) if computes_asked else cluster.computes
    first = _computes("computes_first", conf.get("computes_first"), cluster, problems)
    if computes_asked and first:
        problems.append(f"computes_first: {shown(conf['computes_first'])} is for a run of all computes")
    take_over, accept_newer_schema, return_vms = (
        _flag(conf, name, problems) for name in ("take_over", "accept_newer_schema", "return_vms")
    )
    parent = _parent(conf.get("parent") or {}, problems)
    on_failure, window_end = _on_failure(conf, problems), _moment(conf, "window_end", problems)
    if problems:
        raise RequestRefused(_told(problems))
    return Run(
        cluster,
        str(target),
        computes,
        policy,
        first,
        return_vms=return_vms,
        owner=owner,
        user=user,
        dag=dag,
        take_over=take_over,
        accept_newer_schema=accept_newer_schema,
        batch=bool(parent),
        failures_allowed=parent.get("failures_allowed", 0) if parent else cluster.failures_allowed(len(computes)),
        on_failure=on_failure,
        window_end=window_end,
    )


def batches(run: Run) -> tuple[tuple[Compute, ...], ...]:
    """Return the run's computes in the batches in which one run of the installer serves them.

    Computes that are out of service already go first: the others' VMs may need their room.
    """
    return (*_in_parts(run.cluster, run.computes_first), *divided(run.cluster, _others(run)))


def divided(cluster: Cluster, computes: Sequence[Compute]) -> tuple[tuple[Compute, ...], ...]:
    """Return computes of the cluster in batches, in the inventory's order.

    Where they do not all go together, the first batch is the canary: so few are lost if the old release does not do.
    """
    canary = tuple(computes[: cluster.canary]) if _has_canary(cluster, computes) else ()
    return (*((canary,) if canary else ()), *_in_parts(cluster, computes[len(canary) :]))


def canary_of(run: Run) -> int | None:
    """Return the number (from 0) of the batch that is the canary: a small one, of which none may fail. None: there is none.

    It is not made of computes that were out of service already: those tell little of how the others will do.
    """
    return len(_in_parts(run.cluster, run.computes_first)) if _has_canary(run.cluster, _others(run)) else None


def _has_canary(cluster: Cluster, computes: Sequence[Compute]) -> bool:
    return 0 < cluster.canary <= cluster.batch_size < len(computes)


def _others(run: Run) -> tuple[Compute, ...]:
    return tuple(compute for compute in run.computes if compute not in run.computes_first)


def _in_parts(cluster: Cluster, computes: Sequence[Compute]) -> tuple[tuple[Compute, ...], ...]:
    size = cluster.batch_size
    return tuple(tuple(computes[i : i + size]) for i in range(0, len(computes), size))


def _flag(conf: Mapping[str, Any], name: str, problems: list[str]) -> bool:
    value = conf.get(name, False)
    if not isinstance(value, bool):
        problems.append(f"{name}: {shown(value)} is neither true nor false")
    return value is True


def _parent(asked: object, problems: list[str]) -> Mapping[str, Any]:
    """Return the run that this one says it is a batch of; empty where it says none."""
    known = isinstance(asked, Mapping) and all(
        isinstance(asked.get(key, ""), str) for key in ("dag_id", "run_id", "user")
    )
    if not isinstance(asked, Mapping) or not known or not isinstance(asked.get("failures_allowed", 0), int):
        problems.append(f"parent: {shown(asked)} is not a run")
        return {}
    return asked


def _newer(cluster: Cluster) -> str | None:
    """Return the release to upgrade to where nobody says: the only other one that the inventory lists."""
    others = [release for release in cluster.releases if release != cluster.target_release]
    return others[0] if len(others) == 1 else None


def _on_failure(conf: Mapping[str, Any], problems: list[str]) -> OnFailure:
    asked = conf.get("on_failure", OnFailure.ASK.value)
    try:
        return OnFailure(asked)
    except ValueError:
        problems.append(f"on_failure: {shown(asked)} is none of {', '.join(word.value for word in OnFailure)}")
        return OnFailure.ASK


def _moment(conf: Mapping[str, Any], name: str, problems: list[str]) -> datetime | None:
    asked = conf.get(name)
    if asked is None:
        return None
    try:
        moment = datetime.fromisoformat(str(asked))
    except ValueError:
        problems.append(f"{name}: {shown(asked)} is no time such as 2026-06-01T06:00:00+08:00")
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _policy(asked: object, cluster: Cluster, problems: list[str]) -> VmPolicy | dict[str, VmPolicy]:
    """Return one answer for all computes, or an answer for each that is named."""
    if not isinstance(asked, Mapping):
        return _one_policy("vm_policy", asked, problems)
    known = {compute.name for compute in cluster.computes}
    strangers = sorted(shown(name) for name in asked if name not in known)
    if strangers:
        problems.append(f"vm_policy: {', '.join(strangers)} is not a compute of cluster {cluster.name}")
    return {str(name): _one_policy(f"vm_policy of {shown(name)}", word, problems) for name, word in asked.items()}


def _one_policy(of: str, asked: object, problems: list[str]) -> VmPolicy:
    try:
        return VmPolicy(asked)  # type: ignore[arg-type]  # anything may have been sent
    except ValueError:
        known = ", ".join(policy.value for policy in VmPolicy)
        problems.append(f"{of}: {shown(asked)} is not a policy; expected one of {known}")
        return VmPolicy.MIGRATE


def _computes(of: str, asked: object, cluster: Cluster, problems: list[str]) -> tuple[Compute, ...]:
    if asked is not None and not isinstance(asked, (list, tuple)):
        problems.append(f"{of}: {shown(asked)} is no list; expected names of computes")
    names = asked if isinstance(asked, (list, tuple)) else []
    if len(set(map(str, names))) != len(names):
        problems.append(f"{of}: {shown(names)} names a compute twice")
    found = []
    for name in names:
        try:
            found.append(cluster.compute(str(name)))
        except RequestRefused as refused:
            problems.append(f"{of}: {refused}")
    return tuple(found)


def _told(problems: list[str]) -> str:
    return "The request is refused; nothing has been touched.\n" + "\n".join(f"  - {problem}" for problem in problems)

"""What an operator asked for, checked against the inventories before any host is touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from include.runbook.cluster import Cluster, Compute
from include.runbook.errors import RequestRefused
from include.runbook.step import Run, VmPolicy

KNOWN = {"cluster", "target_release", "computes", "vm_policy", "take_over", "parent"}


def read_request(
    conf: Mapping[str, Any], clusters: Mapping[str, Cluster], *, owner: str, user: str, dag: str, computes_asked: bool
) -> Run:
    """Return the run that was asked for; raise RequestRefused with every problem, one a line.

    `computes_asked`: the scenario is about chosen computes (C); otherwise it is about all of the cluster's.
    """
    problems = [
        f"unknown parameter {key!r}; expected one of {', '.join(sorted(KNOWN))}" for key in sorted(set(conf) - KNOWN)
    ]
    cluster = clusters.get(str(conf.get("cluster")))
    if cluster is None:
        problems.append(
            f"cluster: {conf.get('cluster')!r} has no inventory; expected one of {', '.join(sorted(clusters))}"
        )
        raise RequestRefused(_told(problems))
    target = conf.get("target_release") or cluster.target_release
    if not isinstance(target, str) or target not in cluster.releases:
        known = ", ".join(cluster.releases)
        problems.append(f"target_release: {target!r} is not a release of {cluster.name}; expected one of {known}")
    policy = _policy(conf, problems)
    computes = _computes(conf.get("computes"), cluster, problems) if computes_asked else cluster.computes
    if not isinstance(conf.get("take_over", False), bool):
        problems.append(f"take_over: {conf['take_over']!r} is neither true nor false")
    if cluster.storage != "share":
        problems.append(
            f"cluster {cluster.name} has storage {cluster.storage}: synchronising DRBD from A to B (A5.10) is not done by "
            "this product yet; only `share` is"
        )
    if problems:
        raise RequestRefused(_told(problems))
    return Run(
        cluster,
        str(target),
        computes,
        policy,
        owner=owner,
        user=user,
        dag=dag,
        take_over=bool(conf.get("take_over", False)),
        batch=bool(conf.get("parent")),
    )


def batches(run: Run) -> tuple[tuple[Compute, ...], ...]:
    """Return the computes in the batches in which one run of the installer serves them, in the inventory's order."""
    size = run.cluster.batch_size
    return tuple(run.computes[i : i + size] for i in range(0, len(run.computes), size))


def _policy(conf: Mapping[str, Any], problems: list[str]) -> VmPolicy:
    try:
        return VmPolicy(conf.get("vm_policy", VmPolicy.MIGRATE.value))
    except ValueError:
        known = ", ".join(policy.value for policy in VmPolicy)
        problems.append(f"vm_policy: {conf.get('vm_policy')!r} is not a policy; expected one of {known}")
        return VmPolicy.MIGRATE


def _computes(asked: object, cluster: Cluster, problems: list[str]) -> tuple[Compute, ...]:
    names = asked if isinstance(asked, (list, tuple)) else []
    if not names:
        problems.append("computes: none given; expected the names of the computes to roll back")
    if len(set(map(str, names))) != len(names):
        problems.append(f"computes: {', '.join(map(str, names))} names a compute twice")
    found = []
    for name in names:
        try:
            found.append(cluster.compute(str(name)))
        except RequestRefused as refused:
            problems.append(f"computes: {refused}")
    return tuple(found)


def _told(problems: list[str]) -> str:
    return "The request is refused; nothing has been touched.\n" + "\n".join(f"  - {problem}" for problem in problems)

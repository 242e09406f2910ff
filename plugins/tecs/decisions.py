"""The decisions of a run, each a task that reads and judges and changes nothing."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from airflow.sdk import Context, get_current_context
from airflow.sdk.exceptions import AirflowFailException

from include.runbook.errors import PreconditionFailed
from include.runbook.plan import nodes_rolled_back, plan_text
from include.runbook.preconditions import preconditions
from include.runbook.reach import sweep
from include.runbook.request import batches
from include.runbook.step import Run
from include.runbook.steps.cluster_mode import as_found
from include.runbook.survey import Survey, survey, wanting
from tecs.failures import reported
from tecs.plans import plan_of
from tecs.requests import require_living_parent, run_of
from tecs.ssh import cached_credentials

log = logging.getLogger("airflow.task")


def plan() -> None:
    """Refuse what cannot be carried out, and print the whole plan before any host is touched."""
    context = get_current_context()
    with reported(log):
        run = run_of(context)
        for line in plan_text(plan_of(context["dag"], run)).splitlines():
            log.info(line)


def check() -> None:
    """Read every host and refuse to begin unless all that the scenario needs holds. All problems are told at once."""
    context = get_current_context()
    with reported(log):
        require_living_parent(context)
        run = run_of(context)
        require_preconditions(run, context)


def require_preconditions(run: Run, context: Context) -> None:
    """Raise PreconditionFailed with everything that does not hold."""
    goals = preconditions(run)
    reads = [read for goal in goals for read in goal.reads]
    answers = asyncio.run(sweep(run.cluster, reads, cached_credentials()))
    wanting_ = []
    for goal in goals:
        verdict = answers.judge(goal)
        log.info("%s %s: %s", "ok  " if verdict.met else "FAIL", goal.sentence, verdict.found)
        if not verdict.met:
            wanting_.append(f"{goal.sentence}: {verdict.found}")
    if wanting_:
        found = "\n".join(f"  - {line}" for line in wanting_)
        advice = "nothing has been changed; mend what is named and trigger the scenario again"
        raise PreconditionFailed(
            context["ti"].task_id, run.cluster.name, "every precondition to hold", f"\n{found}", advice
        )


def nodes() -> list[str]:
    """Name the nodes from which the bad release is taken off: never an empty list, which would do nothing and succeed."""
    with reported(log):
        return _named([node.name for node in nodes_rolled_back(run_of(get_current_context()))])


def computes() -> list[str]:
    """Name the computes of this run."""
    with reported(log):
        return _named([compute.name for compute in run_of(get_current_context()).computes])


def compute_batches() -> list[dict[str, Any]]:
    """Say which computes go together, and after which earlier batches."""
    context = get_current_context()
    dag_run = context["dag_run"]
    with reported(log):
        run = run_of(context)
        parts = batches(run)
        ids = [f"{dag_run.run_id}__batch-{number:03}" for number in range(1, len(parts) + 1)]
        return [
            {
                "trigger_run_id": ids[index],
                "after": ids[:index],
                "conf": {
                    "cluster": run.cluster.name,
                    "target_release": run.target,
                    "computes": [compute.name for compute in part],
                    "vm_policy": {compute.name: run.policy_for(compute).value for compute in part},
                    "return_vms": run.return_vms,
                    "parent": {"dag_id": dag_run.dag_id, "run_id": dag_run.run_id, "user": run.user},
                },
            }
            for index, part in enumerate(parts)
        ]


def prove() -> None:
    """Read the whole cluster again and fail unless it is back: releases, active controller, services, no bans, its mode."""
    context = get_current_context()
    with reported(log):
        run = run_of(context)
        now = asyncio.run(survey(run.cluster, cached_credentials()))
        for host, release in now.releases.items():
            log.info("%s: release %s", host, release or "none")
        log.info("active: %s; constraints: %s; maintenance: %s", now.active, now.constraints or "none", now.maintenance)
        for vm, host in sorted(now.vms.items()):
            log.info("VM %s is on %s", vm, host)
        targets = (*(node.name for node in nodes_rolled_back(run)), run.cluster.controllers.a.name)
        found = wanting(now, run.cluster, run.target, targets)
        if run.dag != "rollback_compute":
            found += _left_behind(run, now)
            found += (now.not_started,) if now.not_started else ()
        if found:
            raise AirflowFailException("the cluster is not proven back:\n" + "\n".join(f"  - {line}" for line in found))


def _left_behind(run: Run, now: Survey) -> tuple[str, ...]:
    """Say what the run has set and not taken back; a maintenance mode that was there before is none of it."""
    mode = as_found(run)
    verdict = asyncio.run(sweep(run.cluster, mode.reads, cached_credentials())).judge(mode)
    log.info("%s: %s", mode.sentence, verdict.found)
    constraints = (f"left behind: {', '.join(now.constraints)}",) if now.constraints else ()
    return (*constraints, *(() if verdict.met else (verdict.found,)))


def _named(names: list[str]) -> list[str]:
    if not names:
        raise AirflowFailException("no host is named: nothing would be done")
    return names

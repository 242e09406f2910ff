"""The events of a run's record besides those of its steps: how it began, what the cluster was like, how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from include.runbook.plan import Plan
from include.runbook.step import Run, VmPolicy
from include.runbook.survey import Survey
from include.runbook.vms import Vms

VMS = 20_000
"""VMs of which it is recorded where they were; more are counted."""

VMS_AT_ONCE = 80
"""VMs in one event: a line of the record must stay short enough to be written at once."""


def now() -> str:
    """Return the present time as events state it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def begun(plan: Plan, run_id: str) -> dict[str, Any]:
    """Return the event of a run that may begin: what was asked for, by whom, and the plan."""
    run, cluster = plan.run, plan.run.cluster
    return {
        "event": "begun",
        "time": now(),
        "run_id": run_id,
        "dag": run.dag,
        "cluster": cluster.name,
        "title": cluster.title,
        "user": run.user,
        "target": run.target,
        "batch": run.batch,
        "a": cluster.controllers.a.name,
        "b": cluster.controllers.b.name,
        "computes": [compute.name for compute in run.computes],
        "take_over": run.take_over,
        "accept_newer_schema": run.accept_newer_schema,
        "return_vms": run.return_vms,
        "vm_policy": _policies(run),
        "predicted": round(plan.predicted, 2),
        "plan": [
            {
                "task": stage.task_id,
                "step": stage.kind.name if stage.kind else "",
                "title": stage.title,
                "begins": round(plan.ends[stage.task_id] - plan.duration(stage), 2),
                "ends": round(plan.ends[stage.task_id], 2),
            }
            for stage in plan.stages
        ],
    }


def surveyed(survey: Survey, run_id: str, when: str) -> Iterator[dict[str, Any]]:
    """Yield the events of one survey, `when`: before or after. The VMs are told in parts."""
    head = {"event": "survey", "time": now(), "run_id": run_id, "when": when}
    facts = asdict(replace(survey, vms={}))
    yield head | facts | {"vms_in_all": len(survey.vms)}
    for part in _parts(survey.vms):
        yield {"event": "vms", "run_id": run_id, "when": when, "vms": part}


def failed(run_id: str, id: str, step: str, host: str, found: str) -> dict[str, Any]:
    """Return the event of a task that has failed without being a step: a decision, a count, a batch, a question."""
    return {
        "event": "failed",
        "time": now(),
        "run_id": run_id,
        "id": id,
        "step": step,
        "host": host,
        "outcome": "failed",
        "found": found,
    }


def answered(run_id: str, cluster: str, by: str, found: str) -> dict[str, Any]:
    """Return the event of the answer to the question at U3, or of the silence."""
    return {
        "time": now(),
        "run_id": run_id,
        "id": "U3",
        "step": "answer",
        "host": cluster,
        "by": by,
        "outcome": "done",
        "found": found,
    }


def ended(run_id: str, state: str, why: str) -> dict[str, Any]:
    """Return the event of a run that Airflow has ended: its state, and Airflow's word for why."""
    return {"event": "ended", "time": now(), "run_id": run_id, "state": state, "why": why}


def _policies(run: Run) -> dict[str, str]:
    """Return what was answered beforehand about VMs that stay, by compute; who is not named is asked about."""
    answers = {compute.name: run.policy_for(compute) for compute in run.computes}
    return {name: policy.value for name, policy in answers.items() if policy is not VmPolicy.MIGRATE}


def _parts(vms: Vms) -> Iterator[dict[str, dict[str, str]]]:
    known = [(id, asdict(replace(vm, name=vm.name[:120]))) for id, vm in sorted(vms.items())][:VMS]
    for first in range(0, len(known), VMS_AT_ONCE):
        yield dict(known[first : first + VMS_AT_ONCE])

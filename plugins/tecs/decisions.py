"""The decisions of a run, each a task that reads and judges and changes nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context, get_current_context

from include.runbook.end_state import wanting_at_end
from include.runbook.errors import PreconditionFailed
from include.runbook.gate import advice_for_computes
from include.runbook.goals import returned, taken_down
from include.runbook.plan import plan_text
from include.runbook.preconditions import look, look_and_survey
from include.runbook.record_events import begun, surveyed
from include.runbook.redaction import masked
from include.runbook.request import batches
from include.runbook.rollout import Stage, Tally, back, count, count_batches, ready
from include.runbook.shell import printable
from include.runbook.step import Run
from include.runbook.survey import Survey, survey
from tecs.batches import batch_run_id, batch_state
from tecs.failures import Failure, failed, reported
from tecs.plans import plan_of
from tecs.recording import append
from tecs.requests import require_living_parent, run_of, states_of
from tecs.ssh import cached_credentials
from tecs.telling import tell_start

log = logging.getLogger("airflow.task")


def plan() -> None:
    """Refuse what cannot be carried out, and print the whole plan before any host is touched."""
    context = get_current_context()
    with reported(log):
        run = run_of(context)
        planned = plan_of(context["dag"], run)
        for line in plan_text(planned).splitlines():
            log.info(line)
    tell_start(context, planned)


def check() -> None:
    """Read every host and refuse to begin unless all that the scenario needs holds. All problems are told at once.

    The run's record begins here: with the plan, what was asked for, and the cluster as it was found.
    """
    context = get_current_context()
    with reported(log):
        require_living_parent(context)
        run = run_of(context)
        before = require_preconditions(run, context)
        run_id = context["run_id"]
        events = [begun(plan_of(context["dag"], run), run_id), *(surveyed(before, run_id, "before") if before else ())]
        append(run, events, log)


def require_preconditions(run: Run, context: Context) -> Survey | None:
    """Raise PreconditionFailed with everything that does not hold. Return the cluster as it was found.

    A batch does not look at all of the cluster again: the run that it belongs to has.
    """
    before = None
    if run.batch:
        found_ = asyncio.run(look(run, cached_credentials()))
    else:
        found_, before = asyncio.run(look_and_survey(run, cached_credentials()))
    for finding in found_.all:
        log.info(finding)
    for finding in found_.excused:
        log.warning("%s; the run goes on without this compute, which counts as failed", finding)
    if found_.wanting:
        found = "\n".join(f"  - {finding.text}" for finding in found_.wanting)
        advice = "nothing has been changed; mend what is named and trigger the scenario again"
        raise PreconditionFailed(
            context["ti"].task_id, run.cluster.name, "every precondition to hold", f"\n{found}", advice
        )
    return before


def computes() -> list[str]:
    """Name the computes of this run."""
    with reported(log):
        return _named([compute.name for compute in run_of(get_current_context()).computes])


def controllers() -> list[str]:
    """Name the controllers, in the order in which they are upgraded."""
    with reported(log):
        pair = run_of(get_current_context()).cluster.controllers
    return [pair.b.name, pair.a.name]


def computes_ready() -> list[str]:
    """Name the computes that may be taken down, as read from them now. Fails if too many may not (failure_budget)."""
    _require_begun(get_current_context(), "A4_computes")
    return _through(ready)


def computes_taken_down() -> list[str]:
    """Name the computes that are taken down, as read from them now. Fails if too many are not (failure_budget)."""
    _require_begun(get_current_context())
    return _through(taken_down)


def computes_upgraded() -> list[str]:
    """Name the computes that have the new release, as read from them now. Fails if too many have not (failure_budget)."""
    _require_begun(get_current_context())
    return _through(returned)


def computes_back() -> list[str]:
    """Name the computes that are back and in service, as read from them now. Fails if too many are not (failure_budget)."""
    _require_begun(get_current_context())
    return _through(back)


def _through(stage: Stage) -> list[str]:
    with reported(log):
        run = run_of(get_current_context())
        tally = asyncio.run(count(run, stage, cached_credentials()))
        _tell(tally)
        tally.failures_left(run.failures_allowed)
        return _named(list(tally.done))


def batches_back() -> list[str]:
    """Name the computes of all batches that are back and in service. Fails if too many are not (failure_budget)."""
    return _batches_through(get_current_context())


def batches_upgraded() -> list[str]:
    """Name the computes of all batches that are upgraded and in service. Fails if too many are not (failure_budget)."""
    return _batches_through(get_current_context())


def _batches_through(context: Context) -> list[str]:
    _require_begun(context)
    with reported(log):
        run = run_of(context)
        states = [batch_state(context, number) for number in range(len(batches(run)))]
        tally = asyncio.run(count_batches(run, states, cached_credentials()))
        _tell(tally)
        if run.upgrades and len(tally.failed) > run.failures_allowed:
            offer = advice_for_computes(run, list(tally.failed))
            told = f"too many computes are not upgraded:\n{tally}\nwhat to do: mend them; or {offer}"
            raise failed(Failure.COMPUTES_NOT_UPGRADED, told)
        tally.require_all_begun()
        tally.failures_left(run.failures_allowed)
        return _named(list(tally.done))


def name_failures(done: list[str]) -> None:
    """Fail if a compute of the run is not back, and name it: whoever reads "success" may rely on all of them."""
    with reported(log):
        run = run_of(get_current_context())
        missing = [compute.name for compute in run.computes if compute.name not in done]
    if missing:
        raise failed(
            Failure.COMPUTES_NOT_BACK,
            f"{len(missing)} of {len(run.computes)} computes are not on release {run.target}: {', '.join(missing)}. "
            "Everything else is, and the cluster is free. Mend them, then trigger the scenario again: only what is left is "
            "done",
        )


def _tell(tally: Tally) -> None:
    for line in str(tally).splitlines():
        (log.warning if tally.failed else log.info)(line)


def _require_begun(context: Context, *tasks: str) -> None:
    """Raise AirflowFailException where `tasks`, or else those whose outcome is to be counted, never began.

    A task that has instances is not named by itself: so its own name stands for all of it.
    """
    wanted = sorted(tasks or context["task"].upstream_task_ids)
    states = states_of(context, wanted)
    idle = [name for name in wanted if states.get(name) in ("failed", "upstream_failed")]
    if idle:
        raise failed(Failure.NOT_BEGUN, f"{', '.join(idle)} did not begin: see the task that failed before")


def compute_batches() -> list[dict[str, Any]]:
    """Say which computes go together, the canary first."""
    context = get_current_context()
    dag_run = context["dag_run"]
    with reported(log):
        run = run_of(context)
        return [
            {
                "trigger_run_id": batch_run_id(dag_run.run_id, number),
                "number": number,
                "conf": {
                    "cluster": run.cluster.name,
                    "target_release": run.target,
                    "computes": [compute.name for compute in part],
                    "vm_policy": {compute.name: run.policy_for(compute).value for compute in part},
                    "return_vms": run.return_vms,
                    "parent": {"dag_id": dag_run.dag_id, "run_id": dag_run.run_id, "user": run.user},
                },
            }
            for number, part in enumerate(batches(run))
        ]


def prove(computes_back: Sequence[str] = ()) -> None:
    """Read the whole cluster again and fail unless all is as it should be: releases, active controller, services, no bans,
    its mode.

    Of the computes it proves those that are said to be back.
    """
    context = get_current_context()
    with reported(log):
        run = run_of(context)
        now = asyncio.run(survey(run.cluster, cached_credentials()))
        if not run.batch:
            append(run, surveyed(now, context["run_id"], "after"), log)
        for host, release in now.releases.items():
            log.info("%s: release %s", host, release or "none")
        log.info("active: %s; constraints: %s; maintenance: %s", now.active, now.constraints or "none", now.maintenance)
        for vm in sorted(now.vms.values(), key=lambda vm: vm.name):
            log.info("VM %s is on %s", printable(vm.name), printable(vm.host))
        found = asyncio.run(wanting_at_end(run, now, computes_back, cached_credentials(), _say))
        if found:
            told = "\n".join(f"  - {line}" for line in found)
            raise failed(Failure.NOT_PROVEN, f"the cluster is not proven to be on release {run.target}:\n{told}")


def _say(line: str) -> None:
    (log.warning if line.startswith("WARNING: ") else log.info)(masked(printable(line)))


def _named(names: list[str]) -> list[str]:
    if not names:
        raise failed(Failure.NOBODY_NAMED, "no host is named: nothing would be done")
    return names

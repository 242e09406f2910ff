"""The gate at U3 in Airflow: what was judged is decided, a person asked where that is due, and the rollback started."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Context, get_current_context
from airflow.sdk.exceptions import AirflowRuntimeError, AirflowSkipException

from include.runbook.gate import Decision, Patience, advice_for_all, advice_for_b, decide, patience, rollback_conf
from include.runbook.lock import successor_id
from include.runbook.record_events import answered
from include.runbook.rollout import out_of_service
from include.runbook.scenarios import ROLLBACK
from include.runbook.soak import Result
from include.runbook.step import Run
from tecs.failures import Failure, failed, reported
from tecs.operators import RunbookStep
from tecs.plans import load_dag, plan_of
from tecs.recording import append
from tecs.requests import run_of, states_of
from tecs.soaking import JUDGED
from tecs.ssh import cached_credentials
from tecs.telling import link_to, tell_question

log = logging.getLogger("airflow.task")

SOAK, VM, GATE, ASK = "U3_soak", "U3_create_vm_on_new_release", "U3_gate", "U3_ask"

SILENCE = {Decision.ROLL_BACK: "it is rolled back", Decision.REPORT: "nothing is done"}

ANSWERS = {
    "Roll the whole cluster back": Decision.ROLL_BACK,
    "Go on: the new release is good": Decision.GO_ON,
    "Stop here: B goes on serving": Decision.REPORT,
}


def b_upgraded() -> None:
    """Let the upgrade go on when B is upgraded and in the cluster. Otherwise fail, and offer scenario B."""
    context = get_current_context()
    wanting = _failed(context)
    if not wanting:
        return
    if states_of(context, ["U1_forbid_switchover"]).get("U1_forbid_switchover") not in ("success", "skipped"):
        told = f"{', '.join(wanting)} did not begin or failed before B was touched: B is as it was"
        raise failed(Failure.NOT_BEGUN, told)
    with reported(log):
        run = run_of(context)
    raise failed(
        Failure.B_NOT_UPGRADED,
        f"the upgrade of B has failed ({', '.join(wanting)}); A serves, B is banned, no compute has been touched\n"
        f"what to do: mend B and clear the failed tasks; or {advice_for_b(run)}",
    )


def gate() -> str:
    """Decide what follows from the soak and the VM: go on, roll back, ask, or stop. It changes nothing."""
    context = get_current_context()
    with reported(log):
        run = run_of(context)
        result, found = _judged(context)
        decision = decide(result, run.on_failure)
        log.info("%s, on_failure %s: %s", result.value, run.on_failure.value, decision.value)
        for line in found:
            log.info(line)
        first = () if decision is Decision.GO_ON else asyncio.run(out_of_service(run, cached_credentials()))
        if first:
            log.info("out of service, to be rolled back first: %s", ", ".join(first))
    judged = {"result": result.value, "found": list(found), "computes_first": list(first)}
    context["ti"].xcom_push(key=JUDGED, value=judged)
    return decision.value


def _judged(context: Context) -> tuple[Result, tuple[str, ...]]:
    """Combine the soak's judgement with that of the VM. A soak that ended without one leaves it open."""
    states = states_of(context, [SOAK, VM])
    if states.get(SOAK) == "skipped":
        return Result.PASS, ("A is upgraded: this was decided before",)
    judged = context["ti"].xcom_pull(task_ids=SOAK, key=JUDGED)
    if states.get(SOAK) not in ("success", "failed"):
        raise failed(Failure.NOT_BEGUN, f"{SOAK} did not begin: see the task that failed before")
    if not judged:
        return Result.INCONCLUSIVE, ("the soak has ended without a judgement: see its log",)
    result, found = Result(judged["result"]), tuple(judged["found"])
    if result is Result.PASS and states.get(VM) not in ("success", "skipped"):
        return Result.FAIL, (f"the soak has passed, but {VM} has failed: a VM cannot be created",)
    return result, found


def _failed(context: Context) -> list[str]:
    states = states_of(context, context["task"].upstream_task_ids)
    return sorted(name for name, state in states.items() if state not in ("success", "skipped"))


def decided(context: Context) -> Decision:
    """Return what was decided in the end: the answer, where a person was asked."""
    answered = context["ti"].xcom_pull(task_ids=ASK)
    return Decision(answered or context["ti"].xcom_pull(task_ids=GATE))


class AskWhatFollows(HITLOperator):
    """Asks whether to roll back, where that is not decided by the parameters. Skipped where it is.

    How long it waits, and what silence means, follows from the end of the maintenance window and the time of a rollback.
    """

    template_fields: Sequence[str] = ()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(subject="What follows?", options=list(ANSWERS), **kwargs)

    def execute(self, context: Context) -> None:
        """Ask, and wait for the answer without holding a worker."""
        if context["ti"].xcom_pull(task_ids=GATE) != Decision.ASK.value:
            raise AirflowSkipException("already decided: nobody is to be asked")
        with reported(self.log):
            run = run_of(context)
            waits = self._patience(context, run)
        judged = context["ti"].xcom_pull(task_ids=GATE, key=JUDGED)
        self.subject = f"Is release {run.target} good on {run.cluster.name}? The checks say: {judged['result']}"
        self.body = "\n".join([*(f"- {line}" for line in judged["found"]), "", f"{waits.told}."])
        for line in self.body.splitlines():
            self.log.info(line)
        self.response_timeout = timedelta(seconds=waits.seconds)
        self.notifiers = [
            lambda context: tell_question(
                context, run, self.subject, self.body, within=waits.seconds, silence=waits.told
            )
        ]
        context["ti"].xcom_push(key="silence", value=waits.silence.value)
        super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> str:
        """Return what was decided; without an answer in time, what silence means."""
        if event.get("error_type") == "timeout":
            silence = Decision(context["ti"].xcom_pull(task_ids=ASK, key="silence"))
            self._record(context, "nobody", f"no answer in time: {SILENCE[silence]}")
            return silence.value
        answer = super().execute_complete(context, event)
        chosen, user = answer["chosen_options"][0], answer["responded_by_user"] or {}
        by, at = (
            str(user.get("name") or "somebody"),
            answer["responded_at"].astimezone(UTC).isoformat(timespec="seconds"),
        )
        self._record(context, by, f"{by} answered at {at}: {chosen}")
        return ANSWERS[chosen].value

    def process_trigger_event_error(self, event: dict[str, Any]) -> NoReturn:
        """Fail in a way that is not tried again: the question stays as it is."""
        raise failed(
            Failure.ANSWER_NOT_TAKEN,
            f"the answer could not be taken ({event['error']}); clear this task to be asked again",
        )

    def _record(self, context: Context, by: str, found: str) -> None:
        self.log.info(found)
        with reported(self.log):
            run = run_of(context)
        append(run, [answered(context["run_id"], run.cluster.name, by, found)], self.log)

    def _patience(self, context: Context, run: Run) -> Patience:
        dag = load_dag(Path(context["dag"].fileloc).with_name(f"{ROLLBACK}.py"))
        back = replace(run, dag=ROLLBACK, target=run.cluster.target_release)
        return patience(run, plan_of(dag, back).predicted, datetime.now(UTC))


class HandOver(RunbookStep):
    """Makes the cluster's lock that of the rollback, where it is to be rolled back. Skipped where it is not."""

    def execute(self, context: Context) -> None:
        """Hand the lock over."""
        if decided(context) is not Decision.ROLL_BACK:
            raise AirflowSkipException("nothing is rolled back")
        super().execute(context)


class RollBack(TriggerDagRunOperator):
    """Starts the rollback of the whole cluster, where that was decided. It holds the lock already, and goes on by itself.

    Fails where somebody has paused that DAG: the run would wait in silence.
    """

    template_fields: Sequence[str] = ()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trigger_dag_id=ROLLBACK, logical_date=None, fail_when_dag_is_paused=True, **kwargs)

    def execute(self, context: Context) -> None:
        """Start it, once: a second try of this task finds it there."""
        if decided(context) is not Decision.ROLL_BACK:
            raise AirflowSkipException("nothing is rolled back")
        with reported(self.log):
            run = run_of(context)
        self.trigger_run_id = successor_id(run)
        try:
            state = context["ti"].get_dagrun_state(dag_id=ROLLBACK, run_id=self.trigger_run_id)
        except AirflowRuntimeError:
            judged = context["ti"].xcom_pull(task_ids=GATE, key=JUDGED)
            self.conf = rollback_conf(run, judged["computes_first"])
            super().execute(context)
        else:
            self.log.info("%s is there already: %s", self.trigger_run_id, state)


def go_on() -> None:
    """Let the upgrade go on only if the new release is good; otherwise say what was done, or what is to be done."""
    context = get_current_context()
    decision = decided(context)
    if decision is Decision.GO_ON:
        return
    with reported(log):
        run = run_of(context)
    judged = context["ti"].xcom_pull(task_ids=GATE, key=JUDGED)
    bad = f"release {run.target} is not taken on: {'; '.join(judged['found'])}"
    if decision is Decision.ROLL_BACK:
        rollback = successor_id(run)
        where = link_to(ROLLBACK, rollback)
        raise failed(
            Failure.RELEASE_NOT_TAKEN_ON,
            f"{bad}\nthe rollback of the whole cluster has begun and holds it now: run {rollback} of {ROLLBACK} {where}",
        )
    raise failed(
        Failure.RELEASE_NOT_TAKEN_ON,
        f"{bad}\nwhat to do: B serves, A is banned and on release {run.cluster.target_release}; "
        f"{advice_for_all(run, judged['computes_first'])}. To have the new release judged anew, clear {SOAK} and what "
        "follows it",
    )

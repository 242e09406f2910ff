"""The computes of a whole cluster: one run of a scenario of its own for each batch, strictly one after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Context, ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.exceptions import AirflowRuntimeError

from include.runbook.request import batches, canary_of
from include.runbook.rollout import count_batches
from include.runbook.scenarios import BATCH_OF
from include.runbook.step import Run
from tecs.cancelling import end_jobs
from tecs.failures import Failure, failed, reported
from tecs.requests import run_of
from tecs.ssh import cached_credentials

ONLY_LOST_WORKERS = ExceptionRetryPolicy(rules=[RetryRule(exception=Exception, action=RetryAction.FAIL)])
"""A batch that failed has failed: only the loss of the worker, which raises nothing, is worth another try."""


def batch_run_id(run_id: str, number: int) -> str:
    """Return the id of the run that is batch `number` (from 0) of a run."""
    return f"{run_id}__batch-{number + 1:03}"


def batch_state(context: Context, number: int) -> str | None:
    """Return the state of this run's batch `number` (from 0); None where that batch has not begun."""
    try:
        batches_dag, run_id = BATCH_OF[context["dag_run"].dag_id], batch_run_id(context["run_id"], number)
        return context["ti"].get_dagrun_state(dag_id=batches_dag, run_id=run_id)
    except AirflowRuntimeError:
        return None


class BatchRun(TriggerDagRunOperator):
    """Runs one batch and waits for it: the canary must have succeeded as a whole, and no batch begins once more computes
    have failed than the inventory's failure_budget allows.

    `number` counts the batches from 0. A batch that failed is cleared and goes on where it stopped.
    """

    template_fields: Sequence[str] = (*TriggerDagRunOperator.template_fields, "number")
    conf: dict[str, Any] | None

    def __init__(self, *, number: int = 0, **kwargs: Any) -> None:
        super().__init__(wait_for_completion=True, poke_interval=1, reset_dag_run=True, logical_date=None, **kwargs)
        self.number = number

    def execute(self, context: Context) -> None:
        """Wait for the batch's run, starting or resuming it first where that is due."""
        while (state := batch_state(context, self.number)) in ("queued", "running"):
            # A worker was lost while the batch went on: it is watched again, not started again.
            time.sleep(1)
        if state == "success":
            self.log.info("the batch %s has succeeded", self.trigger_run_id)
            return
        with reported(self.log):
            allowed = self._failures_allowed(context, run_of(context))
        conf: dict[str, Any] = dict(self.conf or {})
        self.conf = conf | {"parent": conf["parent"] | {"failures_allowed": allowed}}
        super().execute(context)

    def on_kill(self) -> None:
        """End the remote jobs of the batch: its tasks see that their parent is gone, its jobs would not."""
        end_jobs(self.trigger_dag_id, str(self.trigger_run_id), dict(self.conf or {}))

    def _failures_allowed(self, context: Context, run: Run) -> int:
        """Return how many computes of this batch may fail; raises where it must not begin."""
        canary = canary_of(run)
        left = self._failures_left(context, run, canary)
        return 0 if self.number == canary else left

    def _failures_left(self, context: Context, run: Run, canary: int | None) -> int:
        states = [batch_state(context, number) for number in range(self.number)]
        unfinished = [batch_run_id(context["run_id"], n) for n, state in enumerate(states) if state != "success"]
        if not unfinished:
            return run.failures_allowed
        canary_failed = canary is not None and canary < self.number and states[canary] != "success"
        if not run.failures_allowed or canary_failed:
            raise failed(
                Failure.BATCH_NOT_STARTED, f"{', '.join(unfinished)} has not succeeded: this batch is not started"
            )
        untouched = [None] * (len(batches(run)) - self.number)
        tally = asyncio.run(count_batches(run, [*states, *untouched], cached_credentials()))
        self.log.info("the batches before this one:\n%s", tally)
        return tally.failures_left(run.failures_allowed)

"""Scenario A's computes: one run of scenario C for each batch, strictly one after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Context, ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.exceptions import AirflowFailException, AirflowRuntimeError

from tecs.cancelling import end_jobs

ONLY_LOST_WORKERS = ExceptionRetryPolicy(rules=[RetryRule(exception=Exception, action=RetryAction.FAIL)])
"""A batch that failed has failed: only the loss of the worker, which raises nothing, is worth another try."""


class BatchRun(TriggerDagRunOperator):
    """Runs one batch and waits for it. It starts only if every earlier batch has succeeded, and never a batch twice.

    `after` holds the run ids of the earlier batches. A batch that failed is cleared and goes on where it stopped.
    """

    template_fields: Sequence[str] = (*TriggerDagRunOperator.template_fields, "after")

    def __init__(self, *, after: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(wait_for_completion=True, poke_interval=1, reset_dag_run=True, logical_date=None, **kwargs)
        self.after = after

    def execute(self, context: Context) -> None:
        """Wait for the batch's run, starting or resuming it first where that is due."""
        for earlier in self.after:
            state = self._state(context, earlier)
            if state != "success":
                raise AirflowFailException(
                    f"the earlier batch {earlier} is {state or 'not there'}: this batch is not started"
                )
        while (state := self._state(context, str(self.trigger_run_id))) in ("queued", "running"):
            # A worker was lost while the batch went on: it is watched again, not started again.
            time.sleep(1)
        if state == "success":
            self.log.info("the batch %s has succeeded", self.trigger_run_id)
            return
        super().execute(context)

    def on_kill(self) -> None:
        """End the remote jobs of the batch: its tasks see that their parent is gone, its jobs would not."""
        end_jobs(self.trigger_dag_id, str(self.trigger_run_id), dict(self.conf or {}))

    def _state(self, context: Context, run_id: str) -> str | None:
        try:
            return context["ti"].get_dagrun_state(dag_id=self.trigger_dag_id, run_id=run_id)
        except AirflowRuntimeError as error:
            self.log.info("no run %s yet (%s)", run_id, type(error).__name__)
            return None

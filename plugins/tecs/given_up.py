"""A run that a person has given up: marked as a whole, what had not begun yet is skipped for ever, and nobody would do it."""

from __future__ import annotations

from airflow.sdk import Context

from tecs.failures import Failure, failed
from tecs.requests import states_of

PROOF = "E1_prove"
"""The task that proves the end state. It never skips itself: it is skipped only in a run that was marked as a whole."""


def require_proof_ahead(context: Context) -> None:
    """Raise AirflowFailException where the proof of this run's end state is marked skipped.

    Such a run would end as a success, though Airflow had left out whatever was not begun when the run was marked.
    """
    if states_of(context, [PROOF]).get(PROOF) == "skipped":
        raise failed(
            Failure.RUN_GIVEN_UP,
            "a person has marked this run as a whole, and Airflow has marked as skipped all that had not begun, the proof "
            "of the end state among it. Nothing was done now. Clear all tasks of the run (Clear, and none of its options): "
            "what is already true is skipped",
        )

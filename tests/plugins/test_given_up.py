"""A run that a person has marked as a whole does not go on before the proof of its end state is ahead of it again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException


def context(**states: str) -> dict[str, Any]:
    """What a task of a run is given whose tasks stand so."""

    def get_task_states(*, dag_id: str, run_ids: list[str], task_ids: list[str]) -> dict[str, dict[str, str]]:
        return {run_ids[0]: {name: state for name, state in states.items() if name in task_ids}}

    task, ti = SimpleNamespace(dag_id="rollback_cluster"), SimpleNamespace(get_task_states=get_task_states)
    return {"task": task, "run_id": "run-1", "ti": ti}


def test_no_task_begins_while_the_proof_is_marked_skipped() -> None:
    from tecs.given_up import require_proof_ahead

    with pytest.raises(AirflowFailException, match="Clear all tasks of the run"):
        require_proof_ahead(context(E1_prove="skipped", A1_x="failed"))  # type: ignore[arg-type]


@pytest.mark.parametrize("states", [{}, {"E1_prove": "running"}, {"E1_prove": "upstream_failed", "A1_x": "skipped"}])
def test_a_run_that_failed_by_itself_goes_on(states: dict[str, str]) -> None:
    from tecs.given_up import require_proof_ahead

    require_proof_ahead(context(**states))  # type: ignore[arg-type]

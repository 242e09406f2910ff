"""When a batch begins, and how many of its computes may fail: the canary, and a budget across batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from include.runbook.cluster import Cluster
from include.runbook.errors import TooManyFailures
from include.runbook.rollout import Tally
from include.runbook.step import Run

from .conftest import context

Allowed = Callable[..., int]


@pytest.fixture
def allowed(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Allowed:
    """Ask how many computes of a batch may fail after batches that ended so; `failed` have been lost so far."""
    import tecs.batches

    async def counted(run: Run, states: list[str | None], credentials: object) -> Tally:
        return Tally((), dict.fromkeys(asked["failed"], "lost"))

    asked: dict[str, Any] = {}
    monkeypatch.setattr(tecs.batches, "count_batches", counted)

    def ask(*states: str | None, budget: int = 0, canary: int = 1, failed: tuple[str, ...] = (), first: int = 0) -> int:
        asked["failed"] = failed
        of = cluster.model_copy(update={"batch_size": 2, "canary": canary})
        run = Run(of, of.target_release, of.computes, computes_first=of.computes[:first], failures_allowed=budget)
        monkeypatch.setattr(tecs.batches, "batch_state", lambda context, number: states[number])
        task = tecs.batches.BatchRun(task_id="batch", trigger_dag_id="rollback_compute", number=len(states))
        return task._failures_allowed({"run_id": "run-1", **context()}, run)

    return ask


def test_of_the_canary_none_may_fail(allowed: Allowed) -> None:
    assert allowed(budget=3) == 0
    assert allowed(budget=3, canary=0) == 3


def test_computes_that_go_first_are_no_canary_and_the_canary_comes_after_them(allowed: Allowed) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    assert allowed(budget=3, first=1) == 3
    assert allowed("success", budget=3, first=1) == 0
    assert allowed("failed", budget=3, first=1, failed=("host-1",)) == 0, "a canary, whatever went before it"
    with pytest.raises(AirflowFailException, match="run-1__batch-002 has not succeeded"):
        allowed("success", "failed", budget=3, first=1)


def test_after_batches_that_succeeded_the_whole_budget_is_left(allowed: Allowed) -> None:
    assert allowed("success", "success", budget=3) == 3


def test_without_a_budget_no_batch_begins_after_one_that_failed(allowed: Allowed) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="run-1__batch-002 has not succeeded: this batch is not started"):
        allowed("success", "failed")


@pytest.mark.parametrize("state", ["failed", None])
def test_no_batch_begins_after_a_canary_that_failed(allowed: Allowed, state: str | None) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="run-1__batch-001 has not succeeded"):
        allowed(state, budget=3)


def test_what_has_failed_in_earlier_batches_counts(allowed: Allowed) -> None:
    assert allowed("success", "failed", budget=3, failed=("host-1", "host-2")) == 1
    with pytest.raises(TooManyFailures):
        allowed("success", "failed", budget=1, failed=("host-1", "host-2"))

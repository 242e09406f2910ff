"""What an operator reads while a run goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from rich.console import Console

from console.airflow_api import Run, Task, TaskInstance
from console.progress import (
    ORCHESTRATION,
    Shape,
    View,
    clock,
    lines,
    news,
    one_line,
    predicted,
    remaining,
    running_table,
    summary,
)

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
BATCH = Shape((Task("install", "A4.6 Install release 100", frozenset()),), {"install": 10.0})
CLUSTER = Shape(
    (
        Task("move", "A1 Move the float IP to A", frozenset()),
        Task("stage", "A3 Stage the installer", frozenset()),
        Task("batches", "A4 Roll back the computes", frozenset({"move", "stage"})),
        Task("verify", "A6.2 Verify", frozenset({"batches"})),
    ),
    {"move": 8.0, "stage": 2.0, "verify": 1.0},
    "batches",
    (BATCH, BATCH),
)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def run(run_id: str = "r", state: str = "running") -> Run:
    return Run("rollback_cluster", run_id, state, START, None)


def instance(
    task_id: str,
    state: str | None,
    start: float | None = None,
    end: float | None = None,
    *,
    host: str | None = None,
    map_index: int = -1,
    try_number: int = 1,
) -> TaskInstance:
    return TaskInstance(
        task_id=task_id,
        map_index=map_index,
        host=host,
        state=state,
        start=None if start is None else at(start),
        end=None if end is None else at(end),
        try_number=try_number,
        note=None,
    )


def test_steps_are_told_in_the_order_of_the_dag_whatever_airflow_s_order() -> None:
    view = View(run(), CLUSTER, (instance("stage", "running", 0), instance("move", "success", 0, 3)))
    assert [line.title for line in lines(view, at(5))] == ["A1 Move the float IP to A", "A3 Stage the installer"]


def test_a_step_that_airflow_only_queued_is_not_told() -> None:
    assert lines(View(run(), CLUSTER, (instance("move", "queued"), instance("stage", None))), at(5)) == []


def test_a_deferred_step_is_still_running_for_the_operator() -> None:
    (line,) = lines(View(run(), CLUSTER, (instance("move", "deferred", 1),)), at(5))
    assert (line.word, line.elapsed, line.expected) == ("running", 4.0, 8.0)


def test_the_steps_of_a_triggered_run_stand_beneath_the_copy_that_triggered_it() -> None:
    first = View(run("r__1", "success"), BATCH, (instance("install", "success", 1, 9),))
    second = View(run("r__2"), BATCH, (instance("install", "running", 9),))
    copies = (
        instance("batches", "running", 9, host="host-2", map_index=1),
        instance("batches", "success", 0, 9, host="host-1", map_index=0),
    )
    seen = lines(View(run(), CLUSTER, copies, (first, second)), at(12))
    assert [(line.task.task_id, line.run.run_id, line.depth) for line in seen] == [
        ("batches", "r", 0),
        ("install", "r__1", 1),
        ("batches", "r", 0),
        ("install", "r__2", 1),
    ]


def test_only_a_change_of_a_step_is_news() -> None:
    before = lines(View(run(), CLUSTER, (instance("move", "running", 0), instance("stage", "running", 0))), at(1))
    after = lines(View(run(), CLUSTER, (instance("move", "success", 0, 2), instance("stage", "running", 0))), at(3))
    assert [(line.task.task_id, line.word) for line in news(before, after)] == [("move", "done")]


def test_a_second_try_of_a_running_step_is_news() -> None:
    before = lines(View(run(), CLUSTER, (instance("move", "running", 0),)), at(1))
    after = lines(View(run(), CLUSTER, (instance("move", "running", 2, try_number=2),)), at(3))
    assert len(news(before, after)) == 1


def test_the_prediction_follows_the_longest_way_and_takes_the_rounds_one_after_the_other() -> None:
    assert predicted(CLUSTER, orchestration=0) == 8 + 2 * 10 + 1


def test_orchestration_is_counted_once_for_each_step_on_the_longest_way() -> None:
    assert predicted(CLUSTER) == pytest.approx(29 + 4 * ORCHESTRATION)


def test_before_the_first_step_all_of_the_prediction_remains() -> None:
    assert remaining(View(run(), CLUSTER, ()), at(0)) == pytest.approx(predicted(CLUSTER))


def test_what_a_running_step_has_taken_no_longer_remains() -> None:
    view = View(run(), BATCH, (instance("install", "running", 0),))
    assert remaining(view, at(4)) == pytest.approx(6 + ORCHESTRATION)


def test_a_late_step_never_makes_the_rest_negative() -> None:
    assert remaining(View(run(), BATCH, (instance("install", "running", 0),)), at(500)) == 0


def test_nothing_remains_of_a_finished_round() -> None:
    moved = (instance("move", "success", 0, 3), instance("stage", "skipped", 0, 1))
    copies = (
        instance("batches", "success", 3, 14, map_index=0),
        instance("batches", "running", 14, map_index=1),
    )
    rounds = (
        View(run("r__1", "success"), BATCH, (instance("install", "success", 3, 13),)),
        View(run("r__2"), BATCH, (instance("install", "running", 14),)),
    )
    left = remaining(View(run(), CLUSTER, (*moved, *copies), rounds), at(18))
    assert left == pytest.approx(6 + ORCHESTRATION + 1 + ORCHESTRATION)


@pytest.mark.parametrize(
    ("task", "text"),
    [
        (instance("move", "success", 0, 7.46), "   0:09  done          A1 Move the float IP to A  7.5 s of 8.0 s"),
        (instance("move", "skipped", 0, 0.5), "   0:09  already true  A1 Move the float IP to A  0.5 s of 8.0 s"),
        (instance("move", "running", 0, host="host-1"), "   0:09  running       A1 Move the float IP to A  [host-1]"),
        (instance("batches", "failed", 0, 5), "   0:09  FAILED        A4 Roll back the computes  5.0 s"),
    ],
)
def test_a_plain_line_says_when_what_where_and_how_long(task: TaskInstance, text: str) -> None:
    (line,) = lines(View(run(), CLUSTER, (task,)), at(9))
    assert one_line(line, 9) == text


def test_the_live_table_holds_what_runs_and_how_far_the_run_is() -> None:
    view = View(run(), CLUSTER, (instance("move", "success", 0, 3), instance("stage", "running", 0)))
    out = StringIO()
    Console(file=out, width=120).print(running_table(view, at(5)))
    assert "A3 Stage the installer" in out.getvalue()
    assert "A1 Move" not in out.getvalue()
    assert "1 of 2 steps, 0:05 elapsed" in out.getvalue()


def test_the_summary_counts_the_steps_of_triggered_runs_too() -> None:
    first = View(run("r__1"), BATCH, (instance("install", "success", 1, 9),))
    assert summary(View(run(), CLUSTER, (instance("move", "running", 0),), (first,)), at(5)).startswith("1 of 2 steps")


def test_seconds_are_told_as_minutes_and_seconds() -> None:
    assert (clock(0), clock(59.6), clock(1502), clock(-3)) == ("0:00", "1:00", "25:02", "0:00")

"""Following one run of a scenario through the REST API until it ends, drawn live or as plain lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live
from rich.text import Text

from console.airflow_api import Airflow, Run
from console.progress import COLOURS, Line, Shape, View, lines, news, one_line, running_table
from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.cluster import Cluster
from include.runbook.request import divided
from include.runbook.step import KINDS

POLL = 1.0
"""Seconds between two looks at a run: each costs the API server some 0.1 s, which its tasks need, too."""

BATCH_DAG = "rollback_compute"
BATCHES_TASK = "A4_computes_in_batches"


def shape_of(airflow: Airflow, dag_id: str, cluster: Cluster) -> Shape:
    """The DAG as Airflow read it, with the runbook's times at the cluster's pace."""
    tasks = tuple(airflow.tasks(dag_id))
    times = {kind.task_id: kind.timing.expected(cluster.pace) for kind in KINDS.values()}
    expected = {task.task_id: times[task.task_id] for task in tasks if task.task_id in times}
    if all(task.task_id != BATCHES_TASK for task in tasks):
        return Shape(tasks, expected)
    rounds = len(divided(cluster, cluster.computes))
    return Shape(tasks, expected, BATCHES_TASK, (shape_of(airflow, BATCH_DAG, cluster),) * rounds)


def follow(airflow: Airflow, run: Run, shape: Shape, console: Console) -> View:
    """The run has ended, and each step's beginning and end was shown when it was; returns the last view."""
    if console.is_terminal:
        return _draw(airflow, run, shape, console)
    shown: list[Line] = []
    for view in _views(airflow, run, shape):
        now = datetime.now(UTC)
        seen = lines(view, now)
        for line in news(shown, seen):
            console.print(one_line(line, _since(view.run, now)), highlight=False, markup=False, soft_wrap=True)
        shown = seen
    return view


def failures(view: View) -> list[Line]:
    """The steps that failed, those of a triggered run before the task that triggered it: theirs is the cause."""
    failed = [line for line in lines(view, datetime.now(UTC)) if line.task.state == "failed"]
    return sorted(failed, key=lambda line: -line.depth)


def _draw(airflow: Airflow, run: Run, shape: Shape, console: Console) -> View:
    shown: list[Line] = []
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        for view in _views(airflow, run, shape):
            now = datetime.now(UTC)
            seen = lines(view, now)
            for line in news(shown, seen):
                if line.word != "running":
                    console.print(Text(one_line(line, _since(view.run, now)), COLOURS.get(line.word, "")))
            shown = seen
            live.update(running_table(view, now))
    return view


def _views(airflow: Airflow, run: Run, shape: Shape) -> Iterator[View]:
    while True:
        view = _view(airflow, run, shape)
        yield view
        if view.run.finished:
            return
        time.sleep(POLL)


def _view(airflow: Airflow, run: Run, shape: Shape) -> View:
    # the run before its tasks: a run seen finished has all its tasks seen finished, too
    now = airflow.run(run.dag_id, run.run_id)
    tasks = tuple(airflow.task_instances(run.dag_id, run.run_id))
    rounds = airflow.child_runs(BATCH_DAG, run.run_id) if shape.rounds_task else []
    views = tuple(_view(airflow, round_, shape.rounds[0]) for round_ in rounds)
    return View(now, shape, tasks, views)


def _since(run: Run, now: datetime) -> float:
    return (now - run.start).total_seconds() if run.start else 0.0

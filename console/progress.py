"""A run as an operator watches it: which steps are done, which run, how long they should take, and what remains.

Pure functions from what Airflow tells and the runbook's times; nothing here asks anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from rich.table import Table
from rich.text import Text

from console.airflow_api import Run, Task, TaskInstance

ORCHESTRATION = 1.0
"""Seconds that Airflow and SSH add to each step: about one on two cores."""

FINISHED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
WORDS = {
    "running": "running",
    # a deferred step goes on at its host; only the watching has moved to the triggerer
    "deferred": "running",
    "success": "done",
    "skipped": "already true",
    "failed": "FAILED",
    "upstream_failed": "not begun",
    "up_for_retry": "to be retried",
    "awaiting_input": "waits for an answer",
}
"""An operator's word for each of Airflow's states worth a line; other states are on the way to one of these."""

COLOURS = {"running": "cyan", "done": "green", "FAILED": "bold red", "to be retried": "yellow"}


@dataclass(frozen=True)
class Shape:
    """A DAG before it runs: its tasks in order, and the seconds that each should take where that is known.

    ``rounds`` holds the runs of another DAG that the task ``rounds_task`` triggers, one after the other.
    """

    tasks: tuple[Task, ...]
    expected: Mapping[str, float]
    rounds_task: str | None = None
    rounds: tuple[Shape, ...] = ()


@dataclass(frozen=True)
class View:
    """A run at one moment, with the runs that it triggered so far, oldest first."""

    run: Run
    shape: Shape
    tasks: tuple[TaskInstance, ...]
    rounds: tuple[View, ...] = ()


@dataclass(frozen=True)
class Line:
    """One step on one host as it stands: ``expected`` and ``elapsed`` in seconds; ``depth`` 1 within a round."""

    run: Run
    task: TaskInstance
    title: str
    word: str
    expected: float | None
    elapsed: float | None
    depth: int

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.run.run_id, self.task.task_id, self.task.map_index)


def lines(view: View, now: datetime, depth: int = 0) -> list[Line]:
    """Every step that has begun or ended, in the DAG's order; a round's steps beneath the task that triggered it."""
    place = {task.task_id: number for number, task in enumerate(view.shape.tasks)}
    titles = {task.task_id: task.title for task in view.shape.tasks}
    found: list[Line] = []
    for task in sorted(view.tasks, key=lambda task: (place.get(task.task_id, len(place)), task.map_index)):
        word = WORDS.get(task.state or "")
        if word is None:
            continue
        expected = view.shape.expected.get(task.task_id)
        title = titles.get(task.task_id, task.task_id)
        found.append(Line(view.run, task, title, word, expected, _elapsed(task, now), depth))
        number = max(task.map_index, 0)
        if task.task_id == view.shape.rounds_task and number < len(view.rounds):
            found += lines(view.rounds[number], now, depth + 1)
    return found


def news(before: Iterable[Line], after: Iterable[Line]) -> list[Line]:
    """The lines whose step has another state, or another try, than before."""
    told = {line.key: (line.word, line.task.try_number) for line in before}
    return [line for line in after if told.get(line.key) != (line.word, line.task.try_number)]


def remaining(view: View, now: datetime) -> float:
    """Seconds until the run should end: the longest way through what is not done yet."""
    by_task: dict[str, list[TaskInstance]] = {}
    for copy in view.tasks:
        by_task.setdefault(copy.task_id, []).append(copy)
    ends: dict[str, float] = {}
    for task in view.shape.tasks:
        copies = by_task.get(task.task_id, [])
        if task.task_id == view.shape.rounds_task:
            left = _rounds_left(view, copies, now)
        else:
            left = _left(copies, view.shape.expected.get(task.task_id, 0.0), now)
        ends[task.task_id] = left + max((ends[earlier] for earlier in task.after), default=0.0)
    return max(ends.values(), default=0.0)


def predicted(shape: Shape, orchestration: float = ORCHESTRATION) -> float:
    """Seconds that a whole run of this shape should take, where orchestration adds that much to each step."""
    ends: dict[str, float] = {}
    for task in shape.tasks:
        if task.task_id == shape.rounds_task:
            own = sum(predicted(round_, orchestration) for round_ in shape.rounds)
        else:
            own = shape.expected.get(task.task_id, 0.0) + orchestration
        ends[task.task_id] = own + max((ends[earlier] for earlier in task.after), default=0.0)
    return max(ends.values(), default=0.0)


def one_line(line: Line, since_start: float) -> str:
    """The step's state as one line of plain text, for a log or a pipe."""
    host = f"  [{line.task.host}]" if line.task.host else ""
    times = "" if line.word == "running" else f"  {_times(line)}"
    return f"{clock(since_start):>7}  {line.word:<13} {'  ' * line.depth}{line.title}{host}{times}".rstrip()


def running_table(view: View, now: datetime) -> Table:
    """The steps that run now, what they should take and have taken, and what remains of the run, to be drawn again."""
    table = Table.grid(padding=(0, 2))
    table.add_column(width=13)
    table.add_column()
    table.add_column()
    table.add_column(justify="right")
    shown = lines(view, now)
    for line in shown:
        if line.word in ("running", "to be retried", "waits for an answer"):
            table.add_row(
                Text(line.word, COLOURS.get(line.word, "")),
                f"{'  ' * line.depth}{line.title}",
                line.task.host or "",
                _times(line),
            )
    table.add_row("", "", "", "")
    table.add_row("", Text(summary(view, now), "bold"), "", "")
    return table


def summary(view: View, now: datetime) -> str:
    """How far the run is, in one line."""
    tasks = [*view.tasks, *(task for round_ in view.rounds for task in round_.tasks)]
    done = sum(task.state in FINISHED for task in tasks)
    begun = (now - view.run.start).total_seconds() if view.run.start else 0.0
    return f"{done} of {len(tasks)} steps, {clock(begun)} elapsed, about {clock(remaining(view, now))} to go"


def clock(seconds: float) -> str:
    """Seconds as ``m:ss``."""
    whole = round(max(seconds, 0))
    return f"{whole // 60}:{whole % 60:02}"


def _times(line: Line) -> str:
    elapsed = f"{line.elapsed:.1f} s" if line.elapsed is not None else ""
    return f"{elapsed} of {line.expected:.1f} s" if elapsed and line.expected else elapsed


def _elapsed(task: TaskInstance, now: datetime) -> float | None:
    if task.start is None:
        return None
    return max(((task.end or now) - task.start).total_seconds(), 0.0)


def _left(tasks: list[TaskInstance], expected: float, now: datetime) -> float:
    """Mapped copies go side by side, so a task's time is that of one of them, counted from the first that began."""
    if tasks and all(task.state in FINISHED for task in tasks):
        return 0.0
    starts = [task.start for task in tasks if task.start is not None]
    gone = (now - min(starts)).total_seconds() if starts else 0.0
    return max(expected + ORCHESTRATION - gone, 0.0)


def _rounds_left(view: View, tasks: list[TaskInstance], now: datetime) -> float:
    if tasks and all(task.state in FINISHED for task in tasks):
        return 0.0
    begun = [0.0 if round_.run.finished else remaining(round_, now) for round_ in view.rounds]
    return sum(begun) + sum(predicted(round_) for round_ in view.shape.rounds[len(begun) :])

"""Runs as they would have been recorded: events at chosen seconds after the beginning."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from include.runbook.custody import Custody
from include.runbook.lock import Holder
from include.runbook.record import Record, read

OWNER = "rollback_cluster/run-1"
A, B = "host-11", "host-12"
FIRST, SECOND, THIRD = "host-21", "host-22", "host-23"
START = datetime(2026, 6, 1, 22, 0, tzinfo=UTC)
LOCKED = Custody(Holder(OWNER, "http://a", "rollback_cluster", "li", "2026-06-01T22:00:00Z"))
FREE = Custody(None)

Event = dict[str, Any]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def event(seconds: float, run_id: str = "run-1", /, **told: Any) -> Event:
    return {"time": at(seconds).isoformat(), "run_id": run_id, **told}


def began(plan: Mapping[str, tuple[float, float]], seconds: float = 0, run_id: str = "run-1", **told: Any) -> Event:
    """The run, or a batch of it, may begin; `plan` holds when each task should begin and end."""
    rows = [
        {"task": task, "step": task.partition("_")[2], "title": task.replace("_", " "), "begins": begin, "ends": end}
        for task, (begin, end) in plan.items()
    ]
    batch = "__batch-" in run_id
    common = {"dag": "rollback_compute" if batch else "rollback_cluster", "user": "li", "target": "100", "batch": batch}
    predicted = max((end for _, end in plan.values()), default=0.0)
    facts = {"title": "Test site", "a": A, "b": B, "computes": [], "predicted": predicted, "plan": rows}
    return event(seconds, run_id, event="begun", **common | facts | told)


def acting(seconds: float, task: str, host: str, run_id: str = "run-1", **told: Any) -> Event:
    id, _, step = task.partition("_")
    script = {"on": host, "command": f"do {step}"}
    return event(seconds, run_id, event="acting", id=id, step=step, host=host, **script | told)


def done(seconds: float, task: str, host: str, took: float, run_id: str = "run-1", **told: Any) -> Event:
    id, _, step = task.partition("_")
    facts: Event = {"outcome": "done", "found": f"{step} is true", "seconds": took, "expected": 2.0, "sla": 8.0}
    return event(seconds, run_id, id=id, step=step, host=host, **facts | told)


def step(begin: float, end: float, task: str, host: str, run_id: str = "run-1", **told: Any) -> tuple[Event, Event]:
    """A step that acts from `begin` to `end`."""
    both = {key: told[key] for key in ("computes",) if key in told}
    return acting(begin, task, host, run_id, **both), done(end, task, host, end - begin, run_id, **told)


def failed(begin: float, end: float, task: str, host: str, run_id: str = "run-1", **told: Any) -> tuple[Event, Event]:
    found = f"{task} broke\nwhat to do: mend it"
    return step(begin, end, task, host, run_id, **{"outcome": "failed", "found": found} | told)


def ended(seconds: float, state: str, run_id: str = "run-1") -> Event:
    return event(seconds, run_id, event="ended", state=state, why="task_failure")


def survey(seconds: float, when: str, **told: Any) -> Event:
    facts: Event = {
        "releases": {A: "100", B: "101", FIRST: "101"},
        "active": B,
        "online": [A, B],
        "constraints": ["cli-ban-x"],
        "maintenance": False,
        "services": {FIRST: True},
        "not_started": "",
        "problems": [],
        "unread": {},
        "vms_in_all": 1,
    }
    return event(seconds, event="survey", when=when, **facts | told)


def record(*events: Event, kept: Custody = LOCKED, now: float = 1000) -> Record:
    return read(events, OWNER, "test", kept, at(now))

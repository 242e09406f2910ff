"""A run's record for people and for programs: one page of HTML that needs nothing else, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from include.runbook.opened import opened
from include.runbook.plan import clock
from include.runbook.record import Attempt, Part, Record, Result, Seen, State, visible
from include.runbook.timeline import picture, worst_of
from include.runbook.vms import hosts_by_name

SHOWN = 20
"""Hosts of one step whose script and output are on the page, failed ones first; those of all are in the JSON."""

ROWS = 200
"""Rows of a table that a page has at most; what is left out is counted."""

_ADVICE = "\nwhat to do: "

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Headline:
    """The run in one line: a word for its state, and what is to be known first."""

    state: State
    word: str
    told: str


@dataclass(frozen=True)
class Trouble:
    """A step that has failed or was cut off, and not succeeded since: what was found, and what to do."""

    title: str
    host: str
    at: datetime
    found: str
    todo: str


@dataclass(frozen=True)
class Changed:
    """What is the same before and the same after of these things; `bad` where somebody should look."""

    names: str
    before: str
    after: str
    bad: bool = False


@dataclass(frozen=True)
class Task:
    """One step with its tries on every host; `shown` are those whose script and output are on the page."""

    title: str
    part: str
    result: Result
    attempts: tuple[Attempt, ...]
    shown: tuple[Attempt, ...]


def page(record: Record) -> str:
    """Return the record as one HTML page, without scripts and without anything that is fetched."""
    whole = record.whole
    troubles = _troubles(record)
    late = [attempt for attempt in record.attempts if attempt.late(record.now)]
    things = opened(record)
    return _TEMPLATES.get_template("record_page.html.j2").render(
        record=record,
        whole=whole,
        headline=_headline(record, troubles),
        troubles=troubles[:ROWS],
        resume=_resume(record),
        open=[each for each in things if each.open],
        closed=[each for each in things if not each.open],
        picture=picture(record, whole) if whole else None,
        batches=[(part, picture(record, part), worst_of(part.attempts)) for part in record.parts if part.batch],
        late=[(title(record, attempt), attempt) for attempt in late[:ROWS]],
        changes=_changes(record),
        settings={host: [s for s in found if s.changed][:ROWS] for host, found in record.settings.items()},
        tasks=_tasks(record),
        clock=clock,
        seconds=lambda attempt: attempt.seconds(record.now),
        took=_took(whole, record.now),
        visible=visible,
    )


def as_json(record: Record) -> str:
    """Return the whole record, and what the run has opened, as JSON."""
    values = asdict(record) | {"opened": [asdict(each) for each in opened(record)]}
    return json.dumps(values, default=lambda value: value.isoformat(), indent=1, sort_keys=True)


def title(record: Record, attempt: Attempt) -> str:
    """Return the step as the plan calls it: the runbook's id and a sentence."""
    task = f"{attempt.id}_{attempt.step}"
    titles = (planned.title for part in record.parts for planned in part.plan if planned.task == task)
    return next(titles, f"{attempt.id} {attempt.step}")


def _headline(record: Record, troubles: list[Trouble]) -> Headline:
    state = record.state
    where = f"{troubles[0].title}{f' ({troubles[0].host})' if troubles[0].host else ''}" if troubles else ""
    if state is State.SUCCESS:
        release = record.whole.target if record.whole else ""
        return Headline(state, "SUCCEEDED", f"{record.cluster} is back on release {release}")
    if state is State.RUNNING:
        current = [title(record, a) for a in record.attempts if a.result is Result.RUNNING]
        told = "; ".join(dict.fromkeys(current)) or "between two steps, or no step has been recorded for a while"
        return Headline(state, "GOES ON" if not troubles else "GOES ON, WITH FAILURES", told)
    if record.whole and record.whole.state is State.SUCCESS:
        return Headline(
            state, "NOT PROVEN", f"Airflow calls the run a success; {where or 'its last steps were not done'}"
        )
    if not record.attempts:
        return Headline(
            state, "REFUSED", "the run ended before anything was touched; its first tasks in Airflow say why"
        )
    stopped = not any(attempt.result is Result.FAILED for attempt in record.wanting)
    return Headline(
        state, "STOPPED" if stopped else "FAILED", where or "Airflow ended the run; no step of it has failed"
    )


def _troubles(record: Record) -> list[Trouble]:
    """Name what keeps the run from its end, the first cause first: what was cut off or gave up after it follows from it."""
    wanting = sorted(record.wanting, key=lambda a: (a.result is not Result.FAILED, a.ended or a.begun))
    troubles = []
    for attempt in wanting:
        found, _, todo = attempt.found.partition(_ADVICE)
        if attempt.result is Result.INTERRUPTED:
            found = f"the script was sent to {attempt.on}; how it ended is not recorded"
            todo = "see on the host what it has done; resumed, the step reads that before it acts"
        troubles.append(Trouble(title(record, attempt), attempt.host, attempt.ended or attempt.begun, found, todo))
    return troubles


def _resume(record: Record) -> str:
    """Say how the run is resumed; empty where it has not failed."""
    if record.state is not State.FAILED or record.whole is None:
        return ""
    if record.whole.by_hand or record.whole.state is State.SUCCESS:
        return (
            "A person has ended this run, and Airflow has marked as skipped what had not begun. To resume it, clear all of "
            "its tasks: what is already true is skipped. Do not clear Only failed: the rest would stay skipped."
        )
    return "Mend what went wrong, then resume the run: in Airflow, clear the failed task with Downstream. It closes what follows."


def _took(whole: Part | None, now: datetime) -> float:
    return ((whole.ended or now) - whole.begun).total_seconds() if whole else 0.0


def _changes(record: Record) -> dict[str, list[Changed]]:
    """Say what is not as it was: every node's release, and of everything else what differs."""
    if record.before is None and record.after is None:
        return {}
    was, now = record.before or Seen(record.now), record.after or Seen(record.now)
    read = record.after is not None
    target = record.whole.target if record.whole else ""
    services = _pairs(_up(was.services), _up(now.services), read)
    were, are = hosts_by_name(was.vms, now.vms)
    return {
        "Releases": _together(_pairs(was.releases, now.releases, read), lambda after: read and after != target),
        "Controllers": [
            Changed("active", was.active or "none", _if(read, now.active or "none"), read and now.active != record.a),
            Changed("constraints on the float IP", _listed(was.constraints), _if(read, _listed(now.constraints))),
            Changed("maintenance", _on(was.maintenance), _if(read, _on(now.maintenance))),
        ],
        "nova-compute": _together(services, lambda after: after == "DOWN"),
        "VMs that moved, are gone or are new": _together(
            (pair for pair in _pairs(were, are, read) if read and pair[1] != pair[2]),
            lambda after: after == GONE,
        ),
    }


GONE = "gone"


def _pairs(before: Mapping[str, str], after: Mapping[str, str], read: bool) -> Iterator[tuple[str, str, str]]:
    for name in sorted({*before, *after}):
        yield name, before.get(name, "not there"), _if(read, after.get(name, GONE))


def _together(pairs: Iterable[tuple[str, str, str]], bad: Callable[[str], bool]) -> list[Changed]:
    """Put what went the same way into one row: of two hundred computes, those few count that did not."""
    alike: dict[tuple[str, str], list[str]] = {}
    for name, before, after in pairs:
        alike.setdefault((before, after), []).append(name)
    rows = [Changed(_some(names), before, after, bad(after)) for (before, after), names in alike.items()]
    return sorted(rows, key=lambda row: not row.bad)


def _some(names: list[str], most: int = 30) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _if(read: bool, value: str) -> str:
    return value if read else "not read yet"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _on(flag: bool) -> str:
    return "on" if flag else "off"


def _up(services: Mapping[str, bool]) -> dict[str, str]:
    return {name: "up" if up else "DOWN" for name, up in services.items()}


def _tasks(record: Record) -> list[Task]:
    """Return every step that was gone through, in the order in which they began, with its tries on all hosts."""
    numbers = {part.run_id: f"batch {n}" for n, part in enumerate((p for p in record.parts if p.batch), 1)}
    grouped: dict[tuple[str, str], list[Attempt]] = {}
    for attempt in record.attempts:
        grouped.setdefault((attempt.run_id, attempt.step), []).append(attempt)
    tasks = []
    for (run_id, _), attempts in grouped.items():
        told = sorted(attempts, key=lambda a: (a.result.good, not a.command))
        result = worst_of(attempts) or attempts[-1].result
        tasks.append(
            Task(title(record, attempts[0]), numbers.get(run_id, ""), result, tuple(attempts), tuple(told[:SHOWN]))
        )
    return tasks

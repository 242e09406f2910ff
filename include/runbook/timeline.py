"""Where everything stands in the picture of a run: plan against actual, a row for each step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from include.runbook.plan import clock
from include.runbook.record import Attempt, Part, Record, Result

LABELS, CHART, NOTES = 345, 590, 215
"""Widths of the columns, in the picture's own units: what it is, the bars, how long it took."""

ROW, HEAD, BREAK = 20, 26, 26

IDLE = 60.0
"""Seconds without anything going on that are drawn at all; a longer pause, or a quarter of the whole, is cut out."""

TICKS = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600)

BATCHES = "A4_computes_in_batches"
"""The task of scenario A whose work is that of its batches."""

Span = tuple[datetime, datetime]


@dataclass(frozen=True)
class Bar:
    """A stretch of time in a row; `kind` is a result, or `plan`."""

    x: float
    width: float
    kind: str
    tip: str


@dataclass(frozen=True)
class Row:
    """One step, or one batch: what was planned and what came of it. `result` is empty where nothing has begun."""

    y: float
    label: str
    tip: str
    result: str
    note: str
    late: bool
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Picture:
    """All that is drawn: rows, the times along the top, and the pauses that were cut out. At `notes` the last column begins."""

    width: float
    height: float
    notes: float
    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, str], ...]
    breaks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Axis:
    """From times to places, with long pauses cut out; `spans` are what is drawn, in order and apart from each other."""

    spans: tuple[Span, ...]

    @property
    def scale(self) -> float:
        """Units for each second."""
        seconds = sum((end - begin).total_seconds() for begin, end in self.spans)
        return (CHART - BREAK * (len(self.spans) - 1)) / max(seconds, 1.0)

    def at(self, time: datetime) -> float:
        """The place of a time; one in a pause stands at the pause's end."""
        x = float(LABELS)
        for begin, end in self.spans:
            if time <= begin:
                return x
            x += (min(time, end) - begin).total_seconds() * self.scale
            if time <= end:
                return x
            x += BREAK
        return x - BREAK


def picture(record: Record, part: Part) -> Picture:
    """Return the picture of a run, its batches a row each; or of one batch."""
    batches = [] if part.batch else [each for each in record.parts if each.batch]
    busy = [(a.begun, a.ended or record.now) for each in (part, *batches) for a in each.attempts]
    axis = Axis(_without_pauses([(part.begun, part.begun + timedelta(seconds=max(part.predicted, 1.0))), *busy]))
    stages = _stages(part, batches)
    rows = tuple(_row(HEAD + ROW * number, stage, axis, record.now) for number, stage in enumerate(stages))
    return Picture(
        LABELS + CHART + NOTES, HEAD + ROW * len(rows) + 6, LABELS + CHART + 12, rows, _ticks(axis), _breaks(axis)
    )


@dataclass(frozen=True)
class _Stage:
    label: str
    tip: str
    planned: Span | None
    attempts: tuple[Attempt, ...]


def _stages(part: Part, batches: Sequence[Part]) -> Iterable[_Stage]:
    """Yield each task of the plan that takes time or was gone through, in the plan's order; then what was not planned."""
    gone: dict[str, list[Attempt]] = {}
    for attempt in part.attempts:
        gone.setdefault(f"{attempt.id}_{attempt.step}", []).append(attempt)
    for planned in part.plan:
        attempts = tuple(gone.pop(planned.task, ()))
        if planned.task == BATCHES:
            attempts += tuple(attempt for batch in batches for attempt in batch.attempts)
        span = (part.begun + timedelta(seconds=planned.begins), part.begun + timedelta(seconds=planned.ends))
        if attempts or (planned.step and planned.ends > planned.begins) or planned.task == BATCHES:
            yield _Stage(planned.title, planned.title, span, attempts)
        if planned.task == BATCHES:
            yield from (_batch(number, batch) for number, batch in enumerate(batches, 1))
    yield from (_Stage(task.replace("_", " ", 1), task, None, tuple(attempts)) for task, attempts in gone.items())


def _batch(number: int, batch: Part) -> _Stage:
    names = ", ".join(batch.computes)
    planned = (batch.begun, batch.begun + timedelta(seconds=batch.predicted))
    return _Stage(f"\N{NO-BREAK SPACE}\N{NO-BREAK SPACE}batch {number}: {names}", names, planned, batch.attempts)


def _row(y: float, stage: _Stage, axis: Axis, now: datetime) -> Row:
    bars = []
    if stage.planned is not None:
        begin, end = stage.planned
        bars.append(_bar(axis, stage.planned, "plan", f"planned: {clock((end - begin).total_seconds())}"))
    for (begin, end), result in _merged(stage.attempts, now):
        told = f"{result.value}: {begin:%H:%M:%S} to {end:%H:%M:%S}"
        bars.append(_bar(axis, (begin, end), result.value.replace(" ", "-"), told))
    worst = worst_of(stage.attempts)
    return Row(
        y,
        _cut(stage.label),
        stage.tip,
        worst.value if worst else "",
        _note(stage, worst, now),
        _late(stage.attempts, now),
        tuple(bars),
    )


def worst_of(attempts: Iterable[Attempt]) -> Result | None:
    """Return how it stands after the last try of each step on each host; None where nothing was tried."""
    last = {(a.step, a.host): a.result for a in attempts if not a.superseded}.values()
    order = (Result.FAILED, Result.INTERRUPTED, Result.RUNNING, Result.DONE, Result.ALREADY_TRUE)
    return next((result for result in order if result in last), None)


def _note(stage: _Stage, worst: Result | None, now: datetime) -> str:
    if worst is None:
        return "failed before" if stage.attempts else "not begun"
    if worst is Result.ALREADY_TRUE:
        return "already true"
    acted = [a for a in stage.attempts if a.result is not Result.ALREADY_TRUE]
    busy = _without_pauses((a.begun, a.ended or now) for a in acted)
    took = sum((end - begin).total_seconds() for begin, end in busy)
    planned = (stage.planned[1] - stage.planned[0]).total_seconds() if stage.planned else 0.0
    of = f" of {clock(planned)}" if planned else ""
    word = {Result.FAILED: "FAILED ", Result.INTERRUPTED: "CUT OFF ", Result.RUNNING: "running "}.get(worst, "")
    return f"{word}{clock(took)}{of}{' LATE' if _late(stage.attempts, now) else ''}"


def _late(attempts: Sequence[Attempt], now: datetime) -> bool:
    return any(a.late(now) for a in attempts)


def _bar(axis: Axis, span: Span, kind: str, tip: str) -> Bar:
    x = axis.at(span[0])
    return Bar(round(x, 1), round(max(axis.at(span[1]) - x, 2.0), 1), kind, tip)


def _merged(attempts: Sequence[Attempt], now: datetime) -> list[tuple[Span, Result]]:
    """Join what overlaps and ended alike, so that two hundred hosts are no two hundred bars."""
    found: list[tuple[Span, Result]] = []
    for result in (Result.ALREADY_TRUE, Result.DONE, Result.RUNNING, Result.INTERRUPTED, Result.FAILED):
        spans = [(a.begun, a.ended or now) for a in attempts if a.result is result]
        found += [(span, result) for span in _joined(spans, 0.0)]
    return found


def _without_pauses(spans: Iterable[Span]) -> tuple[Span, ...]:
    joined = _joined(spans, 0.0)
    busy = sum((end - begin).total_seconds() for begin, end in joined)
    return tuple(_joined(joined, max(IDLE, busy / 4)))


def _joined(spans: Iterable[Span], gap: float) -> list[Span]:
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and (begin - found[-1][1]).total_seconds() <= gap:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found


def _ticks(axis: Axis) -> tuple[tuple[float, str], ...]:
    """The clock along the top, not closer than can be read."""
    every = next((seconds for seconds in TICKS if seconds * axis.scale >= 70), TICKS[-1])
    found: list[tuple[float, str]] = []
    for begin, end in axis.spans:
        at = datetime.fromtimestamp(-(-begin.timestamp() // every) * every, begin.tzinfo)
        while at <= end and len(found) < 40:
            found.append((round(axis.at(at), 1), f"{at:%H:%M}" if every >= 60 else f"{at:%H:%M:%S}"))
            at += timedelta(seconds=every)
    return tuple(found)


def _breaks(axis: Axis) -> tuple[tuple[float, str], ...]:
    pauses = zip(axis.spans, axis.spans[1:], strict=False)
    return tuple(
        (round(axis.at(before[1]) + BREAK / 2, 1), f"nothing ran for {clock((after[0] - before[1]).total_seconds())}")
        for before, after in pauses
    )


def _cut(label: str, most: int = 54) -> str:
    return label if len(label) <= most else f"{label[: most - 1]}…"

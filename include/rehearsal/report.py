"""What a rehearsal tells: every step as it went beside what the plan expects of it, and whatever went otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

from include.runbook.plan import clock
from include.runbook.redaction import masked

COLUMNS = "{:>9}  {:>9}  {:<12}  {}"


class Outcome(StrEnum):
    """How a step ended."""

    DONE = "done"
    ALREADY_TRUE = "already true"
    FAILED = "failed"
    NOT_BEGUN = "not begun"


@dataclass(frozen=True)
class Stepped:
    """A step on one host, or a decision, as it went. Times in seconds at the twin's pace; `sla` 0: a decision has none.

    `host` is empty for a decision; `batch` counts from 1 and is 0 outside of batches. `acts`: the plan expects that it
    does something here, so that finding its goal true already is a deviation.
    """

    task_id: str
    title: str
    host: str
    batch: int
    outcome: Outcome
    found: str
    acts: bool = False
    expected: float = 0.0
    sla: float = 0.0
    seconds: float = 0.0

    @property
    def late(self) -> bool:
        """Whether it took longer than its SLA allows."""
        return bool(self.sla) and self.seconds > self.sla

    @property
    def where(self) -> str:
        """The step with its host and its batch, as an operator names it."""
        host = f" [{self.host}]" if self.host else ""
        return f"{self.title}{host}{f', batch {self.batch}' if self.batch else ''}"


@dataclass(frozen=True)
class Report:
    """A rehearsal that is over. `deviations` are against the plan, `remarks` worth knowing and within it."""

    cluster: str
    scenario: str
    pace: float
    begun: str
    predicted: float
    seconds: float
    steps: tuple[Stepped, ...]
    deviations: tuple[str, ...]
    remarks: tuple[str, ...]
    not_played: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether everything went as planned."""
        return not self.deviations

    @property
    def verdict(self) -> str:
        """The report in one sentence."""
        points = "1 point" if len(self.deviations) == 1 else f"{len(self.deviations)} points"
        went = "went as planned" if self.passed else f"deviates from its plan in {points}"
        return f"{self.scenario} on the twin of {self.cluster} {went}"


def deviations_in(steps: Iterable[Stepped]) -> Iterator[str]:
    """Tell what of the steps went otherwise than planned; of those that never began, only how many and the first."""
    steps = tuple(steps)
    for step in steps:
        if step.outcome is Outcome.FAILED:
            yield f"{step.where} failed: {step.found}"
        if step.outcome is Outcome.ALREADY_TRUE and step.acts:
            yield f"{step.where} was expected to act and was already true: {step.found}"
    idle = [step for step in steps if step.outcome is Outcome.NOT_BEGUN]
    if idle:
        yield f"{len(idle)} steps did not begin after that, the first of them: {idle[0].where}"


def late_steps(steps: Iterable[Stepped]) -> Iterator[str]:
    """Tell which steps took longer than their SLA allows at this pace."""
    for step in steps:
        if step.late:
            yield f"{step.where} took {step.seconds:.1f} s; expected {step.expected:.1f} s, its SLA is {step.sla:.1f} s"


def as_json(report: Report) -> str:
    """Return the report for a program that reads it, without anything that looks like a secret."""
    told = asdict(report) | {"passed": report.passed, "verdict": report.verdict}
    return masked(json.dumps(told, indent=1, sort_keys=True)) + "\n"


def report_text(report: Report) -> str:
    """Return the report for an operator: the table of steps, then what the verdict rests on."""
    times = f"{clock(report.seconds)} at pace {report.pace:g}; {clock(report.predicted * report.pace)} predicted in real time"
    lines = [
        f"Rehearsal of {report.scenario} on the twin of {report.cluster}: {times}",
        "",
        COLUMNS.format("expected", "took", "outcome", "step"),
        *(_row(step) for step in report.steps),
    ]
    for title, told in (
        ("Deviations", report.deviations),
        ("Worth knowing", report.remarks),
        ("Not played as the inventory says", report.not_played),
    ):
        if told:
            lines += ["", f"{title}:", *(f"  - {line.replace(chr(10), chr(10) + '    ')}" for line in told)]
    return "\n".join([*lines, "", report.verdict]) + "\n"


def _row(step: Stepped) -> str:
    expected, took = (f"{step.expected:.1f} s", f"{step.seconds:.1f} s") if step.sla else ("", f"{step.seconds:.1f} s")
    mark = "LATE " if step.late else ""
    return COLUMNS.format(
        expected, "" if step.outcome is Outcome.NOT_BEGUN else took, step.outcome, f"{mark}{step.where}"
    )

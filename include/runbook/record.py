"""A run's record as values: what its events, read from the Daisy host, tell of the run and of its batches.

Whoever may write on the Daisy host may write events. Nothing here believes their shape: what does not fit is left out or
taken for text, and text is made visible before anybody sees it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from include.runbook.custody import Custody, quote_name
from include.runbook.lock import Holder
from include.runbook.nova_settings import Setting, setting_of
from include.runbook.shell import printable, shortened
from include.runbook.vms import Vm, Vms

Event = Mapping[str, Any]


class State(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"


class Result(StrEnum):
    """How one try of a step ended."""

    DONE = "done"
    ALREADY_TRUE = "already true"
    FAILED = "failed"
    RUNNING = "running"
    INTERRUPTED = "interrupted"

    @property
    def good(self) -> bool:
        """True when the step's goal was proven."""
        return self in (Result.DONE, Result.ALREADY_TRUE)


@dataclass(frozen=True)
class Attempt:
    """One try of a step on one host. `command` is empty where nothing was sent; `ended` is None while it goes on.

    `computes`: those that a step was made for that serves several at once. Times in seconds: `expected`, `sla`.
    `superseded`: the failure of a decision, of which no success is recorded, in a run that was resumed after it.
    """

    run_id: str
    id: str
    step: str
    host: str
    result: Result
    begun: datetime
    ended: datetime | None
    found: str = ""
    on: str = ""
    command: str = ""
    output: str = ""
    expected: float = 0.0
    sla: float = 0.0
    computes: tuple[str, ...] = ()
    superseded: bool = False

    def seconds(self, now: datetime) -> float:
        """How long it took, or has taken until `now`."""
        return max(0.0, ((self.ended or now) - self.begun).total_seconds())

    def late(self, now: datetime) -> bool:
        """Whether it has crossed its SLA."""
        return 0 < self.sla < self.seconds(now)


@dataclass(frozen=True)
class Planned:
    """One task of a run's plan; `begins` and `ends` in seconds after the run's beginning."""

    task: str
    step: str
    title: str
    begins: float
    ends: float


@dataclass(frozen=True)
class Part:
    """The run itself, or one of its batches: what was asked for, its plan, its tries and how Airflow has ended it.

    `by_hand`: a person has, and Airflow has marked skipped what had not begun.
    """

    run_id: str
    dag: str
    user: str
    target: str
    batch: bool
    begun: datetime
    computes: tuple[str, ...]
    plan: tuple[Planned, ...]
    predicted: float
    attempts: tuple[Attempt, ...] = ()
    state: State = State.RUNNING
    ended: datetime | None = None
    by_hand: bool = False


@dataclass(frozen=True)
class Decision:
    """What a person has decided for this run: beforehand, or in answer to a question."""

    at: str
    by: str
    what: str


NOT_READ = "not read"
"""The release of a host that a survey could not read."""


@dataclass(frozen=True)
class Seen:
    """A survey of the cluster, as it was recorded."""

    at: datetime
    releases: Mapping[str, str] = field(default_factory=dict)
    active: str = ""
    constraints: tuple[str, ...] = ()
    maintenance: bool = False
    vms: Vms = field(default_factory=dict)
    vms_in_all: int = 0
    services: Mapping[str, bool] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    back_ends: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """What is known of a run, its batches among it, in the order in which they began. The first part is the run itself.

    `now` is when the record was read, and with it who holds the `lock` and of which hosts an installation is noted as under
    way (`reinstalling`). `unreadable` lines were left out.
    """

    owner: str
    cluster: str
    title: str
    a: str
    b: str
    now: datetime
    parts: tuple[Part, ...]
    decisions: tuple[Decision, ...] = ()
    before: Seen | None = None
    after: Seen | None = None
    settings: Mapping[str, tuple[Setting, ...]] = field(default_factory=dict)
    lock: Holder | None = None
    reinstalling: tuple[str, ...] = ()
    unreadable: int = 0

    @property
    def whole(self) -> Part | None:
        """The run itself; None for one that ended before it was allowed to begin."""
        return next((part for part in self.parts if not part.batch), None)

    @property
    def state(self) -> State:
        """How the run stands. Airflow's word that it has succeeded counts only with the proof, which releases the lock last.

        A run that a person has ended and whose failed tasks alone are cleared is a success to Airflow: the rest is skipped.
        """
        if self.whole is None:
            return State.FAILED
        if self.whole.state is not State.SUCCESS:
            return self.whole.state
        mine = self.lock is not None and self.lock.owner == self.owner
        released = [a for a in self.whole.attempts if a.step == "release_lock" and a.result.good]
        return State.SUCCESS if released and not mine and not self.reinstalling else State.FAILED

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every try of every step, of the batches too, in the order in which they began."""
        return tuple(sorted((a for part in self.parts for a in part.attempts), key=lambda a: a.begun))

    @property
    def wanting(self) -> tuple[Attempt, ...]:
        """The last tries of steps that failed or were interrupted, and have not succeeded since."""
        last = {(a.run_id, a.step, a.host): a for a in self.attempts if not a.superseded}
        return tuple(a for a in last.values() if not a.result.good and a.result is not Result.RUNNING)


def read(events: Iterable[Event], owner: str, cluster: str, kept: Custody, now: datetime) -> Record:
    """Return the record that the events are, in the order in which they were written; `kept` was read with them.

    Of the owner no more may be known than the name of the record's file.
    """
    events = tuple(events)
    begun = [event for event in events if event.get("event") == "begun"]
    told = (f"{text(event, 'dag')}/{text(event, 'run_id')}" for event in begun)
    owner = next((name for name in told if quote_name(name) == quote_name(owner)), owner)
    parts = _parts(begun, events, owner, now)
    first: Event = next((event for event in begun if event.get("batch") is not True), {})
    settings = {
        text(event, "host"): found
        for event in events
        if isinstance(event.get("settings"), list) and (found := _settings(event["settings"]))
    }
    return Record(
        owner=visible(owner),
        cluster=visible(cluster),
        title=text(first, "title"),
        a=text(first, "a"),
        b=text(first, "b"),
        now=now,
        parts=parts,
        decisions=(*_asked_for(begun), *_answers(events)),
        before=_seen(events, "before", first=True),
        after=_seen(events, "after", first=False),
        settings=settings,
        lock=_holder(kept),
        reinstalling=tuple(visible(name) for name in sorted(kept.reinstalling)),
        unreadable=sum(event.get("event") == "unreadable" for event in events),
    )


def _holder(kept: Custody) -> Holder | None:
    return Holder(*map(visible, astuple(kept.holder))) if kept.holder else None


def visible(value: str) -> str:
    """Return text that shows what it is: nothing in it paints, hides or runs backwards."""
    return shortened(printable(value))


def text(event: Event, key: str) -> str:
    """Return what the event says under the key, as visible text; empty where it says nothing."""
    value = event.get(key)
    return visible(value if isinstance(value, str) else "" if value is None else str(value)[:1000])


def _parts(begun: list[Event], events: tuple[Event, ...], owner: str, now: datetime) -> tuple[Part, ...]:
    by_run: dict[str, Event] = {}
    first: dict[str, datetime] = {}
    for event in begun:
        by_run[text(event, "run_id")] = event  # a run that is asked again is what it was asked last
        first.setdefault(text(event, "run_id"), moment(event, now))
    attempts = _superseded(_attempts(events, now), events, now)
    ended = {text(event, "run_id"): event for event in events if event.get("event") == "ended"}
    for event in (*(e for a in attempts for e in [{"run_id": a.run_id, "time": a.begun.isoformat()}]), *ended.values()):
        # A run whose beginning could not be recorded, or that ended before it was allowed to begin, is told of all the same.
        run_id = text(event, "run_id")
        if run_id not in by_run:
            by_run[run_id] = {"batch": "__batch-" in run_id, "dag": owner.partition("/")[0]}
            first[run_id] = moment(event, now)
    parts = []
    over = next(
        (ended[run_id] for run_id, event in by_run.items() if event.get("batch") is not True and run_id in ended), None
    )
    for run_id, event in by_run.items():
        mine = [attempt for attempt in attempts if attempt.run_id == run_id]
        end = _end(ended.get(run_id) or over, mine, now)
        if end is not None:
            mine = [
                attempt if attempt.ended or attempt.result is not Result.RUNNING else _cut(attempt, end[1])
                for attempt in mine
            ]
        part = Part(
            run_id=run_id,
            dag=text(event, "dag"),
            user=text(event, "user"),
            target=text(event, "target"),
            batch=event.get("batch") is True,
            begun=first[run_id],
            computes=strings(event.get("computes")),
            plan=_plan(event.get("plan")),
            predicted=number(event.get("predicted")),
            attempts=tuple(mine),
            state=end[0] if end else State.RUNNING,
            ended=end[1] if end else None,
            by_hand=end is not None and "manually" in text(ended.get(run_id, {}), "why"),
        )
        parts.append(part)
    return tuple(sorted(parts, key=lambda part: (part.batch, part.begun)))


def _end(event: Event | None, attempts: list[Attempt], now: datetime) -> tuple[State, datetime] | None:
    """Return how and when a run ended; None where a step has begun since, because the run was resumed."""
    if event is None:
        return None
    at = moment(event, now)
    if any(attempt.begun > at for attempt in attempts):
        return None
    return (State.SUCCESS if event.get("state") == "success" else State.FAILED), at


def _attempts(events: tuple[Event, ...], now: datetime) -> list[Attempt]:
    """Pair what was about to be done with how it ended; what has no end goes on, or was cut off by the next try."""
    found: list[Attempt] = []
    open_: dict[tuple[str, str, str], int] = {}
    for event in events:
        if event.get("event") == "acting":
            attempt = _attempt(event, Result.RUNNING, moment(event, now), None)
            if (earlier := open_.get(_key(attempt))) is not None:
                found[earlier] = _cut(found[earlier], attempt.begun)
            open_[_key(attempt)] = len(found)
            found.append(attempt)
        elif (result := _ENDS.get(text(event, "outcome"))) and event.get("step") != "consent":
            at = moment(event, now)
            attempt = _attempt(event, result, at - timedelta(seconds=number(event.get("seconds"))), at)
            if (earlier := open_.pop(_key(attempt), None)) is None:
                found.append(attempt)
            else:
                found[earlier] = _with_script(attempt, found[earlier])
    return found


_ENDS = {r.value: r for r in (Result.DONE, Result.ALREADY_TRUE, Result.FAILED)}


def _attempt(event: Event, result: Result, begun: datetime, ended: datetime | None) -> Attempt:
    return Attempt(
        run_id=text(event, "run_id"),
        id=text(event, "id"),
        step=text(event, "step"),
        host=text(event, "host"),
        result=result,
        begun=begun,
        ended=ended,
        found=text(event, "found"),
        on=text(event, "on"),
        command=text(event, "command"),
        output=text(event, "output"),
        expected=number(event.get("expected")),
        sla=number(event.get("sla")),
        computes=strings(event.get("computes")),
    )


def _superseded(attempts: list[Attempt], events: tuple[Event, ...], now: datetime) -> list[Attempt]:
    """Mark the failures of decisions that a resumption has cleared: whoever resumes a run clears what has failed.

    A run, or a batch, was resumed where it had ended and a step of it, or of one of its batches, has begun since.
    """
    cleared: dict[str, datetime] = {}
    for event in events:
        run_id, at = text(event, "run_id"), moment(event, now)
        if event.get("event") == "ended" and any(a.begun > at and _part_of(a.run_id, run_id) for a in attempts):
            cleared[run_id] = at
    decisions = {
        (text(event, "run_id"), text(event, "step"), moment(event, now))
        for event in events
        if event.get("event") == "failed"
    }

    def superseded(attempt: Attempt) -> bool:
        at = cleared.get(attempt.run_id)
        return at is not None and attempt.begun <= at and (attempt.run_id, attempt.step, attempt.ended) in decisions

    return [replace(attempt, superseded=superseded(attempt)) for attempt in attempts]


def _part_of(run_id: str, whole: str) -> bool:
    return run_id == whole or run_id.startswith(f"{whole}__batch-")


def _key(attempt: Attempt) -> tuple[str, str, str]:
    return attempt.run_id, attempt.step, attempt.host


def _cut(attempt: Attempt, at: datetime) -> Attempt:
    return replace(attempt, result=Result.INTERRUPTED, ended=max(at, attempt.begun))


def _with_script(end: Attempt, beginning: Attempt) -> Attempt:
    return replace(end, begun=min(end.begun, beginning.begun), on=beginning.on, command=beginning.command)


def _plan(value: object) -> tuple[Planned, ...]:
    rows = [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
    return tuple(
        Planned(
            text(row, "task"), text(row, "step"), text(row, "title"), number(row.get("begins")), number(row.get("ends"))
        )
        for row in rows
    )


def _asked_for(begun: list[Event]) -> Iterable[Decision]:
    """Yield what was decided when the run was triggered; its batches repeat it."""
    for event in begun:
        if event.get("batch") is True:
            continue
        asked = [f"start {text(event, 'dag')} to release {text(event, 'target')}"]
        if event.get("take_over") is True:
            asked.append("take the lock over from whichever run holds it")
        if event.get("accept_newer_schema") is True:
            asked.append("go back although the databases are newer than the old release knows")
        if event.get("return_vms") is True:
            asked.append("move the VMs back at the end")
        policies = _strings_by_name(event.get("vm_policy"))
        for policy in dict.fromkeys(policies.values()):
            names = ", ".join(name for name, word in policies.items() if word == policy)
            asked.append(f"VMs that do not leave: {policy} ({names})")
        yield from (Decision(text(event, "time"), text(event, "user"), visible(what)) for what in asked)


def _answers(events: Iterable[Event]) -> Iterable[Decision]:
    for event in events:
        if event.get("step") == "consent" and event.get("outcome") == "done":
            at = text(event, "at") or text(event, "time")
            yield Decision(at, text(event, "by") or "somebody", f"{text(event, 'host')}: {text(event, 'found')}")


def _seen(events: Iterable[Event], when: str, *, first: bool) -> Seen | None:
    seen: Seen | None = None
    vms: dict[str, Vm] = {}
    for event in events:
        if event.get("when") != when:
            continue
        if event.get("event") == "survey":
            if seen is not None and first:
                break
            seen, vms = _survey(event), {}
        elif event.get("event") == "vms":
            vms |= _vms(event.get("vms"))
    return replace(seen, vms=vms) if seen else None


def _survey(event: Event) -> Seen:
    unread = _strings_by_name(event.get("unread"))
    problems = (*strings(event.get("problems")), text(event, "not_started"), *unread.values())
    services, back_ends = event.get("services"), event.get("back_ends")
    return Seen(
        at=moment(event, datetime.fromtimestamp(0, UTC)),
        releases={name: release or "none" for name, release in _strings_by_name(event.get("releases")).items()}
        | dict.fromkeys(unread, NOT_READ),
        active=text(event, "active"),
        constraints=strings(event.get("constraints")),
        maintenance=event.get("maintenance") is True,
        vms_in_all=int(number(event.get("vms_in_all"))),
        services={visible(str(k)): v is True for k, v in services.items()} if isinstance(services, dict) else {},
        problems=tuple(problem for problem in problems if problem),
        back_ends={visible(str(host)): strings(names) for host, names in back_ends.items()}
        if isinstance(back_ends, dict)
        else {},
    )


def _vms(value: object) -> dict[str, Vm]:
    listed = value.items() if isinstance(value, dict) else ()
    return {
        visible(str(id)): Vm(*(text(vm, key) for key in ("name", "host", "status")))
        for id, vm in listed
        if isinstance(vm, dict)
    }


def _settings(rows: list[object]) -> tuple[Setting, ...]:
    found = []
    for row in rows:
        try:
            found.append(setting_of(row))  # type: ignore[arg-type]  # anything may lie there
        except (KeyError, TypeError):
            continue
    return tuple(found)


def moment(event: Event, otherwise: datetime) -> datetime:
    """Return the event's time; `otherwise` where it tells none that can be read."""
    try:
        at = datetime.fromisoformat(str(event.get("time")))
    except ValueError:
        return otherwise
    # Far from any run, arithmetic would overflow.
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC) if 2000 < at.year < 2200 else otherwise


def number(value: object) -> float:
    """Return a number of seconds, or how many; 0 for what is none."""
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9
    return float(value) if fits else 0.0  # type: ignore[arg-type]


def strings(value: object) -> tuple[str, ...]:
    """Return a list's entries as visible text."""
    return tuple(visible(str(each)) for each in value) if isinstance(value, list) else ()


def _strings_by_name(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {visible(str(name)): "" if each is None else visible(str(each)) for name, each in value.items()}

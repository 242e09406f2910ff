"""What a run has opened, and must close again: the lock, bans, maintenance, computes out of service, installations.

Read from the record. Only the lock and the notes of reinstallations lie on the Daisy host itself and are known for certain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from include.runbook.record import Attempt, Record, State


@dataclass(frozen=True)
class Opened:
    """One thing that was opened; `until` is None while it is open. `todo` says what to do about it, and what not to.

    `sure` is False where the step that opens it did not come to its end: then it may be open.
    """

    what: str
    since: datetime | None
    until: datetime | None
    todo: str
    sure: bool = True

    @property
    def open(self) -> bool:
        """True while it was not closed."""
        return self.until is None


def opened(record: Record) -> tuple[Opened, ...]:
    """Return what the run has opened, what is open now first."""
    found = (
        *_lock(record),
        *_reinstallations(record),
        *_b_out_of_service(record),
        *_computes(record),
        *_ban(record),
        *_round_trip(record),
        *_maintenance(record),
    )
    return tuple(sorted(found, key=lambda each: not each.open))


def _lock(record: Record) -> Iterator[Opened]:
    taken, held = _first(record, "take_lock"), record.lock
    if held is not None and held.owner == record.owner:
        gone = record.state is not State.RUNNING
        todo = "No other run can change the cluster. Only if this one is never resumed: start a new one with take_over."
        since = taken.begun if taken else None
        yield Opened(
            "The cluster is locked by this run", since, None, todo if gone else "The run releases it at its end."
        )
        return
    released = _last(record, "release_lock")
    if taken is not None:
        yield Opened("The cluster was locked by this run", taken.begun, _end(released) or record.now, "")
    if held is not None:
        todo = "What is said here may be its matter by now: read its record."
        yield Opened(f"The cluster is locked by another run: {held}", None, None, todo)


def _reinstallations(record: Record) -> Iterator[Opened]:
    for name in record.reinstalling:
        step = "install_b" if name == record.b else "install_computes"
        todo = f"Do not use {name}, and leave the note that says so. Resumed, the step reads how far the host has come."
        yield Opened(f"An installation of {name} was begun and is not proven", _since(record, step), None, todo)


def _b_out_of_service(record: Record) -> Iterator[Opened]:
    down = [attempt for attempt in _tries(record, "uninstall_b") if attempt.command]
    if down:
        what = f"B ({record.b}) is taken out of the cluster: A serves alone"
        until = _proven_after(record, "verify_pacemaker_on_b", down[0])
        yield Opened(what, down[0].begun, until, "Do not restart A: nothing takes over from it.", _sure(down))


def _computes(record: Record) -> Iterator[Opened]:
    """Computes that take no VMs: disabled before they are drained, and out of service from their uninstallation on."""
    disabled: dict[str, Attempt] = {}
    for attempt in (*_tries(record, "drain_computes"), *_tries(record, "finish_drain")):
        if attempt.command:
            for name in attempt.computes:
                disabled.setdefault(name, attempt)
    down = {attempt.host: attempt for attempt in reversed(_tries(record, "uninstall_compute")) if attempt.command}
    for name, attempt in down.items():
        todo = "Nothing runs there until it is back."
        back = _proven_after(record, "enable_scheduling", attempt, name)
        yield Opened(f"{name} is out of service: uninstalled", attempt.begun, back, todo, attempt.result.good)
    still: dict[datetime | None, list[str]] = {}
    for name, attempt in disabled.items():
        if name not in down:
            back = _proven_after(record, "enable_scheduling", attempt, name)
            still.setdefault(back or _given_back(record, attempt, name), []).append(name)
    for until, names in still.items():
        todo = (
            "Only if the run is never resumed, on A, for each: openstack compute service set --enable NAME nova-compute"
        )
        since = min(disabled[name].begun for name in names)
        sure = all(disabled[name].result.good for name in names)
        yield Opened(f"The scheduler may not use {', '.join(names)}", since, until, todo, sure)


def _ban(record: Record) -> Iterator[Opened]:
    tries = _tries(record, "ban_float_ip_on_b")
    if tries:
        what = f"B ({record.b}) is banned from the float IP"
        todo = "Leave the ban: it keeps B from taking over before it is proven. Step A5.8 clears it."
        until = _proven_after(record, "clear_ban", tries[-1])
        yield Opened(what, tries[0].begun, until, todo, _sure(tries))


def _round_trip(record: Record) -> Iterator[Opened]:
    tries = [attempt for attempt in _tries(record, "switch_over_and_back") if attempt.command]
    if tries and not all(attempt.result.good for attempt in tries):
        todo = "Look on A at: pcs constraint; crm_mon -1. Resumed, the step puts it right."
        until = _proven_after(record, "switch_over_and_back", tries[0])
        yield Opened(
            "The switchover there and back broke off: B may be active", tries[0].begun, until, todo, sure=False
        )


def _maintenance(record: Record) -> Iterator[Opened]:
    note = _last(record, "note_cluster_mode")
    left = [
        a
        for name in ("leave_maintenance_to_switch", "leave_maintenance_for_b")
        for a in _tries(record, name)
        if a.command
    ]
    if note is not None and "unmanaged" in note.found and left:
        todo = (
            "The last steps of the resumed run put the mode back. By hand: pcs property set on A, in the words found."
        )
        found = note.found.partition(", which")[0]
        until = _proven_after(record, "restore_cluster_mode", left[0])
        yield Opened(f"Maintenance was left; the cluster was {found}", left[0].begun, until, todo, _sure(left))


def _tries(record: Record, step: str, host: str | None = None) -> list[Attempt]:
    return [a for a in record.attempts if a.step == step and host in (None, a.host)]


def _first(record: Record, step: str) -> Attempt | None:
    return next(iter(_tries(record, step)), None)


def _last(record: Record, step: str) -> Attempt | None:
    return next(reversed(_tries(record, step)), None)


def _since(record: Record, step: str) -> datetime | None:
    acted = [attempt for attempt in _tries(record, step) if attempt.command]
    return acted[0].begun if acted else None


def _end(attempt: Attempt | None) -> datetime | None:
    return attempt.ended if attempt else None


def _sure(tries: list[Attempt]) -> bool:
    return any(attempt.result.good for attempt in tries)


def _proven_after(record: Record, step: str, opening: Attempt, host: str | None = None) -> datetime | None:
    """Return when the step was proven true after that attempt; None where it was not."""
    proven = (a.ended for a in _tries(record, step, host) if a.result.good and a.begun >= opening.begun)
    return next(proven, None)


def _given_back(record: Record, opening: Attempt, name: str) -> datetime | None:
    tries = (a for a in _tries(record, "give_back_computes") if a.result.good and a.begun >= opening.begun)
    return next((a.ended for a in tries if name in a.computes), None)

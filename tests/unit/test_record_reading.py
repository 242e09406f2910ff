"""A record is fetched from the Daisy host in pieces, whatever its size, by real scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from include.runbook import custody, lock, record_reading
from include.runbook.cluster import Cluster
from include.runbook.errors import FactUnreadable, HostUnreachable
from include.runbook.reach import CredentialsOf, Sweep
from include.runbook.record import Record
from include.runbook.shell import Output
from include.runbook.step import Read, Run

from .conftest import LocalShell
from .record_runs import A, began, step


@pytest.fixture(autouse=True)
def local(shell: LocalShell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def sweep(cluster: Cluster, reads: Iterable[Read], credentials_of: CredentialsOf) -> Sweep:
        return Sweep({read: shell.run(read.host, read.command, 10) for read in dict.fromkeys(reads)})

    monkeypatch.setattr(record_reading, "sweep", sweep)


def fetched(run: Run) -> Record:
    def nobody(connection_id: str) -> object:
        raise AssertionError(connection_id)

    return asyncio.run(record_reading.read_from_daisy(run, nobody))  # type: ignore[arg-type]


def test_a_run_without_a_record_is_read_as_one_without_events(run: Run) -> None:
    assert fetched(run).parts == ()


def test_a_record_is_read_in_pieces_with_the_lock_and_the_notes(
    run: Run, shell: LocalShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_reading, "PIECE", 100)
    shell.run(run.cluster.daisy, lock.take(run), 10)
    events = [began({}, user="Zoë"), *step(1, 2, "A2_ban_float_ip_on_b", A, found="größer " * 50)]
    for script in custody.record_scripts(run, events):
        assert shell.run(run.cluster.daisy, script, 10).ok
    of = fetched(run)
    assert of.lock is not None
    assert (of.lock.owner, of.unreadable) == (run.owner, 0)
    assert of.whole is not None
    assert of.whole.user == "Zoë"
    assert [attempt.found for attempt in of.attempts] == ["größer " * 50]


def test_an_endless_record_is_read_up_to_a_bound(run: Run, shell: LocalShell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_reading, "RECORD_LIMIT", 1000)
    for _ in range(20):
        shell.run(run.cluster.daisy, custody.record_script(run, began({})), 10)
    shell.sent.clear()
    of = fetched(run)
    assert of.whole is not None
    assert of.unreadable == 1
    assert sum("base64" in script for _, script in shell.sent) == 1


def test_a_daisy_host_that_does_not_answer_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(cluster: Cluster, reads: Iterable[Read], credentials_of: CredentialsOf) -> Sweep:
        return Sweep(dict.fromkeys(reads, HostUnreachable("daisy", "refused")))

    monkeypatch.setattr(record_reading, "sweep", nothing)
    with pytest.raises(HostUnreachable, match="daisy cannot be reached"):
        fetched(run)


def test_a_piece_that_is_no_piece_is_unreadable(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def garbled(cluster: Cluster, reads: Iterable[Read], credentials_of: CredentialsOf) -> Sweep:
        return Sweep({read: Output(0, "5\n" if "wc -c" in read.command else "Welcome!!") for read in reads})

    monkeypatch.setattr(record_reading, "sweep", garbled)
    with pytest.raises(FactUnreadable):
        fetched(run)


def test_records_are_listed_the_newest_last(run: Run, shell: LocalShell) -> None:
    for number in (1, 2):
        shell.run(run.cluster.daisy, custody.record_script(replace(run, owner=f"x/{number}"), began({})), 10)
        Path(custody.record_path(replace(run, owner=f"x/{number}"))).touch()
    listed = asyncio.run(record_reading.records_on_daisy(run.cluster, lambda id: None))  # type: ignore[arg-type, return-value]
    assert listed == ("x_1", "x_2")


def test_lines_of_many_steps_at_once_do_not_mix(run: Run, shell: LocalShell) -> None:
    """Two hundred computes write at the same time; a line is larger than what a shell's printf writes in one go."""
    script = custody.record_script(run, {"step": "x", "command": "y" * 6000, "output": "z" * 4000})
    together = "\n".join(f"( {script} ) &" for _ in range(12)) + "\nwait"
    assert shell.run(run.cluster.daisy, together, 30).ok
    events = custody.read_record(Path(custody.record_path(run)).read_text())
    assert len(events) == 12
    assert {len(event["command"]) for event in events} == {6000}
    assert list(Path(custody.record_path(run)).parent.iterdir()) == [Path(custody.record_path(run))]


def test_many_events_are_written_in_few_scripts_each_small_enough(run: Run, shell: LocalShell) -> None:
    events = [{"step": str(n), "found": "'" * 3000} for n in range(30)]
    scripts = list(custody.record_scripts(run, events))
    assert 2 < len(scripts) < 30
    for script in scripts:
        assert shell.run(run.cluster.daisy, script, 10).ok
    assert custody.read_record(Path(custody.record_path(run)).read_text()) == tuple(events)


def test_a_run_that_left_no_record_gets_none_by_its_end(run: Run, shell: LocalShell) -> None:
    assert shell.run(run.cluster.daisy, custody.record_script(run, {"event": "ended"}, begin=False), 10).ok
    assert not Path(custody.folder(run.cluster)).exists()

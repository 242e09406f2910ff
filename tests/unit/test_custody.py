"""What the product keeps on the Daisy host, written and read by real scripts."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from include.runbook import custody, lock
from include.runbook.cluster import Cluster
from include.runbook.errors import ConnectionLost, FactUnreadable
from include.runbook.shell import Output
from include.runbook.step import Run

from .conftest import LocalShell

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAeGbr4Bq0b1Jm3lAOrJVV8l2Cw8Uf0dR7Yy0m0mXw1q"
OTHER = KEY.replace("AeGbr", "BfHcs")


def read(cluster: Cluster, shell: LocalShell) -> custody.Custody:
    return custody.read(shell.run(cluster.daisy, custody.read_script(cluster), 10), cluster)


def test_a_daisy_host_that_no_run_has_touched_holds_nothing(cluster: Cluster, shell: LocalShell) -> None:
    assert read(cluster, shell) == custody.Custody(None)


def test_lock_pins_and_reinstallations_are_read_in_one_go(run: Run, shell: LocalShell) -> None:
    cluster = run.cluster
    shell.run(cluster.daisy, lock.take(run), 10)
    node = cluster.computes[0]
    Path(custody.pins_path(cluster)).write_text(f"{node.address} {KEY} a comment\n[10.0.0.1]:2222 {OTHER}")
    note = Path(custody.reinstalling_path(cluster, node))
    note.parent.mkdir()
    note.touch()
    shell.sent.clear()
    found = read(cluster, shell)
    assert found.holder is not None
    assert found.holder.owner == run.owner
    assert found.pins == {node.address: KEY, "[10.0.0.1]:2222": OTHER}
    assert found.reinstalling == {node.name}
    assert len(shell.sent) == 1


def test_a_pin_is_newer_than_the_inventory(cluster: Cluster) -> None:
    node = cluster.computes[0].model_copy(update={"host_key": KEY})
    assert custody.Custody(None).host_key(node) == KEY
    assert custody.Custody(None, {node.address: OTHER}).host_key(node) == OTHER
    moved = node.model_copy(update={"port": 2222})
    assert custody.Custody(None, {node.address: OTHER}).host_key(moved) == KEY


def test_a_reading_that_was_cut_off_is_a_lost_connection(cluster: Cluster) -> None:
    with pytest.raises(ConnectionLost):
        custody.read(Output(None, "rollback_compute/run-1\n"), cluster)


def test_a_reading_that_is_garbled_is_unreadable(cluster: Cluster) -> None:
    with pytest.raises(FactUnreadable, match="daisy"):
        custody.read(Output(0, "Welcome!\n"), cluster)


def test_events_are_appended_to_the_runs_own_record_and_read_back(run: Run, shell: LocalShell) -> None:
    events = [{"step": "take_lock", "found": 'it\'s $(date) `id` \\ "x"\nand more'}, {"step": "ende", "found": "über"}]
    for event in events:
        assert shell.run(run.cluster.daisy, custody.record_script(run, dict(event)), 10).ok
    assert custody.read_record(Path(custody.record_path(run)).read_text()) == tuple(events)
    assert custody.record_path(replace(run, owner="other/run")) != custody.record_path(run)


def test_a_record_that_a_crash_has_cut_off_is_read_up_to_there() -> None:
    assert custody.read_record('{"a": 1}\n{"b": ') == ({"a": 1}, {"event": "unreadable", "line": '{"b": '})


@pytest.mark.parametrize("owner", ["../../etc/passwd", "a b;$(reboot)", "manual__2026-06-01T10:00:00+00:00", "ü"])
def test_a_record_cannot_leave_its_folder(run: Run, owner: str) -> None:
    path = custody.record_path(replace(run, owner=owner))
    assert Path(path).parent == Path(f"{custody.folder(run.cluster)}/record")
    assert shlex.quote(path) == path


def test_a_node_is_reached_only_with_its_pinned_key_and_without_questions(cluster: Cluster) -> None:
    command = shlex.split(custody.ssh_to(cluster, cluster.computes[0]))
    options = {command[i + 1] for i, word in enumerate(command) if word == "-o"}
    assert options >= {"BatchMode=yes", "StrictHostKeyChecking=yes", "GlobalKnownHostsFile=/dev/null"}
    assert f"UserKnownHostsFile={custody.pins_path(cluster)}" in options
    assert command[-1] == f"root@{cluster.computes[0].address}"

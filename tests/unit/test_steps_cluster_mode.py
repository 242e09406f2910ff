"""Maintenance that was there before a run: noted once, left where Pacemaker has to act, put back as it was found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from include.runbook import facts
from include.runbook.cluster import Host
from include.runbook.errors import GoalNotReached, PreconditionFailed
from include.runbook.perform import Outcome, judge, perform
from include.runbook.plan import hosts_of
from include.runbook.step import Run, kind
from include.runbook.steps.cluster_mode import as_found, note_path

from .site import A, B, Site

MODES = [
    ("maintenance-mode=true",),
    ("maintenance-mode=Yes",),
    ("unmanaged=true",),
    ("unmanaged=on", "maintenance-mode=1"),
]


def do(name: str, run: Run, site: Site) -> Outcome:
    this = kind(name)
    return perform(this.make(run, hosts_of(this, run)[0]), site, run, print)


def mode(site: Site, host: Host) -> set[str]:
    """The properties that keep the cluster unmanaged now, as name=word."""
    text = (site.says / host.name / "crm_config.xml").read_text()
    found = facts.unmanaging(facts.parse_cluster_properties(text, source="test: crm_config"))
    return {f"{name}={word}" for name, word in found.items()}


@pytest.fixture
def good(site: Site) -> Site:
    """A and B on 100 and online, A active."""
    for host in (site.cluster.controllers.a, site.cluster.controllers.b):
        site.install(host, "100")
    site.pacemaker(active=A)
    return site


@pytest.mark.parametrize("found", MODES)
def test_a_mode_that_was_found_is_left_and_put_back_in_the_same_words(
    run: Run, good: Site, found: tuple[str, ...]
) -> None:
    a = run.cluster.controllers.a
    good.pacemaker(active=A, properties=found)
    assert do("note_cluster_mode", run, good).acted
    assert do("leave_maintenance_for_b", run, good).acted
    assert mode(good, a) == set()
    assert not judge(as_found(run), good).met
    assert do("restore_cluster_mode", run, good).acted
    assert mode(good, a) == set(found)
    assert judge(as_found(run), good).met
    assert not do("restore_cluster_mode", run, good).acted


def test_what_was_found_and_left_is_told_to_the_log_and_the_record(run: Run, good: Site) -> None:
    good.pacemaker(active=A, properties=("unmanaged=true",))
    told = "found unmanaged (unmanaged=true), which is put back at the end of the run (E1)"
    assert told in do("note_cluster_mode", run, good).found
    assert told in do("leave_maintenance_for_b", run, good).found


def test_the_note_is_never_overwritten(run: Run, good: Site) -> None:
    good.pacemaker(active=A, properties=("maintenance-mode=true",))
    do("note_cluster_mode", run, good)
    before = Path(note_path(run)).read_text()
    good.pacemaker(active=A)
    assert not do("note_cluster_mode", run, good).acted
    assert Path(note_path(run)).read_text() == before


def test_each_run_notes_what_it_found_itself(run: Run, good: Site) -> None:
    do("note_cluster_mode", run, good)
    good.pacemaker(active=A, properties=("maintenance-mode=true",))
    other = replace(run, owner="rollback_cluster/run-2")
    assert "maintenance-mode=true" in do("note_cluster_mode", other, good).found
    assert not judge(as_found(run), good).met
    assert judge(as_found(other), good).met


@pytest.mark.parametrize("name", ["leave_maintenance_to_switch", "leave_maintenance_for_b", "leave_maintenance"])
def test_a_mode_of_which_there_is_no_note_is_not_left(run: Run, good: Site, name: str) -> None:
    good.pacemaker(active=B, properties=("maintenance-mode=true",))
    with pytest.raises(PreconditionFailed, match="no note of the mode in which the cluster was found"):
        do(name, run, good)
    assert good.asked == []


def test_maintenance_is_left_for_the_switch_only_where_something_has_to_move(run: Run, good: Site) -> None:
    good.pacemaker(active=A, properties=("maintenance-mode=true",))
    do("note_cluster_mode", run, good)
    assert not do("leave_maintenance_to_switch", run, good).acted
    good.pacemaker(active=B, properties=("maintenance-mode=true",))
    assert do("leave_maintenance_to_switch", run, good).acted
    assert mode(good, run.cluster.controllers.a) == set()


def test_maintenance_that_ha_has_set_by_itself_is_left_for_good(run: Run, good: Site) -> None:
    do("note_cluster_mode", run, good)
    good.pacemaker(active=A, properties=("maintenance-mode=true",))
    assert do("leave_maintenance", run, good).acted
    assert mode(good, run.cluster.controllers.a) == set()
    assert not do("restore_cluster_mode", run, good).acted


def test_maintenance_that_ha_sets_again_after_that_is_not_taken_for_the_mode_that_was_found(
    run: Run, good: Site, impatient: None
) -> None:
    do("note_cluster_mode", run, good)
    good.pacemaker(active=A, properties=("maintenance-mode=true",))
    with pytest.raises(GoalNotReached, match="find out who set it"):
        do("restore_cluster_mode", run, good)
    assert good.asked == []


def test_a_finished_run_triggered_again_leaves_a_cluster_in_maintenance_alone(run: Run, good: Site) -> None:
    for name in ("note_cluster_mode", "switch_over_and_back"):
        do(name, run, good)
    moves = list(good.asked)
    good.pacemaker(active=A, properties=("maintenance-mode=true",))
    again = replace(run, owner="rollback_cluster/run-2")
    do("note_cluster_mode", again, good)
    for name in (
        "clear_ban_on_a",
        "leave_maintenance_to_switch",
        "move_float_ip_to_a",
        "ban_float_ip_on_b",
        "leave_maintenance_for_b",
        "clear_ban",
        "leave_maintenance",
        "switch_over_and_back",
        "restore_cluster_mode",
    ):
        assert not do(name, again, good).acted, name
    assert good.asked == moves

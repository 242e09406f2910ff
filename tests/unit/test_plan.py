"""A plan: order, times and hosts worked out from the steps alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from include.runbook.plan import Plan, Stage, clock, hosts_of, make_steps, nodes_rolled_back, plan_text, step_text
from include.runbook.step import KINDS, Kind, Over, Run, kind


def stage(name: str, *after: str, rounds: tuple[Plan, ...] = ()) -> Stage:
    this = None if rounds else kind(name)
    return Stage(name, this.title if this else name, frozenset(after), this, rounds)


def seconds(run: Run, name: str) -> float:
    return kind(name).timing.expected(run.cluster.pace)


@pytest.fixture
def plan(run: Run) -> Plan:
    """Fetching and editing tecs.conf beside the drain; both before the uninstallation."""
    stages = (
        stage("fetch_tecs_conf"),
        stage("edit_tecs_conf_for_computes", "fetch_tecs_conf"),
        stage("drain_computes"),
        stage("uninstall_compute", "edit_tecs_conf_for_computes", "drain_computes"),
    )
    return Plan("rollback_compute", replace(run, computes=run.cluster.computes[:2]), stages)


def test_stages_side_by_side_cost_the_longer_of_them(plan: Plan) -> None:
    longer = max(120, 60 + 60)
    assert plan.predicted == pytest.approx((longer + 120) / 100)


def test_the_critical_path_is_the_chain_that_takes_longest(run: Run, plan: Plan) -> None:
    short = Plan(
        "x", run, (stage("take_lock"), stage("drain_computes"), stage("release_lock", "take_lock", "drain_computes"))
    )
    assert short.critical_path == ("drain_computes", "release_lock")
    assert plan.critical_path[-1] == "uninstall_compute"


def test_a_person_does_every_host_one_after_the_other(plan: Plan) -> None:
    assert plan.serial() == pytest.approx((60 + 60 + 120 + 2 * 120) / 100)


def test_rounds_go_one_after_the_other(run: Run, plan: Plan) -> None:
    whole = Plan("rollback_cluster", run, (stage("take_lock"), stage("batches", "take_lock", rounds=(plan, plan))))
    assert whole.predicted == pytest.approx(seconds(run, "take_lock") + 2 * plan.predicted)
    assert whole.tasks == 1 + 1 + 2 * plan.tasks


def test_a_plan_without_stages_takes_no_time(run: Run) -> None:
    empty = Plan("x", run, ())
    assert (empty.predicted, empty.critical_path) == (0.0, ())


@pytest.mark.parametrize(
    ("scenario", "with_b", "with_computes"),
    [("rollback_cluster", True, True), ("rollback_controller", True, False), ("rollback_compute", False, True)],
)
def test_a_scenario_rolls_back_its_own_nodes_only(run: Run, scenario: str, with_b: bool, with_computes: bool) -> None:
    nodes = nodes_rolled_back(replace(run, dag=scenario))
    assert (run.cluster.controllers.b in nodes, run.computes[0] in nodes) == (with_b, with_computes)
    assert run.cluster.controllers.a not in nodes


@pytest.mark.parametrize("this", KINDS.values(), ids=lambda this: this.name)
def test_every_step_can_be_made_and_read_before_anything_is_touched(run: Run, this: Kind) -> None:
    made = make_steps(this, replace(run, dag="rollback_cluster"))
    assert len(made) == len(hosts_of(this, replace(run, dag="rollback_cluster"))) > 0
    for each in made:
        assert each.kind is this
        assert bool(each.action) == this.changes, "a step acts if and only if it says that it changes something"
        assert f"# goal: {each.goal.sentence}" in step_text(each)
        # What is saved of every kind of host takes more words than what is done to one.
        most = 20_000 if this.name == "save_restore_points" else 8_000
        assert "lines of include/runbook/conf_edit.py" in step_text(each) or len(step_text(each)) < most


def test_a_step_over_many_hosts_is_about_each_of_them(run: Run) -> None:
    several = replace(run, computes=run.cluster.computes, dag="rollback_compute")
    for this in KINDS.values():
        if this.over in (Over.COMPUTES, Over.NODES):
            about = [each.subject or each.host.name for each in make_steps(this, several)]
            assert len(set(about)) == len(about) > 1, this.name


def test_the_plan_names_every_stage_its_times_and_its_hosts(plan: Plan) -> None:
    text = plan_text(plan)
    for each in plan.stages:
        assert each.title in text
    assert "host-10-43-203-101, host-10-43-203-102" in text
    assert "at pace 100" in text
    assert "lines of include/runbook/drain.py" in text


def test_the_plan_without_commands_is_its_table(plan: Plan) -> None:
    assert "openstack" not in plan_text(plan, commands=False)


@pytest.mark.parametrize(("given", "shown"), [(0, "0:00"), (59.6, "1:00"), (1502, "25:02"), (3600, "1:00:00")])
def test_the_clock_shows_minutes_and_from_an_hour_on_hours(given: float, shown: str) -> None:
    assert clock(given) == shown

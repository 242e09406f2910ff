"""How a plan is walked: order, side by side, what follows a failure, batches one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.rehearsal.errors import RehearsalEnded, RehearsalError
from include.rehearsal.expectation import acts_in
from include.rehearsal.report import Outcome, Stepped
from include.rehearsal.walk import Walk
from include.runbook.cluster import Cluster
from include.runbook.plan import Plan, Stage
from include.runbook.step import Run, kind

Work = Callable[[Stage], Outcome]


@dataclass
class Played(Walk):
    """A walk whose steps are played by a function, each stage with as many of them as `wide` says."""

    work: Work = lambda stage: Outcome.DONE
    wide: dict[str, int] = field(default_factory=dict)

    def _playable(self, stage: Stage) -> bool:
        return True

    def _work(self, stage: Stage) -> Iterator[Callable[[], Stepped | None]]:
        if stage.rounds:
            yield lambda: self._batches(stage)
            return
        for number in range(self.wide.get(stage.task_id, 1)):
            yield lambda number=number: self._stepped(stage, f"h{number}", self.work(stage), "")


def stages(**after: str) -> tuple[Stage, ...]:
    """Stages by name, each with the names of those that it comes after."""
    return tuple(Stage(name, f"A1 {name}", frozenset(names.split())) for name, names in after.items())


@pytest.fixture
def run(cluster: Cluster) -> Run:
    return Run(cluster, "100", cluster.computes, owner="rollback_cluster/1", dag="rollback_cluster")


def walk_of(made: tuple[Stage, ...], run: Run, work: Work, **wide: int) -> Played:
    nothing: Any = SimpleNamespace()
    return Played(
        nothing,
        Plan("rollback_cluster", run, made),
        nothing,
        lambda kind, host, batch: True,
        lambda stepped: None,
        threading.Event(),
        work=work,
        wide=wide,
    )


def test_a_stage_begins_when_all_before_it_are_well(run: Run) -> None:
    begun: list[str] = []

    def work(stage: Stage) -> Outcome:
        begun.append(stage.task_id)
        return Outcome.DONE

    walk = walk_of(stages(last="left right", left="first", right="first", first=""), run, work, left=5)
    assert walk.go()
    assert begun[0] == "first"
    assert sorted(begun[1:7]) == ["left"] * 5 + ["right"]
    assert begun[7:] == ["last"]


def test_what_the_plan_runs_side_by_side_runs_so(run: Run) -> None:
    together = threading.Barrier(3, timeout=20)

    def work(stage: Stage) -> Outcome:
        together.wait()
        return Outcome.DONE

    assert walk_of(stages(one="", other=""), run, work, one=2).go()


def test_after_a_failure_only_what_does_not_depend_on_it_goes_on(run: Run) -> None:
    made = stages(bad="", after="bad", beyond="after", other="", end="beyond other")
    walk = walk_of(made, run, lambda stage: Outcome.FAILED if stage.task_id == "bad" else Outcome.DONE)
    assert not walk.go()
    assert {step.task_id: step.outcome for step in walk.steps} == {
        "bad": Outcome.FAILED,
        "other": Outcome.DONE,
        "after": Outcome.NOT_BEGUN,
        "beyond": Outcome.NOT_BEGUN,
        "end": Outcome.NOT_BEGUN,
    }


def test_one_host_that_fails_fails_its_stage(run: Run) -> None:
    outcomes = iter([Outcome.DONE, Outcome.FAILED, Outcome.DONE])
    walk = walk_of(stages(many="", after="many"), run, lambda stage: next(outcomes), many=3)
    assert not walk.go()
    assert [step.outcome for step in walk.steps if step.task_id == "after"] == [Outcome.NOT_BEGUN]


def test_batches_go_one_after_the_other_and_none_begins_after_one_that_failed(run: Run) -> None:
    rounds = tuple(Plan("rollback_compute", run, stages(in_batch="")) for _ in range(3))
    made = (Stage("batches", "A4 Batches", frozenset(), rounds=rounds), *stages(after="batches"))
    outcomes = iter([Outcome.DONE, Outcome.FAILED])
    walk = walk_of(made, run, lambda stage: next(outcomes))
    assert not walk.go()
    assert [(step.task_id, step.batch, step.outcome) for step in walk.steps] == [
        ("in_batch", 1, Outcome.DONE),
        ("in_batch", 2, Outcome.FAILED),
        ("batches", 0, Outcome.FAILED),
        ("after", 0, Outcome.NOT_BEGUN),
    ]


def test_a_walk_that_is_told_to_end_begins_nothing_more(run: Run) -> None:
    walk = walk_of(stages(first="", second="first"), run, lambda stage: Outcome.DONE)
    walk.tell = lambda stepped: walk.ended.set()
    with pytest.raises(RehearsalEnded):
        walk.go()
    assert [step.task_id for step in walk.steps] == ["first"]


def test_an_error_that_nobody_foresaw_ends_the_walk_and_is_not_hidden(run: Run) -> None:
    def work(stage: Stage) -> Outcome:
        raise ZeroDivisionError

    walk = walk_of(stages(first=""), run, work)
    with pytest.raises(ZeroDivisionError):
        walk.go()
    assert walk.ended.is_set()


def test_a_decision_that_nobody_has_taught_the_rehearsal_is_refused_by_its_name(run: Run) -> None:
    nothing: Any = SimpleNamespace()
    plan = Plan("rollback_cluster", run, stages(A9_new_decision=""))
    with pytest.raises(RehearsalError, match="does not know the decisions A9_new_decision of rollback_cluster"):
        Walk(nothing, plan, nothing, lambda kind, host, batch: True, lambda stepped: None, threading.Event())


# ---- which steps are expected to act -------------------------------------------------------------------------------


def plan_with(run: Run, *names: str) -> Plan:
    return Plan(run.dag, run, tuple(Stage(kind(name).task_id, name, frozenset(), kind(name)) for name in names))


def test_a_step_that_changes_something_is_expected_to_act(run: Run) -> None:
    acts = acts_in(plan_with(run, "ban_float_ip_on_b"))
    assert acts(kind("ban_float_ip_on_b"), run.cluster.controllers.a, 0)
    assert acts(kind("uninstall_compute"), run.computes[0], 3)


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        ("verify_data_on_a", 0),
        ("back_up_databases", 0),
        ("fetch_tecs_conf_for_b", 0),
        ("let_b_follow_a", 0),
        ("fetch_tecs_conf", 2),
        ("take_lock", 1),
    ],
    ids=[
        "a check",
        "nothing to back up",
        "fetched for the computes",
        "a shared disk",
        "fetched before",
        "the run's lock",
    ],
)
def test_a_step_whose_work_is_done_already_may_rest(name: str, batch: int, run: Run) -> None:
    acts = acts_in(plan_with(run, "take_lock"))
    assert not acts(kind(name), run.cluster.daisy, batch)


def test_what_the_first_batch_fetches_and_what_replicated_data_needs_is_expected(run: Run, tmp_path: Path) -> None:
    assert acts_in(plan_with(run))(kind("fetch_tecs_conf"), run.cluster.daisy, 1)
    replicated = run.cluster.model_copy(update={"storage": "local"})
    acts = acts_in(plan_with(Run(replicated, "100", run.computes, dag="rollback_cluster")))
    assert acts(kind("let_b_follow_a"), replicated.daisy, 0)

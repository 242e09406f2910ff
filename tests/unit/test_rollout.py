"""Who goes on when computes fail, and when nobody does, read from a site whose programs are stand-ins."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import pytest

from include.runbook import rollout
from include.runbook.cluster import Cluster, Host
from include.runbook.errors import ComputesUntouched, HostUnreachable, TooManyFailures
from include.runbook.goals import taken_down
from include.runbook.perform import narrowed
from include.runbook.plan import hosts_of
from include.runbook.preconditions import findings
from include.runbook.reach import Sweep
from include.runbook.rollout import Tally
from include.runbook.shell import Output
from include.runbook.step import KINDS, Of, Read, Run

from .site import Site, judged


@pytest.fixture
def three(run: Run) -> Run:
    return replace(run, computes=run.cluster.computes[:3])


def test_each_compute_is_judged_by_itself(three: Run, site: Site) -> None:
    good, bad, bare = three.computes
    site.install(good, "100")
    site.install(bad, "101")
    site.install(bare, None)
    tally = rollout.tally(three, taken_down, partial(judged, site))
    assert tally.done == (good.name, bare.name)
    assert tally.failed == {bad.name: f"{bad.name} has release 101; {bad.name} has release 101"}


def test_what_was_never_saved_or_drained_may_not_be_taken_down(three: Run, site: Site) -> None:
    for compute in three.computes:
        site.install(compute, "101")
    assert rollout.tally(three, rollout.ready, partial(judged, site)).done == ()


def test_a_compute_is_not_back_before_its_services_are(three: Run, site: Site) -> None:
    for compute in three.computes:
        site.install(compute, "100")
    assert rollout.tally(three, rollout.back, partial(judged, site)).done == ()


@pytest.mark.parametrize(("allowed", "left"), [(1, 0), (3, 2)])
def test_so_many_more_may_fail(allowed: int, left: int) -> None:
    assert Tally(("a",), {"b": "why"}).failures_left(allowed) == left


def test_beyond_the_budget_it_is_said_who_is_done_who_failed_and_who_is_untouched() -> None:
    tally = Tally(("a",), {"b": "it burns", "c": "it is gone"}, ("d", "e"))
    with pytest.raises(TooManyFailures) as told:
        tally.failures_left(1)
    for line in ("2 computes have failed, 1 are allowed", "done (1): a", "failed (2): b, c", "b: it burns", "d, e"):
        assert line in str(told.value)


def test_computes_that_nobody_came_to_are_not_passed_over() -> None:
    Tally(("a",), {}).require_all_begun()
    with pytest.raises(ComputesUntouched, match=r"1 of the computes have not had their turn:(.|\n)*untouched \(1\): b"):
        Tally(("a",), {}, ("b",)).require_all_begun()


def test_batches_that_succeeded_are_not_read_again_and_those_without_a_run_are_untouched(three: Run) -> None:
    run = replace(three, cluster=three.cluster.model_copy(update={"batch_size": 1, "canary": 0}))
    first, second, third = (compute.name for compute in run.computes)

    def nobody(connection_id: str) -> None:
        raise AssertionError(f"{connection_id} is read")

    tally = asyncio.run(rollout.count_batches(run, ["success", "success", None], nobody))  # type: ignore[arg-type]
    assert tally == Tally((first, second), {}, (third,))


@pytest.mark.parametrize(
    ("of", "chosen"), [(Of.ALL, "good bad bare"), (Of.PENDING, "bad bare"), (Of.TAKEN_DOWN, "bare"), (Of.BACK, "good")]
)
def test_a_step_is_made_for_the_computes_that_it_is_for(three: Run, site: Site, of: Of, chosen: str) -> None:
    by_name = dict(zip(("good", "bad", "bare"), three.computes, strict=True))
    for name, release in (("good", "100"), ("bad", "101"), ("bare", None)):
        site.install(by_name[name], release)
    assert narrowed(three, of, site, print).computes == tuple(by_name[name] for name in chosen.split())


def test_a_step_for_which_none_is_left_is_made_for_those_that_are_back(three: Run, site: Site) -> None:
    good, bad = three.computes[:2]
    site.install(good, "100")
    site.install(bad, "101")
    assert narrowed(replace(three, computes=(good, bad)), Of.TAKEN_DOWN, site, print).computes == (good,)


def test_a_compute_that_cannot_begin_is_excused_only_within_the_budget(three: Run, site: Site) -> None:
    lost = three.computes[1]
    site.install(lost, "7")

    def found(allowed: int) -> tuple[str, str]:
        run = replace(three, dag="rollback_compute", failures_allowed=allowed)
        judged_ = findings(run, partial(judged, site))
        return " ".join(f.text for f in judged_.wanting), " ".join(f.text for f in judged_.excused)

    of_lost = f"the release of {lost.name} is one of the inventory's"
    wanting, excused = found(0)
    assert of_lost in wanting
    assert not excused
    wanting, excused = found(1)
    assert of_lost not in wanting
    assert of_lost in excused


def test_an_unreachable_compute_is_left_out_and_named_while_there_are_others(three: Run, site: Site) -> None:
    lost = three.computes[0]
    said: list[str] = []

    class Reached:
        def run(self, host: Host, script: str, timeout: float) -> Output:
            if host == lost:
                raise HostUnreachable(host.name, "no route")
            return site.run(host, script, timeout)

    assert narrowed(three, Of.PENDING, Reached(), said.append).computes == three.computes[1:]
    assert f"WARNING: {lost.name} is left out" in said[0]
    with pytest.raises(HostUnreachable):
        narrowed(replace(three, computes=(lost,)), Of.PENDING, Reached(), said.append)


def test_no_step_that_serves_several_computes_needs_an_answer_of_each(three: Run) -> None:
    run = replace(three, dag="rollback_compute", return_vms=True)
    for this in KINDS.values():
        if not this.over.many:
            made = this.make(run, hosts_of(this, run)[0])
            asked = {read.host for goal in (made.goal, made.proven_by, *made.requires) for read in goal.reads}
            assert this.of is not Of.ALL or asked.isdisjoint(run.computes), this.name


def test_a_compute_that_answers_but_is_down_as_the_cloud_says_is_out_of_service(
    three: Run, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    up, down, silent = (compute.name for compute in three.computes)

    async def sweep(cluster: Cluster, reads: Iterable[Read], credentials_of: object) -> Sweep:
        refused = HostUnreachable(silent, "no answer")
        return Sweep(
            {read: refused if read.host.name == silent else site.run(read.host, read.command, 60) for read in reads}
        )

    def named() -> tuple[str, ...]:
        return asyncio.run(rollout.out_of_service(three, lambda connection: None))  # type: ignore[arg-type,return-value]

    monkeypatch.setattr(rollout, "sweep", sweep)
    states = {up: "up", down: "down", silent: "down"}
    services = [
        {"Binary": "nova-compute", "Host": name, "Status": "enabled", "State": state} for name, state in states.items()
    ]
    site.cloud(servers=[], services=services)
    site.write(site.cluster.controllers.b, site.cluster.paths.openrc, "export OS_PASSWORD=secret\n")
    assert named() == (down,)
    site.program("openstack", "exit 1")
    assert named() == ()

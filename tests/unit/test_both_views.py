"""Whether A's and B's own views of the cluster contradict each other, and that nothing is guessed where B does not tell."""

from __future__ import annotations

import pytest

from include.runbook.both_views import a_is_active, one_view
from include.runbook.errors import FactUnreadable, HostUnreachable, RunbookError
from include.runbook.perform import judge
from include.runbook.reach import Sweep
from include.runbook.shell import Output
from include.runbook.step import Read, Run

from .site import A, B, Site, status_xml


@pytest.fixture
def pair(site: Site) -> Site:
    """A active, B a member, both of one view."""
    site.pacemaker(active=A)
    site.program("systemctl", "echo inactive; exit 3")
    return site


def b_sees(site: Site, xml: str) -> None:
    site.tell(site.cluster.controllers.b, "crm_mon.xml", xml)


def test_two_equal_views_are_one(run: Run, pair: Site) -> None:
    assert judge(one_view(run.cluster), pair).met
    assert judge(a_is_active(run.cluster), pair).met


@pytest.mark.parametrize(
    ("xml", "told"),
    [
        (status_xml(active=B, online=(B,)), f"has lb_float_ip on {B}; A has it on {A}"),
        (status_xml(active=None, online=(B,)), f"has lb_float_ip on no node; A has it on {A}"),
        (status_xml(active=B), f"A has lb_float_ip on {A}, B has it on {B}"),
    ],
    ids=["cut, both claim it", "cut, B is banned", "joined, yet of two minds"],
)
def test_views_that_differ_are_named_with_what_to_do(run: Run, pair: Site, xml: str, told: str) -> None:
    b_sees(pair, xml)
    for goal in (one_view(run.cluster), a_is_active(run.cluster)):
        verdict = judge(goal, pair)
        assert not verdict.met
        assert told in verdict.found
        assert "pcs cluster stop" in verdict.found


def test_a_b_that_is_still_joining_has_no_view_to_contradict(run: Run, pair: Site) -> None:
    b_sees(pair, status_xml(active=None, online=()))
    assert judge(one_view(run.cluster), pair).met


def test_a_b_without_a_cluster_contradicts_nothing(run: Run, pair: Site) -> None:
    pair.tell(run.cluster.controllers.b, "crm_mon.fails", "")
    verdict = judge(one_view(run.cluster), pair)
    assert verdict.met
    assert verdict.found == "Pacemaker does not run on host-10-43-203-92: it claims nothing"


def test_a_b_without_pacemakers_programs_contradicts_nothing(run: Run, pair: Site) -> None:
    pair.program(
        "crm_mon", f'test "$HOST" = {run.cluster.controllers.a.name} || exit 127\ncat "$SAYS/$HOST/crm_mon.xml"'
    )
    assert judge(one_view(run.cluster), pair).met


def test_a_b_whose_pacemaker_runs_and_does_not_answer_is_not_guessed_about(run: Run, pair: Site) -> None:
    pair.tell(run.cluster.controllers.b, "crm_mon.fails", "")
    pair.program("systemctl", "echo active")
    with pytest.raises(FactUnreadable, match=r"pacemaker.service is active, yet crm_mon does not answer"):
        judge(one_view(run.cluster), pair)


def test_a_b_that_cannot_be_reached_is_said_so_and_nothing_is_decided(run: Run, pair: Site) -> None:
    goal = one_view(run.cluster)
    answers: dict[Read, Output | RunbookError] = {read: pair.run(read.host, read.command, 10) for read in goal.reads}
    answers[goal.reads[2]] = HostUnreachable(run.cluster.controllers.b.name, "no answer in 20 s")
    verdict = Sweep(answers).judge(goal)
    assert not verdict.met
    assert "host-10-43-203-92" in verdict.found
    assert "no answer in 20 s" in verdict.found


def test_an_a_without_a_cluster_is_told_with_what_to_do(run: Run, pair: Site) -> None:
    pair.tell(run.cluster.controllers.a, "crm_mon.fails", "")
    with pytest.raises(FactUnreadable, match=r"Pacemaker does not answer on host-10-43-203-91: .*pcs cluster start"):
        judge(one_view(run.cluster), pair)

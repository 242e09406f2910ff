"""What a run has left behind, as its last proof tells it: a mode that was there before is none of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from include.runbook.cluster import Cluster
from include.runbook.end_state import left_behind as left_behind_by
from include.runbook.perform import judge, perform
from include.runbook.step import Run, kind
from include.runbook.steps.cluster_mode import as_found
from include.runbook.survey import Survey
from tests.unit.site import A, Site


@pytest.fixture
def left_behind(cluster: Cluster, site: Site) -> Callable[..., tuple[str, ...]]:
    """The function that says what was left of a run that found the cluster in `found`, when it is in `now`."""
    run = Run(cluster, "100", (), owner="rollback_cluster/1", dag="rollback_cluster")

    def told(found: tuple[str, ...], now: tuple[str, ...], constraints: tuple[str, ...] = ()) -> tuple[str, ...]:
        site.pacemaker(active=A, properties=found)
        perform(kind("note_cluster_mode").make(run, cluster.daisy), site, run, print)
        site.pacemaker(active=A, properties=now)
        survey = Survey({}, None, (), constraints, maintenance=bool(now), vms={}, services={})
        return left_behind_by(survey, judge(as_found(run), site))

    return told


def test_maintenance_in_which_the_cluster_was_found_is_not_left_behind(
    left_behind: Callable[..., tuple[str, ...]],
) -> None:
    assert left_behind(("unmanaged=true",), ("unmanaged=true",)) == ()


@pytest.mark.parametrize(
    ("found", "now", "told"),
    [
        ((), ("maintenance-mode=true",), "unmanaged (maintenance-mode=true); it was found managed"),
        (("maintenance-mode=true",), (), "managed; it was found unmanaged (maintenance-mode=true)"),
        (("unmanaged=true",), ("maintenance-mode=true",), "it was found unmanaged (unmanaged=true)"),
    ],
    ids=["set by the run", "not put back", "put back in another way"],
)
def test_another_mode_than_the_one_that_was_found_is(
    left_behind: Callable[..., tuple[str, ...]], found: tuple[str, ...], now: tuple[str, ...], told: str
) -> None:
    left = left_behind(found, now)
    assert len(left) == 1
    assert left[0].endswith(told)


def test_a_constraint_that_is_left_is_named(left_behind: Callable[..., tuple[str, ...]]) -> None:
    assert left_behind((), (), ("cli-ban-x",)) == ("left behind: cli-ban-x",)

"""What a soak comes to: a failure must hold, and what could not be read is not known to be well."""

from __future__ import annotations

import pytest

from include.runbook.cluster import Cluster
from include.runbook.soak import IN_A_ROW, Judgement, Result, Seen, Watch, pause

WELL, BAD, UNREAD = Seen(True, True, "well"), Seen(False, True, "it is down"), Seen(False, False, "no answer")


def watched(*looks: Seen) -> Watch:
    """A watch over two checks, of which one is always well."""
    watch = Watch()
    for look in looks:
        watch = watch.after({"the service runs": look, "another": WELL})
    return watch


def result(*looks: Seen, over: bool = True) -> Result | None:
    judgement = watched(*looks).judgement(over=over)
    return judgement.result if judgement else None


def test_what_is_well_to_the_end_passes_and_not_before() -> None:
    assert result(*[WELL] * 9, over=False) is None
    assert result(*[WELL] * 9) is Result.PASS


def test_a_soak_that_is_over_at_once_still_takes_some_looks() -> None:
    assert result(*[WELL] * (IN_A_ROW - 1)) is None
    assert result(*[WELL] * IN_A_ROW) is Result.PASS


def test_a_failure_that_holds_is_judged_at_once_and_named() -> None:
    watch = watched(WELL, *[BAD] * IN_A_ROW)
    assert watch.judgement(over=False) == Judgement(Result.FAIL, ("the service runs: it is down",))


def test_a_hiccup_is_no_failure() -> None:
    assert result(*[WELL, BAD, BAD] * 5, WELL) is Result.PASS


def test_what_fails_at_the_very_end_is_waited_for() -> None:
    assert result(*[WELL] * 5, BAD) is None
    assert result(*[WELL] * 5, BAD, WELL) is Result.PASS
    assert result(*[WELL] * 5, *[BAD] * IN_A_ROW) is Result.FAIL


def test_what_cannot_be_read_is_neither_well_nor_a_failure() -> None:
    assert result(WELL, *[UNREAD] * IN_A_ROW, over=False) is None
    assert result(WELL, *[UNREAD] * IN_A_ROW) is Result.INCONCLUSIVE
    assert result(*[WELL] * 5, UNREAD) is None


def test_what_could_hardly_ever_be_read_is_not_known_to_be_well() -> None:
    assert result(*[UNREAD] * 6, *[WELL] * 4) is Result.INCONCLUSIVE
    assert result(*[UNREAD] * 4, *[WELL] * 6) is Result.PASS


def test_a_look_that_could_not_be_read_breaks_a_row_of_failures() -> None:
    assert result(BAD, BAD, UNREAD, BAD, over=False) is None


def test_a_failure_is_told_though_something_else_cannot_be_read() -> None:
    watch = Watch()
    for _ in range(IN_A_ROW):
        watch = watch.after({"a": BAD, "b": UNREAD})
    judgement = watch.judgement(over=True)
    assert judgement is not None
    assert judgement.result is Result.FAIL


@pytest.mark.parametrize(("pace", "seconds"), [(1, 30), (20, 1.5), (200, 1)])
def test_a_faster_cluster_is_looked_at_more_often_but_not_without_a_pause(
    cluster: Cluster, pace: float, seconds: float
) -> None:
    assert pause(cluster.model_copy(update={"pace": pace})) == seconds

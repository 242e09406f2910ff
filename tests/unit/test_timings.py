"""Times: one place for all of them, scaled to a cluster's pace."""

from __future__ import annotations

from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.step import KINDS
from include.runbook.timings import FLOOR, LIMIT_FLOOR, RUNBOOK_TOTAL, TIMINGS, Timing

INSTALL_B = Timing(675, "runbook A5.3", 3600)


def test_every_step_has_a_time_and_every_time_a_step() -> None:
    assert set(TIMINGS) == set(KINDS)


def test_a_step_may_take_longer_than_it_was_measured_to_take() -> None:
    assert [name for name, timing in TIMINGS.items() if timing.limit < 2 * timing.measured] == []


def test_what_the_runbook_measured_says_where() -> None:
    for name, timing in TIMINGS.items():
        assert timing.source.startswith(("runbook A", "estimate: ", "assumption: ")), name


def test_the_long_steps_have_the_times_of_the_runbook() -> None:
    measured = {name: TIMINGS[name].measured for name in ("drain_computes", "uninstall_compute", "install_computes")}
    assert measured == {"drain_computes": 120, "uninstall_compute": 120, "install_computes": 200}
    assert (TIMINGS["uninstall_b"].measured, TIMINGS["install_b"].measured) == (215, 675)
    assert RUNBOOK_TOTAL == 1502


def test_a_faster_cluster_is_given_less_time_but_never_less_than_connecting_takes() -> None:
    assert INSTALL_B.expected(10) == 67.5
    assert INSTALL_B.sla(10, 1.5) == 67.5 * 1.5 + FLOOR
    assert INSTALL_B.limit_at(10) == 360 + LIMIT_FLOOR


def test_the_sla_is_crossed_before_the_limit_on_every_cluster() -> None:
    for pace in (1, 20, 1000):
        assert [name for name, timing in TIMINGS.items() if timing.sla(pace, 1.5) >= timing.limit_at(pace)] == []

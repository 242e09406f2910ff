"""What a validation makes of what two clocks tell, up to the limit and beyond it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from include.runbook.shell import Output
from include.runbook.step import Run
from include.runbook.validation import CLOCKS_APART, checks


@pytest.mark.parametrize(
    ("daisy", "node", "met"),
    [
        ("1790000000", "1790000000", True),
        ("1790000000", f"{1790000000 + CLOCKS_APART}", True),
        ("1790000000", f"{1790000000 - CLOCKS_APART - 1}", False),
        ("1790000000", f"{1790000000 + 86400}", False),
        ("1790000000", "Mon Nov 23", False),
        ("", "1790000000", False),
    ],
)
def test_a_clock_that_is_wrong_is_told_with_how_much(run: Run, daisy: str, node: str, met: bool) -> None:
    check = next(check for check in checks(replace(run, dag="rollback_cluster")) if check.id == "H8")
    verdict = check.goal.judge([Output(0, f"{daisy}\n"), Output(0, f"{node}\n")])
    assert verdict.met is met
    if daisy.isdigit() and node.isdigit():
        assert f"{int(node) - int(daisy)} s ahead of" in verdict.found

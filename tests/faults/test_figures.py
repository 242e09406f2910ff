"""The table itself: figures that must not be are seen, and a test that counts nothing is, too."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from .elsewhere import ELSEWHERE
from .figures import Figures, Ledger

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "figures",
    [
        Figures(0, 0),
        Figures(2, 1),
        Figures(2, 1, 1, lost=1),
        Figures(2, 2, double=1),
        Figures(2, 2, violations=1),
    ],
)
def test_figures_that_must_not_be_are_named(figures: Figures) -> None:
    ledger = Ledger()
    ledger.enter("good", Figures(2, 1, 1))
    ledger.enter("bad", figures)
    assert [problem.partition(":")[0] for problem in ledger.unsound(["good", "bad"])] == ["bad"]


def test_a_test_that_passed_and_counted_nothing_is_named() -> None:
    ledger = Ledger()
    ledger.enter("good", Figures(1, 1))
    assert ledger.unsound(["good", "silent"]) == ["silent: passed, and entered no figures"]


def test_the_last_line_is_the_sum() -> None:
    ledger = Ledger()
    ledger.enter("one", Figures(3, 2, 1))
    ledger.enter("two", Figures(4, 4))
    ledger.enter("two", Figures(1, 1))
    assert ledger.table()[-1].split() == ["8", "7", "1", "0", "0", "0", "all"]


@pytest.mark.parametrize("test", [test for tests in ELSEWHERE.values() for test in tests])
def test_what_is_said_to_be_tested_elsewhere_is(test: str) -> None:
    file, _, name = test.partition("::")
    tree = ast.parse((PROJECT / file).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}

"""The page of steps and the code say the same, and nothing that the runbook asks for is left without an answer."""

from pathlib import Path

import pytest

from console.handbook import page
from console.runbook_demands import DEMANDS, Demand
from include.runbook.step import KINDS


def test_the_page_of_steps_is_what_the_code_says() -> None:
    written = Path(__file__).parents[2] / "docs/runbook.md"
    assert written.read_text() == page(), "write it anew: python -m console.handbook > docs/runbook.md"


@pytest.mark.parametrize("demand", DEMANDS, ids=lambda demand: f"{demand.id} {demand.asks}")
def test_what_the_runbook_asks_for_is_answered(demand: Demand) -> None:
    assert demand.steps or demand.otherwise
    assert set(demand.steps) <= set(KINDS)


def test_every_step_of_the_runbook_answers_something() -> None:
    answering = {name for demand in DEMANDS for name in demand.steps}
    assert {name for name, kind in KINDS.items() if kind.id[0] in "AU"} <= answering

"""The page of steps and the code say the same."""

from pathlib import Path

from console.handbook import page


def test_the_page_of_steps_is_what_the_code_says() -> None:
    written = Path(__file__).parents[2] / "docs/runbook.md"
    assert written.read_text() == page(), "write it anew: python -m console.handbook > docs/runbook.md"

"""What to do at 3 a.m.: every failure has its heading, every message names it, and every link leads somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from include.runbook import errors

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "docs"
PAGE = DOCS / "operations.md"
KINDS = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, errors.RunbookError) and each is not errors.RunbookError
]


def anchors(page: Path) -> list[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(map(str.lower, parts[1::2]), parts[2::2], strict=True))


def test_every_kind_of_failure_has_its_heading_and_no_other_heading_is_there() -> None:
    from tecs.failures import Failure, heading_of

    assert set(sections()) == {heading_of(kind) for kind in KINDS} | set(Failure) | {"any other message"}


def test_every_section_says_what_it_means_and_what_to_do() -> None:
    for heading, text in sections().items():
        assert "**Do:**" in text, heading
        assert "**Means:**" in text or heading == "any other message", heading


def test_every_failure_points_to_a_heading_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from tecs.failures import Failure, heading_of, pointer

    monkeypatch.delenv("TECS_DOCS", raising=False)
    for heading in (*map(heading_of, KINDS), *Failure):
        page, _, anchor = pointer(heading).removeprefix("read on: ").partition("#")
        assert PROJECT / page == PAGE
        assert anchor in anchors(PAGE)


def test_the_pointer_is_an_address_where_the_site_has_named_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from tecs.failures import Failure, failed

    monkeypatch.setenv("TECS_DOCS", "https://git.example.org/tecs/docs/")
    told = str(failed(Failure.NOT_ANSWERED, "nobody\x1b[2J has answered"))
    assert told == "nobody has answered\nread on: https://git.example.org/tecs/docs/operations.md#not-answered"


def test_no_task_fails_past_the_pointer() -> None:
    """Whoever raises Airflow's failure by himself would end without a word of what to read."""
    for module in sorted((PROJECT / "plugins/tecs").glob("*.py")):
        if module.name == "failures.py":
            continue
        calls = [node.func for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Call)]
        names = {call.id for call in calls if isinstance(call, ast.Name)}
        assert not names & {"AirflowFailException", "AirflowException"}, module.name


def test_every_kind_of_failure_of_a_task_is_raised_somewhere() -> None:
    from tecs.failures import Failure

    raised = "".join(module.read_text() for module in (PROJECT / "plugins/tecs").glob("*.py"))
    assert [why.name for why in Failure if f"failed(Failure.{why.name}" not in re.sub(r"\(\s+", "(", raised)] == []


def test_every_link_of_the_page_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8")):
        page, _, anchor = target.partition("#")
        there = DOCS / page if page else PAGE
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target

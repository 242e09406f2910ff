"""Text for a POSIX shell, and what came back from one."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.runbook.shell import Output, last_lines, lines, printable, quote

ANY_WORD = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40)


@given(ANY_WORD)
@settings(max_examples=40, deadline=None)
def test_a_quoted_text_is_one_word_whatever_it_holds(text: str) -> None:
    came_back = subprocess.run(["sh", "-c", f"printf %s {quote(text)}"], capture_output=True, check=True).stdout
    assert came_back.decode() == text


def test_output_is_ok_only_with_status_zero() -> None:
    assert Output(0).ok
    assert not Output(1).ok
    assert not Output(None).ok


def test_the_tail_holds_the_last_lines_of_both_streams() -> None:
    assert Output(1, "one\n\ntwo\n", "wrong\n").tail == "one\ntwo\nwrong"


def test_the_tail_of_long_output_is_its_end() -> None:
    assert last_lines("\n".join(str(n) for n in range(100)), 3) == "97\n98\n99"


def test_an_endless_line_is_cut() -> None:
    assert len(last_lines("x" * 10_000)) == 400


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[Hpainted", "painted"),
        ("10 %\r20 %\rdone", "10 %\n20 %\ndone"),
        ("bell\x07 and null\x00", "bell and null"),
        ("tab\tand line\nstay", "tab\tand line\nstay"),
        ("gnp.\u202eexe", "gnp.\ufffdexe"),
        ("half \ud83d of a character", "half \ufffd of a character"),
        ("\x9b2J", "\ufffd2J"),
    ],
)
def test_output_can_neither_hide_nor_paint(output: str, shown: str) -> None:
    assert printable(output) == shown


def test_a_script_is_joined_without_its_empty_parts() -> None:
    assert lines("one", "", "two") == "one\ntwo"

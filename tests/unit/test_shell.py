"""Text for a POSIX shell, and what came back from one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.runbook.shell import AT_ONCE, Output, last_lines, lines, printable, quote, side_by_side

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


def run_side_by_side(commands: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    script = side_by_side(commands) + '\nexit "$failed"'
    return subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True, timeout=30, check=False)


def test_more_commands_than_run_at_once_all_end_and_a_failure_among_them_is_told(tmp_path: Path) -> None:
    commands = [f"touch {number}" for number in range(2 * AT_ONCE + 1)]
    commands[3] = "sh -c 'touch 3; exit 7'"
    assert run_side_by_side(commands, tmp_path).returncode == 7
    assert {file.name for file in tmp_path.iterdir()} == {str(number) for number in range(2 * AT_ONCE + 1)}


def test_commands_run_side_by_side_and_without_a_failure_the_status_is_0(tmp_path: Path) -> None:
    """Each of two waits for what the other makes: one after the other they would never end."""
    subprocess.run(["mkfifo", "pipe"], cwd=tmp_path, check=True)
    assert run_side_by_side(["echo met > pipe", "read word < pipe"], tmp_path).returncode == 0


def test_nothing_to_run_is_no_failure(tmp_path: Path) -> None:
    assert run_side_by_side([], tmp_path).returncode == 0

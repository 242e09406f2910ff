"""What a login's shell is given: nothing of a script is changed on its way, and half of one is never run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from include.runbook.errors import RootDenied
from include.runbook.login_shell import ARGUMENT_LIMIT, Call, call_for, require_root
from include.runbook.shell import Output

SCRIPT = "cat <<'END'\nit's \"so\", $HOME `id` \\\nEND\nexit 3\n"
PADDING = f"# {'x' * ARGUMENT_LIMIT}\n"


def carried_out(sent: Call, stdin: bytes | None = None) -> tuple[int, str, str]:
    done = subprocess.run(
        ["bash", "-c", sent.command], input=sent.stdin if stdin is None else stdin, capture_output=True, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_root_is_given_the_script_itself() -> None:
    assert call_for(SCRIPT, "root") == Call(SCRIPT)


def test_another_login_gives_it_to_sudo_as_one_word(tmp_path: Path) -> None:
    command = call_for(SCRIPT, "operator").command
    line = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True).stdout
    assert line.decode().split("\0")[:-1] == ["exec", "sudo", "-n", "-H", "--", "/bin/bash", "-c", SCRIPT]


@pytest.mark.parametrize("script", [SCRIPT, PADDING + SCRIPT], ids=["short", "long"])
def test_a_script_is_carried_out_as_it_is_whatever_its_length(script: str) -> None:
    sent = call_for(script, "root")
    assert len(sent.command) <= ARGUMENT_LIMIT
    assert carried_out(sent) == (3, 'it\'s "so", $HOME `id` \\\n', "")


@pytest.mark.parametrize("arrived", [0, 1, 1000, -1])
def test_a_script_that_does_not_arrive_whole_is_not_run(tmp_path: Path, arrived: int) -> None:
    sent = call_for(f"touch {tmp_path}/run\n{PADDING}true\n", "root")
    assert carried_out(sent, sent.stdin[:arrived]) == (2, "", "the script did not arrive whole; none of it was run\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("status", "stderr"),
    [
        (1, "sudo: a password is required\n"),
        (1, "operator is not in the sudoers file.\n"),
        (1, "Sorry, user operator is not allowed to execute '/bin/bash -c true' as root on c1.\n"),
        (127, "bash: line 1: exec: sudo: not found\n"),
    ],
)
def test_a_sudo_that_runs_nothing_is_told(status: int, stderr: str) -> None:
    with pytest.raises(RootDenied, match="operator cannot become root on c1"):
        require_root(Output(status, "", stderr), "c1", "operator")
    assert require_root(Output(status, "", stderr), "c1", "root").status == status


@pytest.mark.parametrize("output", [Output(1, "", "grep: no such file\n"), Output(1, "told\n", "sudo: x\n"), Output(0)])
def test_what_a_script_itself_says_is_its_own(output: Output) -> None:
    assert require_root(output, "c1", "operator") == output

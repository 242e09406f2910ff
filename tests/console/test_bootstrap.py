"""A bare machine is told what it lacks, all at once, with the command that installs it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from console.airflow_settings import PROJECT

ALWAYS_THERE = ("basename", "cat", "dirname", "id", "sha256sum")


def bootstrap(tmp_path: Path, *tools: str, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run bootstrap in a copy of the project on a machine that has only these tools and these made-up programs."""
    (tmp_path / "console").mkdir()
    shutil.copy(PROJECT / "console" / "bootstrap.sh", tmp_path / "console")
    for name in ("requirements.txt", "requirements-dev.txt", "constraints.txt"):
        (tmp_path / name).write_text("")
    path = tmp_path / "bin"
    path.mkdir()
    for tool in {*ALWAYS_THERE, *tools} - programs.keys():
        found = shutil.which(tool)
        assert found is not None
        (path / tool).symlink_to(found)
    for name, text in programs.items():
        (path / name).write_text(f"#!/bin/sh\n{text}\n")
        (path / name).chmod(0o755)
    return subprocess.run(
        ["/bin/sh", str(tmp_path / "console" / "bootstrap.sh"), "requirements.txt"],
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_everything_missing_is_named_at_once_with_one_command(tmp_path: Path) -> None:
    done = bootstrap(tmp_path)
    assert done.returncode == 1
    assert "Python 3.11, 3.12 or 3.13" in done.stderr
    assert "apt-get install python3 python3-venv openssh-client" in done.stderr


@pytest.mark.parametrize(("user", "command"), [("0", "  apt-get install"), ("1000", "  sudo apt-get install")])
def test_sudo_is_advised_to_all_but_root(tmp_path: Path, user: str, command: str) -> None:
    assert command in bootstrap(tmp_path, id=f"echo {user}").stderr


def test_a_python_that_is_too_old_or_too_new_does_not_count(tmp_path: Path) -> None:
    done = bootstrap(tmp_path, "ssh", "ssh-keygen", "ssh-keyscan", "tar", python3="exit 1")
    assert "Python 3.11, 3.12 or 3.13" in done.stderr


def test_a_python_without_venv_names_the_package_of_its_version(tmp_path: Path) -> None:
    python = 'case "$2" in *ensurepip*) exit 1;; *"%d.%d"*) echo 3.12;; esac'
    done = bootstrap(tmp_path, "ssh", "ssh-keygen", "ssh-keyscan", "tar", python3=python)
    assert done.returncode == 1
    assert "the venv module of python3" in done.stderr
    assert "apt-get install python3.12-venv" in done.stderr


def test_requirements_are_installed_once_and_again_when_they_change(tmp_path: Path) -> None:
    # a Python that makes a .venv whose own Python only records what pip is asked
    python = (
        'if [ "$2" = venv ]; then mkdir -p .venv/bin && '
        """printf '#!/bin/sh\\n[ "$2" != pip ] || echo pip >>pip.log\\n' >.venv/bin/python &&"""
        " chmod +x .venv/bin/python; fi"
    )
    done = bootstrap(tmp_path, "ssh", "ssh-keygen", "ssh-keyscan", "tar", "mkdir", "chmod", python3=python)
    assert done.returncode == 0, done.stderr
    again = ["/bin/sh", str(tmp_path / "console" / "bootstrap.sh"), "requirements.txt"]
    environment = {"PATH": str(tmp_path / "bin")}
    subprocess.run(again, env=environment, check=True, capture_output=True)
    assert (tmp_path / "pip.log").read_text().count("pip") == 1
    (tmp_path / "constraints.txt").write_text("changed")
    subprocess.run(again, env=environment, check=True, capture_output=True)
    assert (tmp_path / "pip.log").read_text().count("pip") == 2

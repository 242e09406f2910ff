"""What begins and ends every run, as steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from include.runbook.errors import LockHeld
from include.runbook.lock import lock_path
from include.runbook.perform import perform
from include.runbook.step import Run, kind

from .conftest import LocalShell


def do(name: str, run: Run, shell: LocalShell) -> bool:
    return perform(kind(name).make(run, run.cluster.daisy), shell, run, print).acted


def test_the_lock_is_taken_and_taking_it_again_changes_nothing(run: Run, shell: LocalShell) -> None:
    assert do("take_lock", run, shell)
    assert not do("take_lock", run, shell)


def test_a_lock_that_another_run_holds_is_told_with_its_holder(run: Run, shell: LocalShell) -> None:
    do("take_lock", run, shell)
    with pytest.raises(LockHeld, match="rollback_compute/run-1") as held:
        do("take_lock", replace(run, owner="other/run"), shell)
    assert "take_over" in held.value.advice


def test_the_lock_is_released_by_its_holder_only(run: Run, shell: LocalShell) -> None:
    do("take_lock", run, shell)
    assert not do("release_lock", replace(run, owner="other/run"), shell)
    assert Path(lock_path(run)).exists()
    assert do("release_lock", run, shell)
    assert not Path(lock_path(run)).exists()


def test_a_batch_leaves_the_lock_to_the_run_that_it_is_a_part_of(run: Run, shell: LocalShell) -> None:
    do("take_lock", run, shell)
    assert not do("release_lock", replace(run, batch=True), shell)
    assert Path(lock_path(run)).exists()

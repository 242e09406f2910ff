"""The cluster lock, in a real shell."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from include.runbook import lock
from include.runbook.errors import LockHeld
from include.runbook.step import Run

from .conftest import LocalShell


def take(run: Run, shell: LocalShell) -> str:
    output = shell.run(run.cluster.daisy, lock.take(run), 10)
    lock.refuse_if_held(run, output)
    assert output.ok, output.stderr
    return output.stdout


def test_a_free_lock_is_taken_and_names_run_scenario_user_and_time(run: Run, shell: LocalShell) -> None:
    ours = replace(run, user="operator", airflow="http://night")
    assert take(ours, shell) == "taken\n"
    holder = lock.read_holder(Path(lock.lock_path(run)).read_text())
    assert holder is not None
    assert holder.is_run(ours)
    assert (holder.owner, holder.dag, holder.user) == ("rollback_compute/run-1", "rollback_compute", "operator")
    assert holder.since.endswith("Z")


def test_the_same_run_enters_again(run: Run, shell: LocalShell) -> None:
    take(run, shell)
    assert "already" in take(run, shell)


def test_another_run_is_refused_and_told_who_holds_it(run: Run, shell: LocalShell) -> None:
    take(run, shell)
    with pytest.raises(LockHeld, match="rollback_compute/run-1"):
        take(replace(run, owner="other/run-2"), shell)


def test_a_run_of_the_same_name_in_another_airflow_is_another(run: Run, shell: LocalShell) -> None:
    ours, theirs = replace(run, airflow="http://night"), replace(run, airflow="http://day")
    take(ours, shell)
    assert "already" in take(ours, shell)
    with pytest.raises(LockHeld, match="rollback_compute/run-1 of rollback_compute in Airflow http://night"):
        take(theirs, shell)
    shell.run(run.cluster.daisy, lock.release(theirs), 10)
    assert Path(lock.lock_path(run)).exists()
    assert not shell.run(run.cluster.daisy, lock.hand_over(theirs), 10).ok
    assert shell.run(run.cluster.daisy, lock.hand_over(ours), 10).ok
    assert not shell.run(run.cluster.daisy, lock.handed_over(theirs), 10).ok
    assert shell.run(run.cluster.daisy, lock.handed_over(ours), 10).ok


def test_taking_over_is_explicit_and_recorded(run: Run, shell: LocalShell) -> None:
    take(run, shell)
    told = take(replace(run, owner="other/run-2", take_over=True), shell)
    assert "taken over from:\nrollback_compute/run-1" in told
    kept = list(Path(lock.lock_path(run)).parent.glob("lock.taken-over-*"))
    assert [file.read_text().splitlines()[0] for file in kept] == ["rollback_compute/run-1"]
    with pytest.raises(LockHeld):
        take(run, shell)


def test_of_many_runs_at_the_same_moment_exactly_one_gets_it(run: Run) -> None:
    runs = [replace(run, owner=f"run-{n}") for n in range(20)]
    takers = [subprocess.Popen(["sh", "-c", lock.take(one)], stdout=subprocess.PIPE, text=True) for one in runs]
    results = [(taker.communicate()[0], taker.returncode) for taker in takers]
    assert sorted(status for _, status in results) == [0] + [lock.HELD] * 19
    winner = next(one for one, (_, status) in zip(runs, results, strict=True) if status == 0)
    assert Path(lock.lock_path(run)).read_text().splitlines()[0] == winner.owner


def test_only_its_holder_releases_it(run: Run, shell: LocalShell) -> None:
    take(run, shell)
    shell.run(run.cluster.daisy, lock.release(replace(run, owner="other")), 10)
    assert Path(lock.lock_path(run)).exists()
    shell.run(run.cluster.daisy, lock.release(run), 10)
    assert not Path(lock.lock_path(run)).exists()


def test_a_hostile_owner_is_text_and_nothing_else(run: Run, shell: LocalShell, tmp_path: Path) -> None:
    take(replace(run, owner=f"a'; touch {tmp_path}/hacked; '$(touch {tmp_path}/hacked)", user="`id`"), shell)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("program", ["ln", "mv", "cat", "head", "date"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_while_a_dead_runs_lock_is_taken_over_nobody_who_was_not_asked_to_finds_it_free(
    run: Run, shell: LocalShell, tmp_path: Path, program: str, when: str
) -> None:
    take(run, shell)
    rival = tmp_path / "rival"
    rival.write_text(lock.take(replace(run, owner="rival")))
    attempt = f"sh {rival} >> {tmp_path}/said"
    own = f'command {program} "$@"'
    order = f"{attempt}; {own}" if when == "before" else f"{own}; status=$?; {attempt}; return $status"
    script = f"{program}() {{ {order}; }}\n" + lock.take(replace(run, owner="other/run-2", take_over=True))
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "taken\n" not in (tmp_path / "said").read_text()
    assert Path(lock.lock_path(run)).read_text().splitlines()[0] == "other/run-2"


def test_on_a_full_disk_no_lock_is_made_that_is_nobodys(run: Run, shell: LocalShell) -> None:
    Path(lock.lock_path(run)).parent.mkdir(parents=True)
    full = f"trap '' XFSZ\nulimit -f 0\n{lock.take(run)}"
    assert shell.run(run.cluster.daisy, full, 10).status == 2
    assert list(Path(lock.lock_path(run)).parent.iterdir()) == []
    assert take(run, shell) == "taken\n"

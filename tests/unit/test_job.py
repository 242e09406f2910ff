"""Detached jobs, in a real shell: started once, watched, ended, and never taken for something that they are not."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from include.runbook import job
from include.runbook.errors import FactUnreadable
from include.runbook.shell import Output


def sh(script: str) -> Output:
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, errors="replace", timeout=30, check=False
    )
    return Output(done.returncode, done.stdout, done.stderr)


def look(folder: str, offset: int = 0) -> job.Look:
    return job.read_look(sh(job.look(folder, offset)), offset)


def wait_for(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends, "what was waited for did not come true in 10 s"
        time.sleep(0.05)


def ended(folder: str) -> job.Look:
    wait_for(lambda: look(folder).ended)
    return look(folder)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return job.job_folder(str(tmp_path / "state with space"), "abc")


def test_a_job_runs_once_however_often_it_is_started(folder: str, tmp_path: Path) -> None:
    script = f"echo x >> {tmp_path}/runs; sleep 0.3"
    answers = [sh(job.start(folder, script, 60)).stdout.strip() for _ in range(5)]
    assert answers == ["started", "attached", "attached", "attached", "attached"]
    assert ended(folder).state is job.State.DONE
    assert (tmp_path / "runs").read_text() == "x\n"


def test_many_starts_at_the_same_moment_make_one_job(folder: str, tmp_path: Path) -> None:
    script = job.start(folder, f"echo x >> {tmp_path}/runs", 60)
    starters = [subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(20)]
    answers = [starter.communicate()[0].strip() for starter in starters]
    assert sorted(answers) == ["attached"] * 19 + ["started"]
    assert ended(folder).state is job.State.DONE
    assert (tmp_path / "runs").read_text() == "x\n"


def test_the_start_returns_at_once_and_the_job_outlives_it(folder: str) -> None:
    begun = time.monotonic()
    sh(job.start(folder, "sleep 1; echo over", 60))
    assert time.monotonic() - begun < 0.9
    assert look(folder).state is job.State.RUNNING
    assert ended(folder).output == "over\n"


def test_an_exit_status_is_reported_even_from_a_bare_exit(folder: str) -> None:
    sh(job.start(folder, "echo before; exit 7; echo after", 60))
    over = ended(folder)
    assert (over.state, over.detail, over.output) == (job.State.FAILED, "7", "before\n")


def test_output_is_read_on_from_an_offset(folder: str) -> None:
    sh(job.start(folder, "printf 'one\\ntwo\\n'", 60))
    ended(folder)
    first = look(folder)
    assert first.output == "one\ntwo\n"
    assert look(folder, first.offset).output == ""
    assert look(folder, 4).output == "two\n"


def test_one_look_never_returns_more_than_a_chunk(folder: str) -> None:
    sh(job.start(folder, "head -c 200000 /dev/zero | tr '\\0' a", 60))
    ended(folder)
    assert len(look(folder).output) == job.CHUNK


def test_a_job_that_crosses_its_limit_is_ended_though_nobody_watches(folder: str, tmp_path: Path) -> None:
    sh(job.start(folder, f"sleep 30; touch {tmp_path}/survived", 1))
    over = ended(folder)
    assert over.state is job.State.STOPPED
    assert "time limit of 1 s" in over.detail


def test_a_stopped_job_leaves_no_process_behind(folder: str) -> None:
    sh(job.start(folder, "sleep 987 & sleep 987", 60))
    wait_for(lambda: Path(folder, "pid").exists())
    group = int(Path(folder, "pid").read_text().split()[0])
    sh(job.stop(folder, "cancelled"))
    over = ended(folder)
    assert (over.state, over.detail) == (job.State.STOPPED, "cancelled")
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


def test_a_job_that_will_not_end_at_its_limit_is_killed(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "KILL_GRACE", 1)
    sh(job.start(folder, "trap '' TERM; while :; do sleep 1; done", 1))
    wait_for(lambda: Path(folder, "pid").exists())
    group = int(Path(folder, "pid").read_text().split()[0])
    assert ended(folder).state is job.State.STOPPED
    wait_for(lambda: not alive(group))


def test_a_job_that_is_stopped_before_it_has_begun_does_not_begin(folder: str, tmp_path: Path) -> None:
    """The stop finds no process yet, and the process that comes after it finds the stop."""
    script = job.start(folder, f"touch {tmp_path}/begun", 60)
    head, _, tail = script.partition("setsid")
    sh(f"{head}echo cancelled > {folder!r}/stopped\nsetsid{tail}")
    assert (ended(folder).state, ended(folder).detail) == (job.State.STOPPED, "cancelled")
    assert not (tmp_path / "begun").exists()


def test_output_that_is_no_utf_8_is_counted_in_its_own_bytes(folder: str) -> None:
    sh(job.start(folder, r"printf '\260\262\327\260 end'", 60))
    ended(folder)
    seen = look(folder)
    assert seen.output.endswith(" end")
    assert seen.offset == 8


def test_a_look_that_was_cut_off_is_not_taken_for_a_short_one() -> None:
    for output in (Output(None, "running no\n-- 5\nab"), Output(0, "running no\n-- "), Output(0, "running no\n")):
        with pytest.raises(FactUnreadable):
            job.read_look(output, 0)


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_finished_job_leaves_no_watchdog_behind(folder: str) -> None:
    sh(job.start(folder, "true", 60))
    group = int(Path(folder, "pid").read_text().split()[0]) if ended(folder) else 0

    wait_for(lambda: not alive(group))


def test_stopping_a_finished_job_does_not_change_its_result(folder: str) -> None:
    sh(job.start(folder, "true", 60))
    ended(folder)
    sh(job.stop(folder, "too late"))
    assert look(folder).state is job.State.DONE


def test_a_job_whose_process_was_killed_is_lost_and_not_polled_for_ever(folder: str) -> None:
    sh(job.start(folder, "sleep 30", 60))
    wait_for(lambda: Path(folder, "pid").exists())
    os.killpg(int(Path(folder, "pid").read_text().split()[0]), 9)
    wait_for(lambda: look(folder).state is job.State.LOST)


def test_a_process_that_got_the_same_number_later_is_not_taken_for_the_job(folder: str) -> None:
    sh(job.start(folder, "sleep 30", 60))
    wait_for(lambda: Path(folder, "pid").exists())
    pid, since, boot = Path(folder, "pid").read_text().split()
    assert look(folder).state is job.State.RUNNING
    Path(folder, "pid").write_text(f"{os.getpid()} {since} {boot}\n")
    assert look(folder).state is job.State.LOST
    Path(folder, "pid").write_text(f"{pid} {since} another-boot\n")
    assert look(folder).state is job.State.LOST
    Path(folder, "pid").write_text(f"{pid} {since} {boot}\n")
    sh(job.stop(folder, "end of test"))


def test_the_age_of_a_job_counts_from_its_start_and_not_from_the_look(folder: str) -> None:
    sh(job.start(folder, "sleep 30", 60))
    wait_for(lambda: Path(folder, "begun").exists() and Path(folder, "begun").stat().st_size > 0)
    Path(folder, "begun").write_text(f"{time.clock_gettime(time.CLOCK_BOOTTIME) - 100}\n")
    assert 99 < job.read_age(sh(job.age(folder))) < 110
    assert job.read_age(sh(job.age(folder + "-absent"))) == 0.0
    sh(job.stop(folder, "end of test"))


def test_a_job_that_does_not_exist_is_none(folder: str) -> None:
    assert look(folder).state is job.State.NONE


def test_a_job_is_put_aside_only_after_its_end_was_reported(folder: str) -> None:
    sh(job.start(folder, "exit 3", 60))
    ended(folder)
    assert sh(job.retire(folder)).status == 2
    sh(job.mark_seen(folder))
    assert look(folder).seen
    assert sh(job.retire(folder)).ok
    assert look(folder).state is job.State.NONE
    assert Path(folder + ".1", "rc").read_text() == "3\n"


def test_a_script_is_run_as_it_is_written(folder: str) -> None:
    sh(job.start(folder, "echo \"$HOME\" '$x' `echo y` \\\\ EOF\ncat <<EOF\nheredoc\nEOF", 60))
    assert ended(folder).output == f"{os.environ['HOME']} $x y \\ EOF\nheredoc\n"


def test_the_same_run_step_and_host_always_name_the_same_job() -> None:
    assert job.job_id("lab", "run", "install", "c1") == job.job_id("lab", "run", "install", "c1")
    assert job.job_id("lab", "run", "install", "c1") != job.job_id("lab", "run", "installc", "1")


def test_on_a_full_disk_no_half_written_script_is_run_and_the_job_can_be_started_later(
    folder: str, tmp_path: Path
) -> None:
    script = f"touch {tmp_path}/ran\n" + "# what follows is lost\n" * 200 + "exit 3"
    begun = sh(f"trap '' XFSZ\nulimit -f 1\n{job.start(folder, script, 10)}")
    assert begun.status == 2
    assert "started" not in begun.stdout
    assert not Path(folder).exists()
    assert not (tmp_path / "ran").exists()
    assert "started" in sh(job.start(folder, script, 10)).stdout
    assert ended(folder).detail == "3"

"""How a step is carried out: in a real shell, with a step of one file that is there or not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from include.runbook import job, timings
from include.runbook.cluster import Host
from include.runbook.errors import (
    CommandFailed,
    ConnectionLost,
    FactUnreadable,
    GoalNotReached,
    JobLost,
    LimitExceeded,
    PasswordPrompt,
    PreconditionFailed,
)
from include.runbook.goals import command_succeeds
from include.runbook.perform import (
    Hosts,
    Outcome,
    begin,
    finish,
    folder_of,
    in_short,
    judge,
    judge_each,
    look,
    narrowed,
    perform,
)
from include.runbook.shell import Output
from include.runbook.step import Goal, Of, Read, Run, Step, Verdict, kind

from .conftest import LocalShell


def silent(line: str) -> None:
    assert "\n" not in line


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "made"


@pytest.fixture
def made(run: Run, file: Path) -> Step:
    """The step under test: `file` exists. Its action notes each of its runs beside the file."""
    daisy = run.cluster.daisy
    return Step(
        kind("install_computes"),
        daisy,
        goal=command_succeeds("the file is there", daisy, f"test -e {file} && echo there"),
        action=f"echo run >> {file}.runs; touch {file}",
        advice="look at the file",
    )


def runs(file: Path) -> int:
    notes = Path(f"{file}.runs")
    return notes.read_text().count("run") if notes.exists() else 0


def actions(shell: LocalShell, step: Step) -> int:
    return sum(step.action in script for _, script in shell.sent)


# ---- at once ---------------------------------------------------------------------------------------------------------


def test_a_goal_that_is_true_already_is_found_and_nothing_is_sent(
    made: Step, run: Run, shell: LocalShell, file: Path
) -> None:
    file.touch()
    assert perform(made, shell, run, silent) == Outcome(False, "there")
    assert [script for _, script in shell.sent] == [made.goal.reads[0].command]


def test_an_action_is_sent_once_and_its_goal_is_read_again(made: Step, run: Run, shell: LocalShell, file: Path) -> None:
    assert perform(made, shell, run, silent) == Outcome(True, "there")
    assert runs(file) == 1


def test_a_step_that_only_verifies_is_done_when_its_goal_is_true(
    made: Step, run: Run, shell: LocalShell, file: Path
) -> None:
    file.touch()
    assert perform(replace(made, action=""), shell, run, silent) == Outcome(True, "there")


def test_a_precondition_is_refused_before_anything_is_sent(made: Step, run: Run, shell: LocalShell) -> None:
    need = command_succeeds("the moon is full", run.cluster.daisy, "echo half; false")
    with pytest.raises(PreconditionFailed) as refused:
        perform(replace(made, requires=(need,)), shell, run, silent)
    assert (refused.value.expected, refused.value.found) == ("the moon is full", "half")
    assert actions(shell, made) == 0


def test_a_failed_command_is_told_with_host_status_tail_and_advice_and_is_not_sent_again(
    made: Step, run: Run, shell: LocalShell, file: Path
) -> None:
    broken = replace(made, action=f"echo run >> {file}.runs; echo out; echo wrong >&2; exit 7")
    with pytest.raises(CommandFailed) as failed:
        perform(broken, shell, run, silent)
    assert (failed.value.host, failed.value.status, failed.value.tail) == ("daisy", 7, "out\nwrong")
    assert "what to do: look at the file" in str(failed.value)
    assert runs(file) == 1


def test_an_action_that_ends_well_without_effect_has_not_reached_the_goal(
    made: Step, run: Run, shell: LocalShell
) -> None:
    with pytest.raises(GoalNotReached, match="expected that the file is there; found exit status 1"):
        perform(replace(made, action="true"), shell, run, silent)


def test_a_goal_that_comes_later_is_waited_for(made: Step, run: Run, shell: LocalShell, file: Path) -> None:
    late = replace(made, action=f"(sleep 0.5; touch {file}) >/dev/null 2>&1 &", waits=True)
    assert perform(late, shell, run, silent).acted


def test_waiting_for_a_goal_ends_at_the_limit(
    made: Step, run: Run, shell: LocalShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timings, "LIMIT_FLOOR", -17.6)  # the limit at this pace is 18 s
    begun = time.monotonic()
    with pytest.raises(GoalNotReached):
        perform(replace(made, action="true", waits=True), shell, run, silent)
    assert 0.3 < time.monotonic() - begun < 5


def test_a_proof_of_its_own_is_what_counts_after_the_action(made: Step, run: Run, shell: LocalShell) -> None:
    stricter = command_succeeds("and more", run.cluster.daisy, "echo not yet; false")
    with pytest.raises(GoalNotReached, match="and more"):
        perform(replace(made, proof=stricter), shell, run, silent)


def test_an_output_that_explains_itself_is_told_as_what_it_is(made: Step, run: Run, shell: LocalShell) -> None:
    def explain(output: Output) -> None:
        raise PasswordPrompt("step", "host", output.stdout)

    with pytest.raises(PasswordPrompt):
        perform(replace(made, action="echo held; exit 75", explain=explain), shell, run, silent)


@pytest.mark.parametrize("lost", [("before", 0), ("after", 1)], ids=["before the action", "after it"])
def test_a_step_whose_connection_was_lost_is_found_true_or_done_when_tried_again(
    lost: tuple[str, int], made: Step, run: Run, shell: LocalShell, file: Path
) -> None:
    moment, done_by_the_lost = lost

    def break_when_the_action_comes(host: Host, script: str, timeout: float) -> Output:
        shell.broken = moment if made.action in script else None
        return shell.run(host, script, timeout)

    with pytest.raises(ConnectionLost):
        perform(made, hosts(break_when_the_action_comes), run, silent)
    assert runs(file) == done_by_the_lost
    again = perform(made, shell, run, silent)
    assert again.acted is (done_by_the_lost == 0)
    assert runs(file) == 1


def test_a_read_whose_connection_was_lost_decides_nothing(made: Step, run: Run, shell: LocalShell) -> None:
    shell.broken = "after"
    with pytest.raises(ConnectionLost, match="no exit status"):
        perform(made, shell, run, silent)
    assert actions(shell, made) == 0


def test_several_goals_are_judged_from_one_reading(made: Step, shell: LocalShell) -> None:
    other = replace(made.goal, sentence="the same again")
    assert [verdict.met for verdict in judge_each((made.goal, other), shell)] == [False, False]
    assert len(shell.sent) == 1


def test_hosts_are_read_side_by_side_and_each_hosts_reads_one_after_the_other(run: Run) -> None:
    at_once: set[str] = set()
    all_of_them = Barrier(3, timeout=10)  # broken where the hosts are not read side by side

    def note(host: Host, script: str, timeout: float) -> Output:
        assert host.name not in at_once, "a session is not shared by two threads"
        at_once.add(host.name)
        all_of_them.wait()
        at_once.discard(host.name)
        return Output(0, script)

    reads = [Read(host, f"read {n}") for host in run.cluster.computes[:3] for n in range(2)]
    goal = Goal("all are read", tuple(reads), lambda outputs: Verdict(True, "; ".join(o.stdout for o in outputs)))
    assert judge(goal, hosts(note)).found == "; ".join(["read 0; read 1"] * 3)


def test_of_a_batch_only_what_is_not_back_is_still_pending(run: Run) -> None:
    first, second = run.cluster.computes[:2]

    def answer(host: Host, script: str, timeout: float) -> Output:
        if "rpm" in script:
            return Output(0, "100" if host == first else "101")
        return Output(0)

    batch = replace(run, computes=(first, second))
    assert narrowed(batch, Of.PENDING, hosts(answer), silent).computes == (second,)
    assert narrowed(replace(run, computes=(first,)), Of.PENDING, hosts(answer), silent).computes == (first,)


def test_a_script_is_signed_with_its_step(made: Step, run: Run, shell: LocalShell) -> None:
    perform(made, shell, run, silent)
    assert any(script.startswith("# A4.6 install_computes on daisy\n") for _, script in shell.sent)


def test_a_long_script_is_one_line_of_a_message() -> None:
    assert in_short("a\nb\n\nc\nd\ne") == "a; b; c; d; ... (5 lines, see Rendered Templates)"


# ---- detached --------------------------------------------------------------------------------------------------------


def hosts(send: Callable[[Host, str, float], Output]) -> Hosts:
    class Sending:
        def run(self, host: Host, script: str, timeout: float) -> Output:
            return send(host, script, timeout)

    return Sending()


def wait(step: Step, shell: LocalShell, run: Run) -> None:
    until(lambda: look(step, shell, run).ended)


def job_fails(made: Step, shell: LocalShell, run: Run, file: Path) -> Step:
    """Start the step's job with an action that fails, and wait for its end."""
    failing = replace(made, action=f"echo run >> {file}.runs; echo no room; exit 3")
    assert begin(failing, shell, run, silent) is None
    wait(failing, shell, run)
    return failing


def test_a_job_that_did_its_work_is_proven(made: Step, run: Run, shell: LocalShell, file: Path) -> None:
    assert begin(made, shell, run, silent) is None
    wait(made, shell, run)
    outcome = finish(made, shell, run, silent)
    assert (outcome.acted, outcome.found) == (True, "there")


def test_a_job_whose_times_are_not_known_is_proven_all_the_same(made: Step, run: Run, shell: LocalShell) -> None:
    begin(made, shell, run, silent)
    wait(made, shell, run)
    Path(folder_of(made, run), "begun").write_text("")
    assert finish(made, shell, run, silent).job_seconds == 0


def test_no_job_is_started_for_a_goal_that_is_true(made: Step, run: Run, shell: LocalShell, file: Path) -> None:
    file.touch()
    assert begin(made, shell, run, silent) == Outcome(False, "there")
    assert not Path(folder_of(made, run)).exists()


def test_no_job_is_started_where_a_precondition_does_not_hold(made: Step, run: Run, shell: LocalShell) -> None:
    need = command_succeeds("the moon is full", run.cluster.daisy, "false")
    with pytest.raises(PreconditionFailed):
        begin(replace(made, requires=(need,)), shell, run, silent)
    assert not Path(folder_of(made, run)).exists()


def test_a_running_job_is_attached_to_whatever_its_preconditions_say_now(
    made: Step, run: Run, shell: LocalShell, file: Path
) -> None:
    slow = replace(made, action=f"echo run >> {file}.runs; sleep 0.5; touch {file}")
    never = command_succeeds("no installer runs", run.cluster.daisy, "false")
    begin(slow, shell, run, silent)
    assert begin(replace(slow, requires=(never,)), shell, run, silent) is None
    wait(slow, shell, run)
    assert runs(file) == 1


def test_a_job_that_ended_while_nobody_watched_is_taken_and_proven(
    made: Step, run: Run, shell: LocalShell, file: Path
) -> None:
    begin(made, shell, run, silent)
    wait(made, shell, run)
    assert begin(made, shell, run, silent) is None
    assert finish(made, shell, run, silent).acted
    assert runs(file) == 1


def test_a_failed_job_is_reported_with_its_last_lines(made: Step, run: Run, shell: LocalShell, file: Path) -> None:
    failing = job_fails(made, shell, run, file)
    with pytest.raises(CommandFailed) as failed:
        finish(failing, shell, run, silent)
    assert (failed.value.host, failed.value.status, failed.value.tail) == ("daisy", 3, "no room")


def test_a_failed_job_is_reported_once_and_begun_anew_after_that(
    made: Step, run: Run, shell: LocalShell, file: Path
) -> None:
    failing = job_fails(made, shell, run, file)
    assert begin(failing, shell, run, silent) is None, "a try after a lost worker must report, not start"
    assert runs(file) == 1
    with pytest.raises(CommandFailed):
        finish(failing, shell, run, silent)
    assert begin(made, shell, run, silent) is None
    wait(made, shell, run)
    assert finish(made, shell, run, silent).acted
    assert runs(file) == 2
    assert Path(f"{folder_of(made, run)}.1", "rc").read_text() == "3\n"


def test_a_step_that_became_true_after_its_job_failed_is_not_done_again(
    made: Step, run: Run, shell: LocalShell, file: Path
) -> None:
    failing = job_fails(made, shell, run, file)
    with pytest.raises(CommandFailed):
        finish(failing, shell, run, silent)
    file.touch()
    assert begin(made, shell, run, silent) == Outcome(False, "there")


def test_a_job_whose_report_could_not_be_noted_is_reported_again(
    made: Step, run: Run, shell: LocalShell, file: Path
) -> None:
    failing = job_fails(made, shell, run, file)

    def lose_the_note(host: Host, script: str, timeout: float) -> Output:
        shell.broken = "before" if script == job.mark_seen(folder_of(made, run)) else None
        return shell.run(host, script, timeout)

    with pytest.raises(ConnectionLost):
        finish(failing, hosts(lose_the_note), run, silent)
    with pytest.raises(CommandFailed):
        finish(failing, shell, run, silent)


def test_a_job_that_ended_well_without_effect_has_not_reached_the_goal(made: Step, run: Run, shell: LocalShell) -> None:
    liar = replace(made, action="echo '**** Installation completed successfully ******'")
    begin(liar, shell, run, silent)
    wait(liar, shell, run)
    with pytest.raises(GoalNotReached):
        finish(liar, shell, run, silent)


def test_a_job_that_is_gone_without_a_result_is_lost(made: Step, run: Run, shell: LocalShell) -> None:
    begin(replace(made, action="sleep 30"), shell, run, silent)
    folder = Path(folder_of(made, run))
    until((folder / "pid").exists)
    pid, since, _ = (folder / "pid").read_text().split()
    shell.run(run.cluster.daisy, f"kill -KILL -{pid}", 10)
    (folder / "pid").write_text(f"{pid} {since} the-boot-before\n")
    with pytest.raises(JobLost, match="may have been restarted"):
        finish(made, shell, run, silent)


def test_a_job_that_was_never_there_is_lost(made: Step, run: Run, shell: LocalShell) -> None:
    with pytest.raises(JobLost):
        finish(made, shell, run, silent)


def test_a_job_that_was_ended_for_its_password_prompt_says_so(made: Step, run: Run, shell: LocalShell) -> None:
    begin(replace(made, action='printf "root@10.0.0.1\'s password: "; sleep 30'), shell, run, silent)
    folder = Path(folder_of(made, run))
    until(lambda: "password:" in (folder / "out").read_text())
    shell.run(run.cluster.daisy, job.stop(str(folder), "it asked for a password: nobody will type one"), 10)
    with pytest.raises(PasswordPrompt, match=r"root@10\.0\.0\.1's password:"):
        finish(made, shell, run, silent)


def test_a_job_that_crosses_its_limit_says_so(
    made: Step, run: Run, shell: LocalShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timings, "LIMIT_FLOOR", -17)  # the limit at this pace is 18 s
    begin(replace(made, action="echo at work; sleep 30"), shell, run, silent)
    wait(made, shell, run)
    with pytest.raises(LimitExceeded, match="within its limit of 1 s") as late:
        finish(made, shell, run, silent)
    assert late.value.tail == "at work"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_start_whose_connection_was_lost_is_attached_to_when_tried_again(
    made: Step, run: Run, shell: LocalShell, file: Path, moment: str
) -> None:
    def break_the_start(host: Host, script: str, timeout: float) -> Output:
        shell.broken = moment if "setsid" in script else None
        return shell.run(host, script, timeout)

    with pytest.raises(ConnectionLost):
        begin(made, hosts(break_the_start), run, silent)
    begin(made, shell, run, silent)
    wait(made, shell, run)
    assert finish(made, shell, run, silent).acted
    assert runs(file) == 1


def test_a_look_whose_connection_was_lost_is_a_lost_connection(made: Step, run: Run, shell: LocalShell) -> None:
    shell.broken = "after"
    with pytest.raises(ConnectionLost):
        look(made, shell, run)


def test_a_look_that_is_garbled_is_unreadable(made: Step, run: Run) -> None:
    with pytest.raises(FactUnreadable):
        look(made, hosts(lambda *_: Output(0, "Welcome to this host!\n")), run)


def test_every_run_step_and_host_has_a_job_of_its_own(made: Step, run: Run) -> None:
    others = [
        folder_of(replace(made, subject="c2"), run),
        folder_of(replace(made, kind=kind("install_b")), run),
        folder_of(made, replace(run, owner="another")),
    ]
    assert len({folder_of(made, run), *others}) == 4


def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not true():
        assert time.monotonic() < ends, "the job has not come so far in 10 s"
        time.sleep(0.02)

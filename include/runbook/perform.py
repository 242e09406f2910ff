"""Carry out one step: guard, preconditions, action, proof. Nothing here knows how a host is reached."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

from include.runbook import job
from include.runbook.cluster import Compute, Host
from include.runbook.errors import (
    CommandFailed,
    ConnectionLost,
    FactUnreadable,
    GoalNotReached,
    HostKeyMismatch,
    HostKeyMissing,
    HostUnreachable,
    JobLost,
    LimitExceeded,
    PasswordPrompt,
    PreconditionFailed,
    RunbookError,
)
from include.runbook.goals import returned, taken_down
from include.runbook.remote_python import abridged
from include.runbook.shell import CUT, Output, last_lines
from include.runbook.step import Goal, Of, Read, Run, Step, Verdict

AT_ONCE = 16
"""Hosts that one goal is read from side by side."""

READ_LIMIT = 60.0
"""Seconds that a command which only reads may take."""

PASSWORD_PROMPT = "password:"
"""What the installer prints when a host key or a login key does not fit (A4.6, A5.3)."""


class Hosts(Protocol):
    """Runs a script on a host and returns what came back; raises an error that says why no session is open."""

    def run(self, host: Host, script: str, timeout: float) -> Output:
        """Run `script` by the host's POSIX shell; `timeout` in seconds."""


Say = Callable[[str], None]
"""Where progress goes, one line at a time."""


class Witness(Protocol):
    """Hears what a step does besides what it says: the run's record."""

    def acting(self) -> None:
        """The action is sent next: whatever becomes of this process, it may have been carried out."""

    def acted(self, output: str) -> None:
        """The action has ended, with these last lines of output."""


class Unwitnessed:
    """For whoever keeps no record."""

    def acting(self) -> None: ...

    def acted(self, output: str) -> None: ...


UNWITNESSED = Unwitnessed()


def judge(goal: Goal, hosts: Hosts) -> Verdict:
    """Read the live state that `goal` is about, hosts side by side, and judge it."""
    return judge_each((goal,), hosts)[0]


def judge_each(goals: Sequence[Goal], hosts: Hosts) -> list[Verdict]:
    """Judge several goals from one reading of every host that they are about."""
    verdicts = []
    for verdict in judge_reached(goals, hosts):
        if isinstance(verdict, RunbookError):
            raise verdict
        verdicts.append(verdict)
    return verdicts


def judge_reached(goals: Sequence[Goal], hosts: Hosts) -> list[Verdict | RunbookError]:
    """Judge several goals; in the place of a verdict stands why one of the goal's hosts could not be read."""
    by_host: dict[Host, list[Read]] = {}
    for read in dict.fromkeys(read for goal in goals for read in goal.reads):
        by_host.setdefault(read.host, []).append(read)
    with ThreadPoolExecutor(max_workers=min(len(by_host) or 1, AT_ONCE)) as pool:
        answers = list(pool.map(lambda reads: _answers(reads, hosts), by_host.values()))
    outputs = {read: output for answer in answers for read, output in answer.items()}

    def judged(goal: Goal) -> Verdict | RunbookError:
        given = [outputs[read] for read in goal.reads]
        error = next((output for output in given if isinstance(output, RunbookError)), None)
        return error or goal.judge([output for output in given if isinstance(output, Output)])

    return [judged(goal) for goal in goals]


def _answers(reads: Sequence[Read], hosts: Hosts) -> Mapping[Read, Output | RunbookError]:
    """Return what a host answers; where one read gets no answer the host is not asked again, and no read has one."""
    try:
        return {read: _answer(read, hosts) for read in reads}
    except (HostUnreachable, HostKeyMissing, HostKeyMismatch, ConnectionLost) as error:
        return dict.fromkeys(reads, error)


def _answer(read: Read, hosts: Hosts) -> Output:
    output = hosts.run(read.host, read.command, READ_LIMIT)
    if output.status is None:
        raise ConnectionLost("reading", read.host.name, in_short(read.command), "no exit status came back")
    return whole(read, output)


def whole(read: Read, output: Output) -> Output:
    """Return the answer to a read; raises FactUnreadable for one of which only the beginning is there."""
    if output.cut:
        raise FactUnreadable(read.host.name, in_short(read.command), CUT)
    return output


def narrowed(run: Run, of: Of, hosts: Hosts, say: Say) -> Run:
    """Return the run with those of its computes only that a step is made for; where there are none, with those that are
    back, for which nothing is left to do.

    A compute that cannot be read is left out and named, unless there is no other: who counts the failures counts it.
    """
    if of is Of.ALL:
        return run
    goals = [goal for compute in run.computes for goal in (returned(run, compute), taken_down(run, compute))]
    verdicts = judge_reached(goals, hosts)
    chosen: dict[Of, list[Compute]] = {kind: [] for kind in Of}
    for compute, back, down in zip(run.computes, verdicts[::2], verdicts[1::2], strict=True):
        error = next((verdict for verdict in (back, down) if isinstance(verdict, RunbookError)), None)
        if error is not None:
            if len(run.computes) == 1:
                raise error
            say(f"WARNING: {compute.name} is left out: {error}")
            continue
        chosen[Of.BACK if _met(back) else Of.PENDING].append(compute)
        if _met(down) and not _met(back):
            chosen[Of.TAKEN_DOWN].append(compute)
    return replace(run, computes=tuple(chosen[of] or chosen[Of.BACK]) or run.computes)


def _met(verdict: Verdict | RunbookError) -> bool:
    return isinstance(verdict, Verdict) and verdict.met


@dataclass(frozen=True)
class Outcome:
    """How a step ended: whether anything was done, what was found true at the end, and how long its job ran (s)."""

    acted: bool
    found: str
    job_seconds: float = 0.0


def already_true(step: Step, hosts: Hosts, say: Say) -> Outcome | None:
    """Return the outcome of a step whose goal holds before anything is done; None where it does not hold."""
    verdict = judge(step.goal, hosts)
    say(f"goal: {step.goal.sentence}")
    say(f"found: {verdict.found}")
    # A step without an action is a check: to find it true is its work, not a reason to skip it.
    return Outcome(not step.action, verdict.found) if verdict.met else None


def require(step: Step, hosts: Hosts) -> None:
    """Raise PreconditionFailed unless everything that must hold before the action does hold now."""
    for goal in step.requires:
        verdict = judge(goal, hosts)
        if not verdict.met:
            raise PreconditionFailed(step.label, step.host.name, goal.sentence, verdict.found, step.advice or _RESUME)


def act(step: Step, hosts: Hosts, run: Run, say: Say, witness: Witness) -> None:
    """Run the step's action to its end, or raise with what it printed."""
    limit = step.kind.timing.limit_at(run.cluster.pace)
    witness.acting()
    output = hosts.run(step.host, signed(step), limit)
    printed = last_lines(output.stdout + output.stderr, 50) + (f"\n[{CUT}]" if output.cut else "")
    witness.acted(printed)
    for line in printed.splitlines():
        say(line)
    if step.explain:
        step.explain(output)
    _expect_ok(step, output)


def prove(step: Step, hosts: Hosts, run: Run, say: Say) -> Outcome:
    """Return when the step's goal is read to be true; raise GoalNotReached when its limit passes first."""
    goal = step.proven_by
    started = time.monotonic()
    patience = step.kind.timing.limit_at(run.cluster.pace) if step.waits else 0.0
    pause = 0.2
    while True:
        verdict = judge(goal, hosts)
        if verdict.met:
            say(f"proven: {verdict.found}")
            return Outcome(True, verdict.found)
        if time.monotonic() - started >= patience:
            raise GoalNotReached(step.label, step.host.name, goal.sentence, verdict.found, step.advice or _RESUME)
        time.sleep(pause)
        pause = min(pause * 1.5, max(0.2, 5 / run.cluster.pace))


def perform(step: Step, hosts: Hosts, run: Run, say: Say, witness: Witness = UNWITNESSED) -> Outcome:
    """Make the step's goal true and prove it; do nothing where it is true already."""
    if (outcome := already_true(step, hosts, say)) is not None:
        return outcome
    require(step, hosts)
    if step.action:
        act(step, hosts, run, say, witness)
    return prove(step, hosts, run, say)


def signed(step: Step) -> str:
    """Return the step's action with the step's name on top, so that a host's process list and job folders tell it."""
    return f"# {step.label}\n{step.action}"


def folder_of(step: Step, run: Run) -> str:
    """Return the folder of the step's detached job on its host."""
    name = job.job_id(run.cluster.name, run.owner, step.kind.name, step.subject or step.host.name)
    return job.job_folder(step.host.path(run.cluster.paths.state), name)


def look(step: Step, hosts: Hosts, run: Run, offset: int = 0) -> job.Look:
    """Look at the step's detached job."""
    output = hosts.run(step.host, job.look(folder_of(step, run), offset), READ_LIMIT)
    if output.status is None:
        raise ConnectionLost(step.label, step.host.name, "a look at its job", "no exit status came back")
    return job.read_look(output, offset)


def job_age(step: Step, hosts: Hosts, run: Run) -> float:
    """Return for how many seconds the step's job has been there: one clock for the SLA, however many tries attach to it."""
    return job.read_age(hosts.run(step.host, job.age(folder_of(step, run)), READ_LIMIT))


def begin(step: Step, hosts: Hosts, run: Run, say: Say, witness: Witness = UNWITNESSED) -> Outcome | None:
    """Start the step's detached job, or attach to it, and return None; or the outcome where no job is needed.

    A job that failed and was reported is put aside and begun anew: an operator has cleared the task.
    A job that ended while nobody watched is left for `finish` to report.
    """
    folder = folder_of(step, run)
    found = look(step, hosts, run)
    if found.state is job.State.RUNNING or (found.state is not job.State.NONE and not found.seen):
        say(f"attached to the job of an earlier try ({found.reason})")
        return None
    if (outcome := already_true(step, hosts, say)) is not None:
        return outcome
    require(step, hosts)
    if found.state is not job.State.NONE:
        _expect_ok(step, hosts.run(step.host, job.retire(folder), READ_LIMIT))
    limit = step.kind.timing.limit_at(run.cluster.pace)
    witness.acting()
    _expect_ok(step, hosts.run(step.host, job.start(folder, signed(step), limit), READ_LIMIT))
    say(f"job started on {step.host.name} in {folder}")
    return None


def finish(step: Step, hosts: Hosts, run: Run, say: Say, witness: Witness = UNWITNESSED) -> Outcome:
    """Take the result of the ended job and prove the step's goal; raise with the job's last lines when it failed."""
    folder = folder_of(step, run)
    ended = look(step, hosts, run)
    tail = _tail_of_job(step, hosts, folder)
    witness.acted(tail)
    if ended.state is job.State.NONE:
        raise JobLost(step.label, step.host.name, folder, "", step.advice or _RESUME)
    if hosts.run(step.host, job.mark_seen(folder), READ_LIMIT).status is None:
        raise ConnectionLost(step.label, step.host.name, "noting that its job was reported", "no exit status came back")
    if ended.state is job.State.STOPPED and PASSWORD_PROMPT in ended.detail:
        raise PasswordPrompt(step.label, step.host.name, tail)
    if ended.state is job.State.STOPPED and "time limit" in ended.detail:
        limit = step.kind.timing.limit_at(run.cluster.pace)
        raise LimitExceeded(step.label, step.host.name, limit, tail, step.advice or _RESUME)
    if ended.state is job.State.LOST:
        raise JobLost(step.label, step.host.name, folder, tail, step.advice or _RESUME)
    if ended.state is not job.State.DONE:
        status = (
            int(ended.detail) if ended.state is job.State.FAILED and re.fullmatch("[0-9]{1,3}", ended.detail) else -1
        )
        raise CommandFailed(
            step.label, step.host.name, f"{folder}/script ({ended.reason})", status, tail, step.advice or _RESUME
        )
    ran = job.read_times(hosts.run(step.host, job.times(folder), READ_LIMIT))
    return replace(prove(step, hosts, run, say), job_seconds=ran)


def in_short(script: str) -> str:
    """Return a script as one line of a message: what it begins with, and how much more there is of it."""
    lines = [line.strip() for line in abridged(script).splitlines() if line.strip()]
    return "; ".join(lines[:4]) + (f"; ... ({len(lines)} lines, see Rendered Templates)" if len(lines) > 4 else "")


_RESUME = "read what was found above, repair it on the host, then clear the failed task: the run goes on from there"


def _expect_ok(step: Step, output: Output) -> None:
    if output.status is None:
        raise ConnectionLost(
            step.label, step.host.name, in_short(step.action), "the connection ended before the command"
        )
    if not output.ok:
        raise CommandFailed(
            step.label, step.host.name, in_short(step.action), output.status, output.tail, step.advice or _RESUME
        )


def _tail_of_job(step: Step, hosts: Hosts, folder: str) -> str:
    output = hosts.run(step.host, f"tail -c 4000 '{folder}/out' 2>/dev/null", READ_LIMIT)
    return last_lines(output.stdout)

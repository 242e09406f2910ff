"""Walks a plan on the twin: each stage begins when those before it are well, and what stands side by side runs so.

A step goes through the same functions as in Airflow, and its job is watched in the same way. What Airflow adds is left
out: the scheduler, the triggerer, the record. A step that fails ends its way; what does not depend on it goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial

from include.lab.errors import LabError
from include.rehearsal.decisions import Decisions, unsaid
from include.rehearsal.errors import RehearsalEnded, RehearsalError
from include.rehearsal.expectation import Acts
from include.rehearsal.report import Outcome, Stepped
from include.rehearsal.twin import Twin
from include.rehearsal.twin_hosts import Background, TwinHosts
from include.runbook import job, perform
from include.runbook.cluster import Host
from include.runbook.errors import ConnectionLost, HostUnreachable, LockHeld, RunbookError
from include.runbook.perform import PASSWORD_PROMPT, READ_LIMIT
from include.runbook.plan import Plan, Stage, hosts_of
from include.runbook.step import Kind, Run, Step

SIDE_BY_SIDE = 16
"""Steps that run at the same time, however many hosts a stage has."""

LOOK = 0.3
"""Seconds between two looks at a job."""

RETRIED = (ConnectionLost, HostUnreachable)

UNLOCKED = frozenset({"take_lock", "release_lock"})
"""The steps that may run while the run does not hold the lock."""

Tell = Callable[[Stepped], None]
"""Hears of each step when it has ended."""


@dataclass
class Walk:
    """One plan on its way, or one batch of it (from 1). `ended` is set by whoever wants it to stop."""

    twin: Twin
    plan: Plan
    background: Background
    acts: Acts
    tell: Tell
    ended: threading.Event
    batch: int = 0
    steps: list[Stepped] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run: Run = self.plan.run
        self.decisions = Decisions(self.twin, self.plan, self.background)
        unknown = [stage.task_id for stage in self.plan.stages if not self._playable(stage)]
        if unknown:
            raise RehearsalError(
                f"the rehearsal does not know the decisions {', '.join(unknown)} of {self.plan.scenario}"
            )

    def go(self) -> bool:
        """Walk to the end; True where every step went well. Raises RehearsalEnded when it is told to stop."""
        waiting = {stage.task_id: stage for stage in self.plan.stages}
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            try:
                failed = self._through(waiting, pool)
            except BaseException:
                # What has begun is told to end: the pool waits for it.
                self.ended.set()
                raise
        for stage in waiting.values():
            self._note(self._stepped(stage, "", Outcome.NOT_BEGUN, "what comes before it failed"))
        self.remarks += self.decisions.remarks
        return not failed

    def _through(self, waiting: dict[str, Stage], pool: ThreadPoolExecutor) -> set[str]:
        """Go through the stages as far as they go well; return those that failed, and leave in `waiting` what never began."""
        well: set[str] = set()
        failed: set[str] = set()
        left: dict[str, int] = {}
        at_work: dict[Future[Stepped | None], str] = {}
        while True:
            for stage in [each for each in waiting.values() if each.after <= well]:
                work = list(self._work(waiting.pop(stage.task_id)))
                left[stage.task_id] = len(work)
                at_work |= {pool.submit(each): stage.task_id for each in work}
            if not at_work:
                return failed
            for future in wait(at_work, return_when=FIRST_COMPLETED).done:
                task_id = at_work.pop(future)
                left[task_id] -= 1
                if not self._went_well(future.result()):
                    failed.add(task_id)
                if not left[task_id] and task_id not in failed:
                    well.add(task_id)
            self._require_going_on()

    def _playable(self, stage: Stage) -> bool:
        return Decisions.knows(stage) or stage.kind is not None or bool(stage.rounds)

    def _went_well(self, stepped: Stepped | None) -> bool:
        """Note how a piece of a stage's work has ended; batches have noted theirs, and say only that they failed."""
        if stepped is None:
            return True
        self._note(stepped)
        return stepped.outcome is not Outcome.FAILED

    def _note(self, stepped: Stepped) -> None:
        self.steps.append(stepped)
        self.tell(stepped)

    def _work(self, stage: Stage) -> Iterator[Callable[[], Stepped | None]]:
        """Yield the pieces of a stage that run side by side."""
        if Decisions.knows(stage):
            yield partial(self._decide, stage)
        elif stage.kind is None:
            yield partial(self._batches, stage)
        else:
            for host in hosts_of(stage.kind, self.run):
                yield partial(self._step, stage, stage.kind, host)

    def _batches(self, stage: Stage) -> Stepped | None:
        """One batch after the other; none begins after one that has failed."""
        for number, plan in enumerate(stage.rounds, 1):
            run = replace(plan.run, batch=True, failures_allowed=0)
            batch = replace(self, plan=replace(plan, run=run), batch=number, steps=[], remarks=[])
            well = batch.go()
            self.steps += batch.steps
            self.remarks += batch.remarks
            if not well:
                return self._stepped(stage, "", Outcome.FAILED, f"batch {number} of {len(stage.rounds)} failed")
        return None

    def _decide(self, stage: Stage) -> Stepped:
        begun = time.monotonic()
        try:
            outcome, found = Outcome.DONE, self.decisions.take(stage)
        except (RunbookError, RehearsalError) as error:
            outcome, found = Outcome.FAILED, str(error)
        return replace(self._stepped(stage, "", outcome, found), seconds=time.monotonic() - begun)

    def _step(self, stage: Stage, kind: Kind, host: Host) -> Stepped:
        begun = time.monotonic()
        try:
            ended = self._carried_out(kind, host)
            outcome, found = (Outcome.DONE if ended.acted else Outcome.ALREADY_TRUE), ended.found
        except (RunbookError, LabError) as error:
            outcome, found = Outcome.FAILED, str(error)
        cluster, timing = self.run.cluster, kind.timing
        return replace(
            self._stepped(stage, host.name, outcome, found),
            acts=self.acts(kind, host, self.batch),
            expected=timing.expected(cluster.pace),
            sla=timing.sla(cluster.pace, cluster.tolerance),
            seconds=time.monotonic() - begun,
        )

    def _stepped(self, stage: Stage, host: str, outcome: Outcome, found: str) -> Stepped:
        return Stepped(stage.task_id, stage.title, host, self.batch, outcome, found)

    def _carried_out(self, kind: Kind, host: Host) -> perform.Outcome:
        """Carry a step out as a task does: a lost connection is tried again, and so often only."""
        for _ in range(kind.timing.retries):
            try:
                return self._tried(kind, host)
            except RETRIED:
                self._require_going_on()
        return self._tried(kind, host)

    def _tried(self, kind: Kind, host: Host) -> perform.Outcome:
        self._require_going_on()
        with TwinHosts(self.run.cluster, self.twin.credentials_of, self.background) as hosts:
            concerned = perform.narrowed(self.run, kind.of, hosts, unsaid)
            step = kind.make(concerned, host)
            if kind.changes and kind.name not in UNLOCKED:
                self._require_lock(hosts)
            if not kind.detached:
                return perform.perform(step, hosts, concerned, unsaid)
            outcome = perform.begin(step, hosts, concerned, unsaid)
            if outcome is not None:
                return outcome
            self._watch(step, concerned, hosts)
        # A reinstalled host has another key by now, which the job has pinned.
        with TwinHosts(self.run.cluster, self.twin.credentials_of, self.background) as hosts:
            return perform.finish(step, hosts, concerned, unsaid)

    def _watch(self, step: Step, run: Run, hosts: TwinHosts) -> None:
        """Wait for the end of a step's job, which is ended when it asks for a password."""
        offset, unended = 0, ""
        while True:
            self._require_going_on()
            seen = perform.look(step, hosts, run, offset)
            if seen.ended and len(seen.output) < job.CHUNK:
                return
            offset, unended = seen.offset, unended + seen.output
            if PASSWORD_PROMPT in unended.lower() and not seen.ended:
                reason = f"it asked for a {PASSWORD_PROMPT} nobody will type one"
                hosts.run(step.host, job.stop(perform.folder_of(step, run), reason), READ_LIMIT)
            unended = unended.rpartition("\n")[2][-400:]
            time.sleep(LOOK)

    def _require_lock(self, hosts: TwinHosts) -> None:
        holder = hosts.custody.holder
        if holder is None or not holder.is_run(self.run):
            since = holder.since if holder else "now"
            raise LockHeld(self.run.cluster.name, str(holder or "nobody"), since, "see which step let go of the lock")

    def _require_going_on(self) -> None:
        if self.ended.is_set():
            raise RehearsalEnded("the rehearsal was ended before it was over")

"""The run's record: one event for each step that a task went through, and a warning while a step is late."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from include.runbook import custody
from include.runbook.errors import RunbookError
from include.runbook.perform import READ_LIMIT, Outcome
from include.runbook.step import Run, Step
from tecs.notifiers import LIMIT, send
from tecs.ssh import SshHosts
from tecs.telling import late


class Recorded:
    """A `with` block around one step: warns and tells when its SLA is crossed, and writes how it ended to the Daisy host.

    `begun` is the time (s since 1970) from which the SLA counts: that of the job's start, where the step has a job.
    `warned`: the job's trigger has told already that it is late.
    Set `outcome` before the block ends; a block that ends by an error is recorded as failed.
    """

    def __init__(
        self, step: Step, run: Run, run_id: str, hosts: SshHosts, log: Any, *, begun: float | None, warned: bool
    ) -> None:
        self.step, self.run, self.run_id, self.hosts, self.log = step, run, run_id, hosts, log
        self.begun = begun or time.time()
        self.sla = step.kind.timing.sla(run.cluster.pace, run.cluster.tolerance)
        self.outcome: Outcome | None = None
        self.warned = warned
        self._timer = threading.Timer(max(0.0, self.begun + self.sla - time.time()), self._warn)

    def __enter__(self) -> Recorded:
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._write(self._event(error))
        # If the warning is being sent just now: the process that does so may end with this block.
        self._timer.join(LIMIT)

    def _warn(self) -> None:
        self.log.warning("SLA crossed: %s takes longer than %.1f s and goes on", self.step.label, self.sla)
        if not self.warned:
            send(late(self.step, self.run, self.run_id, self.sla), self.run.cluster.notify, self.log)

    def _event(self, error: BaseException | None) -> dict[str, object]:
        outcome, took = self.outcome, time.time() - self.begun
        ended = "failed" if outcome is None else "done" if outcome.acted else "already true"
        return {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "run_id": self.run_id,
            "id": self.step.kind.id,
            "step": self.step.kind.name,
            "host": self.step.subject or self.step.host.name,
            "outcome": ended,
            "found": str(error) if outcome is None else outcome.found,
            "seconds": round(took, 2),
            "remote": round(self.hosts.spent + (outcome.job_seconds if outcome else 0.0), 2),
            "sla": round(self.sla, 2),
            "late": took > self.sla,
        }

    def _write(self, event: dict[str, object]) -> None:
        try:
            self.hosts.run(self.run.cluster.daisy, custody.record_script(self.run, event), READ_LIMIT)
        except RunbookError as error:
            # The record tells what happened; it must not turn a step that succeeded into one that failed.
            self.log.warning("the run's record could not be written: %s", error)

"""The run's record: what each step went through, and a warning while a step is late."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from airflow.sdk import Context

from include.runbook import custody, record_events
from include.runbook.errors import RunbookError
from include.runbook.perform import READ_LIMIT, Outcome
from include.runbook.remote_python import abridged
from include.runbook.scenarios import SCENARIOS
from include.runbook.step import Run, Step
from tecs.notifiers import LIMIT, send
from tecs.requests import run_of
from tecs.ssh import SshHosts
from tecs.telling import late

log = logging.getLogger("airflow.task")

OUTPUT_KEPT = 4000
"""Characters of the end of a step's output that are recorded."""


class Recorded:
    """A `with` block around one step: warns and tells when its SLA is crossed, and writes how it ended to the Daisy host.

    `begun` is the time (s since 1970) from which the SLA counts: that of the job's start, where the step has a job.
    `warned`: the job's trigger has told already that it is late.
    Set `outcome` before the block ends; a block that ends by an error is recorded as failed. It is the step's witness, too:
    the script is recorded before it is sent, so that it is known even if this process does not live to see its end.
    """

    def __init__(
        self, step: Step, run: Run, run_id: str, hosts: SshHosts, log: Any, *, begun: float | None, warned: bool
    ) -> None:
        self.step, self.run, self.run_id, self.hosts, self.log = step, run, run_id, hosts, log
        self.begun = begun or time.time()
        self.sla = step.kind.timing.sla(run.cluster.pace, run.cluster.tolerance)
        self.outcome: Outcome | None = None
        self.warned = warned
        self.output = ""
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

    def acting(self) -> None:
        """Record that the step's script is sent next, and which."""
        on, command = self.step.host.name, abridged(self.step.action)
        self._write({"event": "acting", **self._told(), "on": on, "command": command})

    def acted(self, output: str) -> None:
        """Keep the end of what the script has printed."""
        self.output = output[-OUTPUT_KEPT:]

    def _warn(self) -> None:
        self.log.warning("SLA crossed: %s takes longer than %.1f s and goes on", self.step.label, self.sla)
        if not self.warned:
            send(late(self.step, self.run, self.run_id, self.sla), self.run.cluster.notify, self.log)

    def _told(self) -> dict[str, object]:
        """What every event of a step says."""
        kind, cluster = self.step.kind, self.run.cluster
        told: dict[str, object] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "run_id": self.run_id,
            "id": kind.id,
            "step": kind.name,
            "host": self.step.subject or self.step.host.name,
            "expected": round(kind.timing.expected(cluster.pace), 2),
            "sla": round(self.sla, 2),
        }
        # One step for all computes of a batch names none of them by its host.
        if kind.id.startswith("A4.") and not kind.over.many:
            told["computes"] = [compute.name for compute in self.run.computes]
        return told

    def _event(self, error: BaseException | None) -> dict[str, object]:
        outcome, took = self.outcome, time.time() - self.begun
        ended = "failed" if outcome is None else "done" if outcome.acted else "already true"
        return self._told() | {
            "outcome": ended,
            "found": str(error) if outcome is None else outcome.found,
            "output": self.output,
            "seconds": round(took, 2),
            "remote": round(self.hosts.spent + (outcome.job_seconds if outcome else 0.0), 2),
            "late": took > self.sla,
        }

    def _write(self, event: dict[str, object]) -> None:
        try:
            output = self.hosts.run(self.run.cluster.daisy, custody.record_script(self.run, event), READ_LIMIT)
        except RunbookError as error:
            # The record tells what happened; it must not turn a step that succeeded into one that failed.
            self.log.warning("the run's record could not be written: %s", error)
        else:
            if not output.ok:
                self.log.warning("the run's record could not be written: %s", output.tail or "no exit status")


def append(run: Run, events: Iterable[Mapping[str, object]], log: logging.Logger) -> None:
    """Append events to the run's record; one that cannot be written is warned of, and fails nothing."""
    daisy = run.cluster.daisy
    try:
        with SshHosts(run.cluster, log) as hosts:
            for script in custody.record_scripts(run, events):
                output = hosts.run(daisy, script, READ_LIMIT)
                if not output.ok:
                    log.warning("the run's record could not be written: %s", output.tail or "no exit status")
                    return
    except RunbookError as error:
        log.warning("the run's record could not be written: %s", error)


def record_failure(context: Context) -> None:
    """Record why a task of a scenario has failed that does not record itself, as steps do.

    Airflow calls it in the task's process, before the run can end.
    """
    task, ti = context["task"], context["ti"]
    if context["dag_run"].dag_id not in SCENARIOS or getattr(task, "records_itself", False):
        return
    id, _, name = task.task_id.partition("_")
    found = str(context.get("exception") or "no reason is known")
    event = record_events.failed(context["run_id"], id, name, str(getattr(ti, "rendered_map_index", None) or ""), found)
    try:
        run = run_of(context)
        with SshHosts(run.cluster, log) as hosts:
            # A run that was refused has changed nothing, and leaves nothing on the Daisy host, not even a record.
            hosts.run(run.cluster.daisy, custody.record_script(run, event, begin=False), READ_LIMIT)
    except RunbookError as error:
        log.warning("the run's record could not be written: %s", error)

"""The operators that carry out steps of the runbook. Both are SSHOperators: a step is a command on a host, and more."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, ClassVar

from airflow.providers.ssh.operators.ssh import SSHOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from include.runbook import host_keys, job
from include.runbook.cluster import Host
from include.runbook.errors import HostUnreachable, LockHeld, RunbookError
from include.runbook.perform import READ_LIMIT, Outcome, begin, finish, folder_of, job_age, narrowed, perform
from include.runbook.plan import hosts_of, step_text
from include.runbook.redaction import masked
from include.runbook.shell import last_lines
from include.runbook.step import Run, Step, kind
from tecs.cancelling import REASON
from tecs.failures import reported
from tecs.recording import Recorded
from tecs.requests import require_living_parent, run_of
from tecs.ssh import SshHosts
from tecs.telling import late
from tecs.triggers import JobTrigger

UNLOCKED = frozenset({"take_lock", "hand_over_lock", "release_lock"})
"""The steps that may run while this run does not hold the lock: those that are about the lock itself."""


class RunbookStep(SSHOperator):
    """Makes the goal of one runbook step true on one host and proves it. Skipped means: it was true already.

    `step` names the step; `host` the host it is made for, where there are several. The cluster, the release and everything
    else come from the run's parameters, so the same task serves every cluster.
    """

    template_fields: Sequence[str] = ("step", "host", "where", "command")
    template_fields_renderers: ClassVar[dict[str, str]] = {"command": "bash"}
    template_ext: Sequence[str] = ()
    ui_color = "#e8f0fe"
    records_itself = True

    def __init__(self, *, step: str, host: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step, self.host, self.where = step, host, ""

    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Context, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        # The one hook that runs for mapped and unmapped tasks alike before Rendered Templates is stored.
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
        try:
            step = self.made(run_of(context))
        except RunbookError as error:
            self.command = f"# {error}"
            return
        self.where = f"acts on {step.host.name}" + (f", for {step.subject}" if step.subject else "")
        self.command = step_text(step)

    def made(self, run: Run) -> Step:
        """Return this task's step for the run."""
        this = kind(self.step)
        host = run.cluster.host(self.host) if self.host else hosts_of(this, run)[0]
        return this.make(run, host)

    def made_now(self, run: Run, hosts: SshHosts) -> tuple[Step, Run]:
        """Return this task's step with the run it is made for: of its computes, those that the step is to touch."""
        if kind(self.step).reinstalls:
            self._accept_new_keys(run, hosts)
        concerned = narrowed(run, kind(self.step).of, hosts, self._say)
        return self.made(concerned), concerned

    def execute(self, context: Context) -> None:
        """Carry the step out; raises AirflowSkipException when its goal was true already."""
        with reported(self.log):
            run = run_of(context)
            with SshHosts(run.cluster, self.log) as hosts:
                step, run = self.made_now(run, hosts)
                self._may_act(context, step, run, hosts)
                with self._excused(step), self._recorded(context, step, run, hosts) as recorded:
                    recorded.outcome = perform(step, hosts, run, self._say, recorded)
        if recorded.outcome is not None:
            skip_if_true(recorded.outcome)

    @contextmanager
    def _excused(self, step: Step) -> Iterator[None]:
        """Tell of the failure of a step that stops nothing, and go on. In the record it stands as failed."""
        try:
            yield
        except RunbookError as error:
            if not step.kind.optional:
                raise
            for line in str(error).splitlines():
                self.log.warning(line)
            self.log.warning("the run goes on without this step")

    def on_kill(self) -> None:
        """Leave the command that runs on the host to its end: it is short, and the next try reads what it made true."""

    def _accept_new_keys(self, run: Run, hosts: SshHosts) -> None:
        """Pin the keys of hosts that this run is reinstalling: a job that died before its end has left them unpinned.

        Without them nothing could be read of those hosts, and the step could never be resumed.
        """
        kept = hosts.custody
        noted = [node for node in run.cluster.nodes if node.name in kept.reinstalling]
        if not noted or kept.holder is None or not kept.holder.is_run(run):
            return
        script = host_keys.repin_reinstalled(run.cluster, noted, looks=1)
        output = hosts.run(run.cluster.daisy, script, READ_LIMIT * len(noted))
        for line in last_lines(output.stdout + output.stderr).splitlines():
            self.log.info(line)
        hosts.read_custody()

    def _say(self, line: str) -> None:
        """Log a line of a step, without secrets; what the step itself calls a warning is logged as one."""
        (self.log.warning if "WARNING: " in line else self.log.info)(masked(line))

    def _may_act(self, context: Context, step: Step, run: Run, hosts: SshHosts) -> None:
        require_living_parent(context)
        if step.kind.changes and step.kind.name not in UNLOCKED:
            require_lock(run, hosts)

    def _recorded(
        self,
        context: Context,
        step: Step,
        run: Run,
        hosts: SshHosts,
        *,
        begun: float | None = None,
        warned: bool = False,
    ) -> Recorded:
        return Recorded(step, run, context["dag_run"].run_id, hosts, self.log, begun=begun, warned=warned)


class DetachedStep(RunbookStep):
    """A step whose action is a job of its own on the host: started once, watched by the triggerer, proven at the end."""

    _starting: tuple[Step, Run] | None = None

    def execute(self, context: Context) -> None:
        """Start the job or attach to it, then wait without holding a worker."""
        with reported(self.log):
            run = run_of(context)
            with SshHosts(run.cluster, self.log) as hosts:
                step, run = self.made_now(run, hosts)
                self._may_act(context, step, run, hosts)
                outcome = self._begun(context, step, run, hosts)
                trigger = self._trigger(step, run, hosts, context["dag_run"].run_id)
        if outcome is not None:
            skip_if_true(outcome)
            return
        self.defer(trigger=trigger, method_name="resume")

    def resume(self, context: Context, event: dict[str, Any]) -> None:
        """Take the job's result and prove the goal."""
        with reported(self.log):
            run = run_of(context)
            if event.get("unreachable"):
                raise HostUnreachable(self.made(run).host.name, event["unreachable"])
            with SshHosts(run.cluster, self.log) as hosts:
                step, run = self.made_now(run, hosts)
                with self._recorded(
                    context, step, run, hosts, begun=event["begun"], warned=event.get("warned", False)
                ) as recorded:
                    require_living_parent(context)
                    recorded.outcome = finish(step, hosts, run, self._say, recorded)

    def on_kill(self) -> None:
        """End the job if the task is killed before the trigger has taken it over; from then on the trigger does."""
        if self._starting is not None:
            step, run = self._starting
            with SshHosts(run.cluster, self.log) as hosts:
                stop_jobs([step], run, hosts, REASON)

    def _begun(self, context: Context, step: Step, run: Run, hosts: SshHosts) -> Outcome | None:
        """Start the job or attach to it; only what ends here is recorded here."""
        self._starting = step, run
        try:
            outcome = begin(step, hosts, run, self._say, self._recorded(context, step, run, hosts))
        except RunbookError:
            with self._recorded(context, step, run, hosts):
                raise
        if outcome is not None:
            with self._recorded(context, step, run, hosts) as recorded:
                recorded.outcome = outcome
        return outcome

    def _trigger(self, step: Step, run: Run, hosts: SshHosts, run_id: str) -> JobTrigger:
        sla = step.kind.timing.sla(run.cluster.pace, run.cluster.tolerance)
        return JobTrigger(
            host=step.host.model_dump(mode="json", include=set(Host.model_fields)),
            host_key=hosts.host_key(step.host),
            folder=folder_of(step, run),
            label=step.label,
            begun=time.time() - job_age(step, hosts, run),
            sla=sla,
            late=asdict(late(step, run, run_id, sla)),
            notify=[channel.model_dump(mode="json") for channel in run.cluster.notify],
        )


def require_lock(run: Run, hosts: SshHosts) -> None:
    """Raise LockHeld unless this run holds the cluster's lock."""
    holder = hosts.custody.holder
    if holder is None or not holder.is_run(run):
        advice = "start the scenario anew: it takes the lock first"
        raise LockHeld(run.cluster.name, str(holder or "nobody"), holder.since if holder else "now", advice)


def skip_if_true(outcome: Outcome) -> None:
    """Mark the task skipped when its goal was true and nothing was done. Skipped has no other meaning."""
    if not outcome.acted:
        raise AirflowSkipException(f"already true: {outcome.found}")


def stop_jobs(steps: Sequence[Step], run: Run, hosts: SshHosts, reason: str) -> None:
    """End the detached jobs of these steps wherever they run."""
    for step in steps:
        hosts.run(step.host, job.stop(folder_of(step, run), reason), READ_LIMIT)

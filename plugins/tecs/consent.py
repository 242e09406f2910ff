"""A4.2 in Airflow: a person is asked about VMs that stay, and a drain that does not go on gives its computes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Context, XComArg
from airflow.sdk.exceptions import AirflowSkipException

from include.runbook import custody
from include.runbook.cluster import Compute, Host
from include.runbook.consent import Consent, Left, consents_in, left_in, listing, note_consent
from include.runbook.drain import NOT_ACTIVE
from include.runbook.errors import CommandFailed, RunbookError
from include.runbook.goals import not_installed, returned
from include.runbook.perform import READ_LIMIT, judge, perform
from include.runbook.shell import printable
from include.runbook.step import Run, VmPolicy, any_of, kind
from include.runbook.steps.vms import reasons, reasons_in, standing_answer
from tecs.failures import Failure, failed, reported
from tecs.operators import RunbookStep, require_lock
from tecs.requests import require_living_parent, run_of, states_of
from tecs.ssh import SshHosts
from tecs.telling import tell_question

STOP = "Uninstall nothing"
ANSWERS = {
    "(a) The compute is faulty anyway": VmPolicy.NODE_FAULTY,
    "(b) An outage of these VMs is acceptable": VmPolicy.ACCEPT_OUTAGE,
    "(c) Migrate them, to computes of any release": VmPolicy.MIGRATE_ACROSS_RELEASES,
}
"""What the runbook lets a person accept for VMs that stay (A4.2)."""

ASKED = "asked"
"""The XCom key of the ids of the VMs that the question is about: an answer covers these and no others."""

STOPPED = (
    "nothing is uninstalled. Move the VMs by hand or decide what may become of them, then clear the failed tasks "
    "and A4.2_finish_drain with what follows it: what can be moved by then is moved, and you are asked again about what stays"
)


class AskConsent(HITLOperator):
    """Asks what may become of the VMs that stay on one compute. Skipped where none stays, or the run has the answer.

    No answer in time is no consent. The answer, who gave it and when are noted on the Daisy host, where the steps that take
    the compute down read it, and in the run's record.
    """

    template_fields: Sequence[str] = ("host",)

    def __init__(self, *, host: str, **kwargs: Any) -> None:
        super().__init__(subject=f"VMs stay on {host}", options=[*ANSWERS, STOP], **kwargs)
        self.host = host

    def execute(self, context: Context) -> None:
        """Ask, and wait for the answer without holding a worker."""
        with reported(self.log):
            run = run_of(context)
            require_living_parent(context)
            compute = run.cluster.compute(self.host)
            with SshHosts(run.cluster, self.log) as hosts:
                told = reasons_in(hosts.run(run.cluster.daisy, reasons(run).command, READ_LIMIT))
                left = [vm for vm in self._left(run, compute, hosts) if _stays(vm, told)]
                given = self._given(run, compute, hosts)
        if given and {vm.id for vm in left} <= set(given.vms):
            # Airflow may lose a task that is answered in the moment in which it begins to wait; its answer stands.
            raise AirflowSkipException(f"{given.by} has answered {given.answer.value} at {given.at}")
        if not left:
            raise AirflowSkipException(f"no VM stays on {self.host}")
        policy = run.policy_for(compute)
        if policy is not VmPolicy.MIGRATE:
            raise AirflowSkipException(f"{run.user} has answered {policy.value} when the run was triggered")
        self.subject = f"{len(left)} VMs stay on {self.host} of {run.cluster.name}"
        self.body = _question(self.host, left, told)
        for line in self.body.splitlines():
            self.log.info(line)
        self.response_timeout = timedelta(seconds=run.cluster.drain.answer_limit)
        context["ti"].xcom_push(key=ASKED, value=[vm.id for vm in left])
        # Airflow calls these once the question can be answered.
        limit = run.cluster.drain.answer_limit
        self.notifiers = [
            lambda context: tell_question(
                context, run, self.subject, self.body, within=limit, silence="else nothing is uninstalled"
            )
        ]
        super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """Note the answer; raises AirflowFailException for one that is no consent, and when the time is over."""
        answer = super().execute_complete(context, event)
        chosen, user = answer["chosen_options"][0], answer["responded_by_user"] or {}
        by, at = (
            str(user.get("name") or "somebody"),
            answer["responded_at"].astimezone(UTC).isoformat(timespec="seconds"),
        )
        with reported(self.log):
            run = run_of(context)
            require_living_parent(context)
            compute = run.cluster.compute(self.host)
            with SshHosts(run.cluster, self.log) as hosts:
                require_lock(run, hosts)
                names = printable(", ".join(map(str, self._left(run, compute, hosts)))) or "none any more"
                told = f"{by} answered at {at}: {chosen}. VMs that stay: {names}"
                self._record(context, run, hosts, told, {"by": by, "at": at, "answer": chosen})
                if chosen in ANSWERS:
                    asked = context["ti"].xcom_pull(key=ASKED, map_indexes=context["ti"].map_index) or ()
                    consent = Consent(self.host, ANSWERS[chosen], by, at, tuple(asked))
                    _expect_ok(run.cluster.daisy, note_consent(run, consent), hosts)
        if chosen == STOP:
            raise failed(
                Failure.OUTAGE_REFUSED, f"{by} does not accept that these VMs lose their service: {names}; {STOPPED}"
            )

    def process_trigger_event_error(self, event: dict[str, Any]) -> NoReturn:
        """End on the safe side; raised in a way that is not tried again, which would ask again."""
        if event["error_type"] == "timeout":
            raise failed(
                Failure.NOT_ANSWERED,
                f"nobody has answered in time what may become of the VMs on {self.host}; {STOPPED}",
            )
        raise failed(
            Failure.ANSWER_NOT_TAKEN, f"the answer about {self.host} could not be taken ({event['error']}); {STOPPED}"
        )

    def _left(self, run: Run, compute: Host, hosts: SshHosts) -> tuple[Left, ...]:
        read = listing(run.cluster, [compute])
        done = judge(any_of(not_installed(run.cluster, compute), returned(run, compute)), hosts).met
        return () if done else left_in(read, hosts.run(read.host, read.command, READ_LIMIT))

    def _given(self, run: Run, compute: Host, hosts: SshHosts) -> Consent | None:
        read = standing_answer(run, compute)
        return consents_in(read, hosts.run(read.host, read.command, READ_LIMIT)).get(compute.name)

    def _record(self, context: Context, run: Run, hosts: SshHosts, found: str, answer: dict[str, str]) -> None:
        self.log.info(found)
        event = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "run_id": context["dag_run"].run_id,
            "id": "A4.2",
            "step": "consent",
            "host": self.host,
            "outcome": "done",
            "found": found,
            **answer,
        }
        _expect_ok(run.cluster.daisy, custody.record_script(run, event), hosts)


def _stays(vm: Left, told: Mapping[str, str]) -> bool:
    """Whether there is no use in trying to move the VM, again or at all: it cannot be, or Nova has failed to do it.

    A VM that came later, or has become active again since, is moved by the step after the question.
    """
    return bool(vm.reason) or (vm.id in told and told[vm.id] not in NOT_ACTIVE.values())


def _question(host: str, left: Sequence[Left], told: Mapping[str, str]) -> str:
    """Return what the person reads, as Markdown."""
    vms = printable("\n".join(f"- **{vm.name}** ({vm.id}, {vm.status}): {vm.reason or told[vm.id]}" for vm in left))
    return (
        f"These VMs are still on **{host}**, which is to be uninstalled next:\n\n{vms}\n\n"
        "With (a) or (b) the compute is taken down under them. With (c) they are moved, and if one stays all the same, "
        f"nothing is uninstalled. {STOP}: the computes of this batch go back to the scheduler."
    )


def _expect_ok(host: Host, script: str, hosts: SshHosts) -> None:
    output = hosts.run(host, script, READ_LIMIT)
    if not output.ok:
        advice = "repair what is said above and clear the failed task: you are asked again"
        raise CommandFailed(
            "A4.2 consent", host.name, script.splitlines()[0][:200], output.status or 0, output.tail, advice
        )


class GoOnOrGiveBack(RunbookStep):
    """Lets the run go on when everything before it has succeeded. Otherwise it gives the computes back, and fails.

    It fails so that it is cleared together with the task that did: then the computes are drained again, and this task is
    there again if that fails again. Where some computes are not `ready`, but no more than may fail, only they are given back.
    """

    template_fields: Sequence[str] = (*RunbookStep.template_fields, "ready")
    records_itself = False

    def __init__(self, *, ready: XComArg | list[str] | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ready = ready

    def execute(self, context: Context) -> None:
        """Look at how the tasks before have ended; raises AirflowSkipException where all is well."""
        ended = states_of(context, context["task"].upstream_task_ids)
        behind = sorted(name for name, state in ended.items() if state == "failed")
        behind = behind or sorted(name for name, state in ended.items() if state not in ("success", "skipped"))
        if not behind:
            self._give_back_the_others(context)
            return
        given_back = "no compute has been touched"
        if ended.get("A4_computes") == "success":  # before that the run did not hold the cluster
            with reported(self.log):
                given_back = f"{self._give_back(context, run_of(context))}; {STOPPED}"
        raise failed(
            Failure.BATCH_STOPPED, f"this batch does not go on, since {', '.join(behind)} failed: {given_back}"
        )

    def _give_back_the_others(self, context: Context) -> None:
        with reported(self.log):
            run = run_of(context)
            others = tuple(compute for compute in run.computes if compute.name not in (self.ready or ()))
            if not others:
                raise AirflowSkipException("already true: the computes are free to be taken down")
            self.log.warning(self._give_back(context, replace(run, computes=others)))

    def _give_back(self, context: Context, run: Run) -> str:
        with SshHosts(run.cluster, self.log) as hosts:
            kept, unknown = _not_taken_down(run, hosts)
            for name, error in unknown.items():
                self.log.error("%s stays out of the scheduler's hands, since its state is not known: %s", name, error)
            told = [f"the state of {', '.join(unknown)} is not known"] if unknown else []
            if kept.computes:
                step = kind(self.step).make(kept, run.cluster.controllers.a)
                require_lock(kept, hosts)
                with self._recorded(context, step, kept, hosts) as recorded:
                    recorded.outcome = perform(step, hosts, kept, self.log.info, recorded)
                told.append(f"the scheduler may use {', '.join(c.name for c in kept.computes)} as before")
        return "; ".join(told) or "every compute has been taken down already"


def _not_taken_down(run: Run, hosts: SshHosts) -> tuple[Run, dict[str, RunbookError]]:
    """Return the run with those of its computes only that still have the bad release; and which could not be read."""
    kept: list[Compute] = []
    unknown: dict[str, RunbookError] = {}
    for compute in run.computes:
        try:
            if not judge(any_of(not_installed(run.cluster, compute), returned(run, compute)), hosts).met:
                kept.append(compute)
        except RunbookError as error:
            unknown[compute.name] = error
    return replace(run, computes=tuple(kept)), unknown

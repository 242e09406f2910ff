"""Which VMs are left on the computes of a run, and who has accepted what becomes of them (A4.2).

A consent is a file on the Daisy host: a worker that uninstalls reads it there again, right before it acts. It holds the
ids of the VMs that it is about, so that it does not cover one that came later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from include.runbook.cluster import Cluster, Host
from include.runbook.custody import folder, quote_name
from include.runbook.errors import FactUnreadable
from include.runbook.goals import cloud, compute_services, services_in
from include.runbook.remote_python import program
from include.runbook.shell import Output, quote
from include.runbook.step import Goal, Read, Run, Verdict, VmPolicy

DRAIN = Path(__file__).with_name("drain.py")
"""The program that lists and moves VMs; it runs on controller A."""


@dataclass(frozen=True)
class Left:
    """A VM that is on a compute, with the processors and MB that it needs, None where the client does not tell.

    `reason` says why it cannot be moved alive, and is empty where nothing is known against it.
    """

    id: str
    name: str
    status: str
    host: str
    reason: str
    vcpus: int | None = None
    ram: int | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.id}, {self.status})"


@dataclass(frozen=True)
class Consent:
    """What someone has answered for the VMs of one compute; `at` in ISO 8601."""

    compute: str
    answer: VmPolicy
    by: str
    at: str
    vms: tuple[str, ...]


def listing(cluster: Cluster, computes: Sequence[Host]) -> Read:
    """Return the read of all VMs on these computes, each with the reason why it cannot be moved."""
    a = cluster.controllers.a
    return Read(a, cloud(cluster, program(DRAIN, "list", *(compute.name for compute in computes))))


def left_in(read: Read, output: Output) -> tuple[Left, ...]:
    """Parse what `listing` read; a failed command is never read as an empty list."""
    if not output.ok:
        raise FactUnreadable(read.host.name, "drain.py list", output.tail or f"exit status {output.status}")
    try:
        return tuple(_left(**row) for row in json.loads(output.stdout))
    except (ValueError, TypeError, RecursionError):
        raise FactUnreadable(read.host.name, "drain.py list", output.tail) from None


def _left(
    id: str, name: str, status: str, host: str, reason: str, vcpus: int | None = None, ram: int | None = None
) -> Left:
    """Return the VM that a line tells of; raises TypeError for what is no such line."""
    if not all(isinstance(text, str) for text in (id, name, status, host, reason)):
        raise TypeError("a text is something else")
    if not all(need is None or (isinstance(need, int) and 0 <= need < 2**63) for need in (vcpus, ram)):
        raise TypeError("a need is no number")
    return Left(id, name, status, host, reason, vcpus, ram)


def consent_folder(run: Run) -> str:
    """Return the folder on the Daisy host with the consents that were given in this run."""
    return f"{folder(run.cluster)}/consent/{quote_name(run.owner)}"


def consent_path(run: Run, compute: str) -> str:
    """Return the path of the note of what was answered for the compute of this name."""
    return f"{consent_folder(run)}/{compute}.json"


def note_consent(run: Run, consent: Consent) -> str:
    """Return the script that notes a consent on the Daisy host; a later answer takes the place of an earlier one."""
    path = consent_path(run, consent.compute)
    line = json.dumps(asdict(consent), sort_keys=True)
    return (
        f'umask 077; mkdir -p "$(dirname {quote(path)})" && '
        f"printf '%s\\n' {quote(line)} > {quote(path)}.new && mv {quote(path)}.new {quote(path)}"
    )


def consents(run: Run) -> Read:
    """Return the read of the consents that were given in this run."""
    notes = f"{quote(consent_folder(run))}/*.json"
    return Read(run.cluster.daisy, f'for note in {notes}; do test ! -e "$note" || cat "$note" || exit $?; done')


def consents_in(read: Read, output: Output) -> dict[str, Consent]:
    """Parse what `consents` read, by the computes' names; a note that cannot be read is no consent, and is told."""
    if not output.ok:
        raise FactUnreadable(read.host.name, read.command, output.tail or f"exit status {output.status}")
    try:
        rows = [json.loads(line) for line in output.stdout.splitlines()]
        found = [_consent(row) for row in rows]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise FactUnreadable(read.host.name, read.command, output.tail) from None
    return {consent.compute: consent for consent in found}


def _consent(row: Mapping[str, Any]) -> Consent:
    if not all(isinstance(text, str) for text in (row["compute"], row["by"], row["at"], *row["vms"])):
        raise TypeError("a text is something else")
    return Consent(row["compute"], VmPolicy(row["answer"]), row["by"], row["at"], tuple(row["vms"]))


def gets_no_vms(cluster: Cluster, compute: Host) -> Goal:
    """The scheduler places nothing on the compute, whoever has disabled it."""
    a, command = cluster.controllers.a, compute_services(cluster)

    def judge(outputs: Sequence[Output]) -> Verdict:
        enabled = any(s.enabled for s in services_in(a, command, outputs[0]) if s.host == compute.name)
        return Verdict(not enabled, f"{compute.name} is {'enabled' if enabled else 'not used by the scheduler'}")

    return Goal(f"nothing new is scheduled to {compute.name}", (Read(a, command),), judge)


def empty(run: Run, compute: Host, among: Sequence[Host]) -> Goal:
    """No VM is on the compute. `among`: the computes that are listed with it, by one command for all."""
    read = listing(run.cluster, among)

    def judge(outputs: Sequence[Output]) -> Verdict:
        left = [vm for vm in left_in(read, outputs[0]) if vm.host == compute.name]
        return Verdict(not left, f"VMs on {compute.name}: {_names(left)}" if left else f"no VM on {compute.name}")

    return Goal(f"no VM is left on {compute.name}", (read,), judge)


def settled(run: Run, compute: Host, among: Sequence[Host]) -> Goal:
    """No VM is on the compute but those whose outage someone has accepted for this run.

    Accepted when the run was triggered: all of them. Accepted in answer to a question: those that were asked about.
    """
    left_read, consents_read = listing(run.cluster, among), consents(run)
    policy = run.policy_for(compute)

    def judge(outputs: Sequence[Output]) -> Verdict:
        left = [vm for vm in left_in(left_read, outputs[0]) if vm.host == compute.name]
        if not left:
            return Verdict(True, f"no VM on {compute.name}")
        if policy.allows_outage:
            return Verdict(True, f"{run.user} accepts the outage ({policy.value}) of: {_names(left)}")
        consent = consents_in(consents_read, outputs[1]).get(compute.name)
        if consent is None or not consent.answer.allows_outage:
            return Verdict(False, f"nobody has accepted the outage of the VMs on {compute.name}: {_names(left)}")
        later = [vm for vm in left if vm.id not in consent.vms]
        if later:
            return Verdict(False, f"{consent.by} was not asked about these VMs on {compute.name}: {_names(later)}")
        accepted = f"{consent.by} has accepted the outage ({consent.answer.value}, {consent.at}) of: {_names(left)}"
        return Verdict(True, accepted)

    sentence = f"no VM is left on {compute.name} but those whose outage is accepted"
    return Goal(sentence, (left_read, consents_read), judge)


def _names(left: Sequence[Left]) -> str:
    return ", ".join(map(str, left))

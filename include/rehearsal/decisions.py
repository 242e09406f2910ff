"""A scenario's decisions as a rehearsal takes them: the runbook's own reading and judging, with nobody to be asked.

A decision that a scenario gains and that is not known here fails the rehearsal by its name, rather than being passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from include.rehearsal.errors import RehearsalError
from include.rehearsal.twin import Twin
from include.rehearsal.twin_hosts import Background, TwinHosts
from include.runbook import custody
from include.runbook.cluster import Compute
from include.runbook.consent import Consent, left_in, listing, note_consent
from include.runbook.end_state import wanting_at_end
from include.runbook.errors import CommandFailed, PreconditionFailed
from include.runbook.goals import taken_down
from include.runbook.perform import READ_LIMIT, in_short
from include.runbook.plan import Plan, Stage
from include.runbook.preconditions import Findings, look, look_and_survey
from include.runbook.record_events import begun, surveyed
from include.runbook.request import batches
from include.runbook.rollout import Stage as Through
from include.runbook.rollout import Tally, back, count, count_batches, ready
from include.runbook.step import VmPolicy
from include.runbook.survey import survey

RUN_ID = "rehearsal"
"""What the run is called in the record on the twin."""


class Decisions:
    """Takes the decisions of one plan on the twin. `remarks`: what a person would have been asked."""

    def __init__(self, twin: Twin, plan: Plan, background: Background) -> None:
        self.twin, self.plan, self.run, self._background = twin, plan, plan.run, background
        self.remarks: list[str] = []

    def take(self, stage: Stage) -> str:
        """Take the decision of a stage and return what was found; raises what makes it a failure."""
        return self._known[stage.task_id](self)

    @classmethod
    def knows(cls, stage: Stage) -> bool:
        """Whether the stage is a decision that is taken here."""
        return stage.task_id in cls._known

    def _check(self) -> str:
        found = self._looked()
        if found.wanting:
            told = "\n".join(f"  - {finding.text}" for finding in found.wanting)
            advice = "mend what is named in the inventory, or on the site"
            raise PreconditionFailed(
                "S2 check", self.run.cluster.name, "every precondition to hold", f"\n{told}", advice
            )
        return f"{len(found.all)} preconditions hold"

    def _looked(self) -> Findings:
        """Look, and record the cluster as it is found, which its end is compared with. A batch is compared with the whole."""
        if self.run.batch:
            return asyncio.run(look(self.run, self.twin.credentials_of))
        found, before = asyncio.run(look_and_survey(self.run, self.twin.credentials_of))
        events = (begun(self.plan, RUN_ID), *surveyed(before, RUN_ID, "before"))
        with TwinHosts(self.run.cluster, self.twin.credentials_of, self._background) as hosts:
            for script in custody.record_scripts(self.run, events):
                self._write(hosts, script, "S2 check")
        return found

    def _consent(self) -> str:
        """Answer, where VMs stay on a compute, that they may go to computes of any release (c)."""
        asked = [self._answered(compute) for compute in self.run.computes]
        return "; ".join(filter(None, asked)) or "no VM stays"

    def _answered(self, compute: Compute) -> str:
        read = listing(self.run.cluster, [compute])
        with TwinHosts(self.run.cluster, self.twin.credentials_of, self._background) as hosts:
            left = left_in(read, hosts.run(read.host, read.command, READ_LIMIT))
            if not left:
                return ""
            at, vms = datetime.now(UTC).isoformat(timespec="seconds"), tuple(vm.id for vm in left)
            answer = Consent(compute.name, VmPolicy.MIGRATE_ACROSS_RELEASES, "the rehearsal", at, vms)
            self._write(hosts, note_consent(self.run, answer), "A4.2 consent")
        self.remarks.append(
            f"a person is asked about {len(left)} VMs that stay on {compute.name} (A4.2); answered here with (c), migrate "
            "them to computes of any release"
        )
        return self.remarks[-1]

    def _write(self, hosts: TwinHosts, script: str, label: str) -> None:
        """Write on the twin's Daisy host; raises CommandFailed where that cannot be done."""
        daisy = self.run.cluster.daisy
        written = hosts.run(daisy, script, READ_LIMIT)
        if not written.ok:
            status = -1 if written.status is None else written.status
            raise CommandFailed(label, daisy.name, in_short(script), status, written.tail, "")

    def _computes(self) -> str:
        return ", ".join(compute.name for compute in self.run.computes)

    def _compute_batches(self) -> str:
        return f"{len(batches(self.run))} batches"

    def _ready(self) -> str:
        return self._through(ready)

    def _taken_down(self) -> str:
        return self._through(taken_down)

    def _back(self) -> str:
        return self._through(back)

    def _through(self, stage: Through) -> str:
        return self._all_of(asyncio.run(count(self.run, stage, self.twin.credentials_of)))

    def _batches_back(self) -> str:
        # Read again, every one: of what a batch has proven of its computes, nothing is believed here.
        states = ["running"] * len(batches(self.run))
        return self._all_of(asyncio.run(count_batches(self.run, states, self.twin.credentials_of)))

    def _all_of(self, tally: Tally) -> str:
        tally.require_all_begun()
        tally.failures_left(0)
        return f"{len(tally.done)} computes are through"

    def _prove(self) -> str:
        computes = [compute.name for compute in self.run.computes]
        found = asyncio.run(self._wanting(computes))
        if found:
            told = "\n".join(f"  - {line}" for line in found)
            raise RehearsalError(f"the cluster is not proven back:\n{told}")
        return "the cluster is proven back"

    async def _wanting(self, computes: list[str]) -> tuple[str, ...]:
        credentials_of = self.twin.credentials_of
        now = await survey(self.run.cluster, credentials_of)
        return await wanting_at_end(self.run, now, computes, credentials_of, unsaid)

    def _as_planned(self) -> str:
        return "as planned"

    _known: Mapping[str, Callable[[Decisions], str]] = {
        "S1_plan": _as_planned,
        "S2_check": _check,
        "A4_compute_batches": _compute_batches,
        "A4_batches_back": _batches_back,
        "A4_computes": _computes,
        "A4.2_consent": _consent,
        "A4.2_computes_ready": _ready,
        # Reached only where all before it is well: then there is nothing to give back.
        "A4.2_give_back_computes": _as_planned,
        "A4.5_computes_taken_down": _taken_down,
        "A4.9_computes_back": _back,
        "E1_prove": _prove,
        # Every count above has required that no compute is missing.
        "E3_name_failures": _as_planned,
    }


def unsaid(line: str) -> None:
    """What is said while a rehearsal goes on is of no use: what was found stands in its report."""

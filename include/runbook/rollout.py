"""How a rollback of many computes goes on when some of them fail: who is through a stage, and whether too many are not.

Nothing is remembered of who has failed. Each stage reads every compute again, so what a person has mended counts as well
as what a step has done, and a compute that has become unreachable counts as failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.cluster import Compute
from include.runbook.errors import ComputesUntouched, RunbookError, TooManyFailures
from include.runbook.goals import compute_services, not_installed, release_probe, returned, services_in
from include.runbook.reach import CredentialsOf, sweep
from include.runbook.request import batches
from include.runbook.step import Goal, Read, Run, Verdict, all_of, any_of, kind
from include.runbook.steps.vms import drained_or_accepted

Stage = Callable[[Run, Compute], Goal]
"""What must hold of a compute for it to go on."""

RESTORED = (
    "repair_nova_conf",
    "compare_nova_settings",
    "restart_compute_services",
    "verify_compute_services",
    "enable_scheduling",
)
"""The steps after which a compute is in service again (A4.7 to A4.9)."""


def ready(run: Run, compute: Compute) -> Goal:
    """The compute may be taken down: its settings are saved, its VMs are gone, and the installer lies on it (A3 to A4.2)."""
    saved, staged = (kind(name).make(run, compute).goal for name in ("save_nova_conf", "stage_bin_on_node"))
    drained = all_of(staged, drained_or_accepted(run, compute, run.computes))
    return any_of(returned(run, compute), all_of(saved, any_of(not_installed(run.cluster, compute), drained)))


def back(run: Run, compute: Compute) -> Goal:
    """The compute is on the old release, with its settings, its services up and in the scheduler's hands (A4.6 to A4.9)."""
    return all_of(returned(run, compute), *(kind(name).make(run, compute).goal for name in RESTORED))


@dataclass(frozen=True)
class Tally:
    """Which computes are through, which have failed and why, and which nobody has touched yet."""

    done: tuple[str, ...]
    failed: Mapping[str, str]
    untouched: tuple[str, ...] = ()

    def __str__(self) -> str:
        why = [f"    {name}: {reason}" for name, reason in self.failed.items()]
        return "\n".join(
            [
                f"  done ({len(self.done)}): {', '.join(self.done) or 'none'}",
                f"  failed ({len(self.failed)}): {', '.join(self.failed) or 'none'}",
                *why,
                f"  untouched ({len(self.untouched)}): {', '.join(self.untouched) or 'none'}",
            ]
        )

    def require_all_begun(self) -> None:
        """Raise ComputesUntouched where a compute is untouched: what has kept it from its turn is said by that batch."""
        if self.untouched:
            raise ComputesUntouched(len(self.untouched), str(self))

    def failures_left(self, allowed: int) -> int:
        """Return how many more computes may fail; raise TooManyFailures where more have than are allowed."""
        if len(self.failed) > allowed:
            raise TooManyFailures(len(self.failed), allowed, str(self))
        return allowed - len(self.failed)


async def count(run: Run, stage: Stage, credentials_of: CredentialsOf) -> Tally:
    """Read every compute of the run and return which are through the stage."""
    reads = [read for compute in run.computes for read in stage(run, compute).reads]
    answers = await sweep(run.cluster, reads, credentials_of)
    return tally(run, stage, answers.judge)


def tally(run: Run, stage: Stage, judge: Callable[[Goal], Verdict]) -> Tally:
    """Return which computes of the run are through the stage, as judged."""
    verdicts = {compute.name: judge(stage(run, compute)) for compute in run.computes}
    done = tuple(name for name, verdict in verdicts.items() if verdict.met)
    return Tally(done, {name: verdict.found for name, verdict in verdicts.items() if not verdict.met})


async def count_batches(run: Run, states: Sequence[str | None], credentials_of: CredentialsOf) -> Tally:
    """Return how far all computes of the run are; `states` are those of its batches' own runs, None where there is none.

    A batch that has succeeded has proven its computes; those of another that has begun are read again.
    """
    parts = list(zip(batches(run), states, strict=True))
    begun = tuple(compute for part, state in parts if state not in ("success", None) for compute in part)
    now = await count(replace(run, computes=begun), back, credentials_of) if begun else Tally((), {})
    proven = tuple(compute.name for part, state in parts if state == "success" for compute in part)
    untouched = tuple(compute.name for part, state in parts if state is None for compute in part)
    return Tally((*proven, *now.done), now.failed, untouched)


async def out_of_service(run: Run, credentials_of: CredentialsOf) -> tuple[str, ...]:
    """Name the computes that answer, but whose nova-compute is down as Nova says on B, which serves.

    A rollback of all is to begin with them: the VMs of the others may need their room. One that does not answer could not
    be rolled back, and where the cloud says nothing, nobody is named.
    """
    b = run.cluster.controllers.b
    services = Read(b, compute_services(run.cluster, on=b))
    probes = {compute.name: release_probe(run.cluster, compute) for compute in run.computes}
    try:
        answers = await sweep(run.cluster, [services, *probes.values()], credentials_of)
        listed = services_in(b, services.command, answers.output(services))
    except RunbookError:
        return ()
    down = {service.host for service in listed if not service.up}
    return tuple(name for name, probe in probes.items() if name in down and not answers.unread(probe))

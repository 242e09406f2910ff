"""What keeps a cluster from being proven back at the end of a run, read from the hosts and compared with its beginning."""

from __future__ import annotations

from collections.abc import Sequence

from include.runbook.comparison import compare, expected_of
from include.runbook.consent import consents, consents_in
from include.runbook.errors import RunbookError
from include.runbook.goals import managed
from include.runbook.perform import Say
from include.runbook.reach import CredentialsOf, sweep
from include.runbook.record import Seen
from include.runbook.record_reading import read_from_daisy
from include.runbook.step import Run, Verdict
from include.runbook.steps.cluster_mode import as_found
from include.runbook.survey import Survey, wanting

LOST = (
    "The run did not mean to do that, and nobody has accepted it: bring it back and clear this task; or, if it is known and as "
    "it should be (a VM whose owner has deleted it), mark this task as success, and what follows goes on"
)
"""What is to be done about a loss. Only a person knows whether it is one."""


async def wanting_at_end(
    run: Run, now: Survey, computes_back: Sequence[str], credentials_of: CredentialsOf, say: Say
) -> tuple[str, ...]:
    """Return what is wanting: releases, active controller, services, bans, its mode, and what is lost since the run began.

    Empty where the cluster is proven back. Of the computes it is proven of those that are said to be back.
    """
    pair = run.cluster.controllers
    active = None if run.upgrades and run.of_computes else pair.b if run.upgrades else pair.a
    controllers = () if active is None else (pair.a,) if run.of_computes else (pair.a, pair.b)
    hosts = (*(host.name for host in controllers), *computes_back)
    found = wanting(now, run.cluster, run.target, hosts, active)
    if not run.of_computes:
        goal = managed(pair.a) if run.upgrades else as_found(run)
        mode = (await sweep(run.cluster, goal.reads, credentials_of)).judge(goal)
        say(f"{goal.sentence}: {mode.found}")
        found += left_behind(now, mode) + ((now.not_started,) if now.not_started else ())
    # A batch is compared with the whole.
    return found if run.batch else found + await _lost(run, now, hosts, credentials_of, say)


def left_behind(now: Survey, mode: Verdict) -> tuple[str, ...]:
    """Say what a run has set and not taken back; a maintenance mode that was there before is none of it."""
    constraints = (f"left behind: {', '.join(now.constraints)}",) if now.constraints else ()
    return (*constraints, *(() if mode.met else (mode.found,)))


async def _lost(run: Run, now: Survey, back: Sequence[str], credentials_of: CredentialsOf, say: Say) -> tuple[str, ...]:
    """Say what is lost since the run began; tell every other difference, too."""
    before = await _before(run, credentials_of, say)
    if before is None:
        say("WARNING: how the cluster was before is not known: nothing can be compared with it")
        return ()
    given = consents(run)
    answers = await sweep(run.cluster, [given], credentials_of)
    found = compare(before, now, expected_of(run, back, consents_in(given, answers.output(given))))
    for difference in found.changed:
        say(f"not as before: {difference}")
    return tuple(f"{loss}. {LOST}" for loss in found.lost)


async def _before(run: Run, credentials_of: CredentialsOf, say: Say) -> Seen | None:
    """Return how the run found the cluster, also when it was resumed since; the record fails no run."""
    try:
        return (await read_from_daisy(run, credentials_of)).before
    except RunbookError as error:
        say(f"WARNING: the run's record could not be read: {error}")
        return None

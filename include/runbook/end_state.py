"""What keeps a cluster from being proven back at the end of a run, read from the hosts."""

from __future__ import annotations

from collections.abc import Sequence

from include.runbook.perform import Say
from include.runbook.reach import CredentialsOf, sweep
from include.runbook.step import Run, Verdict
from include.runbook.steps.cluster_mode import as_found
from include.runbook.survey import Survey, wanting


async def wanting_at_end(
    run: Run, now: Survey, computes_back: Sequence[str], credentials_of: CredentialsOf, say: Say
) -> tuple[str, ...]:
    """Return what is wanting: releases, active controller, services, bans, its mode; empty where the cluster is proven back.

    Of the computes it is proven of those that are said to be back.
    """
    with_pair = run.dag != "rollback_compute"
    b = (run.cluster.controllers.b.name,) if with_pair else ()
    found = wanting(now, run.cluster, run.target, (run.cluster.controllers.a.name, *b, *computes_back))
    if not with_pair:
        return found
    goal = as_found(run)
    mode = (await sweep(run.cluster, goal.reads, credentials_of)).judge(goal)
    say(f"{goal.sentence}: {mode.found}")
    return (*found, *left_behind(now, mode), *((now.not_started,) if now.not_started else ()))


def left_behind(now: Survey, mode: Verdict) -> tuple[str, ...]:
    """Say what a run has set and not taken back; a maintenance mode that was there before is none of it."""
    constraints = (f"left behind: {', '.join(now.constraints)}",) if now.constraints else ()
    return (*constraints, *(() if mode.met else (mode.found,)))

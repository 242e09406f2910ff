"""Whether a run has brought its cluster back, read from the hosts at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from include.runbook.reach import CredentialsOf, sweep
from include.runbook.step import Run, Verdict
from include.runbook.steps.cluster_mode import as_found
from include.runbook.survey import Survey, survey, wanting


@dataclass(frozen=True)
class EndState:
    """The cluster at the end of a run. `mode`: whether it is managed as the run found it; None where that is not the run's.

    `wanting`: what keeps the cluster from being proven back, in words; empty where it is.
    """

    now: Survey
    mode: Verdict | None
    wanting: tuple[str, ...]


async def read_end_state(run: Run, computes_back: Sequence[str], credentials_of: CredentialsOf) -> EndState:
    """Read the whole cluster again: releases, active controller, services, no bans, its mode. Of the computes, those that
    are said to be back."""
    now = await survey(run.cluster, credentials_of)
    with_pair = run.dag != "rollback_compute"
    b = (run.cluster.controllers.b.name,) if with_pair else ()
    found = wanting(now, run.cluster, run.target, (run.cluster.controllers.a.name, *b, *computes_back))
    if not with_pair:
        return EndState(now, None, found)
    goal = as_found(run)
    mode = (await sweep(run.cluster, goal.reads, credentials_of)).judge(goal)
    return EndState(now, mode, (*found, *left_behind(now, mode), *((now.not_started,) if now.not_started else ())))


def left_behind(now: Survey, mode: Verdict) -> tuple[str, ...]:
    """Say what a run has set and not taken back; a maintenance mode that was there before is none of it."""
    constraints = (f"left behind: {', '.join(now.constraints)}",) if now.constraints else ()
    return (*constraints, *(() if mode.met else (mode.found,)))

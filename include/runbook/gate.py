"""The gate at U3: what becomes of an upgrade whose new release is active and has been judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from include.runbook.scenarios import ROLLBACK
from include.runbook.soak import Result
from include.runbook.step import OnFailure, Run


class Decision(StrEnum):
    """What is done next."""

    GO_ON = "go_on"
    ROLL_BACK = "roll_back"
    ASK = "ask"
    REPORT = "report"


def decide(result: Result, policy: OnFailure) -> Decision:
    """Return what follows from the judgement. What cannot be told is never decided without a person."""
    if result is Result.PASS:
        return Decision.GO_ON
    if result is Result.INCONCLUSIVE:
        return Decision.ASK
    return {
        OnFailure.AUTOMATIC: Decision.ROLL_BACK,
        OnFailure.ASK: Decision.ASK,
        OnFailure.REPORT: Decision.REPORT,
    }[policy]


@dataclass(frozen=True)
class Patience:
    """For how many seconds a person is waited for, and what silence means then."""

    seconds: float
    silence: Decision
    told: str


def patience(run: Run, rollback_takes: float, now: datetime) -> Patience:
    """Return how long a person may take to answer. `rollback_takes`: the predicted seconds of a rollback of this cluster.

    With a window, until the last moment at which a rollback still fits in, and then it is rolled back: later nobody could.
    Without one, or where that moment has passed, nothing is done without a word of a person.
    """
    limit = run.cluster.drain.answer_limit
    if run.window_end is None:
        told = "no end of the window was given: without an answer nothing is done, and B goes on serving"
        return Patience(limit, Decision.REPORT, told)
    last = run.window_end - timedelta(seconds=rollback_takes * run.cluster.tolerance)
    left = (last - now).total_seconds()
    if left <= 0:
        told = f"it is too late for a rollback within the window (to begin by {last.isoformat()}): nothing is done by itself"
        return Patience(limit, Decision.REPORT, told)
    told = (
        f"without an answer it is rolled back at {last.isoformat()}, the last moment from which that fits in the window"
    )
    return Patience(left, Decision.ROLL_BACK, told)


def rollback_conf(run: Run, computes_first: Sequence[str] = ()) -> dict[str, Any]:
    """Return the parameters of the rollback of the whole cluster (scenario A) after this upgrade.

    `computes_first`: those that are out of service. The VMs of the others may need their room.
    """
    policy = run.vm_policy
    return {
        **_conf(run),
        "vm_policy": policy.value
        if isinstance(policy, StrEnum)
        else {name: word.value for name, word in policy.items()},
        "return_vms": run.return_vms,
        "accept_newer_schema": run.accept_newer_schema,
        **({"computes_first": list(computes_first)} if computes_first else {}),
    }


def advice(run: Run, dag: str, conf: dict[str, Any]) -> str:
    """Return the sentence that says how a person starts the rollback, with everything filled in."""
    whole = conf | {"take_over": True}
    return (
        f"to roll back, trigger {dag} with {json.dumps(whole, sort_keys=True)} "
        f"(take_over, because {run.owner} keeps the cluster locked)"
    )


def advice_for_all(run: Run, computes_first: Sequence[str] = ()) -> str:
    """Return how the whole cluster is rolled back: the new release proved bad after the switchover."""
    return advice(run, ROLLBACK, rollback_conf(run, computes_first))


def advice_for_b(run: Run) -> str:
    """Return how B is rolled back: its upgrade failed, and A is active (scenario B)."""
    return advice(run, "rollback_controller", _conf(run))


def advice_for_computes(run: Run, failed: Sequence[str]) -> str:
    """Return how computes are rolled back whose upgrade failed (scenario C)."""
    return advice(run, "rollback_compute", _conf(run) | {"computes": list(failed)})


def _conf(run: Run) -> dict[str, Any]:
    return {"cluster": run.cluster.name, "target_release": run.cluster.target_release}

"""From an Airflow run to a `Run` of the runbook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from airflow.sdk import Context
from airflow.sdk.configuration import conf as airflow
from airflow.sdk.types import DagRunProtocol

from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.cluster import Inventories, clusters_directory
from include.runbook.errors import PreconditionFailed, RequestRefused
from include.runbook.request import read_request
from include.runbook.scenarios import OF_COMPUTES
from include.runbook.step import UNNAMED, Run


def run_of(context: Context) -> Run:
    """Return the run that this task belongs to; raises RequestRefused for a request that cannot be carried out.

    A batch belongs to the run that triggered it: it enters that run's lock and undoes that run's changes.
    """
    dag_run = context["dag_run"]
    parent = parent_of(context)
    owner = owner_of(dag_run.dag_id, dag_run.run_id, dag_run.conf or {})
    user = (parent or {}).get("user") or dag_run.triggering_user_name or "the scheduler"
    asked: dict[str, Any] = {**context["params"], **(dag_run.conf or {})}
    run = read_request(
        asked,
        Inventories(clusters_directory()),
        owner=owner,
        user=user,
        dag=dag_run.dag_id,
        computes_asked=dag_run.dag_id in OF_COMPUTES,
    )
    return replace(run, airflow=own_address() or UNNAMED)


def own_address() -> str:
    """Return the address of this Airflow as it was told (`[api] base_url`); empty where it was not."""
    return airflow.get("api", "base_url", fallback="").rstrip("/")


def run_named(dag_id: str, run_id: str, conf: Mapping[str, Any]) -> Run:
    """Return the run of which Airflow tells no more than this, to whoever hears of it outside its tasks."""
    known = Inventories(clusters_directory())
    only = {"cluster": next(iter(known))} if len(known) == 1 else {}
    owner, chosen = owner_of(dag_id, run_id, conf), dag_id in OF_COMPUTES
    return read_request({**only, **conf}, known, owner=owner, user="", dag=dag_id, computes_asked=chosen)


def states_of(context: Context, tasks: Iterable[str]) -> dict[str, str]:
    """Return how tasks of this run stand; the instances of a task are named only where it has any."""
    dag_id, run_id = context["task"].dag_id, context["run_id"]
    states = context["ti"].get_task_states(dag_id=dag_id, run_ids=[run_id], task_ids=sorted(tasks))
    return dict(states.get(run_id, {}))


def owner_of(dag_id: str, run_id: str, conf: Mapping[str, Any]) -> str:
    """Return who holds the cluster's lock in this run: the run itself, or the one that it is a batch of."""
    parent = conf.get("parent")
    return f"{parent['dag_id']}/{parent['run_id']}" if parent else f"{dag_id}/{run_id}"


def parent_of(context: Context) -> dict[str, str] | None:
    """Return which run triggered this one as a batch, if any; raises RequestRefused where somebody else says so.

    A batch enters its parent's lock, so a person's word does not make one: Airflow itself tells who triggered a run.
    """
    dag_run = context["dag_run"]
    parent = (dag_run.conf or {}).get("parent")
    if not parent:
        return None
    if not is_batch(dag_run):
        raise RequestRefused(
            "parent: only a batch that rollback_cluster or upgrade_cluster has triggered has one; trigger the scenario "
            "without it"
        )
    return dict(parent)


def is_batch(dag_run: DagRunProtocol) -> bool:
    """Whether a running task, and no person, has triggered this run as a batch of the run that it names."""
    parent = (dag_run.conf or {}).get("parent")
    # Anybody may have written it, so not even its form is believed.
    if not isinstance(parent, Mapping) or not isinstance(parent.get("dag_id"), str):
        return False
    return dag_run.run_type == "operator_triggered" and dag_run.run_id.startswith(f"{parent.get('run_id')}__batch-")


def require_living_parent(context: Context) -> None:
    """Raise PreconditionFailed when the run that this batch belongs to has ended: nobody waits for it any more."""
    parent = parent_of(context)
    if parent is None:
        return
    state = context["ti"].get_dagrun_state(dag_id=parent["dag_id"], run_id=parent["run_id"])
    if state != "running":
        raise PreconditionFailed(
            context["ti"].task_id,
            "Airflow",
            f"run {parent['run_id']} of {parent['dag_id']} is running",
            f"it is {state}",
            "resume that run (clear its failed tasks); it takes its batches up again",
        )

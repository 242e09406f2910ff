"""What of a run is told to those who want to hear of it: that it begins, asks, is late, has a failure, is done."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseOperator, Context

from include.runbook.cluster import Cluster, Inventories, clusters_directory
from include.runbook.errors import InventoryError
from include.runbook.notice import Event, Notice
from include.runbook.plan import Plan, clock
from include.runbook.scenarios import BATCH_OF
from include.runbook.step import Run, Step
from tecs.notifiers import problem_with, send
from tecs.requests import is_batch, own_address

log = logging.getLogger("airflow.task")

RESUME = "mend what is said above, then clear the failed task and what follows it (Clear, Downstream); what is true is skipped"
LOST = "it ended without a word: its worker was lost, or it was killed. Its log, if any, is on the run's page"


def notice(event: Event, cluster: Cluster, dag_id: str, run_id: str, *, found: str, advice: str = "") -> Notice:
    """Return the notice, with a link to the run where Airflow has been told its own address."""
    return Notice(event, cluster.name, dag_id, run_id, found, advice, link_to(dag_id, run_id))


def link_to(dag_id: str, run_id: str) -> str:
    """Return the address of the run in Airflow's UI; empty where Airflow's base_url is not set."""
    base = own_address()
    return f"{base}/dags/{dag_id}/runs/{quote(run_id)}" if base else ""


def tell_start(context: Context, plan: Plan) -> None:
    """The run is known to have begun, unless it is a batch. Whoever cannot be told anything later is named now."""
    if is_batch(context["dag_run"]):
        return
    run = plan.run
    for channel in run.cluster.notify:
        if problem := problem_with(channel):
            log.warning("notices by %s (%s) will NOT be sent: %s", channel.by, channel.connection, problem)
    way = "go to" if run.upgrades else "go back to"
    found = (
        f"{run.user} has started it: {_subject(run)} {way} release {run.target}, in {clock(plan.predicted)} as planned"
    )
    _tell(context, run.cluster, Event.START, found)


def tell_question(context: Context, run: Run, subject: str, body: str, *, within: float, silence: str) -> None:
    """A person is known to be waited for, for so many seconds, and what happens without an answer."""
    advice = f"answer on the run's page, under Required actions, within {within / 60:.0f} minutes; {silence}"
    _tell(context, run.cluster, Event.DECISION, f"{subject}\n\n{body}", advice)


def late(step: Step, run: Run, run_id: str, sla: float) -> Notice:
    """Return the notice that a step takes longer than it should."""
    found = f"SLA crossed: {step.label} takes longer than {sla:.1f} s and goes on"
    advice = "nothing is stopped by itself; look at the step's log"
    return notice(Event.LATE, run.cluster, run.dag, run_id, found=found, advice=advice)


def tell_missed_deadline(dag_run: Mapping[str, Any]) -> None:
    """A whole run is known to be late."""
    cluster = cluster_asked_for(dag_run.get("conf") or {})
    if cluster is not None:
        dag_id, run_id = dag_run["dag_id"], dag_run["dag_run_id"]
        found = "the run has not ended when its plan said; it goes on"
        advice = "nothing is stopped by itself; see on the run's page which step takes so long"
        send(notice(Event.LATE, cluster, dag_id, run_id, found=found, advice=advice), cluster.notify, log)


def tell_failed(context: Context) -> None:
    """A task that will not be tried again is known to have failed; of a task's hosts, the first that does speaks for all."""
    cluster = cluster_asked_for({**context["params"], **(context["dag_run"].conf or {})})
    if cluster is None or not any(Event.FAILED in channel.events for channel in cluster.notify):
        return
    if _another_host_has_failed(context):
        log.info("that this step has failed was told when it did so on another host")
        return
    task, error = context["task"], context.get("exception")
    host = getattr(task, "host", None)
    where = f"{task.task_display_name}{f', for {host}' if host else ''}"
    said = str(error) if error else LOST
    _tell(context, cluster, Event.FAILED, f"{where}\n{said}", "" if "what to do:" in said else RESUME)


def tell_done(context: Context) -> None:
    """The run is known to have ended well, unless it is a batch."""
    cluster = cluster_asked_for({**context["params"], **(context["dag_run"].conf or {})})
    if cluster is not None and not is_batch(context["dag_run"]):
        _tell(context, cluster, Event.DONE, "everything was proven from the hosts, and the cluster is free for others")


def told_when_done(last: BaseOperator) -> None:
    """Let the end of a run be told when this task, its last, has ended well or was true already."""
    last.on_success_callback, last.on_skipped_callback = [tell_done], [tell_done]


def cluster_asked_for(asked: Mapping[str, Any]) -> Cluster | None:
    """Return the cluster that a run is about; None where it has no usable inventory, and so nobody to be told."""
    known = Inventories(clusters_directory())
    name = asked.get("cluster") or (next(iter(known)) if len(known) == 1 else None)
    try:
        return known.get(str(name))
    except InventoryError as refused:
        log.warning("nobody is told of this run, since its inventory is refused: %s", refused)
        return None


def _tell(context: Context, cluster: Cluster, event: Event, found: str, advice: str = "") -> None:
    dag_run = context["dag_run"]
    send(notice(event, cluster, dag_run.dag_id, dag_run.run_id, found=found, advice=advice), cluster.notify, log)


def _another_host_has_failed(context: Context) -> bool:
    ti = context["ti"]
    if ti.map_index is None or ti.map_index < 0:
        return False
    try:
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id], task_ids=[ti.task_id]).get(ti.run_id, {})
    except Exception as error:  # told twice is better than not at all
        log.warning("whether another host has failed cannot be read, so this one is told: %s", error)
        return False
    own = f"{ti.task_id}_{ti.map_index}"
    return any(state == "failed" for name, state in states.items() if name != own)


def _subject(run: Run) -> str:
    if run.dag in BATCH_OF:
        return f"{'both controllers' if run.upgrades else 'controller B'} and {len(run.computes)} computes"
    return "controller B" if run.dag == "rollback_controller" else ", ".join(compute.name for compute in run.computes)

"""Ends a step's remote job when a person marks its task or its run failed.

The trigger that watches a job ends it when its task is taken from it. But between the task's deferral and the triggerer's
taking over, or while no triggerer runs, there is nobody to do so: then the API server, which is told by the person, does.
Ending a job twice does no harm.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow.models import DagRun

log = logging.getLogger(__name__)

REASON = "cancelled in Airflow"


class CancelListener:
    """Hears of tasks and runs that were marked failed, in whichever Airflow process that happens."""

    @hookimpl
    def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:
        """End the job of a task that a person marked failed: then there is no previous state, and there is a run."""
        if previous_state is None and getattr(task_instance, "dag_run", None) is not None:
            host = task_instance.rendered_map_index if task_instance.map_index >= 0 else None
            _in_background(task_instance.dag_run, task_instance.task_id, host)

    @hookimpl
    def on_dag_run_failed(self, dag_run: DagRun, msg: str) -> None:
        """End every job of a run that has failed: its tasks are over, and nobody waits for what still runs."""
        _in_background(dag_run, None, None)


def _in_background(dag_run: DagRun, task_id: str | None, host: str | None) -> None:
    from tecs.requests import is_batch  # noqa: PLC0415  see end_jobs

    if (dag_run.conf or {}).get("parent") and not is_batch(dag_run):
        return  # it has pretended to be a batch, was refused, and has no job
    # The database's objects belong to the caller's session, so what is needed of them is taken along as plain values.
    run = (dag_run.dag_id, dag_run.run_id, dict(dag_run.conf or {}))
    threading.Thread(target=end_jobs, args=(*run, task_id, host), daemon=True).start()


def end_jobs(
    dag_id: str, run_id: str, conf: dict[str, Any], task_id: str | None = None, host: str | None = None
) -> None:
    """End the detached jobs of one task of a run, or of all its tasks; the run of another DAG is left alone.

    `host` is the one that the task was for, where a task has an instance for each of several.
    """
    # Imported here: this module is loaded by every Airflow process, these only where something is cancelled.
    from include.runbook import steps as _registered  # noqa: F401, PLC0415  the import registers every step
    from include.runbook.errors import RunbookError  # noqa: PLC0415
    from include.runbook.plan import make_steps  # noqa: PLC0415
    from include.runbook.scenarios import OF_COMPUTES, SCENARIOS  # noqa: PLC0415
    from include.runbook.step import KINDS  # noqa: PLC0415
    from tecs.operators import stop_jobs  # noqa: PLC0415
    from tecs.requests import run_named  # noqa: PLC0415
    from tecs.ssh import SshHosts  # noqa: PLC0415

    kinds = [kind for kind in KINDS.values() if kind.detached and task_id in (None, kind.task_id)]
    if dag_id in OF_COMPUTES:
        # A batch shares its owner with the run that it belongs to, and B's jobs are that run's, not the batch's.
        kinds = [kind for kind in kinds if kind.id.startswith("A4") or kind.over.many]
    if dag_id not in SCENARIOS or not kinds:
        return
    try:
        run = run_named(dag_id, run_id, conf)
        made = [step for kind in kinds for step in make_steps(kind, run)]
        with SshHosts(run.cluster, log) as hosts:
            stop_jobs([step for step in made if host in (None, step.host.name)], run, hosts, REASON)
    except RunbookError as error:
        log.error("the remote jobs of %s %s could not be ended: %s", dag_id, run_id, error)

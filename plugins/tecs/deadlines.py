"""The deadline of a whole run: its plan's critical path on this very cluster, with the cluster's tolerance.

Airflow's own reference to the time of queueing is not used: in 3.3.2 a run that has such a deadline cannot be cleared,
and clearing is how an operator resumes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.deadline import BaseDeadlineReference

from include.runbook.errors import RunbookError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

ORCHESTRATION = timedelta(seconds=2)
"""What Airflow may add for each task."""

WINDOW = timedelta(hours=4)
"""The deadline of a run whose plan cannot be made: the maintenance window that operators give backup, upgrade, test and
rollback together. Its first task refuses such a run anyway."""


class PlannedEnd(BaseDeadlineReference):
    """When the run should have ended, counted from the time at which it was asked for."""

    required_kwargs = {"dag_id", "run_id"}  # noqa: RUF012  Airflow reads it from the class

    def _evaluate_with(self, *, session: Session, dag_id: str, run_id: str, **_: Any) -> datetime:
        # Imported here: this module is loaded by every Airflow process, these only by the one that starts a run.
        from airflow.models import DagRun  # noqa: PLC0415
        from sqlalchemy import select  # noqa: PLC0415

        run = session.scalars(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).one()
        try:
            return run.run_after + allowed(dag_id, run.conf or {})
        except RunbookError as refused:
            log.warning(
                "%s %s has no plan, so its deadline is that of a maintenance window: %s", dag_id, run_id, refused
            )
            return run.run_after + WINDOW


def allowed(dag_id: str, conf: dict[str, Any]) -> timedelta:
    """Return how long a run may take before it is reported late; raises RequestRefused where it has no plan."""
    from airflow.configuration import conf as airflow  # noqa: PLC0415

    from include.runbook.cluster import Inventories, clusters_directory  # noqa: PLC0415
    from include.runbook.request import read_request  # noqa: PLC0415
    from tecs.plans import load_dag, plan_of  # noqa: PLC0415

    dag = load_dag(Path(airflow.get("core", "dags_folder")) / f"{dag_id}.py")
    computes_asked = "computes" in dag.params
    clusters = Inventories(clusters_directory())
    run = read_request(conf, clusters, owner="", user="", dag=dag_id, computes_asked=computes_asked)
    plan = plan_of(dag, run)
    return timedelta(seconds=plan.predicted * run.cluster.tolerance) + ORCHESTRATION * plan.tasks


def report_missed_deadline(dag_id: str, context: Mapping[str, Any], **_: object) -> None:
    """Say that a run has not ended when its plan said. Nothing is stopped: half a rollback is worse than a late one."""
    from tecs.telling import tell_missed_deadline  # noqa: PLC0415  see PlannedEnd

    log.error("a run of %s has not ended by its deadline; it goes on", dag_id)
    tell_missed_deadline(context["dag_run"])

"""Scheduled and asked-for rehearsals: the DAGs of them, and what their tasks do. No host of a cluster is connected to.

A rehearsal's task asks Airflow for no connection: the twin has its own. Only who is told of a deviation is reached by one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.sdk import DAG, BaseOperator, Context, CronTriggerTimetable, ObjectStoragePath, Param

from include.runbook.cluster import Cluster, Inventories, Rehearsal, clusters_directory
from include.runbook.custody import shortened
from include.runbook.errors import RequestRefused
from include.runbook.plan import Plan
from include.runbook.step import Run
from tecs.failures import Failure, failed, reported
from tecs.keeping import FOLDER
from tecs.plans import load_dag, plan_of
from tecs.scenario import inventories
from tecs.telling import tell_failed

if TYPE_CHECKING:
    from include.rehearsal.report import Report, Stepped

log = logging.getLogger("airflow.task")

ANY = "rehearse_cluster"
"""The rehearsal that is asked for, of any cluster; scheduled ones are called after their cluster."""

TOLD, TOLD_OF_EACH = 20, 1200
"""So many deviations are told by a failed task, and so many characters of each; the report has all."""

ADVICE = (
    "read the report in the log of the task before. What the inventory causes, mend there; the twin plays no more of the "
    "site than docs/rehearsal.md says"
)


def rehearsals(doc: str | None) -> Iterator[DAG]:
    """Yield the DAG that rehearses on any cluster's twin when it is asked to, and one for each cluster with a schedule."""
    clusters = inventories()
    yield _dag(ANY, doc, sorted(clusters), Rehearsal())
    for name, cluster in clusters.items():
        if cluster is not None and cluster.rehearsal.schedule is not None:
            yield _dag(f"rehearse_{name}", doc, [name], cluster.rehearsal)


def _dag(dag_id: str, doc: str | None, names: list[str], wanted: Rehearsal) -> DAG:
    timetable = None
    if wanted.schedule is not None:
        timetable = CronTriggerTimetable(wanted.schedule, timezone=wanted.timezone)
    return DAG(
        dag_id,
        schedule=timetable,
        start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
        catchup=False,
        doc_md=doc,
        max_active_runs=1,
        default_args={"on_failure_callback": [tell_failed]},
        params={
            "cluster": Param(
                names[0] if len(names) == 1 else None,
                type="string",
                enum=names,
                title="Cluster",
                description="The cluster whose inventory is rehearsed. No host of it is connected to.",
            ),
            "scenario": Param(
                wanted.scenario,
                type="string",
                enum=["A", "B", "C"],
                title="Scenario",
                values_display={"A": "A: the whole cluster", "B": "B: controller B", "C": "C: the first compute"},
            ),
            "pace": Param(
                wanted.pace,
                type="number",
                minimum=1,
                maximum=1000,
                title="Pace",
                description="How many times faster than real the twin lives.",
            ),
        },
        tags=["rehearsal"],
    )


class Rehearse(BaseOperator):
    """Plays a scenario on the twin of a cluster and keeps the report; ends the twin, whatever happens to the task."""

    _rehearsal: Any = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Return what the report comes to; raises AirflowFailException where the rehearsal could not be played."""
        # Imported here: the lab belongs to a rehearsal, not to every reading of this file.
        from include.rehearsal.errors import RehearsalError  # noqa: PLC0415
        from include.rehearsal.rehearsal import Rehearsal as Played  # noqa: PLC0415
        from include.rehearsal.report import report_text  # noqa: PLC0415

        asked = {**context["params"], **(context["dag_run"].conf or {})}
        dags = Path(context["dag"].fileloc)
        with reported(log):
            self._rehearsal = Played(_cluster(asked), str(asked["scenario"]), float(asked["pace"]))
            try:
                report = self._rehearsal.play(lambda run: _plan(dags, run), _tell)
            except RehearsalError as error:
                raise failed(Failure.NOT_REHEARSED, str(error)) from None
        for line in report_text(report).splitlines():
            log.info(line)
        _keep(report)
        return {"verdict": report.verdict, "deviations": _in_short(report.deviations)}

    def on_kill(self) -> None:
        """End the twin and what runs on it."""
        if self._rehearsal is not None:
            self._rehearsal.end()


def require_as_planned(summary: dict[str, Any]) -> None:
    """Fail, naming each deviation, when the rehearsal did not go as planned."""
    log.info(summary["verdict"])
    if summary["deviations"]:
        told = "\n".join(f"  - {line}" for line in summary["deviations"])
        raise failed(Failure.OTHERWISE_THAN_PLANNED, f"{summary['verdict']}:\n{told}\nwhat to do: {ADVICE}")


def _cluster(asked: dict[str, Any]) -> Cluster:
    cluster = Inventories(clusters_directory()).get(str(asked.get("cluster")))
    if cluster is None:
        raise RequestRefused(f"cluster: {asked.get('cluster')!r} has no inventory")
    return cluster


def _plan(dags: Path, run: Run) -> Plan:
    return plan_of(load_dag(dags.with_name(f"{run.dag}.py")), run)


def _tell(step: Stepped) -> None:
    level = logging.WARNING if step.outcome == "failed" or step.late else logging.INFO
    log.log(level, "%-12s %6.1f s  %s", step.outcome, step.seconds, step.where)


def _keep(report: Report) -> None:
    """Write the report to the folder of runs' pages; where that cannot be done, this log has it all the same."""
    from include.rehearsal.kept import keep  # noqa: PLC0415  see Rehearse

    folder = os.environ.get(FOLDER)
    if not folder:
        log.warning("%s names no folder: the report stands in this log only", FOLDER)
        return
    try:
        log.info("the report: %s", keep(report, ObjectStoragePath(folder)))
    except Exception as error:  # any storage may raise anything, and the rehearsal is over all the same
        log.warning("the report could not be kept in %s: %s: %s", folder, type(error).__name__, error)


def _in_short(deviations: tuple[str, ...]) -> list[str]:
    more = [f"{len(deviations) - TOLD} more, see the report"] if len(deviations) > TOLD else []
    return [*(shortened(line, TOLD_OF_EACH) for line in deviations[:TOLD]), *more]

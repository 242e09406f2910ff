"""Scheduled and asked-for validations: the DAGs of them, and what their tasks do. Nothing on the cluster is changed."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import DAG, CronTriggerTimetable, Param, get_current_context

from include.runbook import validation_results as results
from include.runbook.cluster import Cluster, Inventories, clusters_directory
from include.runbook.errors import RequestRefused
from include.runbook.perform import READ_LIMIT
from include.runbook.plan import clock
from include.runbook.reach import sweep
from include.runbook.request import read_request
from include.runbook.step import Run
from include.runbook.validation import (
    Finding,
    Result,
    as_values,
    checks,
    could_roll_back,
    findings,
    score,
    worse_than_before,
)
from tecs.failures import Failure, failed, reported
from tecs.plans import load_dag, plan_of
from tecs.scenario import inventories
from tecs.ssh import SshHosts, cached_credentials

log = logging.getLogger("airflow.task")

ANY = "validate_cluster"
"""The validation that is asked for, of any cluster; scheduled ones are called after their cluster."""


def validations(doc: str | None) -> Iterator[DAG]:
    """Yield the DAG that validates any cluster when it is asked to, and one for each cluster that has a schedule."""
    clusters = inventories()
    yield _dag(ANY, doc, sorted(clusters), None)
    for name, cluster in clusters.items():
        if cluster is not None and cluster.validation.schedule is not None:
            yield _dag(f"validate_{name}", doc, [name], cluster)


def _dag(dag_id: str, doc: str | None, names: list[str], scheduled: Cluster | None) -> DAG:
    timetable = None
    if scheduled is not None and scheduled.validation.schedule is not None:
        timetable = CronTriggerTimetable(scheduled.validation.schedule, timezone=scheduled.validation.timezone)
    return DAG(
        dag_id,
        schedule=timetable,
        start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
        catchup=False,
        doc_md=doc,
        max_active_runs=1,
        params={
            "cluster": Param(
                names[0] if len(names) == 1 else None,
                type="string",
                enum=names,
                title="Cluster",
                description="The cluster to validate. Nothing on it is changed.",
            ),
            "window_end": Param(
                None,
                type=["null", "string"],
                format="date-time",
                title="End of the maintenance window",
                description="If given: by when a rollback must have begun to be over by then.",
            ),
        },
        tags=["validation"],
    )


def validate() -> dict[str, Any]:
    """Read every host, judge every check, keep the result on the Daisy host, and tell what is worse than last time."""
    context = get_current_context()
    with reported(log):
        run, window_end = _asked(context)
        checked = checks(run)
        reads = [read for check in checked for read in check.goal.reads]
        found = findings(checked, asyncio.run(sweep(run.cluster, reads, cached_credentials())))
        _tell(found)
        _tell_time(context["dag"], run, window_end)
        worse = _keep(run, context["dag_run"].run_id, found)
    return {
        "score": score(found),
        "could_roll_back": could_roll_back(found),
        "wanting": [f"{f.check}: {f.found}" for f in found if f.result is not Result.OK],
        "worse": [finding.check for finding in worse],
    }


def require_readiness(summary: dict[str, Any]) -> None:
    """Fail, naming what is wanting, when the cluster could not be rolled back now."""
    log.info("score %d of 100", summary["score"])
    if not summary["could_roll_back"]:
        wanting = "\n".join(f"  - {line}" for line in summary["wanting"])
        raise failed(Failure.NOT_READY, f"the cluster could not be rolled back now; wanting:\n{wanting}")


def _asked(context: Any) -> tuple[Run, datetime | None]:
    asked = {**context["params"], **(context["dag_run"].conf or {})}
    window_end = asked.pop("window_end", None)
    known = Inventories(clusters_directory())
    owner = f"{context['dag_run'].dag_id}/{context['dag_run'].run_id}"
    run = read_request(asked, known, owner=owner, user="nobody", dag="rollback_cluster", computes_asked=False)
    if window_end is None:
        return run, None
    try:
        ends = datetime.fromisoformat(str(window_end))
    except ValueError:
        raise RequestRefused(f"window_end: {window_end!r} is no time such as 2026-06-01T06:00:00+08:00") from None
    return run, ends if ends.tzinfo else ends.replace(tzinfo=UTC)


def _tell(found: tuple[Finding, ...]) -> None:
    for finding in found:
        level = logging.INFO if finding.result is Result.OK else logging.WARNING
        log.log(level, "%-7s %-8s %s: %s", finding.result.value, finding.severity.value, finding.check, finding.found)
        if finding.advice:
            log.log(level, "                 what to do: %s", finding.advice)
    log.info("score: %d of 100; could be rolled back now: %s", score(found), "yes" if could_roll_back(found) else "NO")


def _tell_time(dag: DAG, run: Run, window_end: datetime | None) -> None:
    rollback = load_dag(Path(dag.fileloc).with_name("rollback_cluster.py"))
    predicted = plan_of(rollback, replace(run, dag=rollback.dag_id)).predicted
    allowed = timedelta(seconds=predicted * run.cluster.tolerance)
    log.info("a rollback of the whole cluster takes %s, at most %s", clock(predicted), clock(allowed.total_seconds()))
    if window_end is not None:
        log.info("to be over by %s it must begin by %s", window_end.isoformat(), (window_end - allowed).isoformat())


def _keep(run: Run, run_id: str, found: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Write the result beside the earlier ones and return what is worse than in the last of them."""
    daisy = run.cluster.daisy
    with SshHosts(run.cluster, log) as hosts:
        before = results.read(hosts.run(daisy, results.last(run.cluster), READ_LIMIT), daisy)
        worse = worse_than_before(before, found)
        for finding in worse:
            log.warning("worse than last time: %s", finding.check)
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        text = json.dumps({"run_id": run_id, "score": score(found), "findings": as_values(found)}, sort_keys=True)
        results.require_kept(hosts.run(daisy, results.keep(run.cluster, now, text), READ_LIMIT), daisy)
    return worse

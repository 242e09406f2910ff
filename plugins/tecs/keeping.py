"""Makes the page of a run's record whenever the run ends, however it ends, and keeps it where operators look.

A listener does it, in the process that ends the run: the scheduler, or the API server where a person does. A task could not:
as the last one it would decide the run's state, and a run that a person has marked failed begins no task any more. Ending is
never held up: the work is done in a thread, and what fails there is said in that process's log.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow.models import DagRun

    from include.runbook.record import Record
    from include.runbook.step import Run

log = logging.getLogger(__name__)

FOLDER = "TECS_RECORDS"
"""The setting that names the folder: a local path, or an address such as s3://connection@bucket/records."""

_one_at_a_time = threading.Lock()
"""A batch and its run end almost together, and write the same page: the later one has more to tell."""


class RecordListener:
    """Hears of every run that ends, in whichever Airflow process that happens."""

    @hookimpl
    def on_dag_run_success(self, dag_run: DagRun, msg: str) -> None:
        """Make the page of a run that has succeeded."""
        _in_background(dag_run, "success", msg)

    @hookimpl
    def on_dag_run_failed(self, dag_run: DagRun, msg: str) -> None:
        """Make the page of a run that has failed, or that a person has marked failed."""
        _in_background(dag_run, "failed", msg)


def _in_background(dag_run: DagRun, state: str, why: str) -> None:
    from include.runbook.scenarios import SCENARIOS  # noqa: PLC0415  see keep_record
    from tecs.requests import is_batch  # noqa: PLC0415

    if dag_run.dag_id not in SCENARIOS or ((dag_run.conf or {}).get("parent") and not is_batch(dag_run)):
        return
    # The database's objects belong to the caller's session, so what is needed of them is taken along as plain values.
    told = (dag_run.dag_id, dag_run.run_id, dict(dag_run.conf or {}), state, why)
    threading.Thread(target=keep_record, args=told, daemon=True).start()


def keep_record(dag_id: str, run_id: str, conf: dict[str, Any], state: str, why: str) -> None:
    """Note the run's end in its record on the Daisy host, and write the record's page and JSON; raises nothing."""
    # Imported here: this module is loaded by every Airflow process, these only where a run ends.
    from include.runbook import record_events  # noqa: PLC0415
    from tecs.requests import run_named  # noqa: PLC0415

    try:
        run = run_named(dag_id, run_id, conf)
        end = record_events.ended(run_id, state, why)
        with _one_at_a_time:
            _note_end(run, end)
            record = _read(run)
            if record.whole is None:
                log.info("%s of %s was refused before it touched anything: it has no record", run_id, dag_id)
                return
            folder = os.environ.get(FOLDER)
            if not folder:
                log.warning("%s names no folder: the record of %s lies on the Daisy host only", FOLDER, run.owner)
                return
            log.info("the record of %s: %s", run.owner, write(record, folder))
    except Exception as error:  # any storage may raise anything, and the run has ended all the same
        log.error(
            "the record of %s %s was not written: %s: %s. It lies on the Daisy host; write its page by hand: make record",
            dag_id,
            run_id,
            type(error).__name__,
            error,
        )


def write(record: Record, folder: str) -> str:
    """Write the record's JSON and page below the folder, by cluster, and return the page's address."""
    from airflow.sdk import ObjectStoragePath  # noqa: PLC0415  see keep_record

    from include.runbook.custody import quote_name  # noqa: PLC0415
    from include.runbook.record_page import as_json, page  # noqa: PLC0415

    there = ObjectStoragePath(folder) / quote_name(record.cluster)
    there.mkdir(parents=True, exist_ok=True)
    name = quote_name(record.owner)
    html = there / f"{name}.html"
    # The page last: whoever finds it finds what it refers to beside it.
    (there / f"{name}.json").write_text(as_json(record), encoding="utf-8")
    html.write_text(page(record), encoding="utf-8")
    return str(html)


def _note_end(run: Run, end: dict[str, Any]) -> None:
    from include.runbook import custody  # noqa: PLC0415
    from include.runbook.perform import READ_LIMIT  # noqa: PLC0415
    from tecs.ssh import SshHosts  # noqa: PLC0415

    with SshHosts(run.cluster, log) as hosts:
        # A run that was refused has changed nothing, and leaves nothing on the Daisy host, not even a record.
        hosts.run(run.cluster.daisy, custody.record_script(run, end, begin=False), READ_LIMIT)


def _read(run: Run) -> Record:
    import asyncio  # noqa: PLC0415

    from include.runbook.record_reading import read_from_daisy  # noqa: PLC0415
    from tecs.ssh import cached_credentials  # noqa: PLC0415

    return asyncio.run(read_from_daisy(run, cached_credentials()))

"""The record of a run as a page and as JSON, read from the Daisy host now, while the run goes on or long after it.

``python -m console.record --cluster lab --run manual__2026-06-01T22:00:00+00:00``
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from console.check_cluster import airflow_credentials
from console.errors import ConsoleError, StackError
from console.scenarios import clusters_beside, requested
from console.stack import DEFAULT_STATE, Stack
from include.runbook.custody import quote_name
from include.runbook.errors import RunbookError
from include.runbook.reach import CredentialsOf
from include.runbook.record_page import as_json, page
from include.runbook.record_reading import read_from_daisy, records_on_daisy
from include.runbook.step import Run


def keep_record(run: Run, asked: str, folder: Path, credentials_of: CredentialsOf) -> Path:
    """Write the record's page and JSON below the folder, by cluster; return the page. Raises ConsoleError."""
    try:
        name = _called(asked, asyncio.run(records_on_daisy(run.cluster, credentials_of)))
        record = asyncio.run(read_from_daisy(replace(run, owner=name), credentials_of))
    except RunbookError as error:
        raise ConsoleError(str(error)) from error
    there = folder / quote_name(run.cluster.name)
    there.mkdir(parents=True, exist_ok=True)
    html = there / f"{name}.html"
    html.with_suffix(".json").write_text(as_json(record), encoding="utf-8")
    html.write_text(page(record), encoding="utf-8")
    return html


def _called(asked: str, records: Sequence[str]) -> str:
    """The name of the one record that a run's id, or `<dag>/<run id>`, stands for. Raises ConsoleError for none or several."""
    wanted = quote_name(asked)
    found = [name for name in records if name == wanted or name.endswith(f"_{wanted}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConsoleError(f"{asked} may be any of {', '.join(found)}: say which, with its DAG (dag/run id).")
    known = "\n".join(f"  {name}" for name in records[-20:]) or "  none"
    raise ConsoleError(f"There is no record of {asked!r} on the Daisy host. The newest there:\n{known}")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the record that the command line names, and print where."""
    parser = argparse.ArgumentParser(prog="python -m console.record", description="Write the page of a run's record.")
    parser.add_argument("--cluster", default="lab")
    parser.add_argument("--run", required=True, help="the run's id in Airflow; of several DAGs: dag/run id")
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, help="state folder of the stack (default: .run)")
    options = parser.parse_args(argv)
    with suppress(StackError):
        # with the embedded stack up its connections count; otherwise those of the Airflow that the shell is set for
        os.environ.update(Stack(options.state).environment())
    # Airflow takes over this process's logging: only what needs attention is to stand beside the path
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"
    try:
        run = requested("A", options.cluster, clusters_beside(options.state))
        print(keep_record(run, options.run, options.state / "records", airflow_credentials))
    except ConsoleError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

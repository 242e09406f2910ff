"""Whether a scenario could begin on a cluster: its inventory, SSH reach and every precondition. Nothing is changed.

``python -m console.check_cluster --cluster lab --scenario A``
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from console.errors import ConsoleError, StackError
from console.scenarios import ALL_DAGS, clusters_beside, requested
from console.stack import DEFAULT_STATE, Stack
from include.runbook.errors import RunbookError
from include.runbook.preconditions import look
from include.runbook.reach import Credentials


def check_cluster(scenario: str, name: str, state: Path) -> bool:
    """Every precondition was read and told; True when all hold. Raises ConsoleError where nothing could be read."""
    run = requested(scenario, name, clusters_beside(state))
    print(f"{name}: the inventory is valid ({len(run.cluster.hosts)} hosts, target release {run.target})")
    with suppress(StackError):
        # with the embedded stack up its connections count; otherwise those of the Airflow that the shell is set for
        os.environ.update(Stack(state).environment())
    # Airflow takes over this process's logging: only what needs attention is to stand beside the verdicts
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"
    try:
        found = asyncio.run(look(run, airflow_credentials))
    except RunbookError as error:
        raise ConsoleError(str(error)) from error
    for finding in found.all:
        print(f"  {finding}")
    if found.excused:
        print(f"{len(found.excused)} of these do not hold, of computes that the run may lose (failure_budget)")
    wanting = len(found.wanting)
    print(
        f"{wanting} of {len(found.all)} preconditions do not hold"
        if wanting
        else f"scenario {scenario} could begin now"
    )
    return not wanting


def airflow_credentials(connection_id: str) -> Credentials:
    """How to log in by an Airflow connection. Raises ConsoleError where Airflow has none of that id."""
    # imported here: Airflow reads its settings from the environment when it is imported
    from airflow.models import Connection  # noqa: PLC0415
    from airflow.sdk.exceptions import AirflowNotFoundException  # noqa: PLC0415
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    try:
        connection = Connection.get_connection_from_secrets(connection_id)
    except (AirflowNotFoundException, SQLAlchemyError):
        raise ConsoleError(
            f"Airflow has no connection {connection_id}. Add it (Admin, Connections), or set "
            f"AIRFLOW_CONN_{connection_id.upper()}; for the lab, start it with: make up"
        ) from None
    return Credentials.of(connection.login, connection.password, connection.extra_dejson)


def main(argv: Sequence[str] | None = None) -> int:
    """Check the cluster that the command line names; 0 when the scenario could begin."""
    parser = argparse.ArgumentParser(prog="python -m console.check_cluster", description="Check a cluster, read-only.")
    parser.add_argument("--cluster", default="lab")
    parser.add_argument("--scenario", default="A", choices=sorted(ALL_DAGS))
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, help="state folder of the stack (default: .run)")
    options = parser.parse_args(argv)
    try:
        return 0 if check_cluster(options.scenario, options.cluster, options.state) else 1
    except ConsoleError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

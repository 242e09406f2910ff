"""The whole plan of a scenario as text, read off the very DAG that would run; no host is touched.

``python -m console.plan --scenario A --cluster lab``
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from console.airflow_settings import PROJECT
from console.errors import ConsoleError
from console.scenarios import ALL_DAGS, clusters_beside, requested
from console.stack import DEFAULT_STATE
from include.runbook.plan import plan_text


def plan(scenario: str, cluster: str, state: Path) -> str:
    """The plan's text. Raises ConsoleError for a cluster or scenario that cannot be planned."""
    run = requested(scenario, cluster, clusters_beside(state))
    with tempfile.TemporaryDirectory() as home:
        # Airflow is only asked to build the DAG: it needs a home for its settings, and no database
        os.environ["AIRFLOW_HOME"] = home
        sys.path.insert(0, str(PROJECT / "plugins"))
        # imported here: Airflow reads its home from the environment when it is imported
        from tecs.plans import load_dag, plan_of  # noqa: PLC0415

        return plan_text(plan_of(load_dag(PROJECT / "dags" / f"{ALL_DAGS[scenario]}.py"), run))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the plan that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m console.plan", description="Print the plan of a scenario.")
    parser.add_argument("--scenario", default="A", choices=sorted(ALL_DAGS))
    parser.add_argument("--cluster", default="lab")
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, help="state folder of the stack (default: .run)")
    options = parser.parse_args(argv)
    try:
        print(plan(options.scenario, options.cluster, options.state))
    except ConsoleError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

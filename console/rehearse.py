"""A scenario played on the embedded twin of a cluster, and what went otherwise than its plan. No host of the cluster is touched.

``python -m console.rehearse --cluster example --scenario A --pace 200``
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from console.airflow_settings import PROJECT
from console.demo import INTERRUPTED
from console.errors import ConsoleError
from console.scenarios import DAGS, clusters_beside
from console.stack import DEFAULT_STATE
from include.rehearsal.errors import RehearsalError
from include.rehearsal.kept import keep
from include.rehearsal.rehearsal import PlanOf, Rehearsal
from include.rehearsal.report import Report, Stepped, report_text
from include.runbook.errors import RunbookError


def rehearse(scenario: str, name: str, pace: float | None, state: Path) -> Report:
    """The scenario has been played, each step told as it ended. Raises ConsoleError where it could not be."""
    clusters = clusters_beside(state)
    try:
        if name not in clusters:
            raise ConsoleError(f"There is no inventory of a cluster {name!r}; there is {', '.join(sorted(clusters))}.")
        cluster = clusters[name]
        with tempfile.TemporaryDirectory() as home:
            return Rehearsal(cluster, scenario, pace or cluster.rehearsal.pace).play(_plans(home), _tell)
    except (RunbookError, RehearsalError) as error:
        raise ConsoleError(str(error)) from error


def _plans(home: str) -> PlanOf:
    # Airflow is only asked to build the DAG: it needs a home for its settings, and no database
    os.environ["AIRFLOW_HOME"] = home
    sys.path.insert(0, str(PROJECT / "plugins"))
    # imported here: Airflow reads its home from the environment when it is imported
    from tecs.plans import load_dag, plan_of  # noqa: PLC0415

    return lambda run: plan_of(load_dag(PROJECT / "dags" / f"{run.dag}.py"), run)


def _tell(step: Stepped) -> None:
    took = "" if step.outcome == "not begun" else f"{step.seconds:.1f} s"
    print(f"{step.outcome:<13} {took:>8}  {step.where}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Rehearse what the command line asks for; 0 where it went as planned."""
    parser = argparse.ArgumentParser(prog="python -m console.rehearse", description="Play a scenario on a twin.")
    parser.add_argument("--scenario", default="A", choices=sorted(DAGS))
    parser.add_argument("--cluster", default="lab")
    parser.add_argument(
        "--pace", type=float, help="times faster than real (default: that of the inventory's rehearsal)"
    )
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, help="state folder of the stack (default: .run)")
    options = parser.parse_args(argv)
    try:
        report = rehearse(options.scenario, options.cluster, options.pace, options.state)
    except ConsoleError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nEnded, with the twin and all that ran on it.", file=sys.stderr)
        return INTERRUPTED
    print(f"\n{report_text(report)}")
    print(f"The report is kept in {keep(report, options.state / 'records')}")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())

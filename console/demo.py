"""The demonstration: a broken cluster comes back to its old release through Airflow, before the operator's eyes.

``python -m console.demo --scenario A``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from console.airflow_api import Airflow
from console.airflow_settings import PROJECT
from console.errors import ConsoleError
from console.progress import Line, View, clock, predicted
from console.scenarios import DAGS, conf_of
from console.stack import DEFAULT_PORT, DEFAULT_STATE, LabRequest, Running, Stack
from console.summary import Expected, Times, read_live_state, shortcomings, summary
from console.watch import failures, follow, shape_of
from include.runbook.cluster import Cluster, load_cluster

INVENTORY = PROJECT / "include" / "clusters" / "lab.yaml"
PACE = 40.0
"""Times faster than real that the demonstration's lab lives by default: scenario A then takes about two minutes."""

INTERRUPTED = 130
"""The exit status of a command that Ctrl-C ended."""


@dataclass(frozen=True)
class Demonstration:
    """One scenario on one running stack with its lab."""

    scenario: str
    running: Running
    cluster: Cluster
    console: Console

    @property
    def dag_id(self) -> str:
        return DAGS[self.scenario]

    @property
    def expected(self) -> Expected:
        """Every lab scenario begins with all other hosts on the old release, so that all are on it at the end."""
        nodes = tuple(node.name for node in self.cluster.nodes)
        return Expected(self.cluster.target_release, nodes, ban_may_stay=self.scenario == "C")

    def show(self) -> bool:
        """The scenario has run and its end is shown; True when the cluster's live state is proven right."""
        connections = self._lab / "connections.json"
        before = read_live_state(self.cluster, connections)
        with self.running.airflow() as airflow:
            view, planned = self._run(airflow)
            for line in failures(view):
                self._tell_failure(airflow, line)
        after = read_live_state(self.cluster, connections)
        wanting = shortcomings(before, after, self.cluster, self.expected)
        if view.run.state != "success":
            self._tell_resume(view.run.run_id)
            wanting = (f"the run of {self.dag_id} ended as {view.run.state}", *wanting)
        times = Times(_seconds(view), planned, self.cluster.pace)
        self.console.print()
        self.console.print(summary(before, after, self.cluster, times, wanting))
        return not wanting

    @property
    def _lab(self) -> Path:
        if self.running.lab is None:
            raise ConsoleError("The stack runs without a lab. Start it with: make up")
        return self.running.lab

    def _run(self, airflow: Airflow) -> tuple[View, float]:
        shape = shape_of(airflow, self.dag_id, self.cluster)
        planned = predicted(shape, orchestration=0)
        run_id = f"demo-{self.scenario}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
        run = airflow.trigger(self.dag_id, run_id, conf_of(self.scenario, self.cluster))
        self.console.print(f"\n{self.dag_id} runs in Airflow: {self._page(run_id)}", soft_wrap=True)
        self.console.print(f"It should take about {clock(predicted(shape))}.\n")
        return follow(airflow, run, shape, self.console), planned

    def _tell_failure(self, airflow: Airflow, line: Line) -> None:
        host = f" [{line.task.host}]" if line.task.host else ""
        self.console.print(f"\nFailed: {line.title}{host}", style="bold red", markup=False)
        for text in airflow.failure(line.run.dag_id, line.run.run_id, line.task):
            self.console.print(f"  {text}", markup=False, highlight=False, soft_wrap=True)

    def _tell_resume(self, run_id: str) -> None:
        self.console.print(
            "\nMend what the messages name, then clear the failed tasks (Clear, Downstream) of\n"
            f"  {self._page(run_id)}\n"
            "The run goes on from there; what is already true is skipped.",
            markup=False,
            soft_wrap=True,
        )

    def _page(self, run_id: str) -> str:
        return f"{self.running.url}/dags/{self.dag_id}/runs/{run_id}"


def demonstrate(scenario: str, pace: float | None, state: Path, port: int, console: Console) -> int:
    """The demonstration has been given; 0 when the live state is proven right at its end, 1 otherwise."""
    stack = Stack(state, say=lambda text: console.print(text, markup=False, highlight=False))
    running = stack.up(LabRequest(INVENTORY, scenario, pace), port)
    try:
        cluster = load_cluster(state / "lab" / "clusters" / INVENTORY.name)
        proven = Demonstration(scenario, running, cluster, console).show()
    except KeyboardInterrupt:
        console.print("\nNo longer watching; the run goes on in Airflow.")
        return INTERRUPTED
    finally:
        console.print(
            f"\nAirflow stays up at {running.url}  user: {running.user}  password: {running.password}", soft_wrap=True
        )
        console.print("Stop everything with: make down")
    return 0 if proven else 1


def _seconds(view: View) -> float:
    if view.run.start is None or view.run.end is None:
        return 0.0
    return (view.run.end - view.run.start).total_seconds()


def main(argv: Sequence[str] | None = None) -> int:
    """Give the demonstration that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m console.demo", description="Watch a broken lab cluster come back.")
    parser.add_argument("--scenario", default="A", choices=sorted(DAGS))
    parser.add_argument("--pace", type=float, default=PACE, help=f"times faster than real (default: {PACE:g})")
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, help="state folder (default: .run)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    options = parser.parse_args(argv)
    # a pipe or a log file has no width of its own
    console = Console() if sys.stdout.isatty() else Console(width=140)
    try:
        return demonstrate(options.scenario, options.pace, options.state, options.port, console)
    except ConsoleError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

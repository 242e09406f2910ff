"""Many clusters on one Airflow: their rollbacks of B all begin at once, and each must come to its proven end.

Every cluster is a lab of its own, on this machine, too: what they take of it is taken from Airflow.

``python -m console.load --clusters 1 50``
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from console.airflow_api import Airflow, Run
from console.bench import PeakMemory
from console.errors import ConsoleError
from console.stack import Stack, free_port
from include.lab.client import LabClient
from include.lab.topology import make_inventory

DAG = "rollback_controller"
FIRST_NETWORK = 101
"""Labs have the networks 127.101, 127.102 and so on: beside those of the demonstration and of the benchmark."""

MOST = 150
POLL = 2.0
STARTED_SIDE_BY_SIDE = 4


@dataclass(frozen=True)
class Measured:
    """So many clusters at once: seconds until the first and the last of them was back, the tasks that ran for it, and the
    most memory (MiB) that Airflow and its database had together."""

    clusters: int
    first: float
    last: float
    tasks: int
    memory: float


@contextmanager
def labs(count: int, pace: float, state: Path) -> Iterator[dict[str, LabClient]]:
    """So many labs, each where scenario B begins, with their inventories and connections below `state`."""

    def begun(number: int) -> tuple[str, LabClient]:
        name = f"load{number + 1}"
        inventory = make_inventory(name, f"127.{FIRST_NETWORK + number}", computes=1)
        inventory["ssh"]["connection"] = f"tecs-{name}"
        file = state / f"{name}.yaml"
        file.write_text(yaml.safe_dump(inventory, sort_keys=False))
        lab = ends.enter_context(LabClient.start(file, state / "labs" / name, "--scenario", "B", "--pace", f"{pace:g}"))
        return name, lab

    (state / "clusters").mkdir()
    with ExitStack() as ends:
        with ThreadPoolExecutor(STARTED_SIDE_BY_SIDE) as pool:
            fleet = dict(pool.map(begun, range(count)))
        connections: dict[str, object] = {}
        for name, lab in fleet.items():
            (state / "clusters" / f"{name}.yaml").write_text(lab.inventory.read_text())
            connections |= json.loads((lab.state_dir / "connections.json").read_text())
        (state / "connections.json").write_text(json.dumps(connections))
        yield fleet


def measure(clusters: int, pace: float, state: Path, console: Console) -> Measured:
    """B of every cluster is rolled back. Raises ConsoleError for any that is not, or was installed more than once."""
    state.mkdir()
    with labs(clusters, pace, state) as fleet:
        stack = Stack(state / "stack", labs=state, say=lambda text: console.print(text, markup=False, highlight=False))
        try:
            with stack.up(port=free_port(0)).airflow() as airflow, PeakMemory(state / "stack") as memory:
                runs = [airflow.trigger(DAG, f"load-{name}", {"cluster": name}) for name in fleet]
                ended = finished(airflow, runs, console)
                tasks = sum(len(airflow.task_instances(run.dag_id, run.run_id)) for run in ended)
        finally:
            stack.down()
        wrong = [f"{run.run_id} ended as {run.state}" for run in ended if run.state != "success"]
        wrong += [f"{name}: {flaw}" for name, lab in fleet.items() if (flaw := flaw_of(lab))]
    if wrong:
        raise ConsoleError("Not every cluster came back:\n" + "\n".join(wrong))
    begin = min(run.start for run in ended if run.start)
    took = sorted((run.end - begin).total_seconds() for run in ended if run.end)
    return Measured(clusters, took[0], took[-1], tasks, memory.peak)


def finished(airflow: Airflow, runs: Sequence[Run], console: Console) -> list[Run]:
    """Wait until every run has ended; how many have is told whenever that changes."""
    told = 0
    while True:
        now = [airflow.run(run.dag_id, run.run_id) for run in runs]
        done = sum(run.finished for run in now)
        if done != told:
            console.print(f"{done} of {len(runs)} clusters are done")
            told = done
        if done == len(runs):
            return now
        time.sleep(POLL)


def flaw_of(lab: LabClient) -> str:
    """Say what is wrong with a lab whose B was rolled back; empty where nothing is."""
    truth = lab.state()
    b = next(name for name in truth["hosts"] if name.endswith("-12"))
    if truth["violations"]:
        return str(truth["violations"])
    if truth["hosts"][b]["release"] != "100":
        return f"B has release {truth['hosts'][b]['release']}"
    installs = {name: count["installed"] for name, count in truth["installs"].items() if count["installed"]}
    return "" if installs == {b: 1} else f"installations: {installs}"


def table(results: Sequence[Measured]) -> Table:
    """The measurements as a table; the ratio is to the first line's."""
    shown = Table(
        "Clusters", "First back (s)", "Last back (s)", "Ratio", "Tasks", "Peak memory (MiB)", title="Scenario B"
    )
    for each in results:
        ratio = each.last / results[0].last
        times = f"{each.first:.1f}", f"{each.last:.1f}", f"{ratio:.2f}"
        shown.add_row(str(each.clusters), *times, str(each.tasks), f"{each.memory:.0f}")
    return shown


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for and print the table."""
    parser = argparse.ArgumentParser(prog="python -m console.load", description="Roll many clusters back at once.")
    parser.add_argument("--clusters", type=int, nargs="+", default=[1, 50], help=f"how many at once, at most {MOST}")
    parser.add_argument("--pace", type=float, default=20)
    options = parser.parse_args(argv)
    if not all(1 <= count <= MOST for count in options.clusters):
        parser.error(f"--clusters: expected numbers from 1 to {MOST}")
    console = Console() if sys.stdout.isatty() else Console(width=140)
    try:
        with tempfile.TemporaryDirectory(prefix="tecs-load-", dir="/tmp") as state:
            results = [measure(n, options.pace, Path(state) / str(n), console) for n in options.clusters]
            console.print(table(results))
    except ConsoleError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What orchestration adds: scenario A on labs of several sizes, its wall time against the remote work's critical path, and
the memory that Airflow takes for it.

The remote work is what hosts did for the steps, by the run's own record: commands as they ran, jobs from begin to end.
Connecting, scheduling, starting tasks, watching jobs and the decisions in between are what is left.

``python -m console.bench --computes 1 10 50``
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from console.airflow_api import Airflow, Run
from console.airflow_settings import PROJECT
from console.errors import ConsoleError
from console.processes import members
from console.progress import Shape, predicted
from console.scenarios import DAGS, conf_of
from console.stack import LabRequest, Stack, free_port
from console.watch import BATCH_DAG, BATCHES_TASK, follow, shape_of
from include.lab.client import LabClient
from include.runbook.cluster import Cluster, load_cluster
from include.runbook.custody import read_record
from include.runbook.request import divided
from include.runbook.step import KINDS, VmPolicy

LOOK_EVERY = 3.0
"""Seconds between two looks at the memory."""

NETWORK = "127.77"
"""Loopback addresses of the benchmark's labs, beside those of the demonstration's."""


@dataclass(frozen=True)
class Measured:
    """One run: its computes and batches, the seconds that it took and that its remote work took along the critical path,
    and the most memory (MiB, shared pages divided among their sharers) that Airflow and its database had together."""

    computes: int
    batches: int
    wall: float
    critical_path: float
    memory: float


def measure(computes: int, batch_size: int, pace: float, state: Path, console: Console) -> Measured:
    """Scenario A has run on a fresh lab with this many computes. Raises ConsoleError if it has not succeeded."""
    inventory = state / f"bench{computes}.yaml"
    command = [sys.executable, "-m", "include.lab", "make-inventory", "--name", inventory.stem, "--network", NETWORK]
    command += ["--computes", str(computes), "--batch-size", str(batch_size)]
    made = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise ConsoleError(f"The inventory of {computes} computes could not be made: {made.stderr}")
    inventory.write_text(made.stdout)
    stack = Stack(state / "stack", say=lambda text: console.print(text, markup=False, highlight=False))
    try:
        running = stack.up(LabRequest(inventory, "A", pace), free_port(0))
        cluster = load_cluster(state / "stack" / "lab" / "clusters" / inventory.name)
        with running.airflow() as airflow:
            shape = shape_of(airflow, DAGS["A"], cluster)
            # the VMs of an only compute have nowhere to go
            policy = VmPolicy.ACCEPT_OUTAGE if computes == 1 else VmPolicy.MIGRATE
            conf = conf_of("A", cluster) | {"vm_policy": policy.value}
            run = airflow.trigger(DAGS["A"], f"bench-{computes}", conf)
            with PeakMemory(state / "stack") as memory:
                done = follow(airflow, run, shape, console).run
            events = record(LabClient(state / "stack" / "lab"), cluster)
            remote = predicted(remote_shape(airflow, done, events), orchestration=0)
    finally:
        stack.down()
    if done.state != "success" or done.start is None or done.end is None:
        raise ConsoleError(f"The run with {computes} computes ended as {done.state}.")
    batches = len(divided(cluster, cluster.computes))
    return Measured(computes, batches, (done.end - done.start).total_seconds(), remote, memory.peak)


class PeakMemory(threading.Thread):
    """Watches a stack while the block runs; `peak` is the most that its processes, without the lab's, had together (MiB)."""

    def __init__(self, state: Path) -> None:
        super().__init__(daemon=True)
        self.peak, self._state, self._over = 0.0, str(state), threading.Event()

    def __enter__(self) -> PeakMemory:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        """Look every few seconds until the block is left."""
        while True:
            self.peak = max(self.peak, sum(map(_memory, members(self._state))) / 2**20)
            if self._over.wait(LOOK_EVERY):
                return


def _memory(process: psutil.Process) -> int:
    """Return the bytes of a process that are its own share; none of the lab's, nor of one that has just ended."""
    try:
        return 0 if "include.lab" in process.cmdline() else int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def record(lab: LabClient, cluster: Cluster) -> tuple[dict[str, Any], ...]:
    """Every event that runs recorded on the lab's Daisy host."""
    text = lab.run(cluster.daisy.name, f"cat {cluster.daisy.path(cluster.paths.state)}/record/*.jsonl").stdout
    return read_record(text)


def remote_shape(airflow: Airflow, run: Run, events: Sequence[Mapping[str, Any]]) -> Shape:
    """The run as it was, each step as long as hosts worked for it; of several hosts side by side, the slowest counts."""
    tasks = tuple(airflow.tasks(run.dag_id))
    spent: dict[str, float] = {}
    for event in events:
        if event.get("run_id") == run.run_id and "remote" in event:
            task_id = KINDS[event["step"]].task_id
            spent[task_id] = max(spent.get(task_id, 0.0), event["remote"])
    if all(task.task_id != BATCHES_TASK for task in tasks):
        return Shape(tasks, spent)
    batches = airflow.child_runs(BATCH_DAG, run.run_id)
    return Shape(tasks, spent, BATCHES_TASK, tuple(remote_shape(airflow, batch, events) for batch in batches))


def table(results: Sequence[Measured]) -> Table:
    """The measurements as a table: wall time, critical path of the remote work, and their ratio."""
    shown = Table(
        "Computes",
        "Batches",
        "Wall time (s)",
        "Critical path of the remote work (s)",
        "Ratio",
        "Peak memory (MiB)",
        title="Scenario A",
    )
    for result in results:
        ratio = result.wall / result.critical_path
        times = f"{result.wall:.1f}", f"{result.critical_path:.1f}", f"{ratio:.2f}"
        shown.add_row(str(result.computes), str(result.batches), *times, f"{result.memory:.0f}")
    return shown


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for and print the table."""
    parser = argparse.ArgumentParser(prog="python -m console.bench", description="Measure orchestration.")
    parser.add_argument("--computes", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--batch-size", type=int, help="computes of a batch (default: half of them)")
    parser.add_argument("--pace", type=float, default=20)
    options = parser.parse_args(argv)
    console = Console() if sys.stdout.isatty() else Console(width=140)
    try:
        with tempfile.TemporaryDirectory(prefix="tecs-bench-", dir="/tmp") as state:
            sizes = [(count, options.batch_size or max(count // 2, 1)) for count in options.computes]
            console.print(table([measure(*size, options.pace, Path(state), console) for size in sizes]))
    except ConsoleError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

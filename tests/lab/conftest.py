"""One real Airflow, and beside it a lab of its own for each test: scenarios run at two hundred times the real pace."""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from console.airflow_api import Airflow, Run, TaskInstance
from console.stack import Stack
from include.lab.client import LabClient
from include.lab.topology import make_inventory
from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.step import KINDS
from tests.loopback import free_network

PACE = "200"
PATIENCE = 300
"""Seconds for one run of a scenario; a run needs about sixty on two cores."""

CHANGING = {kind.task_id for kind in KINDS.values() if kind.changes}
LABS = {
    "broken-a": ("A", ()),
    "broken-b": ("B", ()),
    "broken-c": ("C", ()),
    "paths": ("A", ("--isolation", "path")),
    "killed": ("C", ()),
    "cancelled": ("C", ()),
    "abandoned": ("A", ()),
    "refused": ("C", ()),
    "prompted": ("C", ()),
    "stuck": ("C", ()),
    "locked": ("C", ()),
}
"""The labs that the tests use: in which starting state each begins, and with what options. All start together, because
Airflow reads the choice of clusters when it reads the DAGs."""


_numbers = itertools.count(1)


@dataclass
class Site:
    """One lab and the Airflow that runs scenarios on it."""

    name: str
    lab: LabClient
    airflow: Airflow
    stack: Stack

    def start(self, dag: str, **conf: Any) -> Run:
        """Trigger a scenario on this site through the REST API."""
        return self.airflow.trigger(dag, f"{self.name}-{next(_numbers)}", {"cluster": self.name, **conf})

    def until(self, run: Run, condition: Callable[[Run], bool]) -> Run:
        """Wait until the run is as it should be."""
        ends = time.monotonic() + PATIENCE
        while not condition(now := self.airflow.run(run.dag_id, run.run_id)):
            assert time.monotonic() < ends, f"{run.run_id} is {now.state} after {PATIENCE} s\n{self.story(run)}"
            time.sleep(0.3)
        return now

    def finish(self, run: Run) -> str:
        """Wait for the end of a run and return its state."""
        return self.until(run, lambda now: now.finished).state

    def tasks(self, run: Run) -> list[TaskInstance]:
        """Every task instance of the run and of its batches."""
        batches = self.airflow.child_runs("rollback_compute", run.run_id) if run.dag_id == "rollback_cluster" else []
        return [task for one in [*batches, run] for task in self.airflow.task_instances(one.dag_id, one.run_id)]

    def failures(self, run: Run) -> dict[str, str]:
        """What each failed task of the run and its batches says, by its id."""
        batches = self.airflow.child_runs("rollback_compute", run.run_id) if run.dag_id == "rollback_cluster" else []
        return {
            task.task_id: "\n".join(self.airflow.failure(one.dag_id, one.run_id, task))
            for one in [run, *batches]
            for task in self.airflow.task_instances(one.dag_id, one.run_id)
            if task.state == "failed"
        }

    def story(self, run: Run) -> str:
        """The run's tasks and failures, for the message of an assertion."""
        states = "\n".join(f"{t.state} {t.task_id} {t.host or ''} try {t.try_number}" for t in self.tasks(run))
        return f"{states}\n{json.dumps(self.failures(run), indent=1)}"

    def journal(self) -> list[dict[str, Any]]:
        """What the stand-ins changed so far."""
        text = (self.lab.state_dir / "journal.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder that stays as it is while this session runs: pytest's own are closed and pruned by other sessions."""
    with tempfile.TemporaryDirectory(prefix="tecs-tests-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def fleet(folder: Path) -> Iterator[dict[str, LabClient]]:
    """Every lab, running; their inventories and connections lie together, where Airflow reads them."""
    (folder / "clusters").mkdir()
    labs: dict[str, LabClient] = {}
    connections: dict[str, Any] = {}
    try:
        for name, (scenario, options) in LABS.items():
            inventory = make_inventory(name, network=free_network(), computes=2, dvs=1)
            inventory["ssh"]["connection"] = f"tecs-{name}"
            file = folder / f"{name}.yaml"
            file.write_text(yaml.safe_dump(inventory, sort_keys=False))
            lab = LabClient.start(file, folder / "labs" / name, "--scenario", scenario, "--pace", PACE, *options)
            labs[name] = lab
            (folder / "clusters" / f"{name}.yaml").write_text(lab.inventory.read_text())
            connections |= json.loads((lab.state_dir / "connections.json").read_text())
        (folder / "connections.json").write_text(json.dumps(connections))
        yield labs
    finally:
        for lab in labs.values():
            lab.stop()


@pytest.fixture(scope="session")
def stack(fleet: dict[str, LabClient], folder: Path) -> Iterator[Stack]:
    """Airflow, running, for all tests of this session."""
    stack = Stack(folder / "stack", labs=folder)
    try:
        stack.up()
        yield stack
    finally:
        stack.down()


@pytest.fixture
def site(stack: Stack, fleet: dict[str, LabClient], request: pytest.FixtureRequest) -> Iterator[Site]:
    """The site of a test: `@pytest.mark.parametrize("site", ["broken-a"], indirect=True)`."""
    with stack.running().airflow() as airflow:
        yield Site(request.param, fleet[request.param], airflow, stack)


def on(name: str) -> pytest.MarkDecorator:
    """Run the test on the lab of this name."""
    return pytest.mark.parametrize("site", [name], indirect=True)


def first_compute(site: Site) -> str:
    """The first compute of the site: the one that scenario C is about."""
    return next(name for name in site.lab.state()["hosts"] if name.endswith("-21"))


def record(site: Site, run: Run) -> list[dict[str, Any]]:
    """The run's record, as the Daisy host holds it."""
    text = site.lab.run("daisy", f"cat /var/lib/tecs-rollback/record/*{run.run_id}.jsonl").stdout
    return [json.loads(line) for line in text.splitlines()]


def audit(site: Site, reinstalled: tuple[str, ...]) -> None:
    """The lab itself says that nothing was done that must not be, and that these hosts were installed once each."""
    truth = site.lab.state()
    assert truth["violations"] == []
    installed = {name: count["installed"] for name, count in truth["installs"].items()}
    assert installed == {name: int(name in reinstalled) for name in installed}
    a = next(name for name in truth["hosts"] if name.endswith("-11"))
    assert truth["cluster"]["active"] == a
    assert {host["release"] for host in truth["hosts"].values() if host["role"] != "daisy"} == {"100"}
    assert {vm["status"] for vm in truth["vms"]} == {"ACTIVE"}

"""Two real Airflows, and beside them a lab of its own for each test: scenarios run at two hundred times the real pace."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from _pytest.mark import ParameterSet

from console.stack import Stack, free_port
from include.lab.client import LabClient
from include.lab.topology import make_inventory
from tests.canaries import PLANTED, Canaries, made, plant_in_connections
from tests.groups import case, in_groups
from tests.loopback import free_network
from tests.receivers import WebServer, serving
from tests.scenarios import Site

PACE = "200"
LABS = {
    "sampled": ("A", ()),
    "broken-a": ("A", ()),
    "broken-b": ("B", ()),
    "broken-c": ("C", ()),
    "paths": ("A", ("--isolation", "path")),
    "killed": ("C", ()),
    "cancelled": ("C", ()),
    "abandoned": ("A", ()),
    "refused": ("C", ()),
    "replicated-a": ("A", ()),
    "replicated-b": ("B", ()),
    "prompted": ("C", ()),
    "asked": ("C", ()),
    "answered": ("C", ()),
    "unanswered": ("C", ()),
    "homeward": ("C", ()),
    "divided": ("A", ()),
    "locked": ("C", ()),
    "lossy": ("A", ()),
    "beyond": ("A", ()),
    "newer-schema": ("B", ()),
    "validated": ("good", ()),
    "api": ("C", ()),
    "upgraded": ("good", ()),
    "flawed-compute": ("good", ()),
    "flawed-api": ("good", ()),
    "half-upgraded": ("good", ()),
    "canaries": ("C", ()),
}
"""The labs that the tests use: in which starting state each begins, and with what options. Those of an Airflow start
together, because it reads the choice of clusters when it reads the DAGs."""

FIRST, SECOND = "first-airflow", "second-airflow"
WITH_FIRST = ("flawed-compute", "killed", "locked", "refused", "validated")
"""The labs of the first Airflow; the others have the second. `make test` takes about as long with the one as with the other."""

TOLD = {"notify": [{"by": "http", "connection": "tecs-told"}]}
"""What the inventory of a lab says whose runs tell what happens in them."""

SETTINGS: dict[str, dict[str, Any]] = {
    "api": TOLD,
    "canaries": {"notify": [{"by": "http", "connection": name} for name in ("tecs-hook", "tecs-dead-hook")]},
    "killed": TOLD,
    "replicated-a": {"storage": "local"},
    "replicated-b": {"storage": "local", "replicated": {"db": "WebData", "mongodb": "mongodb"}},
    "unanswered": {"drain": {"answer_limit": 8}},
    "divided": {"drain": {"migrate_across_releases": False}},
    "flawed-compute": {"batch_size": 2},
    "lossy": {"batch_size": 2, "failure_budget": "40%"},
    "beyond": {"batch_size": 2, "failure_budget": 1},
}
"""What the inventories of some labs say besides."""

COMPUTES = {"flawed-compute": 3, "lossy": 3, "beyond": 5}
"""How many computes a lab has where these are not two."""


@pytest.fixture(scope="session")
def folder(group: str) -> Iterator[Path]:
    """The group's folder, which stays as it is while its tests run: pytest's own are pruned by other sessions."""
    with tempfile.TemporaryDirectory(prefix="tecs-tests-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def told() -> Iterator[WebServer]:
    """Where runs of the labs that say so tell what happens in them."""
    server = WebServer()
    with serving(server):
        yield server


@pytest.fixture(scope="session")
def canaries() -> Canaries:
    """Secrets of one lab, to be searched for in everything that its runs have written."""
    return Canaries({name: made() for name in PLANTED})


@pytest.fixture(scope="session")
def fleet(
    group: str, folder: Path, told: WebServer, canaries: Canaries, request: pytest.FixtureRequest
) -> Iterator[dict[str, LabClient]]:
    """Every lab that a test of the group is for, running; their inventories lie together, where Airflow reads them."""
    params = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    wanted = {each["site"] for each in params if each.get("group") == group}
    (folder / "clusters").mkdir()
    labs: dict[str, LabClient] = {}
    connections: dict[str, Any] = {"tecs-told": {"conn_type": "http", "host": f"http://127.0.0.1:{told.port}"}}
    try:
        for name, (scenario, options) in LABS.items():
            if name not in wanted:
                continue
            inventory = make_inventory(name, network=free_network(), computes=COMPUTES.get(name, 2), dvs=1)
            inventory["ssh"]["connection"] = f"tecs-{name}"
            inventory |= SETTINGS.get(name, {})
            file = folder / f"{name}.yaml"
            file.write_text(yaml.safe_dump(inventory, sort_keys=False))
            lab = LabClient.start(file, folder / "labs" / name, "--scenario", scenario, "--pace", PACE, *options)
            labs[name] = lab
            (folder / "clusters" / f"{name}.yaml").write_text(lab.inventory.read_text())
            own = json.loads((lab.state_dir / "connections.json").read_text())
            connections |= plant_in_connections(canaries, own, told.port) if name == "canaries" else own
        (folder / "connections.json").write_text(json.dumps(connections))
        yield labs
    finally:
        for lab in labs.values():
            lab.stop()


@pytest.fixture(scope="session")
def stack(fleet: dict[str, LabClient], folder: Path) -> Iterator[Stack]:
    """Airflow, running, for all tests of the group."""
    stack = Stack(folder / "stack", labs=folder)
    try:
        stack.up(port=free_port(0))
        yield stack
    finally:
        stack.down()


@pytest.fixture
def site(stack: Stack, fleet: dict[str, LabClient], request: pytest.FixtureRequest) -> Iterator[Site]:
    """The site of a test; its parameter is the lab's name."""
    with stack.running().airflow() as airflow:
        yield Site(request.param, fleet[request.param], airflow, stack)


def lab_case(name: str, *values: object) -> ParameterSet:
    """The case of a test on the lab of this name."""
    return case(FIRST if name in WITH_FIRST else SECOND, name, *values, id=name)


def on(name: str) -> pytest.MarkDecorator:
    """Run the test on the lab of this name."""
    return in_groups([lab_case(name)])

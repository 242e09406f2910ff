"""Faults are counted: each test enters its figures, a table ends the session, and figures that must be 0 decide it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

import console.stack
from console.airflow_settings import PROJECT, Place, Secrets, airflow_environment
from console.stack import Stack, free_port
from include.lab.client import LabClient
from include.lab.topology import make_inventory
from tests.loopback import free_network
from tests.scenarios import Site

from .elsewhere import ELSEWHERE, NOT_INJECTED
from .figures import Figures, Ledger

HERE = Path(__file__).parent
PACE = "200"
PATIENCE = 3600
"""Seconds a run may take: each task dies once, and Airflow needs twenty seconds to see that a worker is gone."""

FIGURES = "figures"
"""The property of a report under which a test's figures travel, from whichever process it ran in."""

Count = Callable[[Figures], None]


class Table:
    """The figures of the session's tests, taken from their reports; it is printed at the end and decides the session."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.passed: list[str] = []
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Enter what a test of this folder has counted, and why it was skipped."""
        file, _, name = report.nodeid.partition("::")
        if Path(file).parent.name != HERE.name:
            return
        if report.skipped:
            self.skipped.append(f"{name}: {report.longreprtext}")
        counted = [figures for key, figures in report.user_properties if key == FIGURES]
        if report.when != "call" or not counted:
            return
        for figures in counted:
            if figures is not None:
                self.ledger.enter(name, Figures(**figures))  # type: ignore[arg-type]  # what `count` has made of them
        if report.passed:
            self.passed.append(name)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A session fails whose figures are not as they must be, whatever its tests asserted."""
        if self.ledger.unsound(self.passed) and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table, what was skipped and why, and what is wrong with the figures."""
        if self.ledger.entries:
            terminalreporter.section("faults")
            for line in self.ledger.table():
                terminalreporter.line(line)
            for fault, tests in ELSEWHERE.items():
                files = sorted({test.partition("::")[0] for test in tests})
                terminalreporter.line(f"elsewhere: {fault}: {', '.join(files)}")
            for fault, reason in NOT_INJECTED.items():
                terminalreporter.line(f"not injected: {fault}: {reason}")
        for line in self.skipped:
            terminalreporter.line(f"skipped: {line}")
        for line in self.ledger.unsound(self.passed):
            terminalreporter.line(f"NOT AS IT MUST BE: {line}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    """The session begins with an empty table."""
    config.pluginmanager.register(Table())


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Count:
    """Enter figures into the table under the test's name. A test that has this and enters none is seen, too."""
    properties = request.node.user_properties
    properties.append((FIGURES, None))
    return lambda figures: properties.append((FIGURES, asdict(figures)))


@pytest.fixture(scope="session")
def folder(group: str) -> Iterator[Path]:
    """The group's folder, which stays as it is while its tests run."""
    with tempfile.TemporaryDirectory(prefix=f"tecs-faults-{group}-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def orders(folder: Path) -> Path:
    """Where the plugin that kills finds, for each site, what to kill, and notes what it has killed."""
    (folder / "orders").mkdir()
    return folder / "orders"


@pytest.fixture(scope="session")
def fleet(group: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, LabClient]]:
    """A lab for each site of the group, named by it: `(name, starting state)` is the parameter of the site."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and hasattr(item, "callspec")]
    wanted = dict(item.callspec.params["site"] for item in items if item.callspec.params.get("group") == group)
    (folder / "clusters").mkdir()
    labs: dict[str, LabClient] = {}
    connections: dict[str, object] = {}
    try:
        for name, scenario in wanted.items():
            inventory = make_inventory(name, network=free_network(), computes=2, dvs=1)
            inventory["ssh"]["connection"] = f"tecs-{name}"
            file = folder / f"{name}.yaml"
            file.write_text(yaml.safe_dump(inventory, sort_keys=False))
            lab = LabClient.start(file, folder / "labs" / name, "--scenario", scenario, "--pace", PACE)
            labs[name] = lab
            (folder / "clusters" / f"{name}.yaml").write_text(lab.inventory.read_text())
            connections |= json.loads((lab.state_dir / "connections.json").read_text())
        (folder / "connections.json").write_text(json.dumps(connections))
        yield labs
    finally:
        for lab in labs.values():
            lab.stop()


@pytest.fixture(scope="session")
def stack(fleet: dict[str, LabClient], folder: Path, orders: Path) -> Iterator[Stack]:
    """Airflow with the product's plugin and beside it the one that kills, which the product does not know of."""
    plugins = folder / "plugins"
    plugins.mkdir()
    shutil.copy(PROJECT / "plugins" / "tecs_plugin.py", plugins)
    shutil.copy(HERE / "crashing.py", plugins)

    def environment(place: Place, secrets: Secrets) -> dict[str, str]:
        own = {"AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins), "TECS_CRASHES": str(orders)}
        return airflow_environment(place, secrets) | own

    stack = Stack(folder / "stack", labs=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console.stack, "airflow_environment", environment)
        try:
            stack.up(port=free_port(0))
            yield stack
        finally:
            stack.down()


@pytest.fixture
def site(stack: Stack, fleet: dict[str, LabClient], request: pytest.FixtureRequest) -> Iterator[Site]:
    """The site of a test: its parameter is the site's name and the state in which its lab begins."""
    name, _ = request.param
    with stack.running().airflow() as airflow:
        yield Site(name, fleet[name], airflow, stack, PATIENCE)

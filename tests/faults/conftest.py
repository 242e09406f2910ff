"""Faults are counted: each test enters its figures, a table ends the session, and figures that must be 0 decide it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
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

LEDGER = pytest.StashKey[Ledger]()
PASSED = pytest.StashKey[list[str]]()
SKIPPED = pytest.StashKey[list[str]]()

Count = Callable[[Figures], None]


def pytest_configure(config: pytest.Config) -> None:
    """The session begins with an empty table."""
    _begin(config)


def _begin(config: pytest.Config) -> None:
    config.stash.setdefault(LEDGER, Ledger())
    config.stash.setdefault(PASSED, [])
    config.stash.setdefault(SKIPPED, [])


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Count:
    """Enter figures into the table under the test's name."""
    _begin(request.config)
    return lambda figures: request.config.stash[LEDGER].enter(request.node.name, figures)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Note which tests of this folder have passed, and why one was skipped."""
    report = yield
    _begin(item.config)
    if "count" in getattr(item, "fixturenames", ()):
        if report.when == "call" and report.passed:
            item.config.stash[PASSED].append(item.name)
        if report.skipped:
            item.config.stash[SKIPPED].append(f"{item.name}: {report.longrepr[2]}")
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A session fails whose figures are not as they must be, whatever its tests asserted."""
    _begin(session.config)
    if session.config.stash[LEDGER].unsound(session.config.stash[PASSED]) and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table, what was skipped and why, and what is wrong with the figures."""
    _begin(config)
    ledger = config.stash[LEDGER]
    if ledger.entries:
        terminalreporter.section("faults")
        for line in ledger.table():
            terminalreporter.line(line)
        for fault, tests in ELSEWHERE.items():
            terminalreporter.line(
                f"elsewhere: {fault}: {', '.join(sorted({test.partition('::')[0] for test in tests}))}"
            )
        for fault, reason in NOT_INJECTED.items():
            terminalreporter.line(f"not injected: {fault}: {reason}")
    for line in config.stash[SKIPPED]:
        terminalreporter.line(f"skipped: {line}")
    for line in ledger.unsound(config.stash[PASSED]):
        terminalreporter.line(f"NOT AS IT MUST BE: {line}", red=True)


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder that stays as it is while this session runs."""
    with tempfile.TemporaryDirectory(prefix="tecs-faults-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def orders(folder: Path) -> Path:
    """Where the plugin that kills finds, for each site, what to kill, and notes what it has killed."""
    (folder / "orders").mkdir()
    return folder / "orders"


@pytest.fixture(scope="session")
def fleet(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, LabClient]]:
    """A lab for each test that is to run, named by it: `(name, starting state)` is the parameter of its site."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and hasattr(item, "callspec")]
    wanted = dict(item.callspec.params["site"] for item in items if "site" in item.callspec.params)
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

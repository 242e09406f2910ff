"""A cluster whose every host is this machine below a folder of its own: scripts run in a real shell, without SSH."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.cluster import Cluster, Host
from include.runbook.shell import Output
from include.runbook.step import Run
from include.runbook.timings import Timing

from .site import Site

EXAMPLE = Path(__file__).parents[2] / "include/clusters/example.yaml"


class LocalShell:
    """Runs scripts here. `sent` keeps them, and `broken` makes the connection end before or after the next command."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.broken: str | None = None

    def run(self, host: Host, script: str, timeout: float) -> Output:
        self.sent.append((host.name, script))
        broken, self.broken = self.broken, None
        if broken == "before":
            return Output(None)
        done = subprocess.run(["sh", "-c", script], capture_output=True, timeout=timeout, check=False)
        if broken == "after":
            return Output(None)
        return Output(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


@pytest.fixture
def shell() -> LocalShell:
    return LocalShell()


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """The example site, each host's files below a folder of `tmp_path`, a hundred times as fast as a real one."""
    raw = yaml.safe_load(EXAMPLE.read_text())
    for host in [raw["daisy"], *raw["controllers"].values(), *raw["computes"]]:
        host["root"] = str(tmp_path / host["name"])
        (tmp_path / host["name"]).mkdir()
    raw["pace"] = 100
    return Cluster.model_validate(raw)


@pytest.fixture
def run(cluster: Cluster) -> Run:
    return Run(
        cluster, cluster.target_release, cluster.computes[:1], owner="rollback_compute/run-1", dag="rollback_compute"
    )


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path) -> Site:
    """The example site with release 101 on every node and nothing else yet."""
    return Site(cluster, tmp_path)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for is waited for half a second at most."""
    monkeypatch.setattr(Timing, "limit_at", lambda self, pace: 0.5)

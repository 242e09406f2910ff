"""The cluster lab's tests need root and about five minutes, and one lab fits on a machine: `pytest -m cluster` runs them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from include.cluster_lab.client import ClusterLabClient

PATIENCE = 60.0


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cluster: runs real HA hosts on this machine; only when asked for by -m")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that stays as it is while this session runs: pytest's own are pruned by other sessions."""
    with tempfile.TemporaryDirectory(prefix="tecs-cluster-", dir="/var/tmp") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, folder: Path) -> Iterator[ClusterLabClient]:
    """One lab for the module's tests, started with the module's OPTIONS."""
    with ClusterLabClient.start(folder / "lab", *request.module.OPTIONS) as client:
        yield client


def until(reached: Callable[[], bool], what: str, within: float = PATIENCE) -> float:
    """Wait until it is so; returns after how many seconds it was."""
    started = time.monotonic()
    while not reached():
        assert time.monotonic() - started < within, f"not within {within:g} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - started

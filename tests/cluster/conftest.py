"""The cluster lab's tests need root and about five minutes, and one lab fits on a machine: `pytest -m cluster` runs them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from console.stack import Stack, free_port
from include.cluster_lab.client import ClusterLabClient
from tests.scenarios import Site

PATIENCE = 60.0
OF_A_RUN = 1500.0
"""Seconds that a run through Airflow may take: real programs need real seconds."""


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


@pytest.fixture(scope="module")
def stack(lab: ClusterLabClient, folder: Path) -> Iterator[Stack]:
    """Airflow, running, with the lab's inventory and connection."""
    stack = Stack(folder / "stack", labs=lab.state_dir)
    try:
        stack.up(port=free_port(0))
        yield stack
    finally:
        stack.down()


@pytest.fixture
def site(lab: ClusterLabClient, stack: Stack) -> Iterator[Site]:
    """The lab's site; a test puts it into the state where its scenario begins."""
    with stack.running().airflow() as airflow:
        yield Site("cluster-lab", lab, airflow, stack, OF_A_RUN)


def until(reached: Callable[[], bool], what: str, within: float = PATIENCE) -> float:
    """Wait until it is so; returns after how many seconds it was."""
    started = time.monotonic()
    while not reached():
        assert time.monotonic() - started < within, f"not within {within:g} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - started

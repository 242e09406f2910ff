"""The project on CeleryExecutor: the deployment's services as plain processes, with the worker killed in the middle."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.celery_topology import carry_out, wanting


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user can reach, too, which pytest's own are not."""
    made = Path(tempfile.mkdtemp(prefix="tecs-celery-", dir="/tmp"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.mark.celery
@pytest.mark.skipif(bool(wanting()), reason="missing: " + "; ".join(wanting()))
def test_a_compute_is_rolled_back_by_celery_workers_and_installed_once_though_the_worker_is_killed(
    folder: Path,
) -> None:
    figures = carry_out(folder, pace=100, kill_worker=True, say=print)
    assert figures.violations == []
    assert figures.tries_of_killed_step > 1
    assert sorted(figures.installs.values()) == [0, 0, 0, 0, 1]
    assert set(figures.releases.values()) == {"100"}

"""The scenarios' DAGs as Airflow parses them. No database is needed for that."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SCENARIOS = ("rollback_cluster", "rollback_controller", "rollback_compute", "upgrade_cluster", "upgrade_compute")


@pytest.fixture(scope="session", autouse=True)
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An Airflow home of its own, and the inventories that lie in the project."""
    home = tmp_path_factory.mktemp("airflow")
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    }
    before = {name: os.environ.get(name) for name in [*settings, "TECS_CLUSTERS"]}
    os.environ.update(settings)
    os.environ.pop("TECS_CLUSTERS", None)
    sys.path.insert(0, str(PROJECT / "plugins"))
    yield home
    sys.path.remove(str(PROJECT / "plugins"))
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def bag(airflow_home: Path):  # type: ignore[no-untyped-def]
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(dag_folder=str(PROJECT / "dags"))

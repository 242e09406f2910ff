from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from include.rehearsal.rehearsal import PlanOf
from include.runbook.cluster import Cluster, load_cluster
from include.runbook.plan import Plan
from include.runbook.step import Run

PROJECT = Path(__file__).parents[2]
EXAMPLE = PROJECT / "include/clusters/example.yaml"


@pytest.fixture
def example() -> Cluster:
    return load_cluster(EXAMPLE)


@pytest.fixture(scope="session")
def plan_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlanOf]:
    """Makes plans of the project's own DAG files, without an Airflow that runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
        patch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
        patch.syspath_prepend(str(PROJECT / "plugins"))
        from tecs.plans import load_dag, plan_of

        def made(run: Run) -> Plan:
            return plan_of(load_dag(PROJECT / "dags" / f"{run.dag}.py"), run)

        yield made


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this test's twins."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path

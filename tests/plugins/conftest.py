"""Airflow's side without a scheduler: operators and triggers are called as Airflow calls them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from include.runbook import custody
from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.cluster import Cluster, Host, load_cluster
from include.runbook.perform import READ_LIMIT
from include.runbook.shell import Output
from tests.unit.site import Site

PROJECT = Path(__file__).parents[2]
EXAMPLE = PROJECT / "include/clusters/example.yaml"

OnRun = Callable[[Host, str], None]


@pytest.fixture(scope="session", autouse=True)
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An Airflow home of its own, and this project's plugins where Airflow would put them."""
    home = tmp_path_factory.mktemp("airflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_HOME", str(home))
        patch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
        patch.setenv("AIRFLOW__CORE__PLUGINS_FOLDER", str(PROJECT / "plugins"))
        patch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(PROJECT / "dags"))
        patch.syspath_prepend(str(PROJECT / "plugins"))
        yield home


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The example site below `tmp_path`, as the only inventory that there is."""
    raw = yaml.safe_load(EXAMPLE.read_text())
    for host in [raw["daisy"], *raw["controllers"].values(), *raw["computes"]]:
        host["root"] = str(tmp_path / host["name"])
        (tmp_path / host["name"]).mkdir()
    raw["pace"] = 100
    inventory = tmp_path / "clusters" / "example.yaml"
    inventory.parent.mkdir()
    inventory.write_text(yaml.safe_dump(raw))
    monkeypatch.setenv("TECS_CLUSTERS", str(inventory.parent))
    return load_cluster(inventory)


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path) -> Site:
    return Site(cluster, tmp_path)


class FakeHosts:
    """Stands in for the sessions of a task. `before` is called before each script, and may raise what a session would."""

    def __init__(self, site: Site, before: OnRun) -> None:
        self.site, self.before, self.spent = site, before, 0.0

    def __enter__(self) -> FakeHosts:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def custody(self) -> custody.Custody:
        cluster = self.site.cluster
        return custody.read(self.run(cluster.daisy, custody.read_script(cluster), READ_LIMIT), cluster)

    def read_custody(self) -> None:
        """Nothing is remembered here, so nothing is to be read again."""

    def host_key(self, host: Host) -> str | None:
        return self.custody.host_key(host)

    def run(self, host: Host, script: str, timeout: float) -> Output:
        self.before(host, script)
        return self.site.run(host, script, timeout)


@pytest.fixture
def sessions(site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[[OnRun], None]:
    """Let operators reach the site; returns what sets the function that is called before each script."""
    import tecs.operators

    current: list[OnRun] = [lambda host, script: None]
    monkeypatch.setattr(
        tecs.operators,
        "SshHosts",
        lambda cluster, log: FakeHosts(site, current[0]),
    )

    def let(before: OnRun) -> None:
        current[0] = before

    return let


def context(dag_id: str = "rollback_compute", *, parent_state: str | None = None, **conf: Any) -> dict[str, Any]:
    """Return the part of Airflow's context that the operators read."""
    conf.setdefault("cluster", "example")
    if dag_id == "rollback_compute":
        conf.setdefault("computes", ["host-10-43-203-101"])
    if parent_state is not None:
        conf["parent"] = {"dag_id": "rollback_cluster", "run_id": "whole", "user": "operator"}
    batch = parent_state is not None
    return {
        "dag_run": SimpleNamespace(
            dag_id=dag_id,
            run_id="whole__batch-001" if batch else "run-1",
            run_type="operator_triggered" if batch else "manual",
            conf=conf,
            triggering_user_name="operator",
        ),
        "params": {},
        "ti": SimpleNamespace(task_id="the_task", get_dagrun_state=lambda dag_id, run_id: parent_state),
    }


@pytest.fixture
def operator(sessions: object, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return what makes the operator of a step, as the scenarios do."""
    from tecs.operators import DetachedStep, RunbookStep

    from include.runbook.step import kind

    log = logging.getLogger("tests.plugins")
    monkeypatch.setattr(RunbookStep, "log", log)

    def make(step: str, host: str | None = None) -> Any:
        this = DetachedStep if kind(step).detached else RunbookStep
        return this(task_id=kind(step).task_id, step=step, host=host, ssh_conn_id=None, do_xcom_push=False)

    return make

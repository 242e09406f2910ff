"""Who is told what of a run, and when: read off the notices that would be sent."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from include.runbook.cluster import Cluster, Host, Notify, load_cluster
from include.runbook.notice import Event, Notice
from include.runbook.step import Run, kind
from include.runbook.timings import Timing
from tests.unit.site import Site

from .conftest import FakeHosts, OnRun, context

LOG = logging.getLogger("tests.plugins")
COMPUTE = "host-10-43-203-101"


@pytest.fixture
def cluster(cluster: Cluster, tmp_path: Path) -> Cluster:
    """The example site, of which somebody wants to hear everything."""
    inventory = tmp_path / "clusters" / "example.yaml"
    raw = yaml.safe_load(inventory.read_text())
    raw["notify"] = [{"by": "http", "connection": "tecs_hook"}]
    inventory.write_text(yaml.safe_dump(raw))
    return load_cluster(inventory)


@pytest.fixture
def sent(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> list[Notice]:
    """The notices that were given to be sent, wherever that is done."""
    import tecs.recording
    import tecs.telling
    import tecs.triggers

    notices: list[Notice] = []

    def keep(notice: Notice, channels: Sequence[Notify], log: Any) -> None:
        assert [channel.connection for channel in channels] == ["tecs_hook"]
        notices.append(notice)

    for module in (tecs.telling, tecs.recording, tecs.triggers):
        monkeypatch.setattr(module, "send", keep)
    return notices


def failing(given: dict[str, Any], map_index: int = -1, **states: str) -> dict[str, Any]:
    """The context of a task that has failed, beside other instances of it in these states."""
    known = {"run-1": {f"the_task_{index.removeprefix('i')}": state for index, state in states.items()}}
    given["task"] = SimpleNamespace(task_display_name="A4.6 Install the old release", host=COMPUTE)
    given["ti"] = SimpleNamespace(
        dag_id="rollback_compute",
        run_id="run-1",
        task_id="the_task",
        map_index=map_index,
        get_task_states=lambda **asked: known,
    )
    return given


# ---- failed ----------------------------------------------------------------------------------------------------------


def test_a_failure_is_told_with_step_host_reason_and_what_to_do(
    sent: list[Notice], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tecs.telling import tell_failed

    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://rollback.example.org/")
    tell_failed(failing(context()) | {"exception": RuntimeError("no room on the disk")})
    (notice,) = sent
    assert (notice.event, notice.cluster, notice.scenario) == (Event.FAILED, "example", "rollback_compute")
    assert notice.found == f"A4.6 Install the old release, for {COMPUTE}\nno room on the disk"
    assert "clear the failed task and what follows it" in notice.advice
    assert notice.link == "https://rollback.example.org/dags/rollback_compute/runs/run-1"


def test_a_failure_that_says_what_to_do_is_given_no_other_advice(sent: list[Notice]) -> None:
    from tecs.telling import tell_failed

    tell_failed(failing(context()) | {"exception": RuntimeError("it is down\nwhat to do: start it")})
    assert sent[0].advice == ""


def test_the_loss_of_a_worker_is_told_though_nothing_was_raised(sent: list[Notice]) -> None:
    from tecs.telling import tell_failed

    tell_failed(failing(context()))
    assert "its worker was lost" in sent[0].found


@pytest.mark.parametrize(("other", "notices"), [("failed", 0), ("running", 1), ("success", 1)])
def test_of_the_hosts_of_one_step_the_first_that_fails_is_told(sent: list[Notice], other: str, notices: int) -> None:
    from tecs.telling import tell_failed

    tell_failed(failing(context(), map_index=1, i0=other, i1="failed"))
    assert len(sent) == notices


def test_a_request_that_is_refused_is_told_to_those_of_its_cluster(sent: list[Notice]) -> None:
    from tecs.telling import tell_failed

    tell_failed(failing(context(computes=["nobody"])) | {"exception": RuntimeError("nobody is not a compute")})
    assert "nobody is not a compute" in sent[0].found


def test_a_request_for_no_known_cluster_is_told_to_nobody(sent: list[Notice]) -> None:
    from tecs.telling import tell_failed

    tell_failed(failing(context(cluster="elsewhere")))
    assert sent == []


# ---- start and done --------------------------------------------------------------------------------------------------


def planned(given: dict[str, Any]) -> Any:
    from tecs.requests import run_of

    return SimpleNamespace(run=run_of(given), predicted=1502)


def test_the_beginning_names_who_has_started_what_and_how_long_it_takes(sent: list[Notice]) -> None:
    from tecs.telling import tell_start

    given = context()
    tell_start(given, planned(given))
    assert [notice.event for notice in sent] == [Event.START]
    assert sent[0].found == f"operator has started it: {COMPUTE} go back to release 100, in 25:02 as planned"


def test_a_batch_tells_neither_its_beginning_nor_its_end(sent: list[Notice]) -> None:
    from tecs.telling import tell_done, tell_start

    given = context(parent_state="running")
    tell_start(given, planned(given))
    tell_done(given)
    assert sent == []


def test_the_end_of_a_run_is_told(sent: list[Notice]) -> None:
    from tecs.telling import tell_done

    tell_done(context())
    assert [notice.event for notice in sent] == [Event.DONE]


# ---- late ------------------------------------------------------------------------------------------------------------


def test_a_late_step_is_told_once_while_it_runs(
    operator: Callable[..., Any],
    sessions: Callable[[OnRun], None],
    site: Site,
    sent: list[Notice],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operator("take_lock").execute(context())
    monkeypatch.setattr(Timing, "sla", lambda self, pace, tolerance: 0.2)
    told_while_running: list[Notice] = []

    def slow(host: Host, script: str) -> None:
        if "mkdir" in script and "/saved/" in script and "/record/" not in script:
            ends = time.monotonic() + 20
            while not sent:
                assert time.monotonic() < ends, "nothing was told while the step ran"
                time.sleep(0.05)
            told_while_running.extend(sent)

    sessions(slow)
    site.write(site.cluster.computes[0], site.cluster.paths.nova_conf, "[DEFAULT]\n")
    operator("save_nova_conf", COMPUTE).execute(context())
    assert [notice.found for notice in told_while_running] == [
        f"SLA crossed: A4.1 save_nova_conf on {COMPUTE} takes longer than 0.2 s and goes on"
    ]
    assert len(sent) == 1


@pytest.mark.parametrize(("warned", "notices"), [(True, 0), (False, 1)])
def test_a_job_that_nobody_watched_when_it_became_late_is_told_at_its_end(
    cluster: Cluster, site: Site, sent: list[Notice], warned: bool, notices: int
) -> None:
    from tecs.recording import Recorded

    run = Run(cluster, "100", cluster.computes[:1], owner="rollback_compute/run-1")
    step = kind("install_computes").make(run, cluster.daisy)
    begun = time.time() - 10_000
    hosts: Any = FakeHosts(site, lambda host, script: time.sleep(0.2))
    with Recorded(step, run, "run-1", hosts, LOG, begun=begun, warned=warned):
        pass
    assert len(sent) == notices


def test_a_whole_run_that_is_late_is_told(sent: list[Notice]) -> None:
    from tecs.deadlines import report_missed_deadline

    given = {"dag_id": "rollback_cluster", "dag_run_id": "run-1", "conf": {"cluster": "example"}}
    report_missed_deadline("rollback_cluster", context={"dag_run": given, "deadline": {}})
    (notice,) = sent
    assert (notice.event, notice.scenario, notice.run_id) == (Event.LATE, "rollback_cluster", "run-1")


# ---- where it is told ------------------------------------------------------------------------------------------------


def test_every_task_tells_its_failure_and_the_last_one_the_end() -> None:
    from airflow.dag_processing.dagbag import DagBag
    from tecs.telling import tell_done, tell_failed

    bag = DagBag(dag_folder=str(Path(__file__).parents[2] / "dags"))
    for name in ("rollback_cluster", "rollback_controller", "rollback_compute"):
        dag = bag.dags[name]
        assert all(tell_failed in task.on_failure_callback for task in dag.tasks)
        at_the_end = [task for task in dag.tasks if list(task.on_success_callback) == [tell_done]]
        assert at_the_end == dag.leaves
        assert all(list(task.on_skipped_callback) == [tell_done] for task in at_the_end)

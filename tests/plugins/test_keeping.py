"""A run's record is begun, kept and written out by Airflow's own processes, and never at the cost of the run."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.runbook import custody, end_state, record_reading
from include.runbook.cluster import Cluster, Host
from include.runbook.consent import Consent, note_consent
from include.runbook.errors import HostUnreachable
from include.runbook.preconditions import Finding, Findings
from include.runbook.reach import CredentialsOf, Sweep
from include.runbook.step import Read, Run, VmPolicy
from include.runbook.survey import Survey
from include.runbook.vms import Vm
from tests.unit.record_runs import done
from tests.unit.site import Site

from .conftest import PROJECT, FakeHosts, OnRun, context

WHOLE = "rollback_cluster/run-1"
SEEN = Survey({}, "pcmk_b", (), (), False, {"1": Vm("vm-1", "host-10-43-203-101", "ACTIVE")}, {})

Sessions = Callable[[OnRun], None]


def events(cluster: Cluster, owner: str = WHOLE) -> list[dict[str, Any]]:
    file = Path(custody.record_path(Run(cluster, "100", (), owner=owner)))
    return list(custody.read_record(file.read_text())) if file.exists() else []


@pytest.fixture
def reached(site: Site, monkeypatch: pytest.MonkeyPatch) -> Sessions:
    """Everything here reaches the site; returns what sets the function that is called before each script."""
    import tecs.keeping
    import tecs.recording
    import tecs.ssh

    current: list[OnRun] = [lambda host, script: None]

    async def sweep(cluster: Cluster, reads: Iterable[Read], credentials_of: CredentialsOf) -> Sweep:
        return Sweep({read: site.run(read.host, read.command, 60) for read in dict.fromkeys(reads)})

    class Now:
        """A thread that has done its work when it has been started."""

        def __init__(self, target: Callable[..., None], args: tuple[Any, ...], daemon: bool) -> None:
            self.start = lambda: target(*args)

    for module in (tecs.ssh, tecs.recording):
        monkeypatch.setattr(module, "SshHosts", lambda cluster, log: FakeHosts(site, current[0]))
    monkeypatch.setattr(record_reading, "sweep", sweep)
    monkeypatch.setattr(tecs.keeping.threading, "Thread", Now)
    return lambda before: current.__setitem__(0, before)


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the setting names."""
    monkeypatch.setenv("TECS_RECORDS", str(tmp_path / "records"))
    return tmp_path / "records"


@pytest.fixture
def begun(reached: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """S2 has found everything in order, and has begun the record."""
    check(monkeypatch, Findings((), (), ()))


def check(monkeypatch: pytest.MonkeyPatch, findings: Findings) -> None:
    from tecs import decisions
    from tecs.plans import load_dag

    async def look_and_survey(run: Run, credentials_of: CredentialsOf) -> tuple[Findings, Survey]:
        return findings, SEEN

    monkeypatch.setattr(decisions, "look_and_survey", look_and_survey)
    given = context("rollback_cluster") | {"run_id": "run-1", "dag": load_dag(PROJECT / "dags/rollback_cluster.py")}
    monkeypatch.setattr(decisions, "get_current_context", lambda: given)
    decisions.check()


def proof(monkeypatch: pytest.MonkeyPatch, now: Survey) -> None:
    """E1 finds the cluster like this, and nothing left behind."""
    from tecs import decisions

    async def survey(cluster: Cluster, credentials_of: CredentialsOf) -> Survey:
        return now

    monkeypatch.setattr(decisions, "survey", survey)
    monkeypatch.setattr(decisions, "cached_credentials", lambda: None)
    monkeypatch.setattr(end_state, "sweep", record_reading.sweep)
    monkeypatch.setattr(end_state, "left_behind", lambda now, mode: ())


def ended(state: str = "failed", **told: Any) -> None:
    """Airflow says that a run has ended."""
    from tecs.keeping import RecordListener

    facts = {"dag_id": "rollback_cluster", "run_id": "run-1", "run_type": "manual", "conf": {"cluster": "example"}}
    hear = getattr(RecordListener(), f"on_dag_run_{state}")
    hear(SimpleNamespace(**facts | told), "task_failure")


@pytest.mark.usefixtures("begun")
def test_the_record_begins_with_the_plan_and_the_cluster_as_it_was_found(site: Site) -> None:
    first, survey, vms = events(site.cluster)
    assert (first["event"], first["user"], first["cluster"]) == ("begun", "operator", "example")
    assert {"A4_computes_in_batches", "A5.3_install_b"} <= {stage["task"] for stage in first["plan"]}
    assert (survey["event"], survey["when"], survey["active"]) == ("survey", "before", "pcmk_b")
    assert vms["vms"] == {"1": {"name": "vm-1", "host": "host-10-43-203-101", "status": "ACTIVE"}}


@pytest.mark.usefixtures("reached")
def test_a_refused_run_leaves_nothing_on_the_daisy_host(
    site: Site, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException):
        check(monkeypatch, Findings((), (Finding(False, "A is down"),), ()))
    fail(task_id="S2_check")
    ended()
    assert not Path(custody.folder(site.cluster)).exists()
    assert not records.exists()


@pytest.mark.usefixtures("begun")
@pytest.mark.parametrize("state", ["failed", "success"])
def test_the_page_of_a_run_is_written_when_it_ends(site: Site, records: Path, state: str) -> None:
    ended(state)
    assert events(site.cluster)[-1]["state"] == state
    page, data = (records / "example" / f"rollback_cluster_run-1.{kind}" for kind in ("html", "json"))
    assert "read " in page.read_text()
    assert [part["state"] for part in json.loads(data.read_text())["parts"]] == [state]


@pytest.mark.usefixtures("begun")
def test_the_page_is_made_anew_each_time_the_run_ends(site: Site, records: Path) -> None:
    page = records / "example/rollback_cluster_run-1.html"
    ended("failed")
    assert "<b>REFUSED</b>" in page.read_text()
    ended("success")
    assert "<b>NOT PROVEN</b>" in page.read_text(), "the last step has not released the lock"
    run = Run(site.cluster, "100", (), owner=WHOLE)
    site.run(site.cluster.daisy, custody.record_script(run, done(1, "E2_release_lock", "daisy", 1)), 10)
    ended("success")
    assert "<b>SUCCEEDED</b>" in page.read_text()


@pytest.mark.usefixtures("begun")
def test_a_batch_that_ends_is_written_into_the_page_of_its_run(site: Site, records: Path) -> None:
    parent = {"dag_id": "rollback_cluster", "run_id": "run-1", "user": "operator"}
    conf = {"cluster": "example", "computes": ["host-10-43-203-101"], "parent": parent}
    batch = {"dag_id": "rollback_compute", "run_id": "run-1__batch-001", "conf": conf}
    ended(**batch, run_type="manual")
    assert not records.exists(), "a run that only pretends to be a batch is none"
    ended(**batch, run_type="operator_triggered")
    data = json.loads((records / "example/rollback_cluster_run-1.json").read_text())
    assert [(part["run_id"], part["state"]) for part in data["parts"]] == [
        ("run-1", "running"),
        ("run-1__batch-001", "failed"),
    ]


@pytest.mark.usefixtures("begun")
def test_a_run_of_somebody_elses_dag_has_no_record(records: Path) -> None:
    ended(dag_id="example_dag")
    assert not records.exists()


@pytest.mark.usefixtures("begun")
def test_the_folder_may_be_an_object_storage(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import ObjectStoragePath

    monkeypatch.setenv("TECS_RECORDS", "memory://bucket/records")
    ended()
    page = ObjectStoragePath("memory://bucket/records/example/rollback_cluster_run-1.html")
    assert page.read_text().startswith("<!DOCTYPE html>")


# ---- what fails is said, and fails nothing ---------------------------------------------------------------------------


@pytest.mark.usefixtures("begun")
def test_a_storage_that_refuses_is_said(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TECS_RECORDS", str(tmp_path / "file" / "records"))
    ended()
    assert "the record of rollback_cluster run-1 was not written: NotADirectoryError" in caplog.text
    assert "make record" in caplog.text
    assert events(site.cluster)[-1]["event"] == "ended"


@pytest.mark.usefixtures("begun")
def test_a_storage_that_airflow_has_no_provider_for_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TECS_RECORDS", "nosuch://bucket/records")
    ended()
    assert "the record of rollback_cluster run-1 was not written" in caplog.text


@pytest.mark.usefixtures("begun")
def test_a_missing_setting_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("TECS_RECORDS", raising=False)
    ended()
    assert (
        "TECS_RECORDS names no folder: the record of rollback_cluster/run-1 lies on the Daisy host only" in caplog.text
    )


@pytest.mark.usefixtures("begun", "records")
def test_a_daisy_host_out_of_reach_is_said(reached: Sessions, caplog: pytest.LogCaptureFixture) -> None:
    def lose(host: Host, script: str) -> None:
        raise HostUnreachable(host.name, "refused")

    reached(lose)
    ended()
    assert "was not written: HostUnreachable: daisy cannot be reached" in caplog.text


def test_a_record_that_cannot_begin_does_not_keep_the_run_from_beginning(
    reached: Sessions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lose(host: Host, script: str) -> None:
        raise HostUnreachable(host.name, "refused")

    reached(lose)
    check(monkeypatch, Findings((), (), ()))
    assert "the run's record could not be written: daisy cannot be reached" in caplog.text


# ---- decisions that fail ---------------------------------------------------------------------------------------------


def fail(task_id: str, dag_id: str = "rollback_cluster") -> None:
    """Airflow says that a task has failed for good."""
    from tecs.recording import record_failure

    told = {"run_id": "run-1", "task": SimpleNamespace(task_id=task_id), "exception": ValueError("not proven back")}
    record_failure(context(dag_id) | told)


@pytest.mark.usefixtures("begun")
def test_a_decision_that_fails_is_recorded_with_its_reason(site: Site) -> None:
    fail("E1_prove")
    event = events(site.cluster)[-1]
    assert (event["id"], event["step"], event["outcome"], event["found"]) == (
        "E1",
        "prove",
        "failed",
        "not proven back",
    )


@pytest.mark.usefixtures("begun")
def test_a_validation_that_fails_is_no_part_of_any_record(site: Site) -> None:
    fail("V2_require_readiness", dag_id="validate_cluster")
    assert "failed" not in {event.get("outcome") for event in events(site.cluster)}


@pytest.mark.usefixtures("begun")
def test_the_last_proof_records_the_cluster_even_where_it_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import AirflowFailException
    from tecs import decisions

    proof(monkeypatch, SEEN)
    with pytest.raises(AirflowFailException):
        decisions.prove()
    assert [event["when"] for event in events(site.cluster) if event["event"] == "survey"] == ["before", "after"]


@pytest.mark.usefixtures("begun")
def test_the_last_proof_fails_for_a_vm_that_is_gone_though_nothing_else_is_wanting(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step can succeed and a VM be lost all the same."""
    from airflow.sdk.exceptions import AirflowFailException
    from tecs import decisions

    pair = site.cluster.controllers
    back = replace(SEEN, active=pair.a.name, releases={pair.a.name: "100", pair.b.name: "100"})
    proof(monkeypatch, back)
    decisions.prove()
    proof(monkeypatch, replace(back, vms={}))
    with pytest.raises(AirflowFailException) as failed:
        decisions.prove()
    assert "VM vm-1 (1) was on host-10-43-203-101 and is gone. The run did not mean to do that" in str(failed.value)


@pytest.mark.usefixtures("begun")
def test_a_record_that_is_gone_is_warned_of_and_fails_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from tecs import decisions

    pair = site.cluster.controllers
    Path(custody.record_path(Run(site.cluster, "100", (), owner=WHOLE))).unlink()
    proof(monkeypatch, replace(SEEN, active=pair.a.name, releases={pair.a.name: "100", pair.b.name: "100"}, vms={}))
    decisions.prove()
    assert "nothing can be compared with it" in caplog.text


@pytest.mark.usefixtures("begun")
def test_a_vm_whose_outage_somebody_has_accepted_may_be_gone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from tecs import decisions

    pair, compute = site.cluster.controllers, "host-10-43-203-101"
    run = Run(site.cluster, "100", (), owner=WHOLE)
    given = Consent(compute, VmPolicy.ACCEPT_OUTAGE, "li", "2026-06-01T00:00:00+00:00", ("1",))
    assert site.run(site.cluster.daisy, note_consent(run, given), 60).ok
    proof(monkeypatch, replace(SEEN, active=pair.a.name, releases={pair.a.name: "100", pair.b.name: "100"}, vms={}))
    decisions.prove()


def test_every_task_records_why_it_failed_itself_or_by_its_callback(airflow_home: Path) -> None:
    from tecs.consent import GoOnOrGiveBack
    from tecs.operators import RunbookStep
    from tecs.plans import load_dag
    from tecs.recording import record_failure

    for dag_id in ("rollback_cluster", "rollback_compute", "rollback_controller"):
        for task in load_dag(PROJECT / f"dags/{dag_id}.py").tasks:
            operator = getattr(task, "operator_class", type(task))
            told = task.partial_kwargs.get("on_failure_callback") if task.is_mapped else task.on_failure_callback
            assert record_failure in told, task.task_id
            itself = issubclass(operator, RunbookStep) and operator is not GoOnOrGiveBack
            assert getattr(operator, "records_itself", False) is itself, task.task_id


@pytest.mark.usefixtures("begun")
def test_the_failure_of_a_step_is_recorded_once(site: Site) -> None:
    from tecs.recording import record_failure

    task = SimpleNamespace(task_id="A2_ban_float_ip_on_b", records_itself=True)
    record_failure(context("rollback_cluster") | {"run_id": "run-1", "task": task, "exception": ValueError("x")})
    assert "failed" not in {event.get("outcome") for event in events(site.cluster)}


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

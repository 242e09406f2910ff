"""What a task does around its step: lock, parent, skip, failure, record and SLA."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.runbook import custody
from include.runbook.cluster import Cluster, Host
from include.runbook.errors import ConnectionLost, HostUnreachable
from include.runbook.lock import lock_path
from include.runbook.perform import folder_of, look
from include.runbook.step import Run, kind
from include.runbook.timings import Timing
from tests.unit.site import Site

from .conftest import FakeHosts, OnRun, context

Make = Callable[..., Any]

OLD_KEY = "AAAAC3NzaC1lZDI1NTE5AAAAILius09lKUlAtNLL4lXs37jHM7IpUR7EGZ6bL5CmXg2g"
NEW_KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIHJxxW2scf0uxFK3T+8tFVCPH5S7pLaUGu2b3B9xxkLz"
"""Public keys whose private halves exist nowhere any more."""


def run_one(cluster: Cluster, owner: str = "rollback_compute/run-1") -> Run:
    return Run(cluster, "100", cluster.computes[:1], owner=owner)


def record(cluster: Cluster, owner: str = "rollback_compute/run-1") -> list[dict[str, Any]]:
    return [dict(each) for each in custody.read_record(Path(custody.record_path(run_one(cluster, owner))).read_text())]


@pytest.fixture
def locked(operator: Make) -> None:
    """This run holds the cluster."""
    operator("take_lock").execute(context())


def nova_conf(site: Site) -> None:
    site.write(site.cluster.computes[0], site.cluster.paths.nova_conf, "[DEFAULT]\n")


def save(operator: Make, **other: Any) -> None:
    operator("save_nova_conf", "host-10-43-203-101").execute(context(**other))


# ---- a step ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("locked")
def test_a_step_that_had_something_to_do_succeeds_and_is_recorded(operator: Make, site: Site) -> None:
    nova_conf(site)
    save(operator)
    event = record(site.cluster)[-1]
    assert (event["id"], event["step"], event["host"], event["outcome"]) == (
        "A4.1",
        "save_nova_conf",
        "host-10-43-203-101",
        "done",
    )
    assert event["late"] is False


@pytest.mark.usefixtures("locked")
def test_evidence_that_cannot_be_saved_is_told_and_does_not_stop_the_rollback(
    operator: Make, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A file lies where the folder would have to be made."""
    site.write(site.cluster.daisy, f"{site.cluster.paths.state}/evidence", "in the way")
    operator("save_evidence").execute(context())
    assert record(site.cluster)[-1]["outcome"] == "failed"
    assert "the run goes on without this step" in caplog.text


def test_evidence_is_not_excused_from_holding_the_lock(operator: Make) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="lock"):
        operator("save_evidence").execute(context())


@pytest.mark.usefixtures("locked")
def test_the_script_is_recorded_before_it_is_sent(
    operator: Make, sessions: Callable[[OnRun], None], site: Site
) -> None:
    """A process that dies while the script runs must have left word of it."""
    recorded_by_then: list[dict[str, Any]] = []

    def look(host: Host, script: str) -> None:
        if script.startswith("# A4.1 save_nova_conf"):
            recorded_by_then.extend(record(site.cluster))

    sessions(look)
    nova_conf(site)
    save(operator)
    last = recorded_by_then[-1]
    assert (last["event"], last["step"], last["host"]) == ("acting", "save_nova_conf", "host-10-43-203-101")
    assert "nova_old.conf" in last["command"]
    assert [event.get("event") for event in record(site.cluster)[-2:]] == ["acting", None]


@pytest.mark.usefixtures("locked")
def test_a_step_that_is_true_already_is_skipped_and_recorded(operator: Make, site: Site) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    nova_conf(site)
    save(operator)
    with pytest.raises(AirflowSkipException, match="already true: equal"):
        save(operator)
    assert record(site.cluster)[-1]["outcome"] == "already true"


@pytest.mark.usefixtures("locked")
def test_a_refused_step_is_final_and_recorded_with_what_was_found(operator: Make, site: Site) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=r"nova\.conf is there"):
        save(operator)
    event = record(site.cluster)[-1]
    assert event["outcome"] == "failed"
    assert "nova.conf is there" in str(event["found"])


@pytest.mark.usefixtures("locked")
@pytest.mark.parametrize(
    "error",
    [ConnectionLost("ssh", "host", "command", "cut"), HostUnreachable("host", "refused")],
    ids=["cut", "refused"],
)
def test_a_lost_connection_is_left_to_airflows_retries(
    operator: Make, sessions: Callable[[OnRun], None], site: Site, error: Exception
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    def lose(host: Host, script: str) -> None:
        if host != site.cluster.daisy:
            raise error

    sessions(lose)
    with pytest.raises(Exception, match=str(error).splitlines()[0]) as told:
        save(operator)
    assert not isinstance(told.value, AirflowFailException)


@pytest.mark.usefixtures("locked")
def test_a_record_that_cannot_be_written_does_not_fail_a_step(
    operator: Make, sessions: Callable[[OnRun], None], site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    def lose_the_record(host: Host, script: str) -> None:
        if "/record/" in script:
            raise ConnectionLost("ssh", host.name, "command", "cut")

    sessions(lose_the_record)
    nova_conf(site)
    save(operator)
    assert any("the run's record could not be written" in message for message in caplog.messages)


# ---- who may act -----------------------------------------------------------------------------------------------------


def test_nothing_is_changed_without_the_lock(operator: Make, site: Site) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    nova_conf(site)
    with pytest.raises(AirflowFailException, match="cluster example is held by nobody"):
        save(operator)
    assert not Path(f"{custody.folder(site.cluster)}/saved").exists()


@pytest.mark.usefixtures("locked")
def test_nothing_is_changed_under_another_runs_lock(operator: Make, site: Site) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    nova_conf(site)
    lock = Path(lock_path(run_one(site.cluster)))
    lock.write_text(lock.read_text().replace("run-1", "run-2"))
    with pytest.raises(AirflowFailException, match="rollback_compute/run-2"):
        save(operator)
    assert not Path(f"{custody.folder(site.cluster)}/saved").exists()


def test_a_step_that_only_verifies_needs_no_lock(operator: Make) -> None:
    operator("verify_data_on_a").execute(context("rollback_controller"))


@pytest.mark.parametrize("state", ["success", "failed", None])
def test_a_batch_whose_run_has_ended_does_nothing(operator: Make, site: Site, state: str | None) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    ended = context(parent_state="running")
    ended["ti"].get_dagrun_state = lambda dag_id, run_id: state
    with pytest.raises(AirflowFailException, match="run whole of rollback_cluster is running; found it is"):
        operator("take_lock").execute(ended)
    assert not Path(lock_path(run_one(site.cluster))).exists()


def test_a_batch_enters_the_lock_of_its_run_and_leaves_it_there(operator: Make, site: Site) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    operator("take_lock").execute(context("rollback_cluster"))
    whole = Path(lock_path(run_one(site.cluster)))
    whole.write_text(whole.read_text().replace("rollback_cluster/run-1", "rollback_cluster/whole"))
    nova_conf(site)
    save(operator, parent_state="running")
    with pytest.raises(AirflowSkipException, match="which this batch is a part of"):
        operator("release_lock").execute(context(parent_state="running"))
    assert whole.exists()


def test_a_request_that_cannot_be_carried_out_is_refused_by_every_task(operator: Make) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="is not a compute of cluster example"):
        operator("take_lock").execute(context(computes=["$(reboot)"]))


# ---- SLA -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("locked")
def test_a_late_step_is_warned_about_while_it_runs_and_recorded_as_late(
    operator: Make,
    sessions: Callable[[OnRun], None],
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Timing, "sla", lambda self, pace, tolerance: 0.2)
    warned_while_running = []

    def slow(host: Host, script: str) -> None:
        if "mkdir" in script and "/saved/" in script and "/record/" not in script:
            ends = time.monotonic() + 20
            while not (warned := [message for message in caplog.messages if "SLA crossed" in message]):
                assert time.monotonic() < ends, "nothing was said while the step ran"
                time.sleep(0.05)
            warned_while_running.extend(warned)

    sessions(slow)
    nova_conf(site)
    save(operator)
    assert warned_while_running == [
        "SLA crossed: A4.1 save_nova_conf on host-10-43-203-101 takes longer than 0.2 s and goes on"
    ]
    assert record(site.cluster)[-1]["late"] is True


@pytest.mark.usefixtures("locked")
def test_a_step_in_time_is_not_warned_about(operator: Make, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    nova_conf(site)
    save(operator)
    time.sleep(0.1)
    assert not any("SLA" in message for message in caplog.messages)


# ---- rendered templates ----------------------------------------------------------------------------------------------


def rendered(made: Any, given: dict[str, Any]) -> str:
    made._do_render_template_fields(made, made.template_fields, given, made.get_template_env(), set())
    return str(made.command)


def test_the_exact_script_is_shown_before_it_runs(operator: Make) -> None:
    made = operator("save_nova_conf", "host-10-43-203-101")
    assert "# goal: host-10-43-203-101 is back on release 100" in rendered(made, context())
    assert made.where == "acts on daisy, for host-10-43-203-101"


def test_a_refused_request_is_shown_in_the_scripts_place(operator: Make) -> None:
    assert "the request is refused" in rendered(operator("take_lock"), context(cluster="nowhere")).lower()


# ---- detached --------------------------------------------------------------------------------------------------------

CLEAN = """\
#!/bin/sh
echo "$HOST: clean" >> "$SAYS/asked"
echo cleaning
test ! -e "$SAYS/stuck" || sleep 60
rm -f "$SAYS/$HOST/release"
"""


@pytest.fixture
def staged(locked: None, site: Site) -> Site:
    """The compute has no VMs, and the installer that is going to be run on it."""
    compute = site.cluster.computes[0]
    site.write(compute, run_one(site.cluster).staged_bin, CLEAN).chmod(0o755)
    site.cloud(servers=[], services=[])
    return site


def uninstall(operator: Make) -> Any:
    """Start the step as Airflow does, and return the trigger that it waits for."""
    from airflow.sdk.exceptions import TaskDeferred

    with pytest.raises(TaskDeferred) as deferred:
        operator("uninstall_compute", "host-10-43-203-101").execute(context())
    assert deferred.value.method_name == "resume"
    return deferred.value.trigger


def resume(operator: Make, **event: Any) -> None:
    operator("uninstall_compute", "host-10-43-203-101").resume(context(), {"begun": time.time()} | event)


def wait(site: Site) -> None:
    run = run_one(site.cluster)
    step = kind("uninstall_compute").make(run, run.computes[0])
    ends = time.monotonic() + 10
    while not look(step, site, run).ended:
        assert time.monotonic() < ends, "the job has not ended in 10 s"
        time.sleep(0.05)


def test_a_long_step_waits_without_a_worker_and_is_proven_at_the_end(operator: Make, staged: Site) -> None:
    trigger = uninstall(operator)
    run = run_one(staged.cluster)
    assert trigger.folder == folder_of(kind("uninstall_compute").make(run, run.computes[0]), run)
    assert trigger.label == "A4.5 uninstall_compute on host-10-43-203-101"
    wait(staged)
    resume(operator)
    acting, done = record(staged.cluster)[-2:]
    assert (acting["event"], acting["step"]) == ("acting", "uninstall_compute")
    assert (done["outcome"], done["output"]) == ("done", "cleaning")


def test_a_long_step_that_is_true_already_is_skipped(operator: Make, staged: Site) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    staged.install(staged.cluster.computes[0], None)
    with pytest.raises(AirflowSkipException):
        operator("uninstall_compute", "host-10-43-203-101").execute(context())
    assert staged.asked == []
    assert record(staged.cluster)[-1]["outcome"] == "already true"


def test_a_try_after_a_lost_worker_watches_the_same_job(operator: Make, staged: Site) -> None:
    first = uninstall(operator)
    assert uninstall(operator).folder == first.folder
    wait(staged)
    resume(operator)
    assert staged.asked == ["host-10-43-203-101: clean"]


def test_a_host_out_of_reach_for_long_is_left_to_airflows_retries(operator: Make, staged: Site) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    uninstall(operator)
    with pytest.raises(Exception, match="cannot be reached: cable cut") as told:
        resume(operator, unreachable="cable cut")
    assert not isinstance(told.value, AirflowFailException)
    wait(staged)


def test_a_long_step_that_is_killed_before_it_is_watched_ends_its_job(operator: Make, staged: Site) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    (staged.says / "stuck").touch()
    task = operator("uninstall_compute", "host-10-43-203-101")
    with pytest.raises(TaskDeferred):
        task.execute(context())
    task.on_kill()
    wait(staged)


def test_a_trigger_carries_no_secret_and_can_be_made_again(operator: Make, staged: Site) -> None:
    from tecs.triggers import JobTrigger

    trigger = uninstall(operator)
    path, arguments = trigger.serialize()
    assert path == f"{JobTrigger.__module__}.{JobTrigger.__qualname__}"
    assert JobTrigger(**arguments).serialize() == trigger.serialize()
    assert not {"password", "private_key", "passphrase"} & set(str(arguments).replace("'", " ").split())
    wait(staged)


@pytest.mark.parametrize(
    ("run_type", "run_id"), [("manual", "whole__batch-001"), ("operator_triggered", "another__batch-001")]
)
def test_a_run_that_only_pretends_to_be_a_batch_is_refused(
    operator: Make, site: Site, run_type: str, run_id: str
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    pretending = context(parent_state="running")
    pretending["dag_run"].run_type, pretending["dag_run"].run_id = run_type, run_id
    with pytest.raises(
        AirflowFailException, match="parent: only a batch that rollback_cluster or upgrade_cluster has triggered"
    ):
        operator("take_lock").execute(pretending)
    assert not Path(lock_path(run_one(site.cluster))).exists()


@pytest.mark.parametrize(
    "parent", ["whole", ["whole"], True, 7, {"run_id": "whole"}, {"dag_id": 7, "run_id": "whole"}], ids=str
)
def test_a_parent_that_is_no_run_is_refused_in_words(operator: Make, parent: object) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    pretending = context()
    pretending["dag_run"].conf = {"parent": parent}
    pretending["dag_run"].run_type, pretending["dag_run"].run_id = "operator_triggered", "whole__batch-001"
    with pytest.raises(
        AirflowFailException, match="parent: only a batch that rollback_cluster or upgrade_cluster has triggered"
    ):
        operator("take_lock").execute(pretending)


def test_the_key_of_a_host_whose_reinstallation_broke_off_is_accepted_by_the_step_that_resumes_it(
    operator: Make, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise nothing could be read of that host any more, and the step could never be resumed."""
    cluster = site.cluster
    compute = cluster.computes[0]
    operator("take_lock").execute(context())
    site.program("ssh-keyscan", f'echo "{compute.address} ssh-ed25519 {NEW_KEY}"')
    pins = site.write(cluster.daisy, f"{cluster.paths.state}/known_hosts", f"{compute.address} ssh-ed25519 {OLD_KEY}\n")
    run = run_one(cluster)

    install = operator("install_computes")
    install._accept_new_keys(run, FakeHosts(site, lambda host, script: None))
    assert pins.read_text() == f"{compute.address} ssh-ed25519 {OLD_KEY}\n", "no reinstallation has begun"

    site.note_reinstallation(compute)
    install._accept_new_keys(
        run_one(cluster, owner="rollback_compute/another"), FakeHosts(site, lambda host, script: None)
    )
    assert pins.read_text() == f"{compute.address} ssh-ed25519 {OLD_KEY}\n", "another run holds the cluster"

    with caplog.at_level(logging.INFO):
        install._accept_new_keys(run, FakeHosts(site, lambda host, script: None))
    assert pins.read_text() == f"{compute.address} ssh-ed25519 {NEW_KEY}\n"
    assert "has a new host key since its installation" in caplog.text

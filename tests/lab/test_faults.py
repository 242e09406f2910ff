"""What may go wrong while a scenario runs, on the embedded lab, through Airflow: it is survived, or it stops safely."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from console.airflow_api import Run, TaskInstance
from tests.receivers import WebServer
from tests.scenarios import Site, audit, first_compute, record

from .conftest import on

SLOW_INSTALLER = {"installer": "slow", "factor": 25}


def task(site: Site, run: Run, task_id: str) -> TaskInstance:
    """The (first) instance of a task."""
    return next(t for t in site.airflow.task_instances(run.dag_id, run.run_id) if t.task_id == task_id)


def wait_for_state(site: Site, run: Run, task_id: str, *states: str) -> None:
    """Wait until a task of the run is in one of these states."""
    ends = time.monotonic() + 200
    while task(site, run, task_id).state not in states:
        assert time.monotonic() < ends, site.story(run)
        time.sleep(0.1)


def wait_for_installer(site: Site) -> None:
    """Wait until the installer runs on the lab's Daisy host."""
    ends = time.monotonic() + 60
    while not installer_processes(site):
        assert time.monotonic() < ends, "no installer was started"
        time.sleep(0.1)


def installer_processes(site: Site) -> list[psutil.Process]:
    """The installer's processes on this lab: they carry the lab's folder in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if "conf_file" in process.cmdline() and str(site.lab.state_dir) in process.environ().get("LAB_STATE", ""):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def kill_task_process(site: Site, run: Run, task_id: str) -> None:
    """SIGKILL the process that carries a running task out, and the executor's worker process above it."""
    api = rest(site)
    path = f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}"
    pid = int(api.get(path).raise_for_status().json()["pid"])
    worker = psutil.Process(pid).parent()
    assert worker is not None
    assert "LocalExecutor" in " ".join(worker.cmdline())
    os.kill(worker.pid, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)


def kill_triggerer(site: Site) -> None:
    """SIGKILL every process of the triggerer; the supervisor starts it again."""
    for process in psutil.process_iter():
        try:
            of_this_stack = str(site.stack.state) in process.environ().get("AIRFLOW_HOME", "")
            if of_this_stack and "triggerer" in process.cmdline()[-2:] + process.cmdline()[1:4]:
                process.send_signal(signal.SIGKILL)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def rest(site: Site) -> httpx.Client:
    """A plain session of the REST API, for what the console itself never does."""
    running = site.stack.running()
    client = httpx.Client(base_url=running.url, timeout=30, trust_env=False)
    login = {"username": running.user, "password": running.password}
    token = client.post("/auth/token", json=login).raise_for_status().json()["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"
    return client


def change(site: Site, path: str, state: Mapping[str, str]) -> None:
    """Make a change that may be asked for again: PostgreSQL refuses one that waits for the scheduler and it for this."""
    for _ in range(3):
        answer = rest(site).patch(path, json=state)
        if answer.status_code != httpx.codes.INTERNAL_SERVER_ERROR:
            break
    answer.raise_for_status()


@on("killed")
def test_the_worker_and_the_triggerer_are_killed_during_the_install_and_one_installer_runs(
    site: Site, told: WebServer
) -> None:
    computes = [first_compute(site)]
    site.lab.fault(SLOW_INSTALLER)
    site.lab.fault({"ssh": {"match": r"# A4\.6 install_computes on "}, "do": "delay", "seconds": 3})
    run = site.start("rollback_compute", computes=computes)

    wait_for_state(site, run, "A4.6_install_computes", "running")
    time.sleep(1)
    kill_task_process(site, run, "A4.6_install_computes")

    wait_for_state(site, run, "A4.6_install_computes", "deferred")
    wait_for_installer(site)
    kill_triggerer(site)

    assert site.finish(run) == "success", site.story(run)
    assert task(site, run, "A4.6_install_computes").try_number >= 2
    audit(site, tuple(computes))
    install = next(event for event in record(site, run) if event["step"] == "install_computes")
    assert install["late"] is True
    heard = [posted["found"] for _, posted in told.posts if (posted["cluster"], posted["event"]) == (site.name, "late")]
    assert any("A4.6 install_computes" in found for found in heard), heard


@on("cancelled")
def test_marking_the_task_failed_ends_the_remote_job_though_no_triggerer_watches_and_the_run_can_be_resumed(
    site: Site,
) -> None:
    site.lab.fault(SLOW_INSTALLER)
    run = site.start("rollback_compute", computes=[first_compute(site)])
    wait_for_state(site, run, "A4.6_install_computes", "deferred")
    wait_for_installer(site)

    kill_triggerer(site)
    path = f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/A4.6_install_computes"
    change(site, path, {"new_state": "failed"})

    ends = time.monotonic() + 30
    while installer_processes(site):
        assert time.monotonic() < ends, "the installer goes on although its task was marked failed"
        time.sleep(0.1)
    assert site.finish(run) == "failed"
    assert "cancelled in Airflow" in site.lab.run("daisy", "cat /var/lib/tecs-rollback/jobs/*/stopped").stdout

    resume(site, run)
    if site.finish(run) == "failed":
        # The cancelled job is reported once before it is begun anew.
        assert "cancelled in Airflow" in str(site.failures(run))
        resume(site, run)
    assert site.finish(run) == "success", site.story(run)


@pytest.mark.nightly
@on("abandoned")
def test_marking_the_whole_run_failed_ends_the_job_of_its_batch_and_the_batch_goes_no_further(site: Site) -> None:
    site.lab.fault(SLOW_INSTALLER)
    run = site.start("rollback_cluster")
    batch = first_batch(site, run)
    wait_for_state(site, batch, "A4.6_install_computes", "deferred")
    wait_for_installer(site)

    change(site, f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}", {"state": "failed"})
    ends = time.monotonic() + 60
    while installer_processes(site):
        assert time.monotonic() < ends, "the installer goes on although its run was marked failed"
        time.sleep(0.1)
    assert site.finish(batch) == "failed", site.story(run)
    states = {t.task_id: t.state for t in site.airflow.task_instances(batch.dag_id, batch.run_id)}
    assert states["A4.7_repair_nova_conf"] not in ("success", "skipped", "running"), states
    assert site.lab.state()["cluster"]["constraints"], "the ban on B is kept"

    resume(site, run)
    site.finish(run)
    assert "Clear all tasks of the run" in site.failures(run)["A4_computes_in_batches"]
    assert site.airflow.run(batch.dag_id, batch.run_id).state == "failed", "nothing was done"

    path = f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/clear"
    rest(site).post(path, json={"dry_run": False, "only_failed": False}).raise_for_status()
    site.until(batch, lambda now: not now.finished)


def first_batch(site: Site, run: Run) -> Run:
    """Wait for the first batch of a rollback of the whole cluster and return its run."""
    ends = time.monotonic() + 200
    while not (batches := site.airflow.child_runs("rollback_compute", run.run_id)):
        assert time.monotonic() < ends, site.story(run)
        time.sleep(0.2)
    return batches[0]


def resume(site: Site, run: Run) -> None:
    """Clear the failed tasks, as the operator's page says, and wait until the run goes on."""
    site.airflow.clear_failed(run.dag_id, run.run_id)
    site.until(run, lambda now: not now.finished)


@pytest.mark.nightly
@on("prompted")
def test_a_password_prompt_of_the_installer_fails_the_step_with_that_reason(site: Site) -> None:
    site.lab.fault({"installer": "password_prompt"})
    run = site.start("rollback_compute", computes=[first_compute(site)])
    assert site.finish(run) == "failed", site.story(run)
    message = site.failures(run)["A4.6_install_computes"]
    assert "a password was asked for" in message
    assert "known_hosts" in message
    resume(site, run)
    assert site.finish(run) == "success", site.story(run)
    audit(site, (first_compute(site),))


@on("locked")
def test_a_second_run_is_refused_while_the_first_holds_the_cluster_and_may_take_it_over_only_explicitly(
    site: Site,
) -> None:
    compute = first_compute(site)
    site.lab.fault({"ssh": {"match": r"# A4\.5 uninstall_compute on "}, "do": "exit", "status": 1, "count": 1})
    first = site.start("rollback_compute", computes=[compute])
    assert site.finish(first) == "failed"

    second = site.start("rollback_compute", computes=[compute])
    assert site.finish(second) == "failed"
    message = site.failures(second)["S3_take_lock"]
    assert first.run_id in message
    assert "take_over" in message

    third = site.start("rollback_compute", computes=[compute], take_over=True)
    assert site.finish(third) == "success", site.story(third)
    site.airflow.clear_failed(first.dag_id, first.run_id)
    site.until(first, lambda now: not now.finished)
    assert site.finish(first) == "failed"
    assert "held by" in str(site.failures(first))
    audit(site, (compute,))


@pytest.mark.nightly
@on("newer-schema")
def test_a_database_that_the_old_release_does_not_know_stops_the_run_unless_accepted_and_then_it_is_backed_up_first(
    site: Site,
) -> None:
    site.lab.fault({"schema": "nova", "versions": ["320"]})
    before = site.journal()
    run = site.start("rollback_controller")
    assert site.finish(run) == "failed", site.story(run)
    message = site.failures(run)["S2_check"]
    assert "nova at 320, the release knows up to 319" in message
    assert "accept_newer_schema" in message
    assert site.journal() == before

    accepted = site.start("rollback_controller", accept_newer_schema=True)
    assert site.finish(accepted) == "success", site.story(accepted)
    events = record(site, accepted)
    backup = next(event for event in events if event["step"] == "back_up_databases")
    assert backup["outcome"] == "done"
    assert [event["step"] for event in events].index("back_up_databases") < [e["step"] for e in events].index(
        "uninstall_b"
    )
    dump = site.lab.run("daisy", "gunzip -c /var/lib/tecs-rollback/backups/*/nova.sql.gz").stdout
    assert "'320'" in dump


REFUSED_BY_THE_API = {
    "an unknown cluster": {"cluster": "nowhere"},
    "an unknown policy": {"vm_policy": "hope"},
    "an unknown release": {"target_release": "99"},
    "a shell metacharacter": {"computes": ["host;reboot"]},
    "no compute": {"computes": []},
    "a compute twice": {"computes": ["x", "x"]},
    "a wrong type": {"take_over": "yes"},
}


@on("refused")
@pytest.mark.parametrize("what", REFUSED_BY_THE_API)
def test_the_api_refuses(site: Site, what: str) -> None:
    conf: dict[str, Any] = {"cluster": site.name, "computes": [first_compute(site)], **REFUSED_BY_THE_API[what]}
    body = {"logical_date": None, "conf": conf}
    answer = rest(site).post("/api/v2/dags/rollback_compute/dagRuns", json=body)
    assert answer.status_code == 400, answer.text
    assert site.journal() == []


@on("refused")
def test_the_first_task_refuses_what_only_the_inventory_can_tell(site: Site) -> None:
    run = site.start("rollback_compute", computes=["host-127-9-9-9"], reboot=True)
    assert site.finish(run) == "failed"
    message = site.failures(run)["S1_plan"]
    assert "'host-127-9-9-9' is not a compute of cluster refused" in message
    assert "unknown parameter 'reboot'" in message
    assert "nothing has been touched" in message
    assert site.journal() == []


@on("refused")
def test_every_precondition_that_does_not_hold_is_named_before_anything_changes(site: Site) -> None:
    compute = first_compute(site)
    other = next(name for name in site.lab.state()["hosts"] if name.endswith("-22"))
    a = next(name for name in site.lab.state()["hosts"] if name.endswith("-11"))
    openrc = ". /root/keystonerc_admin; openstack compute service set"
    site.lab.run(a, f"{openrc} --disable --disable-reason 'by someone' {other} nova-compute")
    site.lab.fault({"bin": "corrupt", "release": "100"})
    before = site.journal()

    run = site.start("rollback_compute", computes=[compute])
    assert site.finish(run) == "failed"
    message = site.failures(run)["S2_check"]
    assert "there is no other compute, up and enabled" in message
    assert "is corrupt" in message
    assert "nothing has been changed" in message

    wrong = site.start("rollback_cluster")
    assert site.finish(wrong) == "failed"
    assert site.journal() == before
    assert not Path(site.lab.state_dir, "hosts", "daisy", "var", "lib", "tecs-rollback").exists()

"""A4.2 through Airflow, on the embedded lab: nothing is taken down under a VM without consent, and drains converge."""

from __future__ import annotations

import time
from typing import Any

import pytest

from console.airflow_api import Run
from tests.scenarios import Site, audit, first_compute, record

from .conftest import on
from .test_faults import rest, resume, task

CONSENT = "A4.2_consent"
GATE = "A4.2_give_back_computes"
OUTAGE, MIGRATE, STOP = (
    "(b) An outage of these VMs is acceptable",
    "(c) Migrate them, to computes of any release",
    "Uninstall nothing",
)


def vms_on(site: Site, compute: str) -> list[str]:
    """The names of the VMs that the lab has on a compute."""
    return sorted(vm["name"] for vm in site.lab.state()["vms"] if vm["host"] == compute)


def question(site: Site, run: Run) -> dict[str, Any]:
    """Wait until someone is asked about a VM in this run or one of its batches; return what is asked."""
    ends = time.monotonic() + 250
    while not (asked := pending(site, run)):
        assert time.monotonic() < ends, site.story(run)
        time.sleep(0.5)
    return asked[0]


def pending(site: Site, run: Run) -> list[dict[str, Any]]:
    """The questions of this run and its batches that wait for an answer."""
    details = rest(site).get("/api/v2/dags/rollback_compute/dagRuns/~/hitlDetails").raise_for_status().json()
    return [
        detail
        for detail in details["hitl_details"]
        if detail["task_instance"]["dag_run_id"].startswith(run.run_id)
        and detail["task_instance"]["state"] == "awaiting_input"
        and not detail["response_received"]
    ]


def answer(site: Site, asked: dict[str, Any], option: str) -> None:
    """Answer as the administrator does on the page of required actions."""
    of = asked["task_instance"]
    path = f"/api/v2/dags/{of['dag_id']}/dagRuns/{of['dag_run_id']}/taskInstances/{of['task_id']}/{of['map_index']}/hitlDetails"
    rest(site).patch(path, json={"chosen_options": [option], "params_input": {}}).raise_for_status()


def answer_to_the_end(site: Site, run: Run, option: str) -> str:
    """Answer whenever the run asks, and return how it has ended: a task answered as it begins to wait may ask again."""
    ends = time.monotonic() + site.patience
    while not (now := site.airflow.run(run.dag_id, run.run_id)).finished:
        assert time.monotonic() < ends, site.story(run)
        for asked in pending(site, run):
            answer(site, asked, option)
        time.sleep(3)
    return now.state


def scheduling(site: Site) -> dict[str, tuple[str, str | None]]:
    """Each compute's state for the scheduler, with the reason."""
    a = next(name for name in site.lab.state()["hosts"] if name.endswith("-11"))
    columns = "-c Host -c Status -c 'Disabled Reason'"
    listed = f"openstack compute service list --service nova-compute --long {columns}"
    rows = site.lab.run(a, f". /root/keystonerc_admin; {listed}").stdout.splitlines()
    return {host: (status, reason) for host, status, reason in (row.split(" ", 2) for row in rows)}


@pytest.mark.nightly
@on("asked")
def test_a_person_is_asked_about_a_vm_that_stays_and_the_answer_is_in_the_record(site: Site) -> None:
    compute = first_compute(site)
    stays, moves = vms_on(site, compute)
    site.lab.fault({"vm": stays, "do": "pin"})
    run = site.start("rollback_compute", computes=[compute])

    asked = question(site, run)
    assert stays in asked["body"]
    assert "its processors are pinned" in asked["body"]
    assert moves not in asked["body"]
    assert vms_on(site, compute) == [stays]
    assert site.lab.state()["installs"][compute]["uninstalled"] == 0

    assert answer_to_the_end(site, run, STOP) == "failed"
    assert "admin does not accept" in site.failures(run)[CONSENT]
    assert site.lab.state()["installs"][compute]["uninstalled"] == 0
    assert scheduling(site)[compute] == ("enabled", "None")

    resume(site, run)
    assert answer_to_the_end(site, run, OUTAGE) == "success", site.story(run)
    answers = [str(event["found"]) for event in record(site, run) if event["step"] == "consent"]
    assert [text.split(" at ")[0] for text in answers] == ["admin answered"] * 2
    assert all(stays in text for text in answers)
    assert scheduling(site)[compute] == ("enabled", "None")


@pytest.mark.nightly
@on("answered")
def test_a_run_that_brings_its_answers_is_not_stopped_by_a_question(site: Site) -> None:
    compute = first_compute(site)
    stays, _ = vms_on(site, compute)
    site.lab.fault({"vm": stays, "do": "refuse_migration", "count": 99})
    run = site.start("rollback_compute", computes=[compute], vm_policy={compute: "accept_outage"})
    assert site.finish(run) == "success", site.story(run)
    assert task(site, run, CONSENT).state == "skipped"
    consent = next(str(event["found"]) for event in record(site, run) if event["step"] == "finish_drain")
    assert stays in consent
    assert "admin accepts the outage" in consent


@pytest.mark.nightly
@on("unanswered")
def test_without_an_answer_in_time_nothing_is_uninstalled_and_a_resumed_run_drains_again(site: Site) -> None:
    compute = first_compute(site)
    stays, _ = vms_on(site, compute)
    site.lab.fault({"vm": stays, "do": "become", "status": "SHUTOFF"})
    run = site.start("rollback_compute", computes=[compute])
    assert site.finish(run) == "failed", site.story(run)
    failures = site.failures(run)
    assert "nobody has answered in time" in failures[CONSENT]
    assert f"the scheduler may use {compute} as before" in failures[GATE]
    assert task(site, run, CONSENT).try_number == 1, "the time-out is not tried again"
    assert site.lab.state()["installs"][compute]["uninstalled"] == 0
    assert scheduling(site)[compute] == ("enabled", "None")

    site.lab.fault({"vm": stays, "do": "become", "status": "ACTIVE"})
    resume(site, run)
    assert site.finish(run) == "success", site.story(run)
    audit(site, (compute,))
    assert scheduling(site)[compute] == ("enabled", "None")


@pytest.mark.nightly
@on("homeward")
def test_vms_come_back_to_their_compute_if_that_is_asked_for(site: Site) -> None:
    compute = first_compute(site)
    before = vms_on(site, compute)
    run = site.start("rollback_compute", computes=[compute], return_vms=True)
    assert site.finish(run) == "success", site.story(run)
    assert vms_on(site, compute) == before
    audit(site, (compute,))


@pytest.mark.nightly
@on("divided")
def test_where_vms_keep_to_their_release_the_last_batch_needs_consent_to_migrate(site: Site) -> None:
    computes = tuple(name for name in site.lab.state()["hosts"] if name.endswith(("-21", "-22")))
    run = site.start("rollback_cluster")
    asked = question(site, run)
    last = asked["task_instance"]["rendered_map_index"]
    assert last == computes[-1], "the first batch's VMs have found computes of their own release"
    assert "only to another compute of its release" in asked["body"]
    assert answer_to_the_end(site, run, MIGRATE) == "success", site.story(run)
    b = next(name for name in site.lab.state()["hosts"] if name.endswith("-12"))
    audit(site, (b, *computes))

"""The upgrade on the embedded lab, through Airflow: a good one, and new releases that prove bad once B is active."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from console.airflow_api import Run
from tests.scenarios import CHANGING, UPGRADE, Site, host, is_back, is_upgraded, releases, rollback_of, vms

from .conftest import on
from .test_api import do, status
from .test_drains import answer
from .test_faults import rest

ROLLBACK = "rollback_cluster"


@pytest.mark.nightly
@on("upgraded")
def test_a_cluster_is_upgraded_and_then_has_nothing_left_to_do(site: Site) -> None:
    before = vms(site)

    assert status(do(site, "Start an upgrade", "night-1")) == "200"

    run = site.airflow.run(UPGRADE, "night-1")
    assert site.finish(run) == "success", site.story(run)
    is_upgraded(site, before)

    journal = site.journal()
    again = site.start(UPGRADE)
    assert site.finish(again) == "success", site.story(again)
    acted = {task.task_id for task in site.tasks(again) if task.task_id in CHANGING and task.state != "skipped"}
    assert acted == {"S3_take_lock", "E2_release_lock"}
    assert site.journal() == journal


@on("flawed-compute")
def test_an_upgrade_under_which_a_compute_service_dies_is_rolled_back_by_itself(site: Site) -> None:
    """The service dies on a compute that was drained last: the other VMs can all be saved, and must be."""
    before, dies = vms(site), host(site, "23")
    site.lab.fault({"flaw": "compute_dies", "release": "101", "host": dies, "after": 120})

    run = site.start(UPGRADE, on_failure="automatic")

    assert site.finish(run) == "failed", site.story(run)
    told = site.failures(run)
    assert f"down: {dies}" in told["U3_soak"]
    assert "U4_upgrade_a" not in {task.task_id for task in site.tasks(run) if task.state == "success"}
    rollback = rollback_of(site, run)
    assert rollback.run_id in told["U3_go_on"]
    assert site.finish(rollback) == "success", site.story(rollback)
    is_back(site, before)


def offered(told: str) -> tuple[str, dict[str, Any]]:
    """The scenario that a failed upgrade offers, with its parameters."""
    found = re.search(r"to roll back, trigger (\w+) with (\{.*?\}) \(take_over", told)
    assert found is not None, told
    return found[1], json.loads(found[2])


def takes_the_offer(site: Site, told: str, scenario: str) -> None:
    """What the failed upgrade offers is triggered as it stands, and brings the old release back."""
    dag, conf = offered(told)
    assert dag == scenario
    rollback = site.start(dag, **conf)
    assert site.finish(rollback) == "success", site.story(rollback)


@pytest.mark.nightly
@on("half-upgraded")
def test_a_b_and_a_compute_that_could_not_be_upgraded_are_rolled_back_as_the_failed_upgrade_offers(site: Site) -> None:
    before = vms(site)
    site.lab.fault({"upgrade": "half", "host": host(site, "12")})
    run = site.start(UPGRADE, on_failure="automatic")
    assert site.finish(run) == "failed"
    takes_the_offer(site, site.failures(run)["U1_b_upgraded"], "rollback_controller")
    is_back(site, before)

    site.lab.fault({"upgrade": "half", "host": host(site, "21")})
    run = site.start(UPGRADE, on_failure="automatic")
    assert site.finish(run) == "failed"
    takes_the_offer(site, site.failures(run)["U1_batches_upgraded"], "rollback_compute")
    assert site.lab.state()["violations"] == []
    assert vms(site) == before

    run = site.start(UPGRADE)
    assert site.finish(run) == "success", site.story(run)
    assert releases(site) == {"101"}
    assert vms(site) == before


@pytest.mark.nightly
@on("flawed-api")
def test_a_release_whose_api_fails_is_reported_or_asked_about_and_rolled_back_while_the_cloud_does_not_answer(
    site: Site,
) -> None:
    before = vms(site)
    site.lab.fault({"flaw": "api_fails", "release": "101"})
    run = site.start(UPGRADE, on_failure="report")
    assert site.finish(run) == "failed"
    assert "HTTP 500" in site.failures(run)["U3_soak"]
    takes_the_offer(site, site.failures(run)["U3_go_on"], ROLLBACK)
    is_back(site, before)

    run = site.start(UPGRADE, on_failure="ask")
    question = waits_for_an_answer(site, run)
    assert "HTTP 500" in question["body"]
    answer(site, question, "Roll the whole cluster back")
    assert site.finish(run) == "failed"
    rollback = rollback_of(site, run)
    assert site.finish(rollback) == "success", site.story(rollback)
    is_back(site, before)


def waits_for_an_answer(site: Site, run: Run) -> dict[str, Any]:
    """Wait until the upgrade asks what follows; return the question."""
    ends = time.monotonic() + site.patience
    path = f"/api/v2/dags/{UPGRADE}/dagRuns/{run.run_id}/hitlDetails"
    while True:
        details = rest(site).get(path).raise_for_status().json()["hitl_details"]
        asked: list[dict[str, Any]] = [
            each
            for each in details
            if each["task_instance"]["state"] == "awaiting_input" and not each["response_received"]
        ]
        if asked:
            return asked[0]
        assert time.monotonic() < ends, site.story(run)
        time.sleep(0.5)

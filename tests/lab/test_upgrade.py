"""The upgrade on the embedded lab, through Airflow: a good one, and new releases that prove bad once B is active."""

from __future__ import annotations

from console.airflow_api import Run
from tests.scenarios import CHANGING, Site

from .conftest import on

UPGRADE, ROLLBACK = "upgrade_cluster", "rollback_cluster"


def releases(site: Site) -> set[str]:
    """The releases of the nodes, as the lab knows them."""
    return {host["release"] for host in site.lab.state()["hosts"].values() if host["role"] != "daisy"}


def host(site: Site, number: str) -> str:
    """The site's host whose address ends in this number."""
    return next(name for name in site.lab.state()["hosts"] if name.endswith(f"-{number}"))


def vms(site: Site) -> dict[str, str]:
    """Every VM with its state."""
    return {vm["name"]: vm["status"] for vm in site.lab.state()["vms"]}


def rollback_of(site: Site, run: Run) -> Run:
    """The rollback that the upgrade has started."""
    return site.airflow.run(ROLLBACK, f"{run.run_id}__rollback")


def is_back(site: Site, before: dict[str, str]) -> None:
    """The cluster is as it was before the upgrade: the old release, A active, no ban, every VM, and nothing done wrong."""
    truth = site.lab.state()
    assert releases(site) == {"100"}
    assert truth["cluster"]["active"] == host(site, "11")
    assert truth["cluster"]["constraints"] == []
    assert vms(site) == before
    assert truth["violations"] == []
    assert site.lab.run("daisy", "cat /var/lib/tecs-rollback/lock").stdout == ""


@on("upgraded")
def test_a_cluster_is_upgraded_and_then_has_nothing_left_to_do(site: Site) -> None:
    before = vms(site)

    run = site.start(UPGRADE)

    assert site.finish(run) == "success", site.story(run)
    truth = site.lab.state()
    assert releases(site) == {"101"}
    assert truth["cluster"]["active"] == host(site, "12")
    assert truth["cluster"]["constraints"] == []
    assert vms(site) == before
    assert truth["violations"] == []

    journal = site.journal()
    again = site.start(UPGRADE)
    assert site.finish(again) == "success", site.story(again)
    acted = {task.task_id for task in site.tasks(again) if task.task_id in CHANGING and task.state != "skipped"}
    assert acted == {"S3_take_lock", "E2_release_lock"}
    assert site.journal() == journal


@on("flawed-compute")
def test_an_upgrade_under_which_a_compute_service_dies_is_rolled_back_by_itself(site: Site) -> None:
    before = vms(site)
    site.lab.fault({"flaw": "compute_dies", "release": "101", "host": host(site, "22"), "after": 120})

    run = site.start(UPGRADE, on_failure="automatic")

    assert site.finish(run) == "failed", site.story(run)
    told = site.failures(run)
    assert f"down: {host(site, '22')}" in told["U3_soak"]
    assert "U4_upgrade_a" not in {task.task_id for task in site.tasks(run) if task.state == "success"}
    rollback = rollback_of(site, run)
    assert rollback.run_id in told["U3_go_on"]
    assert site.finish(rollback) == "success", site.story(rollback)
    is_back(site, before)

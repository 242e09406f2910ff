"""Many computes through Airflow, on the embedded lab: a canary, batches, and a budget of failures across them."""

from __future__ import annotations

import pytest

from console.airflow_api import Run
from tests.scenarios import Site, ending_in, record

from .conftest import on
from .test_faults import resume, task

BATCHES = "A4_computes_in_batches"


def compute(site: Site, number: int) -> str:
    """The compute whose address ends in this number."""
    return ending_in(site, str(number))[0]


def said(site: Site, run: Run, task_id: str) -> str:
    """What a failed task of the run itself says; its batches have tasks of the same names."""
    return "\n".join(site.airflow.failure(run.dag_id, run.run_id, task(site, run, task_id)))


def installed(site: Site) -> set[str]:
    """The addresses' ends of the hosts that were installed; none more than once."""
    counts = {name: count["installed"] for name, count in site.lab.state()["installs"].items()}
    assert max(counts.values()) <= 1, counts
    return {name.rsplit("-", 1)[-1] for name, count in counts.items() if count}


@pytest.mark.nightly
@on("lossy")
def test_a_compute_that_cannot_be_reached_costs_itself_and_nobody_else_and_is_done_when_it_is_back(site: Site) -> None:
    lost = compute(site, 23)
    site.lab.fault({"host": lost, "do": "down"})
    run = site.start("rollback_cluster")
    assert site.finish(run) == "failed"
    failed = {task_id for task_id in site.failures(run) if task_id.startswith("E")}
    assert failed == {"E3_name_failures"}, site.story(run)
    assert f"1 of 3 computes are not on release 100: {lost}" in said(site, run, "E3_name_failures")
    assert site.lab.state()["violations"] == []
    assert installed(site) == {"12", "21", "22"}

    site.lab.fault({"host": lost, "do": "up"})
    again = site.start("rollback_cluster")
    assert site.finish(again) == "success", site.story(again)
    assert installed(site) == {"12", "21", "22", "23"}
    assert {event["host"] for event in record(site, again) if event["step"] == "uninstall_compute"} >= {lost}


@pytest.mark.nightly
@on("beyond")
def test_beyond_the_budget_no_other_batch_begins_and_b_is_not_touched_and_a_resumed_run_does_the_rest(
    site: Site,
) -> None:
    lost = [compute(site, 22), compute(site, 23)]
    for name in lost:
        site.lab.fault({"ssh": {"host": name, "match": "uninstall_compute on "}, "do": "exit", "status": 1})
    run = site.start("rollback_cluster")
    assert site.finish(run) == "failed"
    told = site.failures(run)["A4_batches_back"]
    assert f"done (1): {compute(site, 21)}" in told, site.story(run)
    assert f"failed (2): {', '.join(lost)}" in told
    assert f"untouched (2): {compute(site, 24)}, {compute(site, 25)}" in told
    assert installed(site) == {"21"}
    assert task(site, run, "A5.2_uninstall_b").state == "upstream_failed"

    resume(site, run)
    assert site.finish(run) == "success", site.story(run)
    assert installed(site) == {"12", "21", "22", "23", "24", "25"}
    assert site.lab.state()["violations"] == []

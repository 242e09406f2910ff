"""Each scenario on the embedded lab, through Airflow: broken once at every changing step, resumed, and run again."""

from __future__ import annotations

import pytest

from .conftest import CHANGING, Site, audit, first_compute, on, record


def break_every_changing_step(site: Site, dag: str) -> list[str]:
    """Let the first action of each changing step of the scenario fail with status 1; return the steps' names."""
    dags = ["rollback_compute", dag] if dag == "rollback_cluster" else [dag]
    tasks = {task.task_id for each in dags for task in site.airflow.tasks(each)} & CHANGING
    names = sorted(task_id.partition("_")[2] for task_id in tasks)
    for name in names:
        site.lab.fault(
            {"ssh": {"match": rf"# \S+ {name} on "}, "do": "exit", "status": 1, "stderr": "broken by a test"}
        )
    return names


@pytest.mark.parametrize(
    ("site", "dag", "reinstalled"),
    [
        ("broken-a", "rollback_cluster", ("12", "21", "22")),
        ("broken-b", "rollback_controller", ("12",)),
        ("broken-c", "rollback_compute", ("21",)),
    ],
    indirect=["site"],
)
def test_broken_once_at_every_changing_step_the_scenario_is_resumed_to_its_end_and_then_has_nothing_left_to_do(
    site: Site, dag: str, reinstalled: tuple[str, ...]
) -> None:
    conf = {"computes": [first_compute(site)]} if dag == "rollback_compute" else {}
    names = break_every_changing_step(site, dag)

    run = site.start(dag, **conf)
    told: dict[str, str] = {}
    for _ in range(len(names) + 1):
        if site.finish(run) == "success":
            break
        failures = site.failures(run)
        told |= failures
        site.airflow.clear_failed(dag, run.run_id)
        site.until(run, lambda now: now.state in ("queued", "running"))
    assert site.airflow.run(dag, run.run_id).state == "success", site.story(run)

    # Steps that were already true at the time (the lock of a batch, say) had no action to break.
    broken = {task_id.partition("_")[2] for task_id in told} & set(names)
    acted = {e["step"] for e in record(site, run) if e["outcome"] == "done"} & set(names)
    assert acted <= broken, f"acted without being broken first: {sorted(acted - broken)}"
    for task_id, message in told.items():
        if task_id.partition("_")[2] in names:
            assert "broken by a test" in message, message
            assert "what to do:" in message, message
    audit(site, ending_in(site, *reinstalled))

    before = site.journal()
    again = site.start(dag, **conf)
    assert site.finish(again) == "success", site.story(again)
    states = {task.task_id: task.state for task in site.tasks(again) if task.task_id in CHANGING}
    lock = {"S3_take_lock", "E2_release_lock"}
    assert {task_id: state for task_id, state in states.items() if state != "skipped" and task_id not in lock} == {}
    assert site.journal() == before


@on("paths")
def test_the_scenario_passes_where_hosts_cannot_have_files_at_their_real_paths(site: Site) -> None:
    run = site.start("rollback_cluster")
    assert site.finish(run) == "success", site.story(run)
    audit(site, ending_in(site, "12", "21", "22"))


def ending_in(site: Site, *numbers: str) -> tuple[str, ...]:
    """The site's hosts whose addresses end in these numbers."""
    return tuple(name for name in site.lab.state()["hosts"] if name.rsplit("-", 1)[-1] in numbers)

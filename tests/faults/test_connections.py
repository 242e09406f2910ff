"""The connection of every changing step is lost before its command, after it, or with its answer on the way."""

from __future__ import annotations

import pytest

from include.runbook.scenarios import BATCH_OF
from tests.groups import case, in_groups
from tests.scenarios import CHANGING, Site, asked_for, vms

from .conftest import Count
from .test_crashes import SCENARIOS, counted, finished_or_resumed, is_as_it_must_be, site_of

pytestmark = pytest.mark.faults

DROPS = {"before": "drop_before", "after": "drop_after"}
READING = r"(?s)^(?!.*# \S+ \w+ on )"
"""Any command that is not the action of a step."""


def changing_steps(site: Site, dag: str) -> list[str]:
    """The names of the scenario's changing steps, those of its batches among them."""
    dags = {dag, BATCH_OF.get(dag, dag)}
    tasks = {task.task_id for each in dags for task in site.airflow.tasks(each)} & CHANGING
    return sorted(task_id.partition("_")[2] for task_id in tasks)


@in_groups(
    [
        case(f"dropped-{each.begins}", site_of(dag, "dropped", when), dag, when, id=f"{dag}-{when}")
        for dag, each in SCENARIOS.items()
        for when in DROPS
    ],
    "dag",
    "when",
)
def test_each_changing_command_and_a_reading_on_each_host_lose_their_connection_once(
    site: Site, dag: str, when: str, count: Count
) -> None:
    names, before = changing_steps(site, dag), vms(site)
    for name in names:
        site.lab.fault({"ssh": {"match": rf"# \S+ {name} on "}, "do": DROPS[when]})
    hosts = list(site.lab.state()["hosts"])
    for host in hosts:
        site.lab.fault({"ssh": {"host": host, "match": READING}, "do": DROPS[when]})

    run = site.start(dag, **asked_for(site, dag))
    ended, resumed = finished_or_resumed(site, run, most=len(names) + len(hosts))
    assert ended == "success", site.story(run)

    # Steps whose goal was true already had no command to lose.
    injected = len(names) + len(hosts) - len(site.lab.state()["faults"])
    site.lab.fault({"clear": True})
    count(counted(site, injected, resumed))
    is_as_it_must_be(site, dag, before)


@in_groups(
    [
        case("late", (f"late-{seconds * 1000:.0f}-ms", "C"), seconds, id=f"{seconds * 1000:.0f} ms")
        for seconds in (0.1, 1.0)
    ],
    "seconds",
)
def test_every_command_is_late(site: Site, seconds: float, count: Count) -> None:
    dag, before = "rollback_compute", vms(site)
    site.lab.fault({"ssh": {}, "do": "delay", "seconds": seconds, "count": -1})
    run = site.start(dag, **asked_for(site, dag))
    ended, resumed = finished_or_resumed(site, run, most=1)
    assert ended == "success", site.story(run)
    site.lab.fault({"clear": True})
    count(counted(site, 1, resumed))
    is_as_it_must_be(site, dag, before)

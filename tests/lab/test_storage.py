"""Sites whose controllers replicate their data, through Airflow: B gets A's data, and A never gets B's."""

from __future__ import annotations

from typing import Any

import pytest

from tests.groups import in_groups
from tests.scenarios import CHANGING, Site, audit, record

from .conftest import lab_case, on
from .test_scenarios import ending_in


def copies(site: Site, number: str) -> list[dict[str, Any]]:
    """The copies of the host whose address ends in this number, without the host's name."""
    found = [copy for copy in site.lab.state()["copies"] if copy["host"].endswith(f"-{number}")]
    return [{key: value for key, value in copy.items() if key != "host"} for copy in found]


pytestmark = pytest.mark.nightly


@in_groups(
    [
        lab_case("replicated-a", "rollback_cluster", ("12", "21", "22")),
        lab_case("replicated-b", "rollback_controller", ("12",)),
    ],
    "dag",
    "reinstalled",
)
def test_b_gets_as_data_before_it_may_take_over_and_then_there_is_nothing_left_to_do(
    site: Site, dag: str, reinstalled: tuple[str, ...]
) -> None:
    run = site.start(dag)
    assert site.finish(run) == "success", site.story(run)
    audit(site, ending_in(site, *reinstalled))
    assert copies(site, "12") == copies(site, "11")
    assert all(copy["consistent"] and copy["up"] and not copy["standalone"] for copy in copies(site, "12"))
    done = [event["step"] for event in record(site, run) if event["outcome"] == "done"]
    assert done.index("let_b_follow_a") < done.index("start_cluster_on_b") < done.index("clear_ban")
    synchronised = [each for each in site.journal() if "is synchronised from" in each["effect"]]
    assert len(synchronised) == len(copies(site, "11"))

    before = site.journal()
    again = site.start(dag)
    assert site.finish(again) == "success", site.story(again)
    acted = {task.task_id for task in site.tasks(again) if task.task_id in CHANGING and task.state != "skipped"}
    assert acted == {"S3_take_lock", "S6_note_cluster_mode", "E2_release_lock"}
    assert site.journal() == before


@on("replicated-b")
def test_where_b_could_be_the_source_nothing_is_begun(site: Site) -> None:
    for fault, found in {
        "a_secondary": "is Secondary/",
        "b_newer": "never had: it is newer, or the two have diverged",
        "split_brain": "StandAlone",
    }.items():
        site.lab.fault({"drbd": fault})
        before = site.lab.state()
        run = site.start("rollback_controller")
        assert site.finish(run) == "failed", site.story(run)
        failures = site.failures(run)
        assert found in str(failures), failures
        assert {task.task_id for task in site.tasks(run) if task.state == "success"} == {"S1_plan"}
        assert site.lab.state() == before
        site.lab.fault({"clear": True})

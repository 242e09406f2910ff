"""Each scenario on the embedded lab, through Airflow: broken once at every changing step, resumed, and run again."""

from __future__ import annotations

import pytest

from tests.groups import in_groups
from tests.scenarios import Site, audit, breaks_at_changing_steps_and_is_resumed, ending_in, has_nothing_left_to_do

from .conftest import lab_case, on


@on("sampled")
def test_broken_once_at_one_in_four_changing_steps_the_scenario_is_resumed_and_then_a_compute_has_nothing_left_to_do(
    site: Site,
) -> None:
    breaks_at_changing_steps_and_is_resumed(site, "rollback_cluster", ("12", "21", "22"), one_in=4)
    has_nothing_left_to_do(site, "rollback_compute")


@pytest.mark.nightly
@in_groups(
    [
        lab_case("broken-a", "rollback_cluster", ("12", "21", "22")),
        lab_case("broken-b", "rollback_controller", ("12",)),
        lab_case("broken-c", "rollback_compute", ("21",)),
    ],
    "dag",
    "reinstalled",
)
def test_broken_once_at_every_changing_step_the_scenario_is_resumed_to_its_end_and_then_has_nothing_left_to_do(
    site: Site, dag: str, reinstalled: tuple[str, ...]
) -> None:
    breaks_at_changing_steps_and_is_resumed(site, dag, reinstalled)
    has_nothing_left_to_do(site, dag)


@pytest.mark.nightly
@on("paths")
def test_the_scenario_passes_where_hosts_cannot_have_files_at_their_real_paths(site: Site) -> None:
    run = site.start("rollback_cluster")
    assert site.finish(run) == "success", site.story(run)
    audit(site, ending_in(site, "12", "21", "22"))

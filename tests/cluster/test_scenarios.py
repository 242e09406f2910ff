"""The same scenarios as on the embedded lab, through Airflow, on real Pacemaker, systemd, OpenSSH and Nova."""

from __future__ import annotations

import pytest

from include.cluster_lab.client import ClusterLabClient
from tests.scenarios import (
    Site,
    asked_for,
    audit,
    breaks_at_changing_steps_and_is_resumed,
    ending_in,
    first_compute,
    has_nothing_left_to_do,
)

pytestmark = pytest.mark.cluster
OPTIONS = ("--scenario", "C", "--pace", "60")
SCENARIOS = [
    ("C", "rollback_compute", ("21",)),
    ("B", "rollback_controller", ("12",)),
    ("A", "rollback_cluster", ("12", "21", "22")),
]
"""A starting state, the scenario that is for it, and which hosts are reinstalled."""


@pytest.mark.parametrize(("scenario", "dag", "reinstalled"), SCENARIOS)
def test_the_cluster_comes_back_with_every_vm(
    lab: ClusterLabClient, site: Site, scenario: str, dag: str, reinstalled: tuple[str, ...]
) -> None:
    lab.begin(scenario)
    before = {vm["name"] for vm in lab.state()["vms"]}
    run = site.start(dag, **asked_for(site, dag))
    assert site.finish(run) == "success", site.story(run)
    audit(site, ending_in(site, *reinstalled))
    assert {vm["name"] for vm in lab.state()["vms"]} == before
    if scenario != "A":  # whose steps are those of both others
        has_nothing_left_to_do(site, dag)


@pytest.mark.nightly
@pytest.mark.parametrize(("scenario", "dag", "reinstalled"), SCENARIOS)
def test_broken_once_at_every_changing_step_the_scenario_is_resumed_to_its_end_and_then_has_nothing_left_to_do(
    lab: ClusterLabClient, site: Site, scenario: str, dag: str, reinstalled: tuple[str, ...]
) -> None:
    lab.begin(scenario)
    breaks_at_changing_steps_and_is_resumed(site, dag, reinstalled)
    has_nothing_left_to_do(site, dag)


@pytest.mark.nightly
def test_a_nova_conf_with_which_nova_compute_dies_is_caught_before_the_compute_is_used_again(
    lab: ClusterLabClient, site: Site
) -> None:
    lab.begin("C")
    compute = first_compute(site)
    # A setting of before that is carried over; nova-compute starts with it, and dies a moment later.
    broken = "sed -i '/^reserved_huge_pages/d; s/^\\[DEFAULT\\]/&\\nreserved_huge_pages=4/' /etc/nova/nova.conf"
    assert lab.run(compute, broken).returncode == 0
    run = site.start("rollback_compute", computes=[compute])
    assert site.finish(run) == "failed", site.story(run)
    failures = site.failures(run)
    assert {"A4.8_restart_compute_services", "A4.9_verify_compute_services"} & set(failures), failures
    assert lab.state()["hosts"][compute]["scheduling"] is False

"""The upgrade through Airflow on real Pacemaker, systemd, OpenSSH and Nova: a good one, and one that is rolled back by itself."""

from __future__ import annotations

import pytest

from include.cluster_lab.client import ClusterLabClient
from tests.scenarios import UPGRADE, Site, is_back, is_upgraded, rollback_of, vms

pytestmark = [pytest.mark.cluster, pytest.mark.nightly]
OPTIONS = ("--scenario", "good", "--pace", "60")


def test_a_cluster_is_upgraded_with_every_vm(lab: ClusterLabClient, site: Site) -> None:
    lab.begin("good")
    before = vms(site)

    run = site.start(UPGRADE)

    assert site.finish(run) == "success", site.story(run)
    is_upgraded(site, before)


def test_a_release_whose_api_fails_once_it_serves_is_rolled_back_by_itself_with_every_vm(
    lab: ClusterLabClient, site: Site
) -> None:
    lab.begin("good")
    before = vms(site)
    lab.fault({"flaw": "api_fails", "release": "101"})

    run = site.start(UPGRADE, on_failure="automatic")

    assert site.finish(run) == "failed", site.story(run)
    told = site.failures(run)
    assert "the cloud's API answers" in told["U3_soak"]
    rollback = rollback_of(site, run)
    assert rollback.run_id in told["U3_go_on"]
    assert site.finish(rollback) == "success", site.story(rollback)
    is_back(site, before)

"""Through Airflow on real Pacemaker, systemd, OpenSSH and Nova: upgrades, one of them rolled back by itself, and validations."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from include.cluster_lab.client import ClusterLabClient
from include.cluster_lab.site import C1
from tests.cluster.operation import await_service
from tests.scenarios import UPGRADE, Site, host, is_back, is_upgraded, rollback_of, validated, vms

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
    assert "the cloud's API answers" in told.get("U3_soak", ""), site.story(run)
    rollback = rollback_of(site, run)
    assert rollback.run_id in told["U3_go_on"]
    assert site.finish(rollback) == "success", site.story(rollback)
    is_back(site, before)


def test_a_release_under_which_a_compute_service_dies_is_rolled_back_by_itself_with_every_vm(
    lab: ClusterLabClient, site: Site
) -> None:
    """It dies on the compute that was drained last, the only place for the VMs of the other: so it is rolled back first."""
    lab.begin("good")
    before, dies = vms(site), host(site, "22")
    lab.fault({"flaw": "compute_dies", "release": "101", "host": dies})

    run = site.start(UPGRADE, on_failure="automatic")

    assert site.finish(run) == "failed", site.story(run)
    told = site.failures(run)
    assert dies in told.get("U3_soak", ""), site.story(run)
    rollback = rollback_of(site, run)
    assert site.finish(rollback) == "success", site.story(rollback)
    is_back(site, before)


@pytest.fixture
def unknown_schema(lab: ClusterLabClient) -> Iterator[str]:
    """A version of Nova's database that no release knows; the cloud outlives the scenario, so it is put back."""
    version = "from nova.alembic_version"
    known = lab.run("cloud", f"mariadb --batch --skip-column-names --execute 'select version_num {version}'").stdout
    unknown = "ffffffffffff"
    change = "mariadb --execute \"update nova.alembic_version set version_num='{}'\""
    assert lab.run("cloud", change.format(unknown)).returncode == 0
    yield unknown
    assert lab.run("cloud", change.format(known.strip())).returncode == 0


def test_a_good_cluster_wants_nothing(lab: ClusterLabClient, site: Site) -> None:
    lab.begin("good")
    run = site.start("validate_cluster")
    assert site.finish(run) == "success", site.story(run)
    assert {found for found in validated(site, run).values() if not found.startswith("ok")} == set()


def test_each_seeded_problem_is_found_by_name(lab: ClusterLabClient, site: Site, unknown_schema: str) -> None:
    lab.begin("good")
    a, b, first, second = (host(site, number) for number in ("11", "12", "21", "22"))
    node = lab.run(b, "crm_node -n").stdout.strip()
    note = f"/var/lib/tecs-rollback/reinstalling/{first}"
    # The hosts share one kernel, and its clock: what is wrong is the time that this host tells.
    fast = r"printf '#!/bin/sh\nexec /bin/date --date=+300sec \"$@\"\n' > /usr/local/bin/date"
    for where, command in (
        ("daisy", "for bin in /home/tecs_releases/*I100*; do echo >> $bin; done"),
        ("daisy", "rm /var/lib/daisy/tecs/*/mappings.json"),
        ("daisy", f"mkdir -p {note.rpartition('/')[0]} && touch {note}"),
        (a, f"pcs resource ban lb_float_ip {node}"),
        (a, "pcs property set maintenance-mode=true"),
        (b, "rm /home/tecs_install/storage_auto_config/base/cinder.json"),
        (b, f"{fast} && chmod +x /usr/local/bin/date"),
        (first, "systemctl stop openstack-nova-compute"),
        (second, "rm /etc/nova/nova.conf"),
    ):
        assert lab.run(where, command).returncode == 0, command
    lab.fault({"host": second, "do": "down"})
    await_service(lab, C1, "down")

    run = site.start("validate_cluster")
    assert site.finish(run) == "failed"

    told = "\n".join(f"{check}: {found}" for check, found in validated(site, run).items() if not found.startswith("ok"))
    for seeded in (
        "is corrupt",
        f"nova at {unknown_schema}",
        f"cli-ban-lb_float_ip-on-{node}",
        "maintenance-mode is set",
        f"{second} cannot be reached",
        f"R9 /etc/nova/nova.conf is there on {second}",
        f"base/cinder.json is there on {b}",
        "mappings.json",
        f"begun and not proven: {first}",
    ):
        assert seeded in told, f"{seeded} is not told:\n{told}"
    assert re.search(rf"{b} is (299|30[0-9]) s ahead of ", told), told
    assert first in told.partition("fails: down: ")[2].partition("\n")[0], told

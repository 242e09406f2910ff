"""What goes wrong with a real host while computes are rolled back: power, disks, sshd. Scenario C, through Airflow."""

from __future__ import annotations

import pytest

from console.airflow_api import Run
from include.cluster_lab.client import ClusterLabClient
from include.cluster_lab.site import C1, DAISY, GATEWAY, A, SiteHost
from tests.cluster.conftest import until
from tests.cluster.operation import run
from tests.scenarios import Site, audit

pytestmark = [pytest.mark.cluster, pytest.mark.nightly]
OPTIONS = ("--scenario", "C", "--pace", "60")
STATE = "/var/lib/tecs-rollback"
SILENT = 120
"""Seconds: longer than an idle session is believed to live."""


def begun(lab: ClusterLabClient, site: Site) -> Run:
    """The compute's rollback has begun."""
    return site.start("rollback_compute", computes=[C1.name])


def installing(lab: ClusterLabClient, site: Site) -> Run:
    """The compute's rollback is in the middle of its installation, which takes a minute."""
    lab.fault({"installer": "slow", "factor": 20})
    going = begun(lab, site)
    applying = "grep -qs Applying /home/tecs_install/*/*.log /var/lib/tecs-rollback/jobs/*/out"
    site.until(going, lambda now: now.finished or lab.run(DAISY.name, applying).returncode == 0)
    return going


def loses_power(lab: ClusterLabClient, host: SiteHost) -> None:
    """The host is dead, and boots again."""
    lab.fault({"host": host.name, "do": "down"})
    lab.fault({"host": host.name, "do": "up"})


def comes_to_its_end(site: Site, going: Run) -> None:
    """The run succeeds, its failed tasks cleared once, and the compute was installed once."""
    if site.finish(going) == "failed":
        site.airflow.clear_failed(going.dag_id, going.run_id)
        site.until(going, lambda now: not now.finished)
    assert site.finish(going) == "success", site.story(going)
    audit(site, (C1.name,))


def give_hardly_any_room(lab: ClusterLabClient, host: SiteHost, folder: str) -> None:
    """The folder is on a disk of its own that is nearly full; it is one for the rest of the scenario."""
    run(lab, host, f"mkdir -p {folder} && mount -t tmpfs -o size=4k tmpfs {folder}")


def give_room(lab: ClusterLabClient, host: SiteHost, folder: str) -> None:
    """The folder's own disk has room, and keeps what it holds."""
    run(lab, host, f"mount -o remount,size=256m {folder}")


@pytest.mark.parametrize("host", [C1, DAISY], ids=["the compute", "the Daisy host"])
def test_power_is_lost_in_the_middle_of_an_installation(lab: ClusterLabClient, site: Site, host: SiteHost) -> None:
    lab.begin("C")
    going = installing(lab, site)

    loses_power(lab, host)

    comes_to_its_end(site, going)


@pytest.mark.parametrize("host", [C1, DAISY], ids=["the compute", "the Daisy host"])
def test_a_host_goes_silent_in_the_middle_of_an_installation(lab: ClusterLabClient, site: Site, host: SiteHost) -> None:
    """What it sends is lost for two minutes: sessions are half-open, and new ones get no answer."""
    lab.begin("C")
    going = installing(lab, site)

    lost = f"sleep 1; ip route add blackhole {GATEWAY}/32; sleep {SILENT}; ip route del blackhole {GATEWAY}/32"
    run(lab, host, f"setsid sh -c '{lost}' </dev/null >/dev/null 2>&1 &")

    comes_to_its_end(site, going)


@pytest.mark.parametrize("seconds", [0.1, 1.0])
def test_every_packet_of_the_daisy_host_and_the_compute_is_late(
    lab: ClusterLabClient, site: Site, seconds: float
) -> None:
    lab.begin("C")
    for host in (DAISY, C1):
        lab.fault({"host": host.name, "do": "slow", "seconds": seconds})

    comes_to_its_end(site, begun(lab, site))


def test_the_hosts_calendar_clocks_are_hours_apart(lab: ClusterLabClient, site: Site) -> None:
    """The Daisy host's is behind, A's and the compute's ahead; the compute's installation mends its own."""
    lab.begin("C")
    for host, wrong in ((DAISY, "-3hours"), (A, "+5hours"), (C1, "+2days")):
        script = rf"""printf '#!/bin/sh\nexec /bin/date --date={wrong} "$@"\n' > /usr/local/bin/date"""
        run(lab, host, f"{script} && chmod +x /usr/local/bin/date")

    comes_to_its_end(site, begun(lab, site))


def test_a_daisy_host_without_room_stops_the_run_before_anything_is_touched(lab: ClusterLabClient, site: Site) -> None:
    lab.begin("C")
    give_hardly_any_room(lab, DAISY, STATE)
    going = begun(lab, site)
    assert site.finish(going) == "failed", site.story(going)
    assert "No space left on device" in "\n".join(site.failures(going).values())
    assert lab.state()["hosts"][C1.name]["release"] == "101"
    assert lab.state()["hosts"][C1.name]["scheduling"] is True

    give_room(lab, DAISY, STATE)
    comes_to_its_end(site, going)


def test_a_node_without_room_for_the_installer_stops_the_run_before_it_is_taken_down(
    lab: ClusterLabClient, site: Site
) -> None:
    lab.begin("C")
    give_hardly_any_room(lab, C1, "/home/tecs_update")
    going = begun(lab, site)
    assert site.finish(going) == "failed", site.story(going)
    assert "No space left on device" in "\n".join(site.failures(going).values())
    assert lab.state()["hosts"][C1.name]["release"] == "101"
    assert lab.state()["hosts"][C1.name]["scheduling"] is True

    give_room(lab, C1, "/home/tecs_update")
    # What the message says: the VMs were given back, so the drain is cleared as well.
    site.airflow.clear_task(going.dag_id, going.run_id, "A4.2_finish_drain")
    comes_to_its_end(site, going)


def test_an_sshd_that_takes_few_connections_at_a_time_is_asked_again(lab: ClusterLabClient, site: Site) -> None:
    lab.begin("C")
    settings = "sed -i 's/^MaxSessions .*/MaxSessions 1/; s/^MaxStartups .*/MaxStartups 1:60:2/' /etc/ssh/sshd_config.d/lab.conf"
    for host in (DAISY, C1):
        run(lab, host, f"{settings} && systemctl reload ssh")
        until(lambda host=host: lab.run(host.name, "true").returncode == 0, "sshd answers")  # type: ignore[misc]

    comes_to_its_end(site, begun(lab, site))

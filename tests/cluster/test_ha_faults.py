"""What goes wrong between two real controllers in a rollback: it stops before harm, says what is true, and is resumed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from console.airflow_api import Run
from include.cluster_lab.client import ClusterLabClient
from include.cluster_lab.site import A, B, SiteHost
from tests.cluster.conftest import until
from tests.cluster.operation import active, nodes_online, run
from tests.scenarios import Site, audit, ending_in, is_back, releases, vms

pytestmark = [pytest.mark.cluster, pytest.mark.nightly]
OPTIONS = ("--scenario", "A", "--pace", "60")
BOTH = [A.name, B.name]
LATE = 40
"""Seconds for which a command is held back on its host, while something happens to it."""


def held_back(lab: ClusterLabClient, site: Site, dag: str, name: str, on: SiteHost) -> Run:
    """The scenario runs, and the action of this step has come to its host and waits there."""
    lab.fault({"ssh": {"host": on.name, "match": rf"# \S+ {name} on "}, "do": "delay", "seconds": LATE})
    begun = site.start(dag)
    site.until(begun, lambda now: now.finished or not lab.state()["faults"])
    assert not lab.state()["faults"], site.story(begun)
    return begun


def told_and_stopped(site: Site, begun: Run) -> str:
    """What the run says, which has failed and reinstalled nothing."""
    assert site.finish(begun) == "failed", site.story(begun)
    assert all(count == {"installed": 0, "uninstalled": 0} for count in site.lab.state()["installs"].values())
    return "\n".join(site.failures(begun).values())


def comes_to_its_end(site: Site, begun: Run) -> None:
    """What has failed is cleared, as the operator's page says, and the run succeeds."""
    site.airflow.clear_failed(begun.dag_id, begun.run_id)
    site.until(begun, lambda now: not now.finished)
    assert site.finish(begun) == "success", site.story(begun)


@contextmanager
def cut_off_from_each_other(lab: ClusterLabClient) -> Iterator[None]:
    """The cable between A and B is cut; each of them still has everybody else."""
    cuts = [(A, B.address), (B, A.address)]
    for here, there in cuts:
        run(lab, here, f"ip route add blackhole {there}/32")
    try:
        yield
    finally:
        for here, there in cuts:
            run(lab, here, f"ip route del blackhole {there}/32")


def test_an_a_that_dies_as_it_is_to_take_over_leaves_b_serving(lab: ClusterLabClient, site: Site) -> None:
    lab.begin("A")
    begun = held_back(lab, site, "rollback_cluster", "move_float_ip_to_a", A)
    lab.fault({"host": A.name, "do": "down"})

    told = told_and_stopped(site, begun)

    assert A.name in told
    assert active(lab) == B.name
    lab.fault({"host": A.name, "do": "up"})
    run(lab, A, "pcs cluster start")
    until(lambda: nodes_online(lab) == BOTH, "A is online again")
    comes_to_its_end(site, begun)
    audit(site, ending_in(site, "12", "21", "22"))


def test_a_resource_that_a_cannot_start_leaves_b_serving_and_is_named(lab: ClusterLabClient, site: Site) -> None:
    lab.begin("A")
    # The agent of the shared disk finds no modprobe and refuses; the float IP goes where the disk is.
    run(lab, A, "mv /sbin/modprobe /sbin/modprobe.away")

    begun = site.start("rollback_cluster")
    told = told_and_stopped(site, begun)

    assert "shared_disk" in told
    assert active(lab) == B.name
    assert lab.state()["cluster"]["constraints"] == []
    run(lab, A, "mv /sbin/modprobe.away /sbin/modprobe && pcs resource cleanup shared_disk")
    comes_to_its_end(site, begun)
    audit(site, ending_in(site, "12", "21", "22"))


def test_a_cable_that_is_cut_during_the_ban_is_found_by_both_views(lab: ClusterLabClient, site: Site) -> None:
    """Each controller takes the float IP for its own then: whoever is asked alone sees a cluster that is as it should be."""
    lab.begin("A")
    begun = held_back(lab, site, "rollback_cluster", "ban_float_ip_on_b", A)
    with cut_off_from_each_other(lab):
        until(lambda: lab.state()["cluster"]["float_ip_on"] == BOTH, "both have the float IP")
        told = told_and_stopped(site, begun)
        assert f"{A.name} and {B.name} do not agree" in told
        assert releases(site) == {"100", "101"}
    until(lambda: active(lab) is not None and nodes_online(lab) == BOTH, "the cluster is one again")
    comes_to_its_end(site, begun)
    assert {each["audit"] for each in lab.state()["violations"]} == {"the float IP on both nodes"}
    assert releases(site) == {"100"}
    assert active(lab) == A.name


def test_a_b_that_dies_and_comes_back_during_the_rollback_takes_nothing_over(lab: ClusterLabClient, site: Site) -> None:
    lab.begin("A")
    before = vms(site)
    begun = site.start("rollback_cluster")
    site.until(begun, lambda now: now.finished or "A2_ban_float_ip_on_b" in done(site, begun))
    lab.fault({"host": B.name, "do": "down"})
    lab.fault({"host": B.name, "do": "up"})
    run(lab, B, "pcs cluster start")
    until(lambda: nodes_online(lab) == BOTH, "B is online again")
    assert active(lab) == A.name

    if site.finish(begun) == "failed":
        comes_to_its_end(site, begun)

    audit(site, ending_in(site, "12", "21", "22"))
    is_back(site, before)


def done(site: Site, begun: Run) -> set[str]:
    """The tasks of the run that have succeeded."""
    return {task.task_id for task in site.airflow.task_instances(begun.dag_id, begun.run_id) if task.state == "success"}

"""The survey of a whole cluster: what it reads, and that a contradiction between A and B is a problem, not an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

import pytest

from include.runbook import survey as module
from include.runbook.cluster import Cluster
from include.runbook.reach import CredentialsOf, Sweep
from include.runbook.step import Read
from include.runbook.survey import Survey, survey, wanting

from .site import A, B, Site, resource_xml, status_xml


@pytest.fixture
def back(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Every node on 100 and A active; what is read from the hosts is read from this site."""
    for node in site.cluster.nodes:
        site.install(node, "100")
    site.pacemaker(active=A)
    services = [
        {"Binary": "nova-compute", "Host": compute.name, "Status": "enabled", "State": "up"}
        for compute in site.cluster.computes
    ]
    site.cloud(servers=[], services=services)

    async def sweep(cluster: Cluster, reads: Iterable[Read], credentials_of: CredentialsOf) -> Sweep:
        return Sweep({read: site.run(read.host, read.command, 60) for read in dict.fromkeys(reads)})

    monkeypatch.setattr(module, "sweep", sweep)
    return site


def surveyed(site: Site) -> Survey:
    def nobody(connection_id: str) -> object:
        raise AssertionError(connection_id)

    return asyncio.run(survey(site.cluster, nobody))  # type: ignore[arg-type]


def test_a_cluster_that_is_back_is_surveyed_without_a_problem(back: Site) -> None:
    now = surveyed(back)
    assert now.active == back.cluster.controllers.a.name
    assert now.online == (A, B)
    assert (
        wanting(now, back.cluster, "100", tuple(node.name for node in back.cluster.nodes), back.cluster.controllers.a)
        == ()
    )


def test_either_controller_may_be_active_but_one_must_and_the_one_that_is_asked_for(back: Site) -> None:
    now = surveyed(back)
    assert wanting(now, back.cluster, "100", (), None) == ()
    (found,) = wanting(now, back.cluster, "100", (), back.cluster.controllers.b)
    assert f"expected {back.cluster.controllers.b.name}" in found
    assert wanting(replace(now, active=None), back.cluster, "100", (), None) == (
        "no controller is active, expected one",
    )


def test_a_b_that_claims_the_float_ip_too_is_a_problem(back: Site) -> None:
    back.tell(back.cluster.controllers.b, "crm_mon.xml", status_xml(active=B, online=(B,)))
    found = wanting(surveyed(back), back.cluster, "100", (), back.cluster.controllers.a)
    assert len(found) == 1
    assert f"has lb_float_ip on {B}; A has it on {A}" in found[0]


def test_a_resource_that_is_not_started_is_told(back: Site) -> None:
    assert surveyed(back).not_started == ""
    back.pacemaker(active=A, more=resource_xml("shared_disk", None))
    assert surveyed(back).not_started == "not started: shared_disk"


def test_a_host_that_cannot_be_read_is_wanting_only_where_it_is_asked_for(back: Site) -> None:
    lost = back.cluster.computes[0]
    back.install(lost, "7")
    now = surveyed(back)
    others = tuple(node.name for node in back.cluster.nodes if node != lost)
    a = back.cluster.controllers.a
    assert wanting(now, back.cluster, "100", others, a) == ()
    (found,) = wanting(now, back.cluster, "100", (*others, lost.name), a)
    assert lost.name in found

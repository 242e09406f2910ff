"""A4.2 and A6.2: VMs are moved, and one is made and removed, by scripts that run for real on a stand-in for the cloud."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from include.runbook.errors import CommandFailed, FactUnreadable, GoalNotReached, PreconditionFailed
from include.runbook.perform import Outcome, perform
from include.runbook.step import Run, VmPolicy, kind

from .site import Site


def drain(run: Run, site: Site) -> Outcome:
    """Keep new VMs off the compute, then move those that it has, as a run does."""
    keep_off(run, site)
    return move_away(run, site)


def keep_off(run: Run, site: Site) -> bool:
    return perform(kind("keep_new_vms_off").make(run, run.computes[0]), site, run, print).acted


def move_away(run: Run, site: Site) -> Outcome:
    return perform(kind("drain_compute").make(run, run.computes[0]), site, run, print)


def vm(id: str, host: str, status: str = "ACTIVE") -> dict[str, Any]:
    return {"ID": id, "Name": f"vm-{id}", "Status": status, "Host": host}


def service(host: str, status: str = "enabled", reason: str | None = None) -> dict[str, Any]:
    return {"Binary": "nova-compute", "Host": host, "Status": status, "State": "up", "Disabled Reason": reason}


@pytest.fixture
def first(run: Run) -> str:
    return run.computes[0].name


@pytest.fixture
def cloud(run: Run, site: Site, first: str) -> Site:
    """Three VMs on the compute, one elsewhere."""
    other = run.cluster.computes[1].name
    site.cloud(
        servers=[vm("1", first), vm("2", first), vm("3", first), vm("4", other)],
        services=[service(first), service(other)],
    )
    return site


def placed(site: Site) -> dict[str, str]:
    return {each["ID"]: each["Host"] for each in site.seen("servers")}


def test_every_vm_is_moved_and_nothing_new_is_scheduled(run: Run, cloud: Site, first: str) -> None:
    assert drain(run, cloud).acted
    assert first not in placed(cloud).values()
    mine = cloud.seen("services")[0]
    assert (mine["Status"], mine["Disabled Reason"]) == ("disabled", "tecs-rollback rollback_compute/run-1")
    assert not drain(run, cloud).acted


def test_a_compute_without_vms_is_still_taken_out_of_scheduling(run: Run, cloud: Site, first: str) -> None:
    """Otherwise a VM could be placed on it between this step and the uninstallation, and be lost."""
    cloud.cloud(servers=[], services=[service(first)])
    assert keep_off(run, cloud)
    assert not move_away(run, cloud).acted
    assert cloud.seen("services")[0]["Status"] == "disabled"


def test_no_vm_is_moved_while_new_ones_may_come(run: Run, cloud: Site, first: str) -> None:
    with pytest.raises(PreconditionFailed, match=f"{first} is enabled"):
        move_away(run, cloud)
    assert cloud.asked == []


def test_a_compute_that_someone_else_disabled_keeps_its_reason(run: Run, cloud: Site, first: str) -> None:
    cloud.cloud(servers=[vm("1", first)], services=[service(first, "disabled", "memory"), service("other")])
    assert drain(run, cloud).acted
    assert cloud.seen("services")[0]["Disabled Reason"] == "memory"


def test_a_vm_that_stays_stops_the_run_and_is_named(run: Run, cloud: Site, first: str) -> None:
    cloud.cloud(servers=[vm("1", first), vm("9", first, "ERROR")], services=[service(first), service("other")])
    with pytest.raises(GoalNotReached, match=r"vm-9 \(ERROR\)") as stopped:
        drain(run, cloud)
    assert "accept_outage" in stopped.value.advice
    assert placed(cloud) == {"1": "other", "9": first}


def test_an_accepted_outage_is_recorded_with_user_and_vm(run: Run, cloud: Site, first: str) -> None:
    cloud.cloud(servers=[vm("1", first), vm("9", first, "ERROR")], services=[service(first), service("other")])
    found = drain(replace(run, vm_policy=VmPolicy.ACCEPT_OUTAGE, user="operator"), cloud).found
    assert found == "operator accepts the outage (accept_outage) of: vm-9 (9, ERROR)"
    assert placed(cloud)["1"] == "other", "what can be moved is moved all the same"


def test_no_vm_of_a_faulty_compute_is_moved(run: Run, cloud: Site, first: str) -> None:
    found = drain(replace(run, vm_policy=VmPolicy.NODE_FAULTY, user="operator"), cloud).found
    assert found.startswith("operator accepts the outage (node_faulty) of: vm-1 (1, ACTIVE)")
    assert placed(cloud)["1"] == first
    assert cloud.seen("services")[0]["Status"] == "disabled"


def test_a_compute_that_is_back_is_not_drained_again(run: Run, cloud: Site) -> None:
    cloud.install(run.computes[0], "100")
    assert not drain(run, cloud).acted
    assert cloud.asked == []


def test_a_cloud_that_does_not_answer_is_not_a_compute_without_vms(run: Run, cloud: Site) -> None:
    (cloud.says / "cloud-is-down").touch()
    for step in (keep_off, move_away):
        with pytest.raises(FactUnreadable, match="Unable to establish connection"):
            step(run, cloud)


def test_a_cloud_that_stops_answering_fails_the_drain(run: Run, cloud: Site) -> None:
    step = kind("drain_compute").make(run, run.computes[0])
    (cloud.says / "cloud-is-down").touch()
    assert not cloud.run(step.host, step.action, 30).ok


def test_a_hostile_marker_is_text_and_nothing_else(run: Run, cloud: Site) -> None:
    drain(replace(run, owner="a'$(touch hacked)`id`\""), cloud)
    assert cloud.seen("services")[0]["Disabled Reason"] == "tecs-rollback a'$(touch hacked)`id`\""


# ---- A6.2 ------------------------------------------------------------------------------------------------------------


def create(run: Run, site: Site) -> bool:
    return perform(kind("create_and_delete_vm").make(run, run.cluster.daisy), site, run, print).acted


def test_a_vm_is_created_and_removed_once_for_an_installation(run: Run, cloud: Site) -> None:
    before = placed(cloud)
    assert create(run, cloud)
    assert placed(cloud) == before
    assert not create(run, cloud)
    cloud.install(run.cluster.controllers.b, "100", at=9999)
    assert create(run, cloud)


def test_a_vm_that_cannot_be_created_is_told_and_nothing_of_it_is_left(run: Run, cloud: Site) -> None:
    (cloud.says / "no-valid-host").touch()
    before = placed(cloud)
    with pytest.raises(CommandFailed, match="No valid host was found"):
        create(run, cloud)
    assert placed(cloud) == before
    (cloud.says / "no-valid-host").unlink()
    assert create(run, cloud)


def test_a_list_that_cannot_be_read_is_not_taken_for_nothing_left_behind(run: Run, cloud: Site) -> None:
    step = kind("create_and_delete_vm").make(run, run.cluster.daisy)
    (cloud.says / "list-fails").touch()
    assert not cloud.run(step.host, step.action, 30).ok
    assert not any("server create" in line for line in cloud.asked)

"""What is refused before anything changes, each with a message that names the thing and what to do.

Goals are read from a site whose programs are stand-ins; what they refuse is told in one table at the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from include.runbook.cluster import Cluster
from include.runbook.perform import judge
from include.runbook.preconditions import findings
from include.runbook.room import rooms_to_drain
from include.runbook.step import Run, VmPolicy

from .site import A, B, Site, fail_count, failed_action, judged, preference, resource_xml, status_xml

BIN = b"#!/bin/sh\necho the installer\n"


@pytest.fixture
def whole(site: Site) -> Site:
    """A site on which every scenario may begin: A on 100 and active, the others on 101, the installer whole."""
    cluster = site.cluster
    site.install(cluster.controllers.a, "100")
    site.pacemaker(active=A)
    site.write(cluster.daisy, cluster.releases["100"].bin, BIN)
    for file in ("tecs.conf", "mappings.json"):
        site.write(cluster.daisy, f"{cluster.paths.tecs_data}/{cluster.daisy.cluster_id}/{file}", "x")
    site.cloud(
        servers=[{"ID": "1", "Name": "web", "Status": "ACTIVE", "Host": cluster.computes[0].name}],
        services=[service(compute.name) for compute in cluster.computes],
    )
    site.databases(cluster.controllers.a)
    return site


def service(host: str, **other: str) -> dict[str, Any]:
    return {"Binary": "nova-compute", "Host": host, "Status": "enabled", "State": "up"} | other


@pytest.fixture
def known(cluster: Cluster) -> Cluster:
    """The cluster with the checksum of the installer that lies on its Daisy host."""
    release = cluster.releases["100"].model_copy(update={"sha256": hashlib.sha256(BIN).hexdigest()})
    return cluster.model_copy(update={"releases": dict(cluster.releases) | {"100": release}})


@pytest.fixture
def compute_run(run: Run, known: Cluster) -> Run:
    return replace(run, cluster=known)


def refusals(run: Run, site: Site) -> str:
    """Return everything that keeps the run from beginning."""
    return "\n".join(finding.text for finding in findings(run, partial(judged, site)).wanting)


@pytest.mark.parametrize("scenario", ["rollback_cluster", "rollback_controller", "rollback_compute"])
def test_nothing_is_refused_on_a_site_that_is_as_it_should_be(compute_run: Run, whole: Site, scenario: str) -> None:
    everything = replace(compute_run, dag=scenario)
    if scenario == "rollback_cluster":
        everything = replace(everything, computes=compute_run.cluster.computes)
    assert refusals(everything, whole) == ""


def test_the_run_may_begin_without_a_compute_that_it_may_lose(compute_run: Run, whole: Site) -> None:
    three = replace(compute_run, dag="rollback_compute", computes=compute_run.cluster.computes[:3])
    whole.install(three.computes[1], "7")
    assert f"the release of {three.computes[1].name}" in refusals(three, whole)
    assert refusals(replace(three, failures_allowed=1), whole) == ""


def test_nothing_is_changed_by_asking(compute_run: Run, whole: Site) -> None:
    refusals(compute_run, whole)
    assert whole.asked == []


def test_scenario_a_may_begin_with_b_active(compute_run: Run, whole: Site) -> None:
    whole.pacemaker(active=B)
    assert refusals(replace(compute_run, dag="rollback_cluster"), whole) == ""


def test_scenario_a_may_begin_though_the_cloud_does_not_answer_while_b_is_active(compute_run: Run, whole: Site) -> None:
    """It may not answer just because B is active and bad; once A is, it must."""
    whole.program("openstack", "echo 'Internal Server Error (HTTP 500)' >&2; exit 1")
    everything = replace(compute_run, dag="rollback_cluster", computes=compute_run.cluster.computes)
    whole.pacemaker(active=B)
    assert refusals(everything, whole) == ""
    assert "HTTP 500" in refusals(replace(everything, dag="rollback_compute"), whole)
    whole.pacemaker(active=A)
    assert "HTTP 500" in refusals(everything, whole)


@pytest.fixture
def good(compute_run: Run, whole: Site) -> Site:
    """A site on which an upgrade may begin: every node on 100, A active, both installers whole."""
    cluster = compute_run.cluster
    for node in cluster.nodes:
        whole.install(node, "100")
    whole.write(cluster.daisy, cluster.releases["101"].bin, BIN)
    return whole


@pytest.fixture
def upgrade(compute_run: Run) -> Run:
    cluster = compute_run.cluster
    release = cluster.releases["101"].model_copy(update={"sha256": hashlib.sha256(BIN).hexdigest()})
    known = cluster.model_copy(update={"releases": dict(cluster.releases) | {"101": release}})
    return replace(compute_run, cluster=known, target="101", computes=known.computes, dag="upgrade_cluster")


def test_an_upgrade_may_begin_on_a_good_cluster_and_goes_on_where_b_serves_on_the_new_release(
    upgrade: Run, good: Site
) -> None:
    assert refusals(upgrade, good) == ""
    assert refusals(replace(upgrade, dag="upgrade_compute", computes=upgrade.computes[:1]), good) == ""
    good.pacemaker(active=B)
    assert "A is active, or B is, on release 101" in refusals(upgrade, good)
    good.install(upgrade.cluster.controllers.b, "101")
    assert refusals(upgrade, good) == ""


def test_an_upgrade_without_a_way_back_is_refused(upgrade: Run, good: Site) -> None:
    cluster = upgrade.cluster
    good.write(cluster.daisy, cluster.releases["100"].bin, b"half")
    assert "the installer of release 100 is whole" in refusals(upgrade, good)


@pytest.mark.parametrize("scenario", ["rollback_controller", "rollback_compute"])
def test_the_wrong_node_active_is_refused_and_the_right_scenario_is_named(
    compute_run: Run, whole: Site, scenario: str
) -> None:
    whole.pacemaker(active=B)
    told = refusals(replace(compute_run, dag=scenario), whole)
    assert "lb_float_ip is on pcmk_b, not on host-10-43-203-91 (pcmk_a): B is active" in told
    assert "rollback_cluster (scenario A)" in told


def test_no_node_active_is_refused(compute_run: Run, whole: Site) -> None:
    whole.pacemaker(active=None)
    assert "lb_float_ip is started on no node; expected exactly one" in refusals(compute_run, whole)


def test_a_that_is_no_member_of_the_cluster_is_refused(compute_run: Run, whole: Site) -> None:
    whole.tell(whole.cluster.controllers.a, "crm_mon.fails", "")
    assert "Pacemaker does not answer on host-10-43-203-91" in refusals(compute_run, whole)


@pytest.mark.parametrize(
    ("flag", "value"), [("online", "false"), ("standby", "true"), ("maintenance", "true"), ("pending", "true")]
)
def test_a_that_cannot_run_resources_is_refused(compute_run: Run, whole: Site, flag: str, value: str) -> None:
    healthy = '"true" standby="false" maintenance="false" pending="false"'
    ill = {"online": "true", "standby": "false", "maintenance": "false", "pending": "false"} | {flag: value}
    xml = status_xml().replace(f'"{A}" online={healthy}', f'"{A}" ' + " ".join(f'{k}="{v}"' for k, v in ill.items()))
    whole.tell(whole.cluster.controllers.a, "crm_mon.xml", xml)
    assert "(pcmk_a) is not able to run resources" in refusals(compute_run, whole)


def test_both_controllers_claiming_the_float_ip_is_refused(compute_run: Run, whole: Site) -> None:
    whole.tell(whole.cluster.controllers.b, "crm_mon.xml", status_xml(active=B, online=(B,)))
    told = refusals(compute_run, whole)
    assert "host-10-43-203-91 and host-10-43-203-92 do not agree" in told
    assert f"has lb_float_ip on {B}; A has it on {A}" in told


def test_a_float_ip_that_b_does_not_let_go_of_is_refused_in_every_scenario(compute_run: Run, whole: Site) -> None:
    whole.pacemaker(active=B, troubles=failed_action("lb_float_ip_stop_0", B, "timed out"))
    for scenario in ("rollback_cluster", "rollback_controller", "rollback_compute"):
        told = refusals(replace(compute_run, dag=scenario), whole)
        assert f"{B} does not let go of lb_float_ip: its stop failed (timed out)" in told
        assert "`pcs resource cleanup lb_float_ip`" in told


@pytest.mark.parametrize(("count", "refused"), [("INFINITY", True), ("3", True), ("2", False)])
def test_a_resource_that_has_failed_too_often_on_a_keeps_a_from_taking_over(
    compute_run: Run, whole: Site, count: str, refused: bool
) -> None:
    whole.pacemaker(active=B, troubles=fail_count("haproxy", A, count))
    told = refusals(replace(compute_run, dag="rollback_cluster"), whole)
    assert ("haproxy may not run on pcmk_a" in told) is refused


def test_a_resource_that_has_failed_too_often_on_b_keeps_nobody_from_rolling_b_back(
    compute_run: Run, whole: Site
) -> None:
    whole.pacemaker(active=B, troubles=fail_count("haproxy", B, "INFINITY"))
    assert refusals(replace(compute_run, dag="rollback_cluster"), whole) == ""


@pytest.mark.parametrize(("node", "refused"), [(A, True), (B, False)])
def test_b_is_not_rolled_back_while_a_could_not_run_a_resource(
    compute_run: Run, whole: Site, node: str, refused: bool
) -> None:
    whole.pacemaker(active=A, more=resource_xml("db_fs", None), troubles=failed_action("db_fs_start_0", node))
    told = refusals(replace(compute_run, dag="rollback_controller"), whole)
    assert ("could not run db_fs" in told) is refused


def test_a_float_ip_that_pacemaker_does_not_know_is_refused(compute_run: Run, whole: Site) -> None:
    other = compute_run.cluster.model_copy(update={"float_ip_resource": "vip"})
    assert "Pacemaker knows no resource vip" in refusals(replace(compute_run, cluster=other), whole)


@pytest.mark.parametrize(("release", "told"), [("101", "has release 101"), (None, "has no release")])
def test_a_that_is_not_on_the_old_release_is_refused(
    compute_run: Run, whole: Site, release: str | None, told: str
) -> None:
    whole.install(whole.cluster.controllers.a, release)
    assert f"host-10-43-203-91 has release 100: host-10-43-203-91 {told}" in refusals(compute_run, whole)


def test_a_release_that_the_inventory_does_not_know_is_refused(compute_run: Run, whole: Site) -> None:
    whole.install(whole.cluster.computes[0], "99")
    assert "expected one of: '100' (release 100), '101' (release 101)" in refusals(compute_run, whole)


def test_a_probe_that_does_not_run_is_refused(compute_run: Run, whole: Site) -> None:
    whole.program("rpm", "exit 127")
    told = refusals(compute_run, whole)
    assert "the release of host-10-43-203-101 is one of the inventory's: the answer of host-10-43-203-101" in told


def test_a_missing_installer_is_refused_by_its_path(compute_run: Run, whole: Site) -> None:
    file = whole.write(whole.cluster.daisy, whole.cluster.releases["100"].bin, BIN)
    file.unlink()
    assert f"{file} is missing" in refusals(compute_run, whole)


def test_a_corrupt_installer_is_refused_with_both_sums(compute_run: Run, whole: Site) -> None:
    whole.write(whole.cluster.daisy, whole.cluster.releases["100"].bin, BIN + b"x")
    told = refusals(compute_run, whole)
    assert f"is corrupt: its SHA-256 is {hashlib.sha256(BIN + b'x').hexdigest()}" in told
    assert compute_run.cluster.releases["100"].sha256 in told


def test_daisys_missing_data_is_refused(compute_run: Run, whole: Site) -> None:
    folder = f"{whole.cluster.paths.tecs_data}/{whole.cluster.daisy.cluster_id}"
    whole.write(whole.cluster.daisy, f"{folder}/mappings.json", "x").unlink()
    assert "mappings.json" in refusals(compute_run, whole)


def test_a_constraint_that_someone_else_made_is_refused_by_name(compute_run: Run, whole: Site) -> None:
    whole.pacemaker(
        constraints=('<rsc_location id="by-hand" rsc="lb_float_ip" node="pcmk_a" score="9"/>', preference(A))
    )
    assert "foreign: by-hand" in refusals(compute_run, whole)


def alone(site: Site, others: Callable[[str], dict[str, Any]]) -> None:
    first = site.cluster.computes[0]
    site.cloud(
        servers=[{"ID": "1", "Name": "web", "Status": "ACTIVE", "Host": first.name}],
        services=[service(first.name), *(others(c.name) for c in site.cluster.computes[1:])],
    )


@pytest.mark.parametrize("other", [{"State": "down"}, {"Status": "disabled"}], ids=["down", "disabled"])
def test_the_only_compute_with_vms_to_drain_is_refused(compute_run: Run, whole: Site, other: dict[str, str]) -> None:
    alone(whole, lambda name: service(name, **other))
    told = refusals(compute_run, whole)
    assert "1 VMs of host-10-43-203-101 are to move and there is no other compute, up and enabled" in told
    assert "vm_policy accept_outage or node_faulty" in told


@pytest.mark.parametrize("policy", [VmPolicy.ACCEPT_OUTAGE, VmPolicy.NODE_FAULTY])
def test_the_only_compute_is_rolled_back_where_an_outage_is_accepted(
    compute_run: Run, whole: Site, policy: VmPolicy
) -> None:
    alone(whole, lambda name: service(name, State="down"))
    assert refusals(replace(compute_run, vm_policy=policy), whole) == ""


def test_the_only_compute_is_rolled_back_when_it_has_no_vms(compute_run: Run, whole: Site) -> None:
    whole.cloud(servers=[], services=[service(whole.cluster.computes[0].name)])
    assert refusals(compute_run, whole) == ""


def test_a_batch_of_every_compute_has_nowhere_to_go_even_though_all_are_up(compute_run: Run, whole: Site) -> None:
    together = compute_run.cluster.model_copy(update={"batch_size": 6})
    told = refusals(replace(compute_run, cluster=together, computes=together.computes), whole)
    assert "there is no other compute" in told


def crowd(site: Site, flavor: str, count: int, status: str = "ACTIVE") -> None:
    """VMs of one flavor on the first compute, and one more compute of 8 processors and 16 GB."""
    first, second = site.cluster.computes[:2]
    vms = [
        {"ID": str(n), "Name": f"vm-{n}", "Status": status, "Host": first.name, "Flavor Name": flavor}
        for n in range(count)
    ]
    site.cloud(servers=vms, services=[service(first.name), service(second.name)])


def test_vms_that_do_not_fit_on_the_other_computes_are_refused_with_the_figures(compute_run: Run, whole: Site) -> None:
    crowd(whole, "large", 2)
    told = refusals(compute_run, whole)
    assert "2 VMs of host-10-43-203-101 need 16 vCPUs and 32768 MB" in told
    assert "128 vCPUs and 24576 MB are free on host-10-43-203-102" in told
    crowd(whole, "large", 1)
    assert refusals(compute_run, whole) == ""


@pytest.mark.parametrize(("flavor", "status"), [("pinned", "ACTIVE"), ("large", "SHUTOFF")])
def test_vms_that_cannot_be_moved_need_no_room_and_are_asked_about_later(
    compute_run: Run, whole: Site, flavor: str, status: str
) -> None:
    crowd(whole, flavor, 9, status)
    assert refusals(compute_run, whole) == ""


def test_an_answer_for_one_compute_frees_it_alone_from_the_search_for_room(compute_run: Run, whole: Site) -> None:
    crowd(whole, "large", 2)
    first, second = whole.cluster.computes[:2]
    accepting = replace(compute_run, vm_policy={first.name: VmPolicy.ACCEPT_OUTAGE})
    assert refusals(accepting, whole) == ""
    assert "32768 MB" in refusals(replace(compute_run, vm_policy={second.name: VmPolicy.ACCEPT_OUTAGE}), whole)


def test_the_room_of_computes_that_later_batches_drain_is_counted_once(compute_run: Run, whole: Site) -> None:
    """Three computes of 24 GB each with one VM of 16: each batch fits, since the VMs before it have left their place."""
    three = whole.cluster.computes[:3]
    vms = [{"ID": c.name, "Name": c.name, "Status": "ACTIVE", "Host": c.name, "Flavor Name": "large"} for c in three]
    whole.cloud(servers=vms, services=[service(c.name) for c in three])
    cluster = whole.cluster.model_copy(update={"computes": three, "batch_size": 1})
    run = replace(compute_run, cluster=cluster, computes=three, dag="rollback_cluster")
    found = [judge(goal, whole).found for goal in rooms_to_drain(run)]
    assert all("need 8 vCPUs and 16384 MB; 240 vCPUs and 16384 MB are free" in text for text in found)
    divided = cluster.model_copy(update={"drain": cluster.drain.model_copy(update={"migrate_across_releases": False})})
    notes = [judge(goal, whole).found for goal in rooms_to_drain(replace(run, cluster=divided))]
    asked = ["someone will be asked whether VMs may go to the other release" in text for text in notes]
    assert asked == [False, True, True]


def test_a_batch_whose_room_is_on_a_compute_that_comes_back_before_it_does_not_keep_a_run_from_going_on(
    compute_run: Run, whole: Site
) -> None:
    first, second = whole.cluster.computes[:2]
    vm = {"ID": "1", "Name": "web", "Status": "ACTIVE", "Host": second.name, "Flavor Name": "large"}
    whole.cloud(servers=[vm], services=[service(first.name, State="down"), service(second.name)])
    cluster = whole.cluster.model_copy(update={"computes": (first, second), "batch_size": 1})
    run = replace(compute_run, cluster=cluster, computes=(first, second), dag="rollback_cluster")
    later = judge(rooms_to_drain(run)[1], whole)
    assert later.met
    assert f"{first.name} will be back before, and this batch asks again before it begins" in later.found
    assert not judge(rooms_to_drain(run, lost=[first.name])[1], whole).met
    assert "computes_first" not in judge(rooms_to_drain(run, lost=[first.name])[1], whole).found
    batch = replace(run, computes=(second,), dag="rollback_compute")
    assert not judge(rooms_to_drain(batch)[0], whole).met, "asked again, it refuses"


def test_a_compute_that_is_out_of_service_gives_its_room_if_it_goes_first(compute_run: Run, whole: Site) -> None:
    first, second = whole.cluster.computes[:2]
    vm = {"ID": "1", "Name": "web", "Status": "ACTIVE", "Host": first.name, "Flavor Name": "large"}
    whole.cloud(servers=[vm], services=[service(first.name), service(second.name, State="down")])
    cluster = whole.cluster.model_copy(update={"computes": (first, second), "batch_size": 1})
    run = replace(compute_run, cluster=cluster, computes=(first, second), dag="rollback_cluster")
    refused = judge(rooms_to_drain(run)[0], whole)
    assert not refused.met
    assert f"name those that are out of service, {second.name}, in computes_first" in refused.found
    assert all(judge(goal, whole).met for goal in rooms_to_drain(replace(run, computes_first=(second,))))


def test_a_compute_that_is_back_already_need_not_be_drained_again(compute_run: Run, whole: Site) -> None:
    alone(whole, lambda name: service(name, State="down"))
    whole.install(whole.cluster.computes[0], "100")
    assert refusals(compute_run, whole) == ""


def test_a_cloud_that_does_not_answer_is_not_a_cloud_without_vms(compute_run: Run, whole: Site) -> None:
    (whole.says / "cloud-is-down").touch()
    assert "Unable to establish connection" in refusals(compute_run, whole)


def test_the_controllers_scenario_does_not_ask_about_vms(compute_run: Run, whole: Site) -> None:
    (whole.says / "cloud-is-down").touch()
    assert refusals(replace(compute_run, dag="rollback_controller"), whole) == ""


@pytest.mark.parametrize("controller", ["a", "b"])
def test_a_drbd_resource_on_a_site_with_shared_disks_is_refused(whole: Site, compute_run: Run, controller: str) -> None:
    host = getattr(whole.cluster.controllers, controller)
    file = whole.write(host, "/etc/drbd.d/WebData.res", "resource WebData {}")
    told = refusals(replace(compute_run, dag="rollback_controller"), whole)
    assert f"{host.name} has no DRBD resource, but {file}, the inventory says storage share" in told
    assert "WebData" not in refusals(compute_run, whole)


def test_a_site_that_replicates_nothing_although_the_inventory_says_so_is_refused(
    whole: Site, compute_run: Run
) -> None:
    local = compute_run.cluster.model_copy(update={"storage": "local"})
    told = refusals(replace(compute_run, dag="rollback_controller", cluster=local), whole)
    assert f"{local.controllers.a.name} has no DRBD resource, the inventory says storage local" in told

"""The cloud of the cluster lab is a real Nova, and the product's programs and commands for Nova work on it."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from include.cluster_lab.client import ClusterLabClient
from include.cluster_lab.cloud_files import SERVICE_DOWN_AFTER, fresh_nova_conf
from include.cluster_lab.cloud_rest import CloudRest
from include.cluster_lab.site import C1, C2, CLOUD, DAISY, A, SiteHost
from include.runbook.cluster import load_cluster
from include.runbook.shell import Output
from include.runbook.step import Goal, Run, Step, Verdict, kind
from include.runbook.steps.databases import backup_folder, schemas_known
from tests.cluster.conftest import until
from tests.cluster.operation import OPENRC, REACTS, SERVICES, await_service, client, run

pytestmark = pytest.mark.cluster
OPTIONS = ("--scenario", "good")

PROJECT_ROOT = Path(__file__).resolve().parents[2]
NOVA_CONF = "/etc/nova/nova.conf"
REASON = "tecs-rollback rollback_compute/run-1"


@pytest.fixture
def rollback(lab: ClusterLabClient) -> Run:
    cluster = load_cluster(lab.inventory)
    return Run(cluster, cluster.target_release, cluster.computes)


@pytest.fixture
def settings_of_c2(lab: ClusterLabClient) -> Iterator[str]:
    """C2's nova.conf; it and nova-compute are afterwards as they were."""
    kept = run(lab, C2, f"cat {NOVA_CONF}")
    yield kept
    run(lab, C2, f"cat > {NOVA_CONF} && systemctl restart openstack-nova-compute", kept)
    await_service(lab, C2, "up")


# ---- asking the cloud ------------------------------------------------------------------------------------------------


def vms_on(lab: ClusterLabClient, host: SiteHost) -> set[str]:
    return {vm["name"] for vm in lab.state()["vms"] if vm["host"] == host.name and vm["status"] == "ACTIVE"}


def perform(lab: ClusterLabClient, step: Step) -> subprocess.CompletedProcess[str]:
    return lab.run(step.host.name, "sh -s", step.action)


def holds(lab: ClusterLabClient, step: Step) -> bool:
    """Tell whether the step is proven, by its own reads of live state."""
    return found(lab, step.proven_by).met


def found(lab: ClusterLabClient, goal: Goal) -> Verdict:
    """Judge a goal by its own reads of live state."""
    answers = [lab.run(read.host.name, read.command) for read in goal.reads]
    return goal.judge([Output(each.returncode, each.stdout, each.stderr) for each in answers])


def drain(lab: ClusterLabClient, *words: str) -> str:
    """Run the product's program for moving VMs on A, as it is."""
    arguments = " ".join(f"'{word}'" for word in words)
    program = (PROJECT_ROOT / "include/runbook/drain.py").read_text()
    return run(lab, A, f"{OPENRC} && python3 - {arguments}", program)


def order_for(compute: str, per_compute: int = 2, limit: float = 300) -> str:
    return json.dumps(
        {
            "computes": [compute],
            "reason": REASON,
            "faulty": [],
            "anywhere": True,
            "ratios": [16, 1.5],
            "per_compute": per_compute,
            "per_batch": 4,
            "limit": limit,
            "pause": 2,
        }
    )


def homes_on(compute: SiteHost, vms: Iterable[str]) -> str:
    return base64.b64encode("".join(f"{compute.name} {vm}\n" for vm in vms).encode()).decode()


# ---- the cloud -------------------------------------------------------------------------------------------------------


def test_each_compute_begins_with_two_active_vms_and_may_be_scheduled_to(lab: ClusterLabClient) -> None:
    assert [len(vms_on(lab, host)) for host in (C1, C2)] == [2, 2]
    states = {row["Host"]: (row["Status"], row["State"]) for row in client(lab, SERVICES)}
    assert states == {host.name: ("enabled", "up") for host in (C1, C2)}


def test_the_drain_moves_every_vm_by_live_migration_and_brings_it_home_again(lab: ClusterLabClient) -> None:
    here, there = vms_on(lab, C1), vms_on(lab, C2)
    ids = [vm["id"] for vm in lab.state()["vms"] if vm["name"] in here]

    told = drain(lab, "empty", order_for(C1.name), "", "")

    assert "2 of them can be moved" in told and "stays" not in told
    assert (vms_on(lab, C1), vms_on(lab, C2)) == (set(), here | there)
    disabled = {row["Host"]: row["Disabled Reason"] for row in client(lab, SERVICES) if row["Status"] == "disabled"}
    assert disabled == {C1.name: REASON}

    drain(lab, "give-back", order_for(C1.name))
    drain(lab, "bring-home", order_for(C1.name), homes_on(C1, ids))

    assert (vms_on(lab, C1), vms_on(lab, C2)) == (here, there)
    assert {row["Status"] for row in client(lab, SERVICES)} == {"enabled"}


def test_a_migration_that_hangs_is_aborted_at_its_limit_and_its_vm_stays(lab: ClusterLabClient) -> None:
    here = {vm["id"] for vm in lab.state()["vms"] if vm["host"] == C1.name}
    nova = CloudRest(CLOUD.address)
    order = order_for(C1.name, per_compute=1, limit=15)

    def told_of(path: str, key: str, value: str) -> set[str]:
        """The VMs of C1 in whose own list at `path` some row has the value."""
        lists = {vm: next(iter(nova.get("nova", f"/v2.1/servers/{vm}/{path}").values())) for vm in here}
        return {vm for vm, rows in lists.items() if any(row[key] == value for row in rows)}

    def running() -> set[str]:
        return told_of("migrations", "status", "running")

    def aborted() -> set[str]:
        return told_of("os-instance-actions", "action", "live_migration_cancel")

    with ThreadPoolExecutor() as pool:
        drained = pool.submit(drain, lab, "empty", order, "", "")
        until(lambda: bool(running()), "a migration is running", REACTS)
        run(lab, C1, "systemctl kill --signal=STOP openstack-nova-compute")
        try:
            until(lambda: bool(aborted()), "the drain has ordered to abort it", REACTS)
        finally:
            run(lab, C1, "systemctl kill --signal=CONT openstack-nova-compute")
        told = drained.result()

    (stays,) = aborted()
    assert f"stays {stays} on {C1.name}" in told and "it was aborted" in told
    assert [vm["id"] for vm in lab.state()["vms"] if vm["host"] == C1.name] == [stays]
    drain(lab, "give-back", order)
    drain(lab, "bring-home", order, homes_on(C1, here))


def test_the_drain_reads_what_each_vm_needs_and_what_each_compute_has(lab: ClusterLabClient) -> None:
    listed = json.loads(drain(lab, "list", C1.name))
    assert {(vm["name"], vm["vcpus"], vm["ram"], vm["reason"]) for vm in listed} == {
        (name, 1, 64, "") for name in vms_on(lab, C1)
    }
    rooms = json.loads(drain(lab, "room", "1", "1"))
    assert set(rooms) == {C1.name, C2.name}
    assert all(room["vcpus"] > 0 and room["ram"] > 0 for room in rooms.values())


def test_a_vm_is_created_and_deleted(lab: ClusterLabClient) -> None:
    create = "server create --flavor m1.tiny --image cirros --nic none --wait trial -f json"
    vm = client(lab, f"openstack --os-compute-api-version 2.37 {create}")
    assert vm["status"] == "ACTIVE"
    assert {each["name"] for each in lab.state()["vms"]} > {"trial"}
    run(lab, A, f"{OPENRC} && openstack server delete --wait {vm['id']}")
    assert "trial" not in {each["name"] for each in lab.state()["vms"]}


def test_the_real_client_makes_no_vm_without_a_network_before_version_2_37(lab: ClusterLabClient) -> None:
    done = lab.run(A.name, f"{OPENRC} && openstack server create --flavor m1.tiny --image cirros --nic none trial")
    assert (done.returncode, done.stderr.strip()) == (1, "nics must be a list or a tuple, not <class 'str'>")


# ---- a compute's services --------------------------------------------------------------------------------------------


def test_the_cloud_sees_a_stopped_nova_compute_down_and_a_restarted_one_up(lab: ClusterLabClient) -> None:
    run(lab, C2, "systemctl stop openstack-nova-compute")
    stopped = time.monotonic()
    await_service(lab, C2, "down")
    assert time.monotonic() - stopped > SERVICE_DOWN_AFTER / 2, "it was not seen up before"
    run(lab, C2, "openstack-service restart && systemctl restart openstack-nova-storage")
    await_service(lab, C2, "up")


def test_a_fresh_nova_conf_that_the_product_has_repaired_lets_the_real_nova_compute_start(
    lab: ClusterLabClient, rollback: Run, settings_of_c2: str
) -> None:
    compute = rollback.cluster.compute(C2.name)
    old = NOVA_CONF.replace("nova.conf", "nova_old.conf")
    run(lab, C2, f"cat > {old}", settings_of_c2)
    run(lab, C2, f"cat > {NOVA_CONF}", fresh_nova_conf(C2.address))
    repair, restart, verify = (
        kind(name).make(rollback, compute)
        for name in ("repair_nova_conf", "restart_compute_services", "verify_compute_services")
    )

    for step in (repair, restart):
        done = perform(lab, step)
        assert done.returncode == 0, done.stderr

    lines = {line.replace(" = ", "=") for line in run(lab, C2, f"cat {NOVA_CONF}").splitlines()}
    assert {"vcpu_pin_set=4-23,28-47", f"vncserver_proxyclient_address={C2.name}.STORAGE"} <= lines
    assert holds(lab, restart)
    until(lambda: holds(lab, verify), "nova-compute is up with the repaired nova.conf", REACTS)
    run(lab, C2, f"rm {old}")


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param("pci_passthrough_whitelist={no json", id="before systemd takes the restart for done"),
        pytest.param("reserved_huge_pages=4", id="after systemd has taken the restart for done"),
    ],
)
def test_a_carried_over_setting_that_nova_cannot_read_is_found_out(
    lab: ClusterLabClient, rollback: Run, settings_of_c2: str, setting: str
) -> None:
    compute = rollback.cluster.compute(C2.name)
    assert rollback.cluster.carry_over.table("dvs")[f"DEFAULT/{setting.partition('=')[0]}"] == "restore"
    run(lab, C2, f"cat > {NOVA_CONF}", settings_of_c2.replace("[DEFAULT]\n", f"[DEFAULT]\n{setting}\n", 1))
    restart, verify = (
        kind(name).make(rollback, compute) for name in ("restart_compute_services", "verify_compute_services")
    )

    perform(lab, restart)

    await_service(lab, C2, "down")
    assert not holds(lab, verify)


def test_a_schema_that_the_old_release_does_not_know_is_refused_and_can_be_backed_up_whole(
    lab: ClusterLabClient, rollback: Run
) -> None:
    assert found(lab, schemas_known(rollback)).met
    old = rollback.cluster.releases[rollback.target]
    behind = old.model_copy(update={"schemas": {**old.schemas, "neutron": ("0e66c5227a8a",)}})
    cluster = rollback.cluster.model_copy(update={"releases": {rollback.target: behind}})
    refused = replace(rollback, cluster=cluster, dag="rollback_controller")
    verdict = found(lab, schemas_known(refused))
    assert not verdict.met
    assert verdict.found.startswith("neutron at ")

    accepted = replace(refused, accept_newer_schema=True)
    for name in ("pin_host_keys", "back_up_databases"):
        step = kind(name).make(accepted, cluster.daisy)
        done = perform(lab, step)
        assert done.returncode == 0, done.stderr
        assert holds(lab, step)
    dumps = run(lab, DAISY, f"cd {backup_folder(accepted)} && gunzip -c keystone.sql.gz && ls").splitlines()
    assert any("INSERT INTO `user`" in line for line in dumps)
    assert {f"{name}.sql.gz" for name in old.schemas} <= set(dumps)


def test_a_scenario_that_begins_again_finds_new_vms_on_enabled_computes(lab: ClusterLabClient) -> None:
    before = {vm["id"] for vm in lab.state()["vms"]}
    run(lab, A, f"{OPENRC} && openstack compute service set --disable {C1.name} nova-compute")
    lab.begin("good")
    assert not before & {vm["id"] for vm in lab.state()["vms"]}
    assert [len(vms_on(lab, host)) for host in (C1, C2)] == [2, 2]
    assert {row["Status"] for row in client(lab, SERVICES)} == {"enabled"}

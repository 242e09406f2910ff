from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.lab.cinder_files import array
from include.lab.errors import LabError
from include.lab.lab import prepare_state
from include.lab.topology import make_inventory, read_site
from tests.standins.site import DVS, OLD_BIN, OVS, A, B, TrialSite

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("host", "command", "status", "said"),
    [
        (A, "rpm -q --qf '%{RELEASE}' openstack-nova-common", 0, "100"),
        (B, "rpm -q --qf '%{RELEASE}\\n' openstack-nova-common", 0, "101\n"),
        (
            "daisy",
            "rpm -q --qf '%{RELEASE}' openstack-nova-common",
            1,
            "package openstack-nova-common is not installed",
        ),
        (A, "rpm -e openstack-nova-common", 1, "-e: unknown option"),
        (A, "systemctl is-active pacemaker.service", 0, "active\n"),
        (OVS, "systemctl is-enabled openstack-nova-storage", 1, "disabled\n"),
        (OVS, "systemctl status nosuch", 4, "Unit nosuch.service could not be found."),
        (OVS, "systemctl restart nosuch", 5, "Unit nosuch.service not found."),
        (OVS, "systemctl frobnicate", 1, "Unknown operation 'frobnicate'."),
        (OVS, "openstack-service frob", 1, "Usage: openstack-service"),
        (A, "hostname", 0, A),
        (A, "openstack server list", 1, "Missing value auth-url required for auth plugin password"),
        (A, "python -c 'print(6 * 7)'", 0, "42"),
    ],
)
def test_programs_answer_as_the_real_ones_do(site: TrialSite, host: str, command: str, status: int, said: str) -> None:
    answer = site.run(host, command)
    assert (answer.returncode, said in answer.stdout + answer.stderr) == (status, True), answer


def test_a_stopped_unit_is_inactive_with_status_3(site: TrialSite) -> None:
    site.run(OVS, "systemctl stop openstack-nova-compute")
    answer = site.run(OVS, "systemctl is-active openstack-nova-compute")
    assert (answer.returncode, answer.stdout) == (3, "inactive\n")


def test_openstack_service_leaves_a_unit_that_is_not_enabled_alone(site: TrialSite) -> None:
    site.run(OVS, "systemctl stop openstack-nova-storage openstack-nova-compute")
    assert site.run(OVS, "openstack-service restart").returncode == 0
    units = site.settled().machines[OVS].units
    assert (units["openstack-nova-compute"].state, units["openstack-nova-storage"].state) == ("active", "inactive")


def test_nova_compute_does_not_start_without_a_nova_conf(site: TrialSite) -> None:
    answer = site.run(OVS, "rm @/etc/nova/nova.conf; systemctl restart openstack-nova-compute")
    assert (answer.returncode, "control process exited with error code" in answer.stderr) == (1, True)
    services = json.loads(site.openstack(f"compute service list --service nova-compute --host {OVS} -f json").stdout)
    assert services[0]["State"] == "down"


def test_servers_are_listed_with_the_clients_own_columns(site: TrialSite) -> None:
    servers = json.loads(site.openstack(f"server list --all-projects --long --host {OVS} -f json").stdout)
    assert [(each["Status"], each["Host"], each["Power State"]) for each in servers] == [("ACTIVE", OVS, 1)] * 2


def test_a_live_migration_takes_an_enabled_compute_that_is_up(site: TrialSite) -> None:
    vm = site.lab.state()["vms"][0]
    answer = site.openstack(f"server migrate --live-migration --os-compute-api-version 2.30 --wait {vm['id']}")
    assert (answer.returncode, answer.stdout) == (0, "Complete\n")
    assert site.settled().vms[vm["id"]].host == DVS


def test_a_live_migration_without_a_target_finds_no_valid_host(site: TrialSite) -> None:
    site.openstack(f"compute service set --disable --disable-reason why {DVS} nova-compute")
    vm = site.lab.state()["vms"][0]["id"]
    answer = site.openstack(f"server migrate --live-migration --wait {vm}")
    assert (answer.returncode, "No valid host was found" in answer.stderr) == (1, True)


def test_a_vm_can_refuse_one_migration(site: TrialSite) -> None:
    vm = site.lab.state()["vms"][0]["name"]
    site.lab.fault({"vm": vm, "do": "refuse_migration"})
    first, second = (site.openstack(f"server migrate --live-migration --wait {vm}").returncode for _ in range(2))
    assert (first, second) == (1, 0)


def test_a_disabled_service_shows_its_reason(site: TrialSite) -> None:
    site.openstack(f"compute service set --disable --disable-reason 'rollback 7' {OVS} nova-compute")
    services = json.loads(site.openstack("compute service list --service nova-compute --long -f json").stdout)
    shown = {each["Host"]: (each["Status"], each["Disabled Reason"]) for each in services}
    assert shown == {OVS: ("disabled", "rollback 7"), DVS: ("enabled", None)}


def test_a_server_is_created_shown_and_deleted(site: TrialSite) -> None:
    created = site.openstack(
        "server create --flavor m1.tiny --image cirros --nic none --os-compute-api-version 2.37 --wait trial -f json"
    )
    assert json.loads(created.stdout)["status"] == "ACTIVE"
    assert json.loads(site.openstack("server show trial -f json").stdout)["OS-EXT-SRV-ATTR:host"] in (OVS, DVS)
    assert site.openstack("server delete --wait trial").returncode == 0
    assert site.openstack("server show trial -f json").returncode == 1


def test_a_compute_whose_host_is_down_is_down_to_nova(site: TrialSite) -> None:
    site.lab.fault({"host": OVS, "do": "down"})
    services = json.loads(site.openstack(f"compute service list --host {OVS} -f json").stdout)
    assert services[0]["State"] == "down"


def vm_of(site: TrialSite, compute: str) -> dict[str, Any]:
    return next(vm for vm in site.lab.state()["vms"] if vm["host"] == compute)


def test_a_migration_that_hangs_is_listed_and_ends_where_it_began_when_it_is_aborted(site: TrialSite) -> None:
    vm = vm_of(site, OVS)["id"]
    site.lab.fault({"vm": vm, "do": "hang_migration"})
    site.openstack(f"server migrate --live-migration {vm}")
    site.settled()
    assert vm_of(site, OVS)["status"] == "MIGRATING"
    listed = site.openstack(f"server migration list --server {vm} -f json --os-compute-api-version 2.30")
    number = json.loads(listed.stdout)[0]["Id"]
    old = site.openstack(f"server migration abort {vm} {number}")
    assert "2.24 or greater is required" in old.stderr
    assert site.openstack(f"--os-compute-api-version 2.24 server migration abort {vm} {number}").returncode == 0
    assert (vm_of(site, OVS)["id"], vm_of(site, OVS)["status"]) == (vm, "ACTIVE")


def test_a_migration_that_nova_gives_up_leaves_the_vm_where_it_was(site: TrialSite) -> None:
    vm = vm_of(site, OVS)["id"]
    site.lab.fault({"vm": vm, "do": "fail_migration"})
    assert site.openstack(f"server migrate --live-migration {vm}").returncode == 0
    site.settled()
    assert (vm_of(site, OVS)["id"], vm_of(site, OVS)["status"]) == (vm, "ACTIVE")


def test_a_target_may_be_named_from_version_2_30_on(site: TrialSite) -> None:
    vm = vm_of(site, OVS)["id"]
    assert "2.30 or greater" in site.openstack(f"server migrate --live-migration --host {DVS} {vm}").stderr
    command = f"server migrate --live-migration --host {DVS} --os-compute-api-version 2.30 {vm}"
    assert site.openstack(command).returncode == 0


def test_hypervisors_have_figures_up_to_version_2_87_and_servers_flavor_ids_up_to_2_46(site: TrialSite) -> None:
    with_figures = json.loads(site.openstack("hypervisor list --long -f json").stdout)[0]
    without = json.loads(site.openstack("hypervisor list --long -f json --os-compute-api-version 2.88").stdout)[0]
    assert (with_figures["vCPUs Used"], with_figures["Memory MB Used"]) == (2, 1536)
    assert without["vCPUs Used"] is None
    flavors = json.loads(site.openstack("flavor list --all --long -f json").stdout)
    old = json.loads(site.openstack("server list --all-projects --long --limit -1 -f json").stdout)[0]
    assert old["Flavor ID"] in {flavor["ID"] for flavor in flavors}
    new = json.loads(site.openstack("server list --long -f json --os-compute-api-version 2.47").stdout)[0]
    assert ("Flavor ID" in new, new["Flavor"]) == (False, "m1.tiny")


def test_a_vm_may_be_pinned_or_in_any_state(site: TrialSite) -> None:
    vm = vm_of(site, OVS)["name"]
    site.lab.fault({"vm": vm, "do": "pin"})
    site.lab.fault({"vm": vm, "do": "become", "status": "SHUTOFF"})
    row = next(row for row in json.loads(site.openstack("server list --long -f json").stdout) if row["Name"] == vm)
    assert (row["Flavor Name"], row["Status"]) == ("m1.pinned", "SHUTOFF")


def test_storage_auto_config_works_only_from_its_own_directory(site: TrialSite) -> None:
    script = "home/tecs_install/storage_auto_config"
    wrong = site.run(A, f"python @/{script}/storage_auto_config.py cinder_conf 10.0.0.1")
    right = site.run(A, f"cd @/{script} && python storage_auto_config.py cinder_conf 10.0.0.1")
    assert "----------Operation cinder_conf is Failed.----------" in wrong.stdout
    assert "----------Operation cinder_conf is done!----------" in right.stdout
    assert "<LocalIP>10.0.0.1</LocalIP>" in site.run(A, "cat @/etc/cinder/cinder_zte_conf.xml").stdout


@pytest.mark.parametrize(
    ("driver", "file"),
    [
        ("KS3200_IPSAN", "cinder_zte_conf_file_KS3200_IPSAN-7.xml"),
        ("KS3200_FCSAN", "cinder_zte_conf_file_KS3200_FCSAN-7.xml"),
        ("FUJISTU_ETERNUS", "cinder_fujitsu_eternus_dx_FUJISTU_ETERNUS-7.xml"),
        ("CEPH", ""),
        ("LVM", ""),
    ],
)
def test_cinder_conf_knows_the_five_drivers(site: TrialSite, driver: str, file: str) -> None:
    settings = json.dumps({"disk_array": [array(driver, 7, "10.43.177.7")]})
    script = "home/tecs_install/storage_auto_config"
    site.run(A, f"cat > @/{script}/base/cinder.json", stdin=settings)
    site.run(A, f"cd @/{script} && python storage_auto_config.py cinder_conf 10.0.0.1")
    etc = site.state / "hosts" / A / "etc/cinder"
    assert f"enabled_backends = lvm,{driver}-7\n" in (etc / "cinder.conf").read_text()
    assert (etc / file).exists()
    effects = [json.loads(line)["effect"] for line in (site.state / "journal.jsonl").read_text().splitlines()]
    assert effects[-2:] == ["openstack-cinder-volume is active", "multipathd is active"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [("fail", "----------Operation cinder_conf is Failed.----------"), ("partial", "is done!")],
)
def test_cinder_conf_can_fail_or_leave_a_back_end_out_with_status_0(site: TrialSite, fault: str, said: str) -> None:
    site.lab.fault({"cinder_conf": fault})
    done = site.run(
        A, "cd @/home/tecs_install/storage_auto_config && python storage_auto_config.py cinder_conf 10.0.0.1"
    )
    assert (done.returncode, said in done.stdout) == (0, True)
    conf = site.run(A, "cat @/etc/cinder/cinder.conf").stdout
    assert ("KS3200_FCSAN-1" in conf) == (fault == "fail"), "a failure changes nothing"


def test_share_disk_is_a_violation(site: TrialSite) -> None:
    site.run(A, "cd @/home/tecs_install/storage_auto_config && python storage_auto_config.py share_disk 10.0.0.1")
    assert [each["audit"] for each in site.lab.state()["violations"]] == ["share_disk called"]


def test_the_inventory_in_the_repository_is_the_default_lab() -> None:
    assert yaml.safe_load((ROOT / "include/clusters/lab.yaml").read_text()) == make_inventory()


def test_the_bins_on_the_daisy_host_have_the_inventorys_checksum(site: TrialSite) -> None:
    found = hashlib.sha256((site.state / "hosts/daisy" / OLD_BIN).read_bytes()).hexdigest()
    assert found == make_inventory()["releases"]["100"]["sha256"]


def test_two_hundred_computes_have_two_hundred_addresses() -> None:
    site = read_site(make_inventory("big", "127.5", 200))
    assert len({host.address for host in site.hosts} | set(site.virtual_ips)) == 205


def test_addresses_beyond_loopback_are_refused() -> None:
    with pytest.raises(LabError, match="not a loopback address"):
        make_inventory(network="10.0")


def test_a_directory_that_is_not_a_labs_is_never_wiped(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(LabError, match="was not made by the lab"):
        prepare_state(tmp_path)


def test_tecs_conf_is_long_and_has_bytes_that_are_not_utf_8(site: TrialSite) -> None:
    path = next((site.state / "hosts/daisy/var/lib/daisy/tecs").glob("*/tecs.conf"))
    content = path.read_bytes()
    assert 1300 < content.count(b"\n") < 1500
    with pytest.raises(UnicodeDecodeError):
        content.decode()


@pytest.mark.parametrize(
    "fault",
    [
        {"nonsense": 1},
        {"installer": "explode"},
        {"cinder_conf": "explode"},
        {"ssh": {"host": "nobody"}, "do": "exit"},
        {"ssh": {"match": "("}, "do": "exit"},
        {"vm": "nobody", "do": "refuse_migration"},
        {"host": A, "do": "sideways"},
        {"installer": "hang", "colour": "red"},
    ],
)
def test_a_fault_of_the_wrong_form_is_refused(site: TrialSite, fault: dict[str, object]) -> None:
    with pytest.raises(LabError):
        site.lab.fault(fault)

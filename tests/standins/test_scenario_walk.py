"""Scenario A walked by hand with the runbook's own commands over SSH, in both isolations."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from include.lab.client import LabClient
from include.lab.isolation import namespace_obstacle
from include.lab.topology import make_inventory
from tests.loopback import free_network

BIN = "ZXTECS_V02.16.11_P7B1_I100_installtecs_el7_noarch.bin"


class Operator:
    """Somebody who types the runbook's commands on a lab."""

    def __init__(self, lab: LabClient) -> None:
        self.lab = lab
        self.inventory = yaml.safe_load(lab.inventory.read_text())
        self.daisy = self.inventory["daisy"]
        self.a, self.b = self.inventory["controllers"]["a"], self.inventory["controllers"]["b"]
        self.computes = self.inventory["computes"]

    def run(self, host: dict[str, str], command: str) -> str:
        """The output of a command that must succeed; `@` stands for the host's root directory."""
        answer = self.lab.run(host["name"], command.replace("@", host.get("root", "")))
        assert answer.returncode == 0, f"{host['name']}: {command}: {answer.stdout}{answer.stderr}"
        return answer.stdout

    def openstack(self, command: str) -> str:
        return self.run(self.a, f". @/root/keystonerc_admin; openstack {command}")

    def stage_the_bin(self, host: dict[str, str]) -> None:
        source = f"{self.daisy.get('root', '')}/home/tecs_releases/{BIN}"
        target = f"{host.get('root', '')}/home/tecs_update/100"
        relay = self.lab.run(self.daisy["name"], f"base64 {shlex.quote(source)}")
        command = f"mkdir -p {target} && base64 -d > {target}/{BIN} && chmod +x {target}/{BIN}"
        assert self.lab.run(host["name"], command, stdin=relay.stdout).returncode == 0

    def trust(self, addresses: list[str]) -> None:
        for address in addresses:
            name = f"[{address}]:2222"
            self.run(self.daisy, f"ssh-keygen -R {shlex.quote(name)} -f @/root/.ssh/known_hosts")
            self.run(self.daisy, f"ssh-keyscan -p 2222 -t ed25519 {address} >> @/root/.ssh/known_hosts 2>/dev/null")

    def install(self, excluded: list[dict[str, str]]) -> str:
        data = f"@/var/lib/daisy/tecs//{self.daisy['cluster_id']}"
        names = ",".join(host["address"] for host in excluded)
        self.run(
            self.daisy, f"mkdir -p @/home/tecs_install && cp {data}/tecs.conf {data}/mappings.json @/home/tecs_install"
        )
        edits = f"-e 's/^EXCLUDE_SERVERS = .*/EXCLUDE_SERVERS = {names}/'"
        mappings = "CONFIG_NEUTRON_ML2_JSON_PATH"
        edits += f" -e 's#^{mappings} = .*#{mappings} = @/home/tecs_install/mappings.json#'"
        self.run(self.daisy, f"LC_ALL=C sed -i {edits} @/home/tecs_install/tecs.conf")
        return self.run(self.daisy, f"@/home/tecs_update/100/{BIN} conf_file @/home/tecs_install/tecs.conf")

    def release(self, host: dict[str, str]) -> str:
        return self.run(host, "rpm -q --qf '%{RELEASE}' openstack-nova-common")


@pytest.fixture(params=["userns", "path"])
def operator(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Operator]:
    isolation = request.param
    if isolation == "userns" and (obstacle := namespace_obstacle(tmp_path)):
        pytest.skip(f"user namespaces do not work here: {obstacle}")
    inventory = tmp_path / "walk.yaml"
    inventory.write_text(yaml.safe_dump(make_inventory("walk", free_network())))
    with LabClient.start(inventory, tmp_path / "state", "--isolation", isolation, "--pace", "500") as lab:
        yield Operator(lab)


def test_a_cluster_comes_back_to_the_old_release_with_the_runbooks_commands(operator: Operator) -> None:
    do, a, b = operator, operator.a, operator.b
    # A1, A2: switch to A and keep the float IP off B.
    a_node = do.run(a, "crm_node -n").strip()
    do.run(a, "pcs resource clear lb_float_ip")
    do.run(a, f"pcs resource move lb_float_ip {a_node}")
    do.run(a, "pcs resource ban lb_float_ip " + b["name"].replace("-", "_"))
    assert do.lab.state()["cluster"]["active"] == a["name"]
    # A3: stage.
    for host in (do.daisy, b, *do.computes):
        do.stage_the_bin(host)
    virtual = do.inventory["virtual_ips"]
    # A4: one compute after the other.
    for compute in do.computes:
        name = compute["name"]
        do.openstack(f"compute service set --disable --disable-reason walk {name} nova-compute")
        for vm in [vm for vm in do.lab.state()["vms"] if vm["host"] == name]:
            do.openstack(f"server migrate --live-migration --os-compute-api-version 2.30 --wait {vm['id']}")
        do.run(compute, f"@/home/tecs_update/100/{BIN} clean")
        do.trust([compute["address"], *virtual])
        others = [host for host in do.computes if host is not compute]
        assert " **** Installation completed successfully ******" in do.install([a, b, *others])
        do.run(compute, "openstack-service restart && systemctl restart openstack-nova-storage")
        do.openstack(f"compute service set --enable {name} nova-compute")
        assert do.release(compute) == "100"
    # A5: B.
    do.run(b, f"@/home/tecs_update/100/{BIN} clean")
    do.trust([b["address"], *virtual])
    assert "completed successfully" in do.install([a, *do.computes])
    saved = do.run(a, "cat @/home/tecs_install/storage_auto_config/base/cinder.json")
    where = f"{b.get('root', '')}/home/tecs_install/storage_auto_config"
    do.lab.run(b["name"], f"cat > {where}/base/cinder.json", stdin=saved)
    done = do.run(b, f"cd {where} && python storage_auto_config.py cinder_conf 127.1.0.100")
    assert "----------Operation cinder_conf is done!----------" in done
    assert "enabled_backends = lvm,KS3200_IPSAN-1" in do.run(b, "cat @/etc/cinder/cinder.conf")
    for file in ("etc/corosync/corosync.conf", "var/lib/pcsd/ip_name.conf", "var/lib/pcsd/pcs_settings.conf"):
        do.lab.run(b["name"], f"cat > {b.get('root', '')}/{file}", stdin=do.run(a, f"cat @/{file}"))
    do.run(b, "pcs cluster start")
    do.run(b, "systemctl is-active pacemaker.service")
    do.run(a, "pcs resource clear lb_float_ip")
    do.run(a, "pcs property set maintenance-mode=false")
    # A6: a switchover there and back, and a new VM.
    do.run(a, "pcs resource move lb_float_ip " + b["name"].replace("-", "_"))
    do.run(b, f"pcs resource move lb_float_ip {a_node}")
    assert '"status": "ACTIVE"' in do.openstack(
        "server create --flavor m1.tiny --image cirros --nic none --os-compute-api-version 2.37 --wait new -f json"
    )
    truth = do.lab.state()
    assert truth["violations"] == []
    assert {host["release"] for host in truth["hosts"].values() if host["role"] != "daisy"} == {"100"}
    assert truth["cluster"]["active"] == a["name"]
    assert len(truth["cluster"]["online"]) == 2
    assert truth["cluster"]["constraints"] == []
    assert {vm["status"] for vm in truth["vms"]} == {"ACTIVE"}

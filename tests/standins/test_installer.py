from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from include.lab.client import LabClient
from include.lab.ending import end_processes_of
from include.lab.topology import make_inventory
from tests.loopback import free_network
from tests.standins.site import OLD_BIN, OVS, A, B, TrialSite

SUCCESS = " **** Installation completed successfully ******"
NETWORK = free_network()


class InstallingLab:
    """A lab with SSH in which the OVS compute is clean, the bin staged and known_hosts true."""

    def __init__(self, lab: LabClient) -> None:
        self.lab = lab
        self.tree = lab.state_dir / "hosts"
        self.daisy_root = self.tree / "daisy"
        self.bin = self.daisy_root / "home/staged" / Path(OLD_BIN).name
        self.bin.parent.mkdir()
        self.bin.write_bytes((self.daisy_root / OLD_BIN).read_bytes())
        self.bin.chmod(0o755)
        self.a, self.b, self.compute, self.dvs = (
            f"host-{NETWORK.replace('.', '-')}-0-{number}" for number in (11, 12, 21, 22)
        )
        self.known_hosts = self.daisy_root / "root/.ssh/known_hosts"
        self.conf = self.daisy_root / "home/tecs_install/tecs.conf"
        source = next((self.daisy_root / "var/lib/daisy/tecs").glob("*/tecs.conf"))
        mappings = source.with_name("mappings.json")
        text = source.read_bytes().decode("latin-1")
        excluded = ",".join(f"{NETWORK}.0.{number}" for number in (11, 12, 22))
        text = text.replace("EXCLUDE_SERVERS = \n", f"EXCLUDE_SERVERS = {excluded}\n")
        old = next(line for line in text.splitlines() if line.startswith("CONFIG_NEUTRON_ML2_JSON_PATH"))
        self.conf.write_bytes(text.replace(old, f"CONFIG_NEUTRON_ML2_JSON_PATH = {mappings}").encode("latin-1"))

    def trust_everybody(self) -> None:
        names = [f"{NETWORK}.0.{number}" for number in (21, 100, 101)]
        scan = self.lab.run("daisy", f"ssh-keyscan -p 2222 -t ed25519 {' '.join(names)} 2>/dev/null")
        self.known_hosts.write_text(scan.stdout)

    def clean(self) -> None:
        for vm in self.lab.state()["vms"]:
            if vm["host"] == self.compute:
                self.openstack(f"server migrate --live-migration --wait {vm['id']}")
        source = self.bin.read_bytes()
        staged = self.tree / self.compute / "home/staged.bin"
        staged.write_bytes(source)
        staged.chmod(0o755)
        assert self.lab.run(self.compute, f"{staged} clean").returncode == 0

    def openstack(self, command: str) -> str:
        return self.lab.run(self.a, f". $HOME/keystonerc_admin; openstack {command}").stdout

    def install(self) -> subprocess.CompletedProcess[str]:
        return self.lab.run("daisy", f"{self.bin} conf_file {self.conf}")

    def begin_install(self) -> Path:
        log = self.daisy_root / "home/install.log"
        log.unlink(missing_ok=True)
        self.lab.run("daisy", f"setsid {self.bin} conf_file {self.conf} > {log} 2>&1 < /dev/null & true")
        return log


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstallingLab]:
    directory = tmp_path_factory.mktemp("installing")
    inventory = directory / "installing.yaml"
    inventory.write_text(yaml.safe_dump(make_inventory("installing", NETWORK)))
    with LabClient.start(inventory, directory / "state", "--isolation", "path", "--pace", "1000") as lab:
        installing = InstallingLab(lab)
        installing.trust_everybody()
        installing.clean()
        yield installing


@pytest.fixture
def ready(served: InstallingLab) -> Iterator[InstallingLab]:
    """The prepared lab; what the test changes is put back, and what it left running is ended."""
    before = {
        path: path.read_bytes() for path in (served.lab.state_dir / "world.json", served.known_hosts, served.conf)
    }
    yield served
    end_processes_of(served.lab.state_dir)
    for path, content in before.items():
        path.with_name("put-back").write_bytes(content)
        path.with_name("put-back").replace(path)


def wait_for(log: Path, text: str) -> None:
    deadline = time.monotonic() + 20
    while not (log.exists() and text in log.read_text(errors="replace")):
        assert time.monotonic() < deadline, f"{text!r} is not in {log}"
        time.sleep(0.02)


def test_an_installation_is_proven_on_the_node_and_gives_it_a_new_host_key(ready: InstallingLab) -> None:
    before = ready.lab.run("daisy", f"ssh-keyscan -p 2222 {NETWORK}.0.21 2>/dev/null").stdout
    answer = ready.install()
    assert (answer.returncode, answer.stdout.splitlines()[-1]) == (0, SUCCESS)
    assert "Adding post install manifest entries                 [ DONE ]\n" in answer.stdout
    host = ready.lab.state()["hosts"][ready.compute]
    assert (host["release"], host["complete"]) == ("100", True)
    after = ready.lab.run("daisy", f"ssh-keyscan -p 2222 {NETWORK}.0.21 2>/dev/null").stdout
    assert before != after
    conf = (ready.tree / ready.compute / "etc/nova/nova.conf").read_text()
    assert "\ncompute_manager=nova.compute.manager.ComputeManager\n" in conf
    assert "\nvncserver_proxyclient_address=127.0.0.1\n" in conf
    assert "reserved_huge_pages" not in conf


def test_progress_can_be_counted_as_daisy_does(ready: InstallingLab) -> None:
    ready.install()
    packstack = ready.daisy_root / "var/tmp/packstack"
    cluster_id = make_inventory()["daisy"]["cluster_id"]
    run = Path((packstack / cluster_id).read_text().splitlines()[0])
    manifests = run / "manifests"
    assert len(list(manifests.glob("*.log"))) == len(list(manifests.glob("*.pp"))) == 5


def test_a_changed_host_key_ends_at_a_password_prompt_for_ever(ready: InstallingLab) -> None:
    lines = ready.known_hosts.read_text().splitlines()
    mine, other = (next(line for line in lines if f".{number}]" in line) for number in (21, 100))
    stale = " ".join([mine.split()[0], *other.split()[1:]])
    ready.known_hosts.write_text("\n".join(stale if line == mine else line for line in lines) + "\n")
    log = ready.begin_install()
    wait_for(log, "password: ")
    assert log.read_text().endswith(f"[ DONE ]\nroot@{NETWORK}.0.21's password: ")


def test_a_host_that_is_down_is_an_error_line_and_status_0(ready: InstallingLab) -> None:
    ready.lab.fault({"host": ready.compute, "do": "down"})
    answer = ready.install()
    assert (answer.returncode, f"Error: cannot reach {NETWORK}.0.21" in answer.stdout) == (0, True)


def test_a_host_on_another_release_is_refused_and_a_violation(ready: InstallingLab) -> None:
    text = ready.conf.read_bytes()
    ready.conf.write_bytes(text.replace(f".12,{NETWORK}.0.22".encode(), b".12"))
    answer = ready.install()
    assert f"Error: TECS 101 is still installed on {NETWORK}.0.22" in answer.stdout
    assert [each["audit"] for each in ready.lab.state()["violations"]] == ["installed over another release"]


def test_a_second_installer_at_the_same_time_is_refused_and_a_violation(ready: InstallingLab) -> None:
    ready.lab.fault({"installer": "hang"})
    log = ready.begin_install()
    wait_for(log, "_nova.pp:")
    assert "another installation is running" in ready.install().stderr
    assert [each["audit"] for each in ready.lab.state()["violations"]] == ["two installers at once"]


def test_an_installer_that_is_killed_leaves_a_node_that_is_not_complete(ready: InstallingLab) -> None:
    ready.lab.fault({"installer": "hang"})
    wait_for(ready.begin_install(), "_nova.pp:")
    world = json.loads((ready.lab.state_dir / "world.json").read_text())
    os.kill(world["installer_pid"], signal.SIGTERM)
    host = ready.lab.state()["hosts"][ready.compute]
    assert (host["release"], host["complete"]) == ("100", False)
    assert ready.install().stdout.endswith(SUCCESS + "\n")


@pytest.mark.parametrize(
    ("fault", "status", "successful", "complete"),
    [
        ("fail_exit_0", 0, False, False),
        ("succeed_exit_1", 1, True, True),
        ("half_install", 0, False, False),
        ("garbage", 0, True, True),
        ("slow", 0, True, True),
    ],
)
def test_an_installer_fault_shows_in_output_status_and_node(
    ready: InstallingLab, fault: str, status: int, successful: bool, complete: bool
) -> None:
    ready.lab.fault({"installer": fault})
    answer = ready.install()
    found = ready.lab.state()["hosts"][ready.compute]["complete"]
    assert (answer.returncode, SUCCESS in answer.stdout, found) == (status, successful, complete)


@pytest.mark.parametrize("arguments", ["", "conf", "conf_file relative.conf", "--help"])
def test_unknown_arguments_print_help_and_end_with_1(site: TrialSite, arguments: str) -> None:
    answer = site.run("daisy", f"@/{OLD_BIN} {arguments}")
    assert (answer.returncode, "conf_file" in answer.stdout) == (1, True)


def test_a_second_bin_beside_it_is_refused(site: TrialSite) -> None:
    answer = site.run("daisy", f"@/{OLD_BIN} conf_file @/none")
    assert "Error: more than one installer in" in answer.stdout


def test_a_corrupt_bin_refuses_to_run(site: TrialSite) -> None:
    site.lab.fault({"bin": "corrupt"})
    answer = site.run("daisy", f"@/{OLD_BIN} clean")
    assert (answer.returncode, "corrupt" in answer.stderr) == (2, True)


def stage(site: TrialSite, host: str) -> None:
    target = site.state / "hosts" / host / "home/the.bin"
    target.write_bytes((site.state / "hosts/daisy" / OLD_BIN).read_bytes())
    target.chmod(0o755)


def test_cleaning_a_compute_removes_its_release_and_configuration(site: TrialSite) -> None:
    stage(site, OVS)
    site.run(OVS, "@/home/the.bin clean")
    assert site.run(OVS, "rpm -q openstack-nova-common").returncode == 1
    assert not (site.state / "hosts" / OVS / "etc/nova").exists()
    assert site.run(OVS, "@/home/the.bin clean").stdout == "TECS is not installed on this host, nothing to clean.\n"


def test_cleaning_under_vms_puts_them_in_error_and_is_a_violation(site: TrialSite) -> None:
    stage(site, OVS)
    site.run(OVS, "@/home/the.bin clean")
    truth = site.lab.state()
    assert {vm["status"] for vm in truth["vms"] if vm["host"] == OVS} == {"ERROR"}
    assert [each["audit"] for each in truth["violations"]] == ["uninstalled under VMs"]


def test_cleaning_the_active_controller_is_a_violation(site: TrialSite) -> None:
    stage(site, B)
    site.run(B, "@/home/the.bin clean")
    assert [each["audit"] for each in site.lab.state()["violations"]] == ["clean on the active controller"]


def test_cleaning_a_controller_takes_its_cluster_and_cinder_settings(good_site: TrialSite) -> None:
    stage(good_site, B)
    good_site.run(B, "@/home/the.bin clean")
    tree = good_site.state / "hosts" / B
    assert not (tree / "etc/corosync/corosync.conf").exists()
    lost = ("home/tecs_install/storage_auto_config/base/cinder.json", "etc/cinder", "etc/ceph", "etc/multipath.conf")
    assert not [name for name in lost if (tree / name).exists()]
    assert good_site.settled().online == [A.replace("-", "_")]
    assert good_site.run(B, "systemctl is-active pacemaker").returncode == 3


def test_uninstall_asks_before_it_does_anything(site: TrialSite) -> None:
    stage(site, OVS)
    answer = site.run(OVS, "@/home/the.bin uninstall", stdin="n\n")
    assert ("[y/n]" in answer.stdout, site.lab.state()["hosts"][OVS]["release"]) == (True, "101")

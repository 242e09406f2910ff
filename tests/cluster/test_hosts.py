"""Hosts that are real in what matters: sshd, systemd, Corosync and Pacemaker; and the lab's own word about them."""

from __future__ import annotations

import socket
import subprocess
import time

import pytest
import yaml

from include.cluster_lab.client import ClusterLabClient
from include.cluster_lab.site import C1, C2, DAISY, FLOAT_IP, FLOAT_RESOURCE, A, B, SiteHost
from include.lab.errors import LabError
from tests.cluster.conftest import until
from tests.cluster.operation import (
    active,
    copy_from_a_to_b,
    install,
    leave_out_all_but,
    nodes_online,
    pin_all_keys,
    reinstalled_b,
    run,
    shown_key,
)

pytestmark = pytest.mark.cluster
OPTIONS = ("--no-cloud", "--scenario", "B")
BOTH = [A.name, B.name]


@pytest.fixture
def scenario_b(lab: ClusterLabClient) -> ClusterLabClient:
    """The lab where scenario B begins: A active, B on the bad release and banned."""
    lab.begin("B")
    return lab


def test_a_scenario_begins_as_it_says_and_each_host_shows_the_key_of_the_inventory(lab: ClusterLabClient) -> None:
    state = lab.state()
    nodes = {name: host["release"] for name, host in state["hosts"].items() if host["role"] != "daisy"}
    assert nodes == {A.name: "100", B.name: "101", C1.name: "100", C2.name: "100"}
    assert all(all(host["services"].values()) for host in state["hosts"].values())
    assert state["cluster"]["online"] == BOTH
    assert state["cluster"]["active"] == A.name
    assert [(each["node"], each["score"]) for each in state["cluster"]["constraints"]] == [(B.node, "-INFINITY")]
    assert state["violations"] == []
    inventory = yaml.safe_load(lab.inventory.read_text())
    for entry in (*inventory["controllers"].values(), *inventory["computes"]):
        assert shown_key(entry["address"]) == entry["host_key"]


def test_sshd_passes_on_input_output_status_signals_files_and_terminals(lab: ClusterLabClient) -> None:
    assert lab.run(A.name, "exit 7").returncode == 7
    both = lab.run(A.name, "cat; echo told >&2", "given")
    assert (both.stdout, both.stderr) == ("given", "told\n")
    assert lab.run(A.name, "sh -s", "hostname\nexit 3").stdout == f"{A.name}\n"
    assert lab.run(A.name, "kill -TERM $$").returncode == 255
    terminal = lab.ssh_command(A.name)
    terminal.insert(1, "-tt")
    session = subprocess.run(terminal, input="tty; exit 4\n", capture_output=True, text=True, check=False)
    assert session.returncode == 4
    assert "/dev/pts/" in session.stdout
    batch = ["sftp", "-b", "-", *lab.ssh_command(A.name)[1:]]
    got = subprocess.run(batch, input="ls /etc/corosync/corosync.conf\n", capture_output=True, text=True, check=False)
    assert got.returncode == 0
    assert "/etc/corosync/corosync.conf" in got.stdout


def test_ssh_faults_disturb_the_command_that_they_aim_at_and_no_other(lab: ClusterLabClient) -> None:
    lab.fault({"ssh": {"host": A.name, "match": "needle"}, "do": "exit", "status": 9, "stderr": "broken"})
    assert lab.run(A.name, "echo hay").stdout == "hay\n"
    assert lab.run(A.name, "sh -s", "echo still hay").stdout == "still hay\n"
    disturbed = lab.run(A.name, "sh -s", "echo needle")
    assert (disturbed.returncode, disturbed.stdout, disturbed.stderr) == (9, "", "broken")
    assert lab.run(A.name, "echo needle").stdout == "needle\n"
    assert lab.state()["faults"] == []

    lab.fault({"ssh": {"host": A.name, "match": "first"}, "do": "drop_before"})
    assert lab.run(A.name, "touch /root/first").returncode == 255
    assert lab.run(A.name, "test -e /root/first").returncode == 1

    lab.fault({"ssh": {"host": A.name, "match": "touch"}, "do": "drop_after"})
    assert lab.run(A.name, "touch /root/second").returncode == 255
    run(lab, A, "test -e /root/second")

    lab.fault({"ssh": {"match": "late"}, "do": "delay", "seconds": 2})
    started = time.monotonic()
    assert lab.run(B.name, "echo late").stdout == "late\n"
    assert time.monotonic() - started > 2

    with pytest.raises(LabError, match="no such fault"):
        lab.fault({"weather": "bad"})


def test_a_ban_moves_the_float_ip_and_its_followers_a_clear_does_not_move_them_back(
    scenario_b: ClusterLabClient,
) -> None:
    lab = scenario_b
    assert shown_key(FLOAT_IP) == shown_key(A.address)
    run(lab, A, f"pcs resource clear {FLOAT_RESOURCE}")
    run(lab, A, f"pcs resource ban {FLOAT_RESOURCE} {A.node}")
    until(lambda: active(lab) == B.name, "B holds the float IP")
    until(lambda: lab.run(B.name, "mountpoint -q /srv/shared").returncode == 0, "the shared disk is on B")
    assert lab.run(A.name, "mountpoint -q /srv/shared").returncode != 0
    until(lambda: shown_key(FLOAT_IP) == shown_key(B.address), "the virtual IP answers as B")

    run(lab, A, f"pcs resource clear {FLOAT_RESOURCE}")
    assert active(lab) == B.name
    run(lab, A, f"pcs resource move {FLOAT_RESOURCE} {A.node}")
    assert active(lab) == A.name
    again = lab.run(A.name, f"pcs resource move {FLOAT_RESOURCE} {A.node}")
    assert again.returncode == 1
    assert "cannot move resource" in again.stderr
    assert lab.state()["violations"] == []


def test_a_power_loss_of_the_active_node_moves_the_float_ip(scenario_b: ClusterLabClient) -> None:
    lab = scenario_b
    run(lab, A, f"pcs resource clear {FLOAT_RESOURCE}")
    lab.fault({"host": A.name, "do": "down"})
    until(lambda: active(lab) == B.name, "B has taken over")
    assert lab.run(A.name, "true").returncode == 255
    assert lab.state()["hosts"][A.name]["down"] is True
    assert nodes_online(lab) == [B.name]

    lab.fault({"host": A.name, "do": "up"})
    run(lab, A, "pcs cluster start")
    until(lambda: nodes_online(lab) == BOTH, "A is online again")
    assert active(lab) == B.name
    assert lab.state()["violations"] == []


def test_a_cut_cable_puts_the_float_ip_on_both_nodes_which_the_audit_records(scenario_b: ClusterLabClient) -> None:
    lab = scenario_b
    run(lab, A, f"pcs resource clear {FLOAT_RESOURCE}")
    lab.fault({"host": A.name, "do": "cut"})
    until(lambda: lab.state()["cluster"]["float_ip_on"] == BOTH, "both have the float IP")
    assert lab.state()["cluster"]["active"] is None
    lab.fault({"host": A.name, "do": "join"})
    until(lambda: len(lab.state()["cluster"]["float_ip_on"]) == 1, "one has it again")
    assert [each["audit"] for each in lab.state()["violations"]] == ["the float IP on both nodes"]


def test_a_reinstallation_wipes_the_node_and_it_rejoins_by_corosync_conf_alone(scenario_b: ClusterLabClient) -> None:
    lab = scenario_b
    old_key = shown_key(B.address)
    run(lab, B, "touch /root/mine")
    reinstalled_b(lab)

    assert shown_key(B.address) != old_key
    assert lab.run(B.name, "ls /etc/corosync/corosync.conf /etc/corosync/authkey /root/mine").stdout == ""
    assert run(lab, B, "rpm -q --qf '%{RELEASE}' openstack-nova-common") == "100"
    assert lab.run(B.name, "pcs cluster start").stderr == "Error: cluster is not currently configured on this node\n"
    state = lab.state()
    assert state["installs"][B.name] == {"installed": 1, "uninstalled": 1}
    assert state["installer_runs"] == 1
    assert state["hosts"][B.name]["complete"] is True

    copy_from_a_to_b(lab, "/etc/corosync/corosync.conf")
    run(lab, B, "pcs cluster start")
    until(lambda: nodes_online(lab) == BOTH, "B has rejoined")
    until(lambda: lab.state()["cluster"]["maintenance"], "TECS's maintenance mode at the first rejoin")
    run(lab, A, "pcs property set maintenance-mode=false")
    run(lab, B, "pcs cluster stop && pcs cluster start")
    until(lambda: nodes_online(lab) == BOTH, "B has rejoined again")
    time.sleep(3)
    state = lab.state()
    assert state["cluster"]["maintenance"] is False, "the maintenance mode comes once only"
    assert state["cluster"]["active"] == A.name
    assert state["violations"] == []


def test_a_compute_is_reinstalled_and_openstack_service_restarts_what_is_enabled(scenario_b: ClusterLabClient) -> None:
    lab = scenario_b
    installer = run(lab, DAISY, "base64 /home/tecs_releases/*I101*.bin")
    run(lab, C1, "base64 -d > /home/other.bin && chmod +x /home/other.bin && /home/other.bin clean", installer)
    assert lab.state()["hosts"][C1.name]["release"] is None
    pin_all_keys(lab)
    leave_out_all_but(lab, C1)
    install(lab)
    assert lab.state()["hosts"][C1.name]["release"] == "100"
    before = run(lab, C1, "systemctl show --property=MainPID openstack-ceilometer-compute openstack-nova-storage")
    run(lab, C1, "openstack-service restart")
    after = run(lab, C1, "systemctl show --property=MainPID openstack-ceilometer-compute openstack-nova-storage")
    assert before.split()[0] != after.split()[0]
    assert before.split()[1] == after.split()[1], "openstack-nova-storage is not enabled and left alone"
    run(lab, C1, "systemctl restart openstack-nova-storage")
    assert all(lab.state()["hosts"][C1.name]["services"].values())


def test_an_installer_hangs_at_the_password_prompt_where_a_host_key_is_stale(scenario_b: ClusterLabClient) -> None:
    lab = scenario_b
    leave_out_all_but(lab, B)
    out = "/root/installer.out"
    folder = "/home/tecs_install/stale"
    run(lab, DAISY, f"mkdir {folder}; cp /home/tecs_releases/*I100*.bin {folder}/")
    command = f"setsid {folder}/*.bin conf_file /var/lib/daisy/tecs/*/tecs.conf > {out} 2>&1 < /dev/null &"
    run(lab, DAISY, command)
    until(lambda: "password:" in run(lab, DAISY, f"cat {out}"), "the password prompt")
    second = lab.run(DAISY.name, f"{folder}/*.bin conf_file /var/lib/daisy/tecs/*/tecs.conf")
    assert "another installation is running" in second.stdout
    assert [each["audit"] for each in lab.state()["violations"]] == ["two installers at once"]


def test_cleaning_the_active_controller_and_installing_over_a_release_are_recorded(
    scenario_b: ClusterLabClient,
) -> None:
    lab = scenario_b
    pin_all_keys(lab)
    leave_out_all_but(lab, B)
    folder = "/home/tecs_install/over"
    run(lab, DAISY, f"mkdir {folder}; cp /home/tecs_releases/*I100*.bin {folder}/")
    over = run(lab, DAISY, f"{folder}/*.bin conf_file /var/lib/daisy/tecs/*/tecs.conf")
    assert "TECS 101 is still installed" in over
    assert lab.state()["hosts"][B.name]["release"] == "101"
    installer = run(lab, DAISY, "base64 /home/tecs_releases/*I100*.bin")
    run(lab, A, "base64 -d > /home/old.bin && chmod +x /home/old.bin && /home/old.bin clean", installer)
    run(lab, B, "cd /home/tecs_install/storage_auto_config && python storage_auto_config.py share_disk 1.2.3.4 || true")
    assert [each["audit"] for each in lab.state()["violations"]] == [
        "installed over another release",
        "clean on the active controller",
        "share_disk called",
    ]
    assert shown_key(A.address) == yaml.safe_load(lab.inventory.read_text())["controllers"]["a"]["host_key"]


def test_what_a_host_sends_by_a_slow_cable_is_late_and_whole_until_the_cable_is_joined(lab: ClusterLabClient) -> None:
    lab.fault({"host": C1.name, "do": "slow", "seconds": 0.3})
    assert seconds_to_greet(C1) >= 0.6, "a greeting takes two round trips"
    sent = "0123456789abcdef" * 65536
    assert run(lab, C1, "cat", sent) == sent
    lab.fault({"host": C1.name, "do": "down"})
    lab.fault({"host": C1.name, "do": "up"})
    assert seconds_to_greet(C1) >= 0.6, "a host that boots still has its cable"

    lab.fault({"host": C1.name, "do": "join"})
    until(lambda: seconds_to_greet(C1) < 0.6, "the host answers at once again")


@pytest.mark.parametrize(
    "fault", [{"do": "slow"}, {"do": "slow", "seconds": 0}, {"do": "slow", "seconds": "1"}, {"do": "cut", "seconds": 1}]
)
def test_by_how_much_a_cable_is_slow_is_said_in_seconds_and_of_nothing_else(
    lab: ClusterLabClient, fault: dict[str, object]
) -> None:
    with pytest.raises(LabError, match='"seconds"'):
        lab.fault({"host": C1.name, **fault})


def test_a_scenario_begins_again_whatever_was_done_before(lab: ClusterLabClient) -> None:
    lab.fault({"host": B.name, "do": "down"})
    lab.fault({"host": C1.name, "do": "cut"})
    lab.fault({"host": C2.name, "do": "slow", "seconds": 5})
    lab.fault({"ssh": {}, "do": "hang", "count": -1})
    lab.begin("A")
    state = lab.state()
    nodes = {name: host["release"] for name, host in state["hosts"].items() if host["role"] != "daisy"}
    assert nodes == {A.name: "100", B.name: "101", C1.name: "101", C2.name: "101"}
    assert state["cluster"]["active"] == B.name
    assert [(each["node"], each["score"]) for each in state["cluster"]["constraints"]] == [(A.node, "-INFINITY")]
    assert (state["faults"], state["violations"], state["installer_runs"]) == ([], [], 0)
    assert not any(host["down"] for host in state["hosts"].values())
    controllers = yaml.safe_load(lab.inventory.read_text())["controllers"]
    assert shown_key(B.address) == controllers["b"]["host_key"]
    assert seconds_to_greet(C2) < 5


def seconds_to_greet(host: SiteHost) -> float:
    """How long the host's sshd takes to take a connection and to say what it is."""
    begun = time.monotonic()
    with socket.create_connection((host.address, 22), timeout=30) as connection:
        assert connection.recv(4) == b"SSH-"
    return time.monotonic() - begun

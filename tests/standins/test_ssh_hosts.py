from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from include.lab.client import LabClient
from include.lab.ending import processes_of
from include.lab.errors import LabError
from include.lab.ssh_faults import reads_script
from include.lab.topology import make_inventory
from tests.loopback import free_network

NETWORK = free_network()
A, B, OVS = (f"host-{NETWORK.replace('.', '-')}-0-{number}" for number in (11, 12, 21))


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ssh") / "hosts.yaml"
    path.write_text(yaml.safe_dump(make_inventory("hosts", NETWORK)))
    return path


@pytest.fixture(scope="module")
def served(inventory: Path) -> Iterator[LabClient]:
    with LabClient.start(inventory, inventory.parent / "state", "--isolation", "path", "--pace", "1000") as lab:
        yield lab


@pytest.fixture
def lab(served: LabClient) -> Iterator[LabClient]:
    yield served
    served.fault({"clear": True})


def wait_until_gone(state: Path, mark: str) -> None:
    deadline = time.monotonic() + 10
    while any(mark in Path(f"/proc/{pid}/cmdline").read_text() for pid in processes_of(state)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_command_has_a_real_shell_streams_and_status(lab: LabClient) -> None:
    answer = lab.run(A, "cat; echo err >&2; exit 9", stdin="in")
    assert (answer.stdout, answer.stderr, answer.returncode) == ("in", "err\n", 9)


def test_a_command_begins_in_roots_home(lab: LabClient) -> None:
    lab.run(A, "touch left-behind")
    assert (lab.state_dir / "hosts" / A / "root/left-behind").exists()


def test_a_large_output_arrives_whole(lab: LabClient) -> None:
    assert len(lab.run(A, "head -c 3000000 /dev/zero | tr '\\0' a").stdout) == 3_000_000


def test_a_virtual_ip_is_the_active_controller(lab: LabClient) -> None:
    line = [part.replace(f"{NETWORK}.0.11", f"{NETWORK}.0.100") for part in lab.ssh_command(A, "hostname")]
    assert subprocess.run(line, capture_output=True, text=True, check=True).stdout == B + "\n"


def test_a_file_can_be_sent_and_fetched_over_sftp(lab: LabClient, tmp_path: Path) -> None:
    sent, fetched = tmp_path / "sent", tmp_path / "fetched"
    sent.write_bytes(bytes(range(256)) * 1000)
    target = lab.state_dir / "hosts" / A / "home/received"
    options = lab.ssh_command(A)[1:-1]
    scp = ["scp", "-s", *["-P" if option == "-p" else option for option in options]]
    subprocess.run([*scp, str(sent), f"root@{NETWORK}.0.11:{target}"], check=True, capture_output=True)
    subprocess.run([*scp, f"root@{NETWORK}.0.11:{target}", str(fetched)], check=True, capture_output=True)
    assert sent.read_bytes() == target.read_bytes() == fetched.read_bytes()


def test_a_stranger_is_not_let_in(lab: LabClient, tmp_path: Path) -> None:
    key = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    own = str(lab.state_dir / "id_ed25519")
    line = [str(key) if part == own else part for part in lab.ssh_command(A, "true")]
    line[1:1] = ["-o", "BatchMode=yes"]
    answer = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (answer.returncode, "Permission denied" in answer.stderr) == (255, True)


def test_a_command_goes_on_when_its_connection_drops(lab: LabClient) -> None:
    done = lab.state_dir / "hosts" / A / "root/done"
    client = subprocess.Popen(lab.ssh_command(A, "echo begun; sleep 0.5; touch done"), stdout=subprocess.PIPE)
    assert client.stdout is not None and client.stdout.readline() == b"begun\n"
    client.kill()
    client.communicate()
    deadline = time.monotonic() + 10
    while not done.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_host_that_is_down_refuses_connections_until_it_is_up(lab: LabClient) -> None:
    lab.fault({"host": OVS, "do": "down"})
    answer = lab.run(OVS, "true")
    assert "Connection refused" in answer.stderr
    lab.fault({"host": OVS, "do": "up"})
    assert lab.run(OVS, "true").returncode == 0


def test_an_ordered_status_is_returned_without_running_the_command_and_once(lab: LabClient) -> None:
    lab.fault({"ssh": {"host": A, "match": "touch never"}, "do": "exit", "status": 7, "stderr": "no such luck\n"})
    assert lab.run(A, "touch other").returncode == 0
    answer = lab.run(A, "touch never")
    assert (answer.returncode, answer.stderr) == (7, "no such luck\n")
    assert not (lab.state_dir / "hosts" / A / "root/never").exists()
    assert lab.run(A, "touch never").returncode == 0


def test_a_script_on_standard_input_is_matched_too(lab: LabClient) -> None:
    lab.fault({"ssh": {"match": "precious"}, "do": "exit", "status": 5})
    assert lab.run(A, "sh -s", stdin="echo plain\n").stdout == "plain\n"
    assert lab.run(A, "sh -s", stdin="echo precious\n").returncode == 5


def test_a_connection_dropped_before_leaves_the_command_undone(lab: LabClient) -> None:
    lab.fault({"ssh": {"host": A, "match": "before"}, "do": "drop_before"})
    assert lab.run(A, "touch before").returncode == 255
    assert not (lab.state_dir / "hosts" / A / "root/before").exists()


def test_a_connection_dropped_after_has_done_the_command(lab: LabClient) -> None:
    lab.fault({"ssh": {"host": A, "match": "after"}, "do": "drop_after"})
    assert lab.run(A, "touch after").returncode == 255
    assert (lab.state_dir / "hosts" / A / "root/after").exists()


def test_a_delay_is_in_real_seconds(lab: LabClient) -> None:
    lab.fault({"ssh": {"host": A, "match": "slowly"}, "do": "delay", "seconds": 0.5})
    began = time.monotonic()
    assert lab.run(A, ": slowly").returncode == 0
    assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize(
    ("command", "reads"),
    [
        ("sh -s", True),
        ("/bin/sh -s -- x", True),
        ("bash -es", True),
        ("sh", True),
        ("sh -c 'ls -s'", False),
        ("cat", False),
    ],
)
def test_a_shell_that_reads_a_script_is_told_apart(command: str, reads: bool) -> None:
    assert reads_script(command) is reads


def test_the_written_inventory_and_connection_are_enough_to_connect(lab: LabClient) -> None:
    written = yaml.safe_load(lab.inventory.read_text())
    assert written["controllers"]["a"]["host_key"].startswith("ssh-ed25519 AAAA")
    assert written["daisy"]["root"] == str(lab.state_dir / "hosts/daisy")
    connection = json.loads((lab.state_dir / "connections.json").read_text())["tecs_hosts"]
    assert (connection["host"], connection["login"]) == (f"{NETWORK}.0.1", "root")
    assert connection["extra"]["host_key"].startswith("ssh-ed25519 AAAA")


def test_two_labs_cannot_listen_on_the_same_addresses(lab: LabClient, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="does another lab run"):
        LabClient.start(lab.inventory, tmp_path / "second", "--isolation", "path")


def test_stopping_ends_what_was_left_running(inventory: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(make_inventory("own", network := free_network())))
    lab = LabClient.start(own, tmp_path / "state")
    lab.run(f"host-{network.replace('.', '-')}-0-11", "setsid sleep 1000 > /dev/null 2>&1 < /dev/null &")
    assert any("sleep" in Path(f"/proc/{pid}/cmdline").read_text() for pid in processes_of(lab.state_dir))
    lab.stop()
    assert processes_of(lab.state_dir) == []
    assert str(tmp_path) not in Path("/proc/mounts").read_text()

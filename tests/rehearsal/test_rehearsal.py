"""Rehearsals on real twins: whole scenarios, what goes wrong in them, and what is left of a twin whose rehearsal was killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.rehearsal.errors import RehearsalEnded
from include.rehearsal.rehearsal import PlanOf, Rehearsal
from include.rehearsal.report import Report
from include.rehearsal.twin import CLAIM, NETWORKS, running_twin
from include.rehearsal.twin_inventory import PORT
from include.runbook.cluster import Cluster, load_cluster
from include.runbook.plan import Plan
from include.runbook.step import Run

from .conftest import EXAMPLE, PROJECT

PACE = 200
HEARD = """
import json, sys
connected = set()

def hear(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        address = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
        connected.add(str(address[0] if isinstance(address, tuple) else address))

sys.addaudithook(hear)
from console.rehearse import main
status = main(sys.argv[2:])
open(sys.argv[1], "w").write(json.dumps(sorted(connected)))
sys.exit(status)
"""
"""The command, with every address noted that it opens a socket to."""


def addresses(cluster: Cluster) -> set[str]:
    return {host.address for host in cluster.hosts} | set(cluster.virtual_ips) | {cluster.cinder_management_ip}


def files_of_twins(places: Path) -> dict[Path, str]:
    """All that the twins' processes know of their world, but what is a copy of this machine's /etc."""
    files = [
        path for path in places.glob("tecs-rehearsals-*/*/**/*") if path.is_file() and "/lab/etc/" not in str(path)
    ]
    return {path: path.read_bytes().decode(errors="replace") for path in files}


def test_scenario_a_of_the_example_site_goes_as_planned_and_no_host_of_the_site_is_touched(
    example: Cluster, tmp_path: Path
) -> None:
    heard, state = tmp_path / "heard.json", tmp_path / "run"
    environment = {name: value for name, value in os.environ.items() if name != "TECS_CLUSTERS"}
    command = [
        sys.executable,
        "-c",
        HEARD,
        str(heard),
        "--cluster",
        "example",
        "--scenario",
        "A",
        "--state",
        str(state),
    ]
    done = subprocess.Popen(
        command, cwd=PROJECT, env=environment | {"TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True
    )
    assert done.stdout is not None
    known: dict[Path, str] = {}
    said = []
    for line in done.stdout:
        said.append(line)
        known = known or files_of_twins(tmp_path)
    assert done.wait() == 0, "".join(said)
    assert "rollback_cluster on the twin of example went as planned\n" in said

    assert any(path.name == "connections.json" for path in known)
    assert [path for path, text in known.items() if any(address in text for address in addresses(example))] == []
    connected = json.loads(heard.read_text())
    assert any(address.startswith("127.") for address in connected)
    assert {address for address in connected if not address.startswith("127.")} == set()
    assert files_of_twins(tmp_path) == {}

    (kept,) = (state / "records/example/rehearsal").glob("*.json")
    report = json.loads(kept.read_text())
    assert report["passed"]
    steps = report["steps"]
    computes = {compute.name for compute in example.computes}
    for name in ("A4.5_uninstall_compute", "A4.9_enable_scheduling"):
        assert {step["host"] for step in steps if (step["task_id"], step["outcome"]) == (name, "done")} == computes
    installed = [step["batch"] for step in steps if step["task_id"] == "A4.6_install_computes"]
    assert installed == [1, 2, 3, 4], "the canary, then twos, one after the other"


def variant(tmp_path: Path, **changes: Any) -> Cluster:
    raw = yaml.safe_load(EXAMPLE.read_text()) | {"name": "variant"} | changes
    file = tmp_path / "variant.yaml"
    file.write_text(yaml.safe_dump(raw))
    return load_cluster(file)


@pytest.mark.nightly
@pytest.mark.parametrize("scenario", ["A", "B"])
def test_an_inventory_with_everything_that_is_rare_goes_as_planned(
    scenario: str, tmp_path: Path, plan_of: PlanOf
) -> None:
    raw = yaml.safe_load(EXAMPLE.read_text())
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwvJbq0hmkSx1ZkkcFvPMqXoWPV1gyTcp/3pnqM5yVH"
    rare = variant(
        tmp_path,
        daisy=raw["daisy"] | {"container": {"engine": "podman", "name": "daisy", "installer": "inside"}},
        controllers=raw["controllers"] | {"a": raw["controllers"]["a"] | {"address": raw["daisy"]["address"]}},
        computes=[raw["computes"][0] | {"port": 2022, "connection": "own", "host_key": key}, *raw["computes"][1:3]],
        use_dns=True,
        storage="local",
        replicated={"glance": "r_glance", "db": "r_db", "mongodb": "r_mongo"},
        storage_network=None,
        float_ip_resource="ip_float",
        virtual_ips=["10.43.203.90"],
        releases={
            "R2.1": {
                "bin": "/opt/bins/old.bin",
                "sha256": "6" * 64,
                "reports": "2.1.el7",
                "schemas": {"nova": 350, "heat": 80, "neutron": ["abc123"]},
            },
            "R2.2": {"bin": "/opt/bins/new.bin", "sha256": "7" * 64},
        },
        target_release="R2.1",
        paths={"staging": "/home/other"},
        probes={"release": "cat /etc/tecs-release"},
        batch_size=1,
        drain={"migrate_across_releases": False},
        verification_vm={"flavor": "m2.x", "image": "img", "network": "private"},
        carry_over={"unlisted_differences": "refuse"},
    )
    report = Rehearsal(rare, scenario, PACE).play(plan_of, lambda step: None)
    assert report.deviations == (), "\n".join(report.deviations)
    if scenario == "A":
        assert any("a person is asked about" in line for line in report.remarks), report.remarks


def test_a_batch_that_is_too_large_for_the_site_is_found_before_anything_is_changed(
    tmp_path: Path, plan_of: PlanOf
) -> None:
    raw = yaml.safe_load(EXAMPLE.read_text())
    report = Rehearsal(variant(tmp_path, computes=raw["computes"][:2], batch_size=2), "A", PACE).play(
        plan_of, lambda step: None
    )
    first, idle = report.deviations
    assert "S2 Check that every precondition holds failed" in first
    assert "there is no other compute, up and enabled" in first
    assert idle.endswith(
        "steps did not begin after that, the first of them: S3 Take the cluster's lock on the Daisy host"
    )


def rehearsed_with(fault: dict[str, Any], cluster: Cluster, plan_of: PlanOf) -> Report:
    """Scenario C on a twin with a fault that is there from the beginning."""
    rehearsal = Rehearsal(cluster, "C", PACE)

    def made(run: Run) -> Plan:
        assert rehearsal.twin is not None
        rehearsal.twin.lab.fault(fault)
        return plan_of(run)

    return rehearsal.play(made, lambda step: None)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"installer": "password_prompt"}, "a password was asked for on daisy"),
        ({"installer": "half_install"}, "A4.6 Install the old release on the computes of the batch [daisy] failed"),
    ],
    ids=["password prompt", "half an installation"],
)
def test_what_goes_wrong_on_the_twin_is_a_deviation_in_the_products_own_words(
    fault: dict[str, Any], told: str, example: Cluster, plan_of: PlanOf
) -> None:
    report = rehearsed_with(fault, example, plan_of)
    assert not report.passed
    assert told in report.deviations[0]
    assert "what to do:" in report.deviations[0]
    assert "did not begin after that" in report.deviations[1]


def test_a_rehearsal_that_is_told_to_end_does_so_and_leaves_nothing(
    example: Cluster, plan_of: PlanOf, places: Path
) -> None:
    rehearsal = Rehearsal(example, "C", 1)

    def tell(step: Any) -> None:
        if step.task_id == "S3_take_lock":
            rehearsal.end()

    begun = time.monotonic()
    with pytest.raises(RehearsalEnded):
        rehearsal.play(plan_of, tell)
    assert time.monotonic() - begun < 60, "at pace 1 the scenario takes ten minutes"
    assert not any(path.is_dir() for path in (places / f"tecs-rehearsals-{os.getuid()}").iterdir())
    assert processes_in(places) == []


KILLED = """
import sys, tempfile, time
from pathlib import Path
from include.rehearsal.twin import CLAIM, NETWORKS, running_twin
from include.rehearsal.twin_inventory import PORT
from include.runbook.cluster import load_cluster
tempfile.tempdir = sys.argv[1]
with running_twin(load_cluster(Path(sys.argv[2])), "C", 200) as twin:
    twin.lab.run("daisy", "setsid sleep 1000 </dev/null >/dev/null 2>&1 &")
    print("running", flush=True)
    time.sleep(1000)
"""


def processes_in(places: Path) -> list[str]:
    """The command lines of the living processes that belong to twins of this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
            if f"{places}/tecs-rehearsals".encode() in told and not zombie:
                found.append((entry / "cmdline").read_bytes().decode(errors="replace"))
    return found


def test_what_a_killed_rehearsal_has_left_is_cleared_by_the_next_one(example: Cluster, places: Path) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(places), str(EXAMPLE)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    assert killed.stdout is not None
    assert killed.stdout.readline() == "running\n"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = processes_in(places)
    assert any("include.lab" in line for line in before)
    assert any("sleep" in line and "1000" in line for line in before)
    with running_twin(example, "C", PACE) as twin:
        assert json.loads((twin.lab.state_dir / "ready.json").read_text())["pid"]
        assert not any("1000" in line for line in processes_in(places))
    assert processes_in(places) == []


def test_two_rehearsals_at_a_time_have_networks_of_their_own(example: Cluster) -> None:
    with running_twin(example, "good", PACE) as one, running_twin(example, "good", PACE) as other:
        assert not addresses(one.cluster) & addresses(other.cluster)
        assert one.lab.run("daisy", "echo here").stdout == other.lab.run("daisy", "echo here").stdout == "here\n"


def test_a_network_that_somebody_else_is_about_to_use_is_left_to_them(example: Cluster) -> None:
    with socket.socket() as somebody:
        claimed = next(network for network in NETWORKS if could_bind(somebody, f"{network}.{CLAIM}"))
        with running_twin(example, "good", PACE) as twin:
            assert not any(address.startswith(f"{claimed}.") for address in addresses(twin.cluster))


def could_bind(claim: socket.socket, address: str) -> bool:
    try:
        claim.bind((address, PORT))
    except OSError:  # another rehearsal of these tests is there
        return False
    return True

"""What an upgrade and a rollback save, on the embedded lab over SSH, without Airflow."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from include.lab.client import LabClient
from include.lab.topology import make_inventory
from include.runbook.cluster import load_cluster
from include.runbook.perform import judge
from include.runbook.step import Run
from include.runbook.validation import checks
from tests.loopback import free_network
from tests.standins.operated import Operated

STATE = "var/lib/tecs-rollback"


class Saving(Operated):
    """A lab on which an upgrade from 100 to 101, or a rollback of it, saves what it needs."""

    def __init__(self, lab: LabClient, dag: str) -> None:
        super().__init__(lab, load_cluster(lab.inventory), dag)
        target = "101" if dag == "upgrade_cluster" else "100"
        self.plan = replace(self.plan, target=target, computes=self.plan.cluster.computes)
        self.kept = lab.state_dir / "hosts" / self.plan.cluster.daisy.name / STATE

    def readiness(self) -> dict[str, str]:
        """What the restore points' check of the validation has found, where it does not pass."""
        run = Run(self.plan.cluster, "100", self.plan.computes, dag="rollback_cluster")
        found = {check.goal.sentence: judge(check.goal, self) for check in checks(run) if check.id == "R12"}
        return {sentence: verdict.found for sentence, verdict in found.items() if not verdict.met}


def started(tmp_path: Path, scenario: str) -> LabClient:
    inventory = tmp_path / "saving.yaml"
    inventory.write_text(yaml.safe_dump(make_inventory("saving", free_network())))
    return LabClient.start(inventory, tmp_path / "state", "--scenario", scenario, "--pace", "500")


@pytest.fixture
def good(tmp_path: Path) -> Iterator[Saving]:
    with started(tmp_path, "good") as lab:
        yield Saving(lab, "upgrade_cluster")


@pytest.fixture
def bad(tmp_path: Path) -> Iterator[Saving]:
    with started(tmp_path, "A") as lab:
        yield Saving(lab, "rollback_compute")


def test_what_an_upgrade_saves_is_what_the_hosts_have(good: Saving) -> None:
    assert good.readiness() == {}, "no upgrade has saved anything yet, which is no fault"
    assert good.do("take_lock", "pin_host_keys", "save_restore_points") == [
        "take_lock",
        "pin_host_keys",
        "save_restore_points",
    ]
    assert good.do("save_restore_points") == []
    points = good.kept / "restore/100"
    hosts = good.lab.state_dir / "hosts"
    for compute in good.plan.computes:
        own = hosts / compute.name / "etc/nova/nova.conf"
        assert (points / compute.name / "nova.conf").read_bytes() == own.read_bytes()
    assert len(json.loads((points / "cloud/placement.json").read_text())) == len(good.lab.state()["vms"])
    dump = gzip.decompress((points / "cloud/nova.sql.gz").read_bytes()).decode()
    assert "Database: nova" in dump
    assert good.readiness() == {}
    (points / good.plan.computes[0].name / "nova.conf").write_text("cut")
    assert list(good.readiness().values()) == [
        f"missing or not as it was saved: {good.plan.computes[0].name}/nova.conf"
    ]
    assert good.lab.state()["violations"] == []


def test_the_evidence_of_a_failed_release_is_saved_of_every_host_that_answers(bad: Saving) -> None:
    first, second = bad.plan.computes
    log = bad.lab.state_dir / "hosts" / first.name / "var/log/nova/nova-compute.log"
    log.parent.mkdir(parents=True)
    log.write_text("ERROR the release is bad; rabbit_password = hunter2\n")
    bad.lab.fault({"host": second.name, "do": "down"})
    bad.do("take_lock", "pin_host_keys", "save_evidence")
    there = bad.kept / "evidence/rollback_compute_1"
    index = {entry["host"]: entry for entry in map(json.loads, (there / "index.jsonl").read_text().splitlines())}
    assert {*index} == {host.name for host in bad.plan.cluster.hosts}
    assert [host for host, entry in index.items() if entry["why"]] == [second.name]
    told = gzip.decompress((there / f"{first.name}.txt.gz").read_bytes()).decode()
    assert "ERROR the release is bad" in told
    assert "hunter2" not in told
    pair = gzip.decompress((there / f"{bad.plan.cluster.controllers.a.name}.txt.gz").read_bytes()).decode()
    assert "lb_float_ip" in pair
    assert bad.lab.state()["violations"] == []

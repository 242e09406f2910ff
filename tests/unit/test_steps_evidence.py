"""What is saved of the failed state before it is destroyed: real logs, real packing; and that its lack stops nothing."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from include.runbook import job
from include.runbook.perform import Outcome, perform, signed
from include.runbook.step import Run, kind
from include.runbook.steps import evidence
from include.runbook.steps.evidence import INDEX, MASKED, evidence_folder, evidence_hosts

from .site import Site
from .test_redaction import SECRETS


@pytest.fixture
def failed(site: Site, run: Run) -> Run:
    """A failed upgrade of a compute: every host has logs and answers."""
    cluster = run.cluster
    site.pacemaker()
    site.cloud(servers=[{"ID": "1", "Name": "web", "Status": "ERROR", "Host": run.computes[0].name}], services=[])
    site.program("systemctl", "echo 'openstack-nova-compute.service loaded failed failed'")
    site.program("journalctl", "echo 'kernel: Out of memory: Killed process 4711 (nova-compute)'")
    site.write(run.computes[0], "/var/log/nova/nova-compute.log", "ERROR nova.compute: cannot start\n")
    site.write(cluster.controllers.b, "/var/log/messages", "kernel: all is well\n")
    return run


def save(run: Run, site: Site) -> Outcome:
    return perform(kind("save_evidence").make(run, run.cluster.daisy), site, run, print)


def index(run: Run) -> dict[str, dict[str, str]]:
    lines = (Path(evidence_folder(run)) / INDEX).read_text().splitlines()
    assert len({json.loads(line)["host"] for line in lines}) == len(lines), "every host once"
    return {entry["host"]: entry for entry in map(json.loads, lines)}


def text(run: Run, host: str) -> str:
    return gzip.decompress((Path(evidence_folder(run)) / f"{host}.txt.gz").read_bytes()).decode()


def test_logs_and_facts_of_every_host_are_saved_and_the_index_names_them(failed: Run, site: Site) -> None:
    pair, first = failed.cluster.controllers, failed.computes[0].name
    assert save(failed, site).acted
    entries = index(failed)
    assert {*entries} == {failed.cluster.daisy.name, pair.a.name, pair.b.name, first}
    assert all(entry["why"] == "" and entry["file"] == f"{host}.txt.gz" for host, entry in entries.items())
    assert "cannot start" in text(failed, first)
    assert "Out of memory" in text(failed, first)
    assert "loaded failed failed" in text(failed, first)
    assert "<crm_mon" in text(failed, pair.a.name)
    assert "web" in text(failed, pair.a.name)
    assert "all is well" in text(failed, pair.b.name)
    assert ";cibadmin --query;pcs status --full;" in entries[pair.b.name]["parts"]
    assert not save(failed, site).acted


def test_what_was_saved_is_not_replaced_by_what_the_rollback_left(failed: Run, site: Site) -> None:
    """A run that is resumed finds reinstalled hosts; of a host that was not saved yet it saves what there is."""
    first, second = failed.cluster.computes[:2]
    save(failed, site)
    site.write(first, "/var/log/nova/nova-compute.log", "of the old release\n")
    more = replace(failed, computes=(first, second))
    assert save(more, site).acted
    assert "cannot start" in text(more, first.name)
    assert "of the old release" not in text(more, first.name)
    assert second.name in index(more)


def test_a_host_that_cannot_be_reached_is_named_with_the_reason_and_stops_nothing(failed: Run, site: Site) -> None:
    first = failed.computes[0]
    site.tell(first, "down", "")
    found = save(failed, site).found
    assert found.startswith("WARNING: 3 of 4 hosts saved whole")
    assert "Connection refused" in index(failed)[first.name]["why"]
    assert index(failed)[first.name]["file"] == ""
    assert f"{first.name} (status 255" in found


def test_a_host_that_hangs_is_cut_off_and_what_it_has_told_is_kept(
    failed: Run, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "_SAVED", evidence._SAVED.replace("timeout 60", "timeout 2"))
    site.program("journalctl", "sleep 60")
    assert save(failed, site).found.startswith("WARNING: ")
    for entry in index(failed).values():
        assert entry["why"] == "cut off after 60 s"


def test_where_the_daisy_host_has_no_room_nothing_is_asked(failed: Run, site: Site) -> None:
    site.program("df", "echo header; echo '/dev/vda1 100 90 10 90% /'")
    save(failed, site)
    assert {entry["why"] for entry in index(failed).values()} == {"not asked: no room on the Daisy host"}
    assert list(Path(evidence_folder(failed)).glob("*.gz")) == []


def test_no_host_gives_more_than_its_share(failed: Run, site: Site) -> None:
    first = failed.computes[0]
    for number in range(45):
        site.write(first, f"/var/log/nova/nova-{number}.log", f"begin of {number}\n" + "x" * (300 * 1024) + "\nend\n")
    old = site.write(first, "/var/log/nova/old.log", "of last week\n")
    os.utime(old, (time.time() - 7 * 86400,) * 2)
    save(failed, site)
    told = text(failed, first.name)
    assert len(told) <= evidence.HOST_BYTES
    assert told.count("\nend\n") >= 28
    assert "begin of" not in told
    assert "of last week" not in told


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_masked_before_it_leaves_the_host(secret: str) -> None:
    done = subprocess.run(["sh", "-c", MASKED], input=f"a line\n{secret}\n", capture_output=True, text=True, check=True)
    assert done.stdout.startswith("a line\n")
    assert "hunter2" not in done.stdout


@pytest.mark.parametrize(
    "pair",
    ['<nvpair id="x" name="passwd" value="hunter2"/>', '<nvpair value="hunter2" id="x" name="login_secret"/>'],
)
def test_a_fencing_password_in_the_cib_is_masked(pair: str) -> None:
    done = subprocess.run(["sh", "-c", MASKED], input=pair, capture_output=True, text=True, check=True)
    assert "***" in done.stdout
    assert "hunter2" not in done.stdout


def test_what_is_no_secret_stays_in_the_evidence() -> None:
    line = "2026-06-01 ERROR nova.compute [req-1] host 10.0.0.1:8774 http://10.0.0.1:5000/v3 lb_float_ip\n"
    done = subprocess.run(["sh", "-c", MASKED], input=line, capture_output=True, text=True, check=True)
    assert done.stdout == line


def test_no_configuration_file_is_taken(failed: Run, site: Site) -> None:
    first = failed.computes[0]
    site.write(first, failed.cluster.paths.nova_conf, "[DEFAULT]\nadmin_password=hunter2\n")
    save(failed, site)
    everything = "".join(text(failed, host) for host in index(failed))
    assert "hunter2" not in everything
    assert "secret" not in everything, "the password of the cloud"


def test_the_evidence_of_the_oldest_runs_makes_room(failed: Run, site: Site) -> None:
    folder = Path(evidence_folder(failed)).parent
    for number in range(12):
        (folder / f"old-{number:02}").mkdir(parents=True)
        os.utime(folder / f"old-{number:02}", (1000 + number,) * 2)
    save(failed, site)
    kept = sorted(path.name for path in folder.iterdir() if path.name.startswith("old"))
    assert kept == [f"old-{number:02}" for number in range(3, 12)]


def test_where_nothing_is_left_to_be_destroyed_nothing_is_saved(failed: Run, site: Site) -> None:
    """A rollback that is asked for again changes nothing; and a host that is gone, or half installed, is not back."""
    first = failed.computes[0]
    site.install(first, "100")
    assert not save(failed, site).acted
    assert not Path(evidence_folder(failed)).exists()
    site.note_reinstallation(first)
    assert save(failed, site).acted
    site.tell(first, "down", "")
    assert save(replace(failed, owner="rollback_compute/2"), site).acted


def test_every_host_is_saved_once_in_a_run_with_its_batches(run: Run) -> None:
    cluster = run.cluster
    pair = (cluster.daisy, cluster.controllers.a, cluster.controllers.b)
    whole = replace(run, dag="rollback_cluster", computes=cluster.computes)
    assert evidence_hosts(whole) == pair
    assert evidence_hosts(replace(run, batch=True)) == run.computes
    assert evidence_hosts(run) == (*pair, *run.computes)
    assert evidence_hosts(replace(whole, dag="rollback_controller")) == pair
    assert evidence_hosts(replace(whole, dag="upgrade_cluster")) == (*pair, *cluster.computes)


ONE_ARGUMENT = 128 * 1024
"""Bytes that Linux takes as one argument of a program; a script is one on its way to the host."""


@pytest.mark.parametrize("name", ["save_evidence", "save_restore_points"])
def test_the_script_for_two_hundred_computes_can_be_sent(run: Run, name: str) -> None:
    cluster = run.cluster
    many = tuple(
        cluster.computes[0].model_copy(update={"name": f"host-10-43-{n // 100}-{n % 100}", "root": ""})
        for n in range(200)
    )
    upgrade = replace(run, cluster=cluster.model_copy(update={"computes": many}), computes=many, dag="upgrade_cluster")
    step = kind(name).make(upgrade, cluster.daisy)
    assert len(job.start("/var/lib/tecs-rollback/jobs/x", signed(step), 60).encode()) < ONE_ARGUMENT

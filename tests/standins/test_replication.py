"""The stand-in for drbdadm, and the storage steps' own scripts on it: the shell is real, DRBD is not."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.lab.client import LabClient
from include.lab.errors import LabError
from include.lab.isolation import PathIsolation, host_environment
from include.lab.lab import LabOptions, build, prepare_state
from include.lab.store import changing, open_world
from include.lab.topology import make_inventory, read_site
from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.cluster import Cluster, Host
from include.runbook.errors import GoalNotReached, PreconditionFailed
from include.runbook.perform import judge, perform
from include.runbook.replication import a_has_everything, in_sync, replicated_as_declared
from include.runbook.shell import Output
from include.runbook.step import Run, Step, kind
from tests.standins.site import A, B, TrialSite

WEB_DATA = "etc/drbd.d/WebData.res"

SSH = """\
#!/bin/sh
while [ $# -gt 2 ]; do shift; done
case $1 in
*.0.11) host=host-127-1-0-11 ;;
*) host=host-127-1-0-12 ;;
esac
LAB_HOST=$host PATH="$LAB_STATE/bin/controller:/usr/sbin:/usr/bin:/sbin:/bin" exec sh -c "$2"
"""


class Replicated:
    """A site with storage local in a scenario, a thousand times as fast, whose hosts steps can be carried out on."""

    def __init__(self, state: Path, scenario: str, **inventory: object) -> None:
        self.state = state
        prepare_state(state)
        raw = make_inventory(pace=1000) | {"storage": "local"} | inventory
        options = LabOptions(inventory=Path("unused"), state=state, scenario=scenario)
        build(read_site(raw), options, state, PathIsolation(state))
        self.lab = LabClient(state)
        for host in (raw["daisy"], *raw["controllers"].values(), *raw["computes"]):
            host["root"] = str(state / "hosts" / host["name"])
        self.cluster = Cluster.model_validate(raw)
        self.plan = Run(self.cluster, "100", (), owner="rollback_controller/run-1", dag="rollback_controller")
        (state / "bin/daisy/ssh").write_text(SSH)
        (state / "bin/daisy/ssh").chmod(0o755)

    def run(self, host: Host, script: str, timeout: float) -> Output:
        machine = open_world(self.state).machines[host.name]
        environment = {
            **host_environment(self.state, machine, host.root),
            "LC_ALL": os.environ.get("LC_ALL", "C.UTF-8"),
        }
        done = subprocess.run(
            ["sh", "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Output(done.returncode, done.stdout, done.stderr)

    def on(self, host: str, script: str) -> Output:
        return self.run(self.cluster.host(host), script, 60)

    def step(self, name: str) -> Step:
        return kind(name).make(self.plan, self.cluster.daisy)

    def do(self, name: str) -> bool:
        return perform(self.step(name), self, self.plan, print).acted

    def reinstall_b(self) -> None:
        """B has been uninstalled and installed again; its disks are as they were, its resource file is gone."""
        assert self.on(B, "for r in $(drbdadm sh-resources); do drbdadm down $r; done").ok
        (self.state / "hosts" / B / WEB_DATA).unlink()
        with changing(self.state) as world:
            world.machines[B].release = "100"

    def copies(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = self.lab.state()["copies"]
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Replicated]:
    """Scenario B on a site that replicates glance, db and dbbackup: A active on 100, B standby on 101."""
    yield Replicated(tmp_path / "lab", "B")


def test_the_stand_in_says_what_drbd_8_4_says(tmp_path: Path) -> None:
    site = Replicated(tmp_path / "lab", "B", pace=1)
    assert site.on(A, "drbdadm sh-resources").stdout == "glance db dbbackup\n"
    asked = "for q in role cstate dstate; do drbdadm $q db; done"
    assert site.on(A, asked).stdout.split() == ["Primary/Secondary", "Connected", "UpToDate/UpToDate"]
    assert site.on(B, asked).stdout.split() == ["Secondary/Primary", "Connected", "UpToDate/UpToDate"]
    assert site.on(B, "drbdadm down db; drbdadm role db").status == 10
    assert site.on(A, "drbdadm role db").stdout == "Primary/Unknown\n"
    assert site.on(B, "drbdadm create-md db").status == 1
    assert site.on(B, "drbdadm create-md --force db && drbdadm up db && drbdadm cstate db").stdout.endswith(
        "SyncTarget\n"
    )
    assert "done:" in site.on(A, "drbdadm status db").stdout
    assert site.on(A, "drbdadm role nosuch").status == 3
    assert site.on(A, "drbdadm verify db").status == 1


def test_a_shared_disk_has_no_copies_and_none_can_be_spoilt(tmp_path: Path) -> None:
    shared = TrialSite(tmp_path / "lab")
    assert shared.lab.state()["copies"] == []
    assert shared.run(A, "drbdadm sh-resources").stdout == "\n"
    with pytest.raises(LabError, match="replicates nothing"):
        shared.lab.fault({"drbd": "b_newer"})


@pytest.mark.parametrize("command", ["invalidate db", "invalidate-remote db", "primary --force db"])
def test_what_could_destroy_as_copy_is_a_violation(site: Replicated, command: str) -> None:
    site.on(A, f"drbdadm {command}")
    assert len(site.lab.state()["violations"]) == 1


def test_b_newer_and_a_secondary_is_synchronised_the_wrong_way_by_drbd_itself(site: Replicated) -> None:
    site.lab.fault({"drbd": "b_newer"})
    site.lab.fault({"drbd": "a_secondary"})
    site.on(B, "drbdadm connect db")
    assert [each["audit"] for each in site.lab.state()["violations"]] == ["synchronised from B to A"]


def test_a_reinstalled_b_gets_all_of_as_data_and_then_there_is_nothing_left_to_do(site: Replicated) -> None:
    site.reinstall_b()
    assert site.do("verify_data_on_a")
    assert site.do("copy_cluster_files")
    assert site.do("let_b_follow_a")
    site.do("synchronise_b")
    assert judge(in_sync(site.cluster), site).met
    for name in ("copy_cluster_files", "let_b_follow_a", "synchronise_b"):
        assert not site.do(name)
    a, b = ([copy["generations"] for copy in site.copies() if copy["host"] == host] for host in (A, B))
    assert a == b
    assert site.lab.state()["violations"] == []


def test_a_resynchronisation_tells_how_far_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = Replicated(tmp_path / "lab", "B", pace=2, replicated={"db": "db"})
    site.reinstall_b()
    site.do("copy_cluster_files")
    assert site.do("synchronise_b")
    told = capsys.readouterr().out
    assert re.search(r"^db: SyncSource, \d+\.\d\d % synchronised$", told, re.MULTILINE), told
    assert told.count("db: in sync") == 1


def test_b_has_the_resource_file_with_as_mode(site: Replicated) -> None:
    (site.state / "hosts" / A / WEB_DATA).chmod(0o640)
    site.reinstall_b()
    site.do("copy_cluster_files")
    copied = site.state / "hosts" / B / WEB_DATA
    assert copied.read_text() == (site.state / "hosts" / A / WEB_DATA).read_text()
    assert copied.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("fault", ["b_newer", "split_brain", "a_secondary"])
def test_where_b_could_be_the_source_the_step_and_its_script_refuse_and_change_nothing(
    site: Replicated, fault: str
) -> None:
    site.reinstall_b()
    site.do("copy_cluster_files")
    site.lab.fault({"drbd": fault})
    before = site.copies()
    for name in ("let_b_follow_a", "synchronise_b"):
        with pytest.raises(PreconditionFailed, match="Find out which side has the good data"):
            site.do(name)
        alone = site.on("daisy", site.step(name).action)
        assert (alone.status, "Nothing was changed here" in alone.stderr) == (3, True), alone
    with pytest.raises(GoalNotReached):
        site.do("verify_data_on_a")
    assert (site.copies(), site.lab.state()["violations"]) == (before, [])


def test_the_ban_on_b_stays_until_b_has_all_of_the_data(site: Replicated) -> None:
    site.reinstall_b()
    clear = kind("clear_ban").make(site.plan, site.cluster.controllers.a)
    with pytest.raises(PreconditionFailed, match=f"glance on {B} is not configured"):
        perform(clear, site, site.plan, print)
    for name in ("copy_cluster_files", "synchronise_b"):
        assert site.do(name)
    assert perform(clear, site, site.plan, print).acted


def test_before_a_takes_over_it_must_be_equal_to_b(tmp_path: Path) -> None:
    site = Replicated(tmp_path / "lab", "A")
    ready = a_has_everything(site.cluster, switching=True)
    assert judge(ready, site).met
    assert not judge(a_has_everything(site.cluster), site).met
    site.on(B, "drbdadm disconnect db")
    assert "db on" in judge(ready, site).found
    assert not judge(ready, site).met


def test_a_set_up_that_is_not_what_the_inventory_says_is_refused_by_name(tmp_path: Path, site: Replicated) -> None:
    shared = site.cluster.model_copy(update={"storage": "share"})
    assert "glance, db, dbbackup" in judge(replicated_as_declared(shared), site).found
    assert not judge(replicated_as_declared(shared), site).met
    more = site.cluster.model_copy(update={"replicated": {"glance": "glance", "mongodb": "mongo"}})
    assert "glance, db, dbbackup" in judge(a_has_everything(more), site).found
    (site.state / "hosts" / A / WEB_DATA).unlink()
    found = judge(a_has_everything(site.cluster), site)
    assert (found.met, f"{A} has no DRBD resource" in found.found) == (False, True)


def test_with_a_shared_disk_the_steps_find_nothing_to_do_until_a_resource_file_turns_up(tmp_path: Path) -> None:
    site = Replicated(tmp_path / "lab", "B", storage="share")
    assert site.do("verify_data_on_a")
    assert not site.do("let_b_follow_a")
    assert not site.do("synchronise_b")
    with changing(site.state) as world:
        world.machines[B].release = "100"
    stray = site.state / "hosts" / B / WEB_DATA
    stray.parent.mkdir()
    stray.write_text("resource WebData {\n}\n")
    for name in ("let_b_follow_a", "synchronise_b"):
        with pytest.raises(PreconditionFailed, match="DRBD resources WebData, the inventory says storage share"):
            site.do(name)

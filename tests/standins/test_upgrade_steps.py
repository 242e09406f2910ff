"""The steps of an upgrade on a lab, one after the other, without Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from include.lab.client import LabClient
from include.lab.topology import make_inventory
from include.runbook.cluster import load_cluster
from include.runbook.errors import CommandFailed, LockHeld, PreconditionFailed
from include.runbook.perform import READ_LIMIT, judge
from include.runbook.preconditions import of_each_compute, preconditions
from include.runbook.reach import Sweep
from include.runbook.rollout import back, ready
from include.runbook.soak import checks
from include.runbook.step import Run, kind
from tests.loopback import free_network
from tests.standins.operated import Operated

OF_B = ("take_lock", "pin_host_keys", "stage_bin_on_daisy", "stage_bin_on_node", "forbid_switchover", "upgrade_b")
OF_COMPUTE = (
    "stage_bin_on_node",
    "save_nova_conf",
    "note_placement",
    "drain_computes",
    "finish_drain",
    "upgrade_compute",
    "bring_back_nova_old_conf",
    "repair_nova_conf",
    "compare_nova_settings",
    "restart_compute_services",
    "verify_compute_services",
    "enable_scheduling",
)
SWITCH = ("let_b_take_over", "move_float_ip_to_b", "ban_float_ip_on_a")
OF_A = ("create_vm_on_new_release", "upgrade_a", "start_cluster_on_a", "verify_pacemaker_on_a", "allow_switchover")


class Upgraded(Operated):
    """A lab on which steps of an upgrade are carried out."""

    def __init__(self, lab: LabClient) -> None:
        super().__init__(lab, load_cluster(lab.inventory), "upgrade_cluster")
        self.whole = self.plan = replace(self.plan, target="101", computes=self.plan.cluster.computes)

    def computes(self) -> list[str]:
        """Upgrade the computes one after the other; return the steps that did something."""
        acted = []
        for compute in self.whole.cluster.computes:
            self.plan = replace(self.whole, dag="upgrade_compute", computes=(compute,), batch=True)
            acted += self.do(*OF_COMPUTE)
            self.plan = self.whole
        return acted

    def to_the_gate(self) -> None:
        """Bring the upgrade to where the new release is judged."""
        self.do(*OF_B, "start_cluster_on_b", "verify_pacemaker_on_b")
        self.computes()
        self.do(*SWITCH)

    def wanting(self) -> list[str]:
        """What the checks of the soak find wanting."""
        goals = checks(self.whole, [compute.name for compute in self.whole.computes])
        reads = dict.fromkeys(read for goal in goals for read in goal.reads)
        answers = Sweep({read: self.run(read.host, read.command, READ_LIMIT) for read in reads})
        return [goal.sentence for goal in goals if not answers.judge(goal).met]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Upgraded]:
    inventory = tmp_path / "upgrade.yaml"
    inventory.write_text(yaml.safe_dump(make_inventory("upgrade", free_network())))
    with LabClient.start(inventory, tmp_path / "state", "--scenario", "good", "--pace", "500") as lab:
        yield Upgraded(lab)


def test_a_cluster_comes_to_the_new_release_step_by_step_and_then_nothing_is_left_to_do(site: Upgraded) -> None:
    goals = [*preconditions(site.plan), *(goal for each in of_each_compute(site.plan).values() for goal in each)]
    assert [goal.sentence for goal in goals if not judge(goal, site).met] == []

    site.to_the_gate()
    truth = site.lab.state()
    assert truth["cluster"]["active"] == site.plan.cluster.controllers.b.name
    assert site.wanting() == []
    site.do(*OF_A)

    truth = site.lab.state()
    assert {host["release"] for host in truth["hosts"].values() if host["role"] != "daisy"} == {"101"}
    assert truth["cluster"]["constraints"] == []
    assert truth["violations"] == []
    assert {vm["status"] for vm in truth["vms"]} == {"ACTIVE"}
    assert [goal.sentence for goal in goals if not judge(goal, site).met] == []
    before = site.journal()
    acted = [*site.do(*OF_B), *site.computes(), *site.do(*SWITCH, *OF_A)]
    assert [name for name in acted if kind(name).changes] == []
    assert site.journal() == before
    for compute in site.whole.computes:
        run = replace(site.whole, dag="upgrade_compute", computes=(compute,))
        assert judge(back(run, compute), site).met
        assert judge(ready(run, compute), site).met


def test_b_is_not_upgraded_while_it_is_active_nor_a_while_it_is(site: Upgraded) -> None:
    with pytest.raises(PreconditionFailed, match="banned from"):
        site.do("take_lock", "pin_host_keys", "stage_bin_on_daisy", "stage_bin_on_node", "upgrade_b")
    with pytest.raises(PreconditionFailed, match="on release 101"):
        site.do("upgrade_a")
    assert site.lab.state()["violations"] == []


def test_an_upgrade_that_has_reported_an_error_is_not_taken_for_one_though_rpm_shows_the_release(
    site: Upgraded,
) -> None:
    b = site.plan.cluster.controllers.b
    site.lab.fault({"upgrade": "half", "host": b.name})
    with pytest.raises(CommandFailed, match="the installer has reported an error"):
        site.do(*OF_B)
    assert site.lab.state()["hosts"][b.name]["release"] == "101"
    assert site.do("upgrade_b", "start_cluster_on_b", "verify_pacemaker_on_b") == ["upgrade_b", "verify_pacemaker_on_b"]


def test_the_settings_of_a_compute_whose_upgrade_has_failed_are_those_that_were_saved_before_it(site: Upgraded) -> None:
    compute = site.whole.computes[0]
    saved = f"{site.plan.cluster.daisy.path(site.plan.cluster.paths.state)}/saved/{compute.name}/nova_old.conf"
    site.do("take_lock", "pin_host_keys", "stage_bin_on_daisy")
    site.plan = replace(site.whole, dag="upgrade_compute", computes=(compute,), batch=True)
    site.do(*OF_COMPUTE[: OF_COMPUTE.index("upgrade_compute") + 1])
    before = site.lab.run("daisy", f"sha256sum {saved}").stdout

    cluster = site.plan.cluster
    site.plan = Run(cluster, "100", (compute,), owner="rollback_compute/1", dag="rollback_compute")
    assert site.do("save_nova_conf") == []
    assert site.lab.run("daisy", f"sha256sum {saved}").stdout == before != ""


@pytest.mark.parametrize(
    ("flaw", "told"),
    [
        ({"flaw": "compute_dies", "after": 0}, "Nova sees the upgraded computes up"),
        ({"flaw": "api_fails"}, "the cloud's API answers"),
    ],
)
def test_what_is_wrong_with_a_release_shows_once_b_is_active(
    site: Upgraded, flaw: dict[str, object], told: str
) -> None:
    host = {"host": site.whole.computes[1].name} if flaw["flaw"] == "compute_dies" else {}
    site.lab.fault({**flaw, **host, "release": "101"})
    site.to_the_gate()
    assert told in site.wanting()


def test_the_lock_goes_to_the_rollback_and_to_nobody_else(site: Upgraded) -> None:
    site.do("take_lock")
    assert site.do("hand_over_lock") == ["hand_over_lock"]
    assert site.do("hand_over_lock") == []
    cluster = site.plan.cluster
    with pytest.raises(LockHeld, match="rollback_cluster/1__rollback"):
        site.do("take_lock")
    site.plan = Run(cluster, "100", cluster.computes, owner="rollback_cluster/1__rollback", dag="rollback_cluster")
    assert site.do("take_lock") == []


def test_a_run_that_does_not_hold_the_lock_hands_nothing_over(site: Upgraded) -> None:
    site.do("take_lock")
    site.plan = replace(site.plan, owner="upgrade_cluster/2")
    with pytest.raises(LockHeld, match="upgrade_cluster/1"):
        site.do("hand_over_lock")


def test_a_rollback_begins_while_the_cloud_does_not_answer_and_makes_a_active_by_which_it_answers_again(
    site: Upgraded,
) -> None:
    site.lab.fault({"flaw": "api_fails", "release": "101"})
    site.to_the_gate()
    site.do("hand_over_lock")
    cluster = site.plan.cluster
    site.plan = Run(cluster, "100", cluster.computes, owner="rollback_cluster/1__rollback", dag="rollback_cluster")

    goals = [*preconditions(site.plan), *(goal for each in of_each_compute(site.plan).values() for goal in each)]
    assert [goal.sentence for goal in goals if not judge(goal, site).met] == []
    site.do("take_lock", "pin_host_keys", "note_cluster_mode", "back_up_databases", "clear_ban_on_a")
    site.do("leave_maintenance_to_switch", "move_float_ip_to_a", "ban_float_ip_on_b", "note_placement")
    assert site.lab.state()["cluster"]["active"] == cluster.controllers.a.name
    assert [goal.sentence for goal in goals if not judge(goal, site).met] == []

"""The steps that touch Pacemaker on a lab whose cluster is not as it should be: they stop, say why, and go on when mended."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from include.lab.client import LabClient
from include.lab.isolation import host_environment, in_home
from include.lab.store import changing, open_world
from include.lab.topology import make_inventory
from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.both_views import one_view
from include.runbook.cluster import Cluster, Host
from include.runbook.errors import GoalNotReached, PreconditionFailed
from include.runbook.perform import judge
from include.runbook.preconditions import nothing_stuck
from include.runbook.shell import Output
from include.runbook.step import Run, kind
from include.runbook.steps.cluster_mode import as_found
from include.runbook.timings import Timing
from tests.loopback import free_network
from tests.standins.operated import Operated
from tests.standins.site import A_NODE, B_NODE, TrialSite

SSH = """\
#!/bin/sh
while [ $# -gt 2 ]; do shift; done
case $1 in *.0.11) LAB_HOST=host-127-1-0-11 ;; *) LAB_HOST=host-127-1-0-12 ;; esac
export LAB_HOST
PATH="$LAB_STATE/bin/controller:/usr/sbin:/usr/bin:/sbin:/bin" exec sh -c "$2"
"""
ROUND_OF_B = (
    "take_lock",
    "pin_host_keys",
    "note_cluster_mode",
    "ban_float_ip_on_b",
    "stage_bin_on_daisy",
    "stage_bin_on_node",
    "fetch_tecs_conf_for_b",
    "fetch_mappings_for_b",
    "edit_tecs_conf_for_b",
    "save_cinder_settings",
    "verify_data_on_a",
    "uninstall_b",
    "drop_stale_keys_of_b",
    "install_b",
    "copy_cluster_files",
    "let_b_follow_a",
    "start_cluster_on_b",
    "leave_maintenance_for_b",
    "verify_pacemaker_on_b",
    "synchronise_b",
    "clear_ban",
    "leave_maintenance",
    "switch_over_and_back",
    "create_and_delete_vm",
    "restore_cluster_mode",
    "release_lock",
)
"""rollback_controller's steps that touch the cluster, or that those need."""


class Trial(Operated):
    """A lab without SSH in a scenario, with the Daisy host's `ssh` in short."""

    def __init__(self, site: TrialSite, dag: str) -> None:
        raw = make_inventory(computes=2, dvs=1, pace=1000)
        for host in (raw["daisy"], *raw["controllers"].values(), *raw["computes"]):
            host["root"] = str(site.state / "hosts" / host["name"])
        super().__init__(site.lab, Cluster.model_validate(raw), dag)
        self.site = site
        for program, text in {"daisy/ssh": SSH, "controller/sleep": "#!/bin/sh\n"}.items():
            (site.state / "bin" / program).write_text(text)
            (site.state / "bin" / program).chmod(0o755)

    def run(self, host: Host, script: str, timeout: float) -> Output:
        machine = open_world(self.site.state).machines[host.name]
        environment = {**os.environ, **host_environment(self.site.state, machine, host.root)}
        command = in_home(f"{host.root}/root", ["/bin/sh", "-c", script])
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
        return Output(done.returncode, done.stdout, done.stderr)


@pytest.fixture(params=["0.11", "0.9"])
def failed_upgrade(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """Scenario A: B active, A banned, by both generations of pcs; what is waited for is waited for a second at most."""
    monkeypatch.setattr(Timing, "limit_at", lambda self, pace: 1.0)
    return Trial(TrialSite(tmp_path / "lab", pcs=request.param), "rollback_cluster")


def test_a_b_that_does_not_let_go_of_the_float_ip_is_named_and_goes_on_serving(failed_upgrade: Trial) -> None:
    on = failed_upgrade
    on.lab.fault({"float_ip": "stop_fails"})
    on.do("note_cluster_mode", "clear_ban_on_a")
    with pytest.raises(GoalNotReached) as stopped:
        on.do("move_float_ip_to_a")
    assert f"{B_NODE} does not let go of lb_float_ip: its stop failed" in str(stopped.value)
    assert "`pcs resource cleanup lb_float_ip`" in str(stopped.value)
    assert on.cluster_now()["active"] == on.plan.cluster.controllers.b.name
    assert on.cluster_now()["constraints"] == []

    # A run that begins now is refused with the same words; when B lets go, the failed step is cleared and ends well.
    verdict = judge(nothing_stuck(on.plan), on)
    assert not verdict.met
    assert f"{B_NODE} does not let go" in verdict.found
    on.lab.fault({"clear": True})
    assert on.run(on.plan.cluster.controllers.a, "pcs resource cleanup lb_float_ip", 10).ok
    on.site.settled()
    assert on.do("move_float_ip_to_a", "ban_float_ip_on_b") == ["move_float_ip_to_a", "ban_float_ip_on_b"]


def test_nothing_is_moved_or_banned_while_the_link_between_a_and_b_is_cut(failed_upgrade: Trial) -> None:
    on = failed_upgrade
    on.do("note_cluster_mode")
    on.lab.fault({"link": "cut"})
    with pytest.raises(PreconditionFailed, match="do not agree"):
        on.do("clear_ban_on_a")
    on.lab.fault({"link": "mended"})
    on.do("clear_ban_on_a")
    on.lab.fault({"link": "cut"})
    before = on.journal()
    verdict = judge(one_view(on.plan.cluster), on)
    assert f"has lb_float_ip on {B_NODE}; A has it on {A_NODE}" in verdict.found
    for name in ("move_float_ip_to_a", "ban_float_ip_on_b", "uninstall_b"):
        with pytest.raises(PreconditionFailed, match="do not agree"):
            on.do(name)
    assert on.journal() == before
    on.lab.fault({"link": "mended"})
    assert on.do("move_float_ip_to_a", "ban_float_ip_on_b") == ["move_float_ip_to_a", "ban_float_ip_on_b"]


def test_a_cluster_that_was_found_in_maintenance_is_switched_and_put_back(failed_upgrade: Trial) -> None:
    on = failed_upgrade
    set_property(on, "maintenance-mode", "True")
    assert on.do("note_cluster_mode", "clear_ban_on_a", "leave_maintenance_to_switch", "move_float_ip_to_a") == [
        "note_cluster_mode",
        "clear_ban_on_a",
        "leave_maintenance_to_switch",
        "move_float_ip_to_a",
    ]
    assert on.do("restore_cluster_mode") == ["restore_cluster_mode"]
    assert on.cluster_now()["properties"]["maintenance-mode"] == "True"


def set_property(on: Operated, name: str, word: str) -> None:
    """Somebody sets a property of the cluster, before the run."""
    with changing(on.lab.state_dir) as world:
        world.properties[name] = word


@pytest.fixture
def contained(tmp_path: Path) -> Iterator[Operated]:
    """Scenario B over SSH, Daisy in a container, and the cluster kept unmanaged in TECS's way."""
    raw = make_inventory("contained", free_network(), computes=1, dvs=0)
    raw["daisy"]["container"] = {"name": "daisy"}
    inventory = tmp_path / "contained.yaml"
    inventory.write_text(yaml.safe_dump(raw))
    with LabClient.start(inventory, tmp_path / "state", "--scenario", "B", "--pace", "500") as lab:
        cluster = Cluster.model_validate(yaml.safe_load(lab.inventory.read_text()))
        on = Operated(lab, cluster, "rollback_controller")
        set_property(on, "unmanaged", "true")
        yield on


def test_b_comes_back_into_a_cluster_that_is_kept_unmanaged_and_nothing_is_done_twice(contained: Operated) -> None:
    on = contained
    done = on.do(*ROUND_OF_B)
    assert {"leave_maintenance_for_b", "switch_over_and_back", "restore_cluster_mode"} <= set(done)
    truth = on.lab.state()
    assert truth["violations"] == []
    assert truth["cluster"]["properties"].get("unmanaged") == "true"
    assert truth["cluster"]["properties"].get("maintenance-mode") == "false", "HA had put itself into it, which is over"
    assert truth["cluster"]["constraints"] == []
    assert judge(as_found(on.plan), on).met
    assert "found unmanaged (unmanaged=true), which is put back at the end of the run" in "\n".join(on.said)

    before = on.journal()
    on.plan = Run(on.plan.cluster, "100", (), owner="rollback_controller/2", dag="rollback_controller")
    again = on.do(*(name for name in ROUND_OF_B if kind(name).changes))
    assert again == ["take_lock", "note_cluster_mode", "release_lock"]
    assert on.journal() == before

"""A4.1 and A4.7 to A4.9: nova.conf is saved, brought back and repaired on real files; services are asked and restarted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from include.runbook.cluster import CarryOver, Compute
from include.runbook.custody import folder, read_record, record_path
from include.runbook.errors import CommandFailed, GoalNotReached, PreconditionFailed
from include.runbook.nova_settings import read_settings
from include.runbook.perform import perform
from include.runbook.step import Run, kind
from include.runbook.steps.nova import MANAGER

from .site import Site

OLD = "[DEFAULT]\nvcpu_pin_set = 4-15\nmy_ip = 1\n[libvirt]\nvolume_use_multipath = True\n"
STOCK = "[DEFAULT]\n# fresh\ncompute_manager = nova.compute.manager.ComputeManager\nvncserver_proxyclient_address=127.0.0.1\n"


def compute(run: Run) -> Compute:
    return run.computes[0]


def do(name: str, run: Run, site: Site) -> bool:
    return perform(kind(name).make(run, compute(run)), site, run, print).acted


def conf(run: Run, site: Site, text: str) -> Path:
    return site.write(compute(run), run.cluster.paths.nova_conf, text)


def kept(run: Run, name: str) -> Path:
    """A file on the Daisy host about the compute's nova.conf."""
    return Path(f"{folder(run.cluster)}/saved/{compute(run).name}/{name}")


def saved(run: Run) -> Path:
    return kept(run, "nova_old.conf")


def reinstalled(run: Run, site: Site, text: str = STOCK) -> Path:
    """What the installer leaves: the old release, its own nova.conf, and nothing unproven."""
    site.install(compute(run), "100", at=2000)
    return conf(run, site, text)


def with_carry_over(run: Run, **changes: object) -> Run:
    """The run on a site whose inventory says this under carry_over."""
    carry_over = CarryOver.model_validate(changes)
    cluster = run.cluster.model_copy(update={"carry_over": carry_over})
    return replace(run, cluster=cluster)


# ---- A4.1 ------------------------------------------------------------------------------------------------------------


def test_nova_conf_is_saved_on_the_daisy_host_for_nobody_else_to_read(run: Run, site: Site) -> None:
    conf(run, site, OLD)
    assert do("save_nova_conf", run, site)
    assert saved(run).read_text() == OLD
    assert saved(run).stat().st_mode & 0o077 == 0
    assert not do("save_nova_conf", run, site)


def test_what_was_changed_since_it_was_saved_is_saved_again(run: Run, site: Site) -> None:
    conf(run, site, OLD)
    do("save_nova_conf", run, site)
    conf(run, site, OLD + "more = 1\n")
    assert do("save_nova_conf", run, site)
    assert saved(run).read_text() == OLD + "more = 1\n"


def test_a_failed_copy_leaves_what_was_saved_before(run: Run, site: Site) -> None:
    conf(run, site, OLD)
    do("save_nova_conf", run, site)
    conf(run, site, "changed\n")
    site.tell(compute(run), "down", "")
    with pytest.raises(CommandFailed):
        do("save_nova_conf", run, site)
    assert saved(run).read_text() == OLD


def test_the_installers_nova_conf_never_takes_the_place_of_what_was_saved(run: Run, site: Site) -> None:
    """A run that begins anew after an installation that failed half way finds the installer's file on the compute."""
    conf(run, site, OLD)
    do("save_nova_conf", run, site)
    reinstalled(run, site)
    site.note_reinstallation(compute(run))
    assert not do("save_nova_conf", run, site)
    assert saved(run).read_text() == OLD


def test_a_compute_that_is_taken_down_already_does_not_stop_a_new_run(run: Run, site: Site) -> None:
    conf(run, site, OLD)
    do("save_nova_conf", run, site)
    site.install(compute(run), None)
    Path(compute(run).path(run.cluster.paths.nova_conf)).unlink()
    assert not do("save_nova_conf", run, site)
    assert saved(run).read_text() == OLD


@pytest.mark.parametrize("state", ["taken down", "being reinstalled"])
def test_a_compute_whose_settings_are_gone_before_anything_was_saved_is_told(
    run: Run, site: Site, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The installer's nova.conf is not taken for the one of before."""
    if state == "taken down":
        site.install(compute(run), None)
    else:
        reinstalled(run, site)
        site.note_reinstallation(compute(run))
    assert not do("save_nova_conf", run, site)
    assert f"WARNING: host-10-43-203-101 is {state}, and nothing was saved" in capsys.readouterr().out
    assert not saved(run).exists()


def test_a_compute_of_which_nothing_is_known_is_refused_where_no_setting_may_be_lost(run: Run, site: Site) -> None:
    strict = with_carry_over(run, unlisted_differences="refuse")
    site.install(compute(run), None)
    with pytest.raises(PreconditionFailed, match=r"put the nova\.conf that it had before at .*/nova_old\.conf"):
        do("save_nova_conf", strict, site)
    saved(run).parent.mkdir(parents=True)
    saved(run).write_text(OLD)
    assert not do("save_nova_conf", strict, site)


def test_a_compute_with_a_release_and_without_nova_conf_is_refused(run: Run, site: Site) -> None:
    with pytest.raises(PreconditionFailed, match=r"nova\.conf is there"):
        do("save_nova_conf", run, site)


def test_a_compute_that_is_back_is_not_saved_again(run: Run, site: Site) -> None:
    reinstalled(run, site)
    assert not do("save_nova_conf", run, site)
    assert not saved(run).exists()


# ---- A4.7 ------------------------------------------------------------------------------------------------------------


def test_the_saved_file_is_brought_back_with_the_mode_of_nova_conf(run: Run, site: Site) -> None:
    conf(run, site, OLD)
    do("save_nova_conf", run, site)
    fresh = reinstalled(run, site)
    fresh.chmod(0o640)
    assert do("bring_back_nova_old_conf", run, site)
    old = fresh.with_name("nova_old.conf")
    assert (old.read_text(), old.stat().st_mode & 0o777) == (OLD, 0o640)
    assert not do("bring_back_nova_old_conf", run, site)


def test_where_nothing_was_saved_nothing_is_brought_back(run: Run, site: Site) -> None:
    reinstalled(run, site)
    assert not do("bring_back_nova_old_conf", run, site)


def test_nothing_is_brought_back_to_a_compute_that_is_not_back(run: Run, site: Site) -> None:
    conf(run, site, OLD)
    do("save_nova_conf", run, site)
    with pytest.raises(PreconditionFailed):
        do("bring_back_nova_old_conf", run, site)


def test_manager_and_vnc_address_are_repaired_and_the_rest_stays(run: Run, site: Site) -> None:
    fresh = reinstalled(run, site)
    assert do("repair_nova_conf", run, site)
    assert fresh.read_text() == (
        "[DEFAULT]\n# fresh\ncompute_manager = nova.compute.tecs_manager.TecsComputeManager\n"
        "vncserver_proxyclient_address=host-10-43-203-101.STORAGE\n"
    )
    assert not do("repair_nova_conf", run, site)


def rolled_back(run: Run, site: Site, before: str = OLD, fresh: str = STOCK) -> Path:
    """A compute on which A4.1 to the repair of A4.7 have been done; its nova.conf."""
    conf(run, site, before)
    do("save_nova_conf", run, site)
    path = reinstalled(run, site, fresh)
    do("bring_back_nova_old_conf", run, site)
    do("repair_nova_conf", run, site)
    return path


def test_settings_that_a_reinstallation_loses_are_carried_over(run: Run, site: Site) -> None:
    fresh = rolled_back(run, site)
    text = fresh.read_text()
    assert "[libvirt]\nvolume_use_multipath = True" in text
    assert "vcpu_pin_set = 4-15" in text
    assert "my_ip" not in text, "what is in no row stays as the installer has it"
    assert not do("repair_nova_conf", run, site)
    assert fresh.read_text() == text


def test_settings_of_dvs_are_carried_over_on_dvs_computes_only(run: Run, site: Site) -> None:
    dvs = replace(run, computes=(run.cluster.compute("host-10-43-203-106"),))
    before = OLD.replace("my_ip", "dvs_high_cpu_set")
    assert "dvs_high_cpu_set = 1" in rolled_back(dvs, site, before).read_text()
    assert "dvs_high_cpu_set" not in rolled_back(run, site, before).read_text()


def test_where_the_inventory_says_so_the_whole_old_file_comes_back(run: Run, site: Site) -> None:
    whole = with_carry_over(run, ovs={"*/*": "restore"})
    text = rolled_back(whole, site).read_text()
    assert "my_ip = 1" in text
    assert "compute_manager = nova.compute.tecs_manager.TecsComputeManager" in text


def test_a_repair_without_the_file_of_before_is_refused(run: Run, site: Site) -> None:
    """The settings were saved, and the copy on the compute is gone: to go on would lose them without a word."""
    conf(run, site, OLD)
    do("save_nova_conf", run, site)
    fresh = reinstalled(run, site)
    with pytest.raises(PreconditionFailed, match=r"nova_old\.conf"):
        do("repair_nova_conf", run, site)
    assert fresh.read_text() == STOCK


def test_the_installers_nova_conf_is_kept_once_for_an_installation(run: Run, site: Site) -> None:
    fresh = rolled_back(run, site)
    fresh.with_name("nova_old.conf").unlink()
    assert do("bring_back_nova_old_conf", run, site)
    assert kept(run, "nova_fresh.conf").read_text() == STOCK
    assert kept(run, "nova_fresh.conf").stat().st_mode & 0o077 == 0
    site.install(compute(run), "100", at=3000)
    conf(run, site, STOCK + "more = 1\n")
    assert do("bring_back_nova_old_conf", run, site)
    assert kept(run, "nova_fresh.conf").read_text() == STOCK + "more = 1\n"


def test_every_setting_is_kept_and_recorded_as_before_fresh_and_now(run: Run, site: Site) -> None:
    before = OLD + "[database]\nconnection = mysql://nova:s3cret@db/nova\n"
    rolled_back(run, site, before, STOCK + "[database]\nconnection = mysql://nova:other@db/nova\n")
    assert do("compare_nova_settings", run, site)
    text = kept(run, "nova_settings.jsonl").read_text()
    found = {f"{s.section}/{s.key}": (s.rule, s.before, s.fresh, s.after) for s in read_settings(text)}
    assert found == {
        "DEFAULT/compute_manager": ("set", (), ("nova.compute.manager.ComputeManager",), (MANAGER,)),
        "DEFAULT/my_ip": ("unlisted", ("1",), (), ()),
        "DEFAULT/vcpu_pin_set": ("restore", ("4-15",), (), ("4-15",)),
        "DEFAULT/vncserver_proxyclient_address": ("set", (), ("127.0.0.1",), ("host-10-43-203-101.STORAGE",)),
        "database/connection": ("fresh", *[("mysql://***@db/nova",)] * 3),
        "libvirt/volume_use_multipath": ("restore", ("True",), (), ("True",)),
    }
    recorded = Path(record_path(run)).read_text()
    (event,) = read_record(recorded)
    assert (event["step"], event["host"]) == ("compare_nova_settings", "host-10-43-203-101")
    assert event["settings"] == [json.loads(line) for line in text.splitlines()]
    assert "s3cret" not in text + recorded
    assert not list(kept(run, "").glob("*.new"))
    assert not do("compare_nova_settings", run, site)


def test_a_setting_that_differs_and_is_in_no_row_is_reported(
    run: Run, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    rolled_back(run, site)
    capsys.readouterr()
    told = "WARNING: 1 setting differs from before, and carry_over does not say why: DEFAULT/my_ip was [1], is absent"
    for acted in (True, False):
        assert do("compare_nova_settings", run, site) is acted
        assert told in capsys.readouterr().out


def test_a_setting_that_differs_and_is_in_no_row_can_be_refused(run: Run, site: Site) -> None:
    strict = with_carry_over(run, unlisted_differences="refuse")
    fresh = rolled_back(strict, site)
    with pytest.raises(GoalNotReached, match=r"DEFAULT/my_ip was \[1\], is absent"):
        do("compare_nova_settings", strict, site)
    explained = with_carry_over(run, unlisted_differences="refuse", ovs={"DEFAULT/my_ip": "fresh"})
    assert do("compare_nova_settings", explained, site)
    fresh.write_text(fresh.read_text() + "odd = 1\n")
    with pytest.raises(GoalNotReached, match=r"libvirt/odd was absent, is \[1\]"):
        do("compare_nova_settings", explained, site)


def test_a_change_of_nova_conf_after_the_comparison_is_compared_again(run: Run, site: Site) -> None:
    fresh = rolled_back(run, site)
    do("compare_nova_settings", run, site)
    fresh.write_text(fresh.read_text().replace("volume_use_multipath = True", "volume_use_multipath = False"))
    assert do("compare_nova_settings", run, site)
    assert '"after": ["False"]' in kept(run, "nova_settings.jsonl").read_text()


def test_settings_that_cannot_be_read_from_the_compute_are_not_called_compared(run: Run, site: Site) -> None:
    rolled_back(run, site)
    site.tell(compute(run), "down", "")
    with pytest.raises(CommandFailed):
        do("compare_nova_settings", run, site)
    assert not kept(run, "nova_settings.jsonl").exists()


def test_where_nothing_was_saved_there_is_nothing_to_compare(run: Run, site: Site) -> None:
    reinstalled(run, site)
    assert not do("compare_nova_settings", run, site)
    assert not kept(run, "").exists()


def test_a_repair_leaves_a_backup_beside_nova_conf(run: Run, site: Site) -> None:
    fresh = reinstalled(run, site)
    do("repair_nova_conf", run, site)
    assert [file.read_text() for file in fresh.parent.glob("nova.conf.before-*")] == [STOCK]


def test_the_bad_releases_nova_conf_is_not_repaired(run: Run, site: Site) -> None:
    bad = conf(run, site, STOCK)
    with pytest.raises(PreconditionFailed):
        do("repair_nova_conf", run, site)
    assert bad.read_text() == STOCK


# ---- A4.8, A4.9 ------------------------------------------------------------------------------------------------------

SYSTEMCTL = """\
case "$1" in
is-active) shift; for unit in "$@"; do cat "$SAYS/$HOST/$unit"; done; grep -qx active "$SAYS/$HOST/$1" ;;
restart) echo "$HOST: systemctl $*" >> "$SAYS/asked"; echo active > "$SAYS/$HOST/$2" ;;
show)
  test ! -e "$SAYS/$HOST/dies" || echo x >> "$SAYS/$HOST/dies"
  echo "MainPID=$(cat "$SAYS/$HOST/dies" 2>/dev/null | wc -l)" ;;
esac"""
UNITS = ("openstack-nova-compute", "openstack-nova-storage")


@pytest.fixture
def running(run: Run, site: Site) -> Site:
    """A reinstalled compute, its units as the installer started them."""
    reinstalled(run, site)
    site.program("systemctl", SYSTEMCTL)
    for unit in UNITS:
        site.tell(compute(run), unit, "active")
    return site


def test_the_services_are_restarted_once_for_a_nova_conf(run: Run, running: Site) -> None:
    assert do("restart_compute_services", run, running)
    name = compute(run).name
    assert running.asked == [f"{name}: openstack-service restart", f"{name}: systemctl restart openstack-nova-storage"]
    assert not do("restart_compute_services", run, running)


def test_the_services_are_restarted_again_when_nova_conf_has_changed(run: Run, running: Site) -> None:
    do("restart_compute_services", run, running)
    conf(run, running, STOCK + "more = 1\n")
    assert do("restart_compute_services", run, running)


def test_the_services_are_restarted_again_after_another_installation(run: Run, running: Site) -> None:
    """The note of the restart outlives a reinstallation, and the repaired nova.conf may be the same as the time before."""
    do("restart_compute_services", run, running)
    running.install(compute(run), "100", at=3000)
    assert do("restart_compute_services", run, running)


def test_the_services_are_restarted_again_when_one_has_died(run: Run, running: Site) -> None:
    do("restart_compute_services", run, running)
    running.tell(compute(run), "openstack-nova-storage", "failed")
    assert do("restart_compute_services", run, running)


def test_a_failed_restart_is_not_noted(run: Run, running: Site) -> None:
    running.records("openstack-service", "exit 1")
    with pytest.raises(CommandFailed):
        do("restart_compute_services", run, running)
    running.records("openstack-service")
    assert do("restart_compute_services", run, running)


def seen_by_the_cloud(run: Run, site: Site, **other: str) -> None:
    row = {
        "Binary": "nova-compute",
        "Host": compute(run).name,
        "Status": "enabled",
        "State": "up",
        "Disabled Reason": None,
    }
    site.cloud(servers=[], services=[row | other])


def test_services_that_are_up_are_verified(run: Run, running: Site) -> None:
    seen_by_the_cloud(run, running)
    assert do("verify_compute_services", run, running)


@pytest.mark.parametrize("dead", UNITS)
def test_one_dead_unit_of_several_is_found(run: Run, running: Site, dead: str, impatient: None) -> None:
    seen_by_the_cloud(run, running)
    running.tell(compute(run), dead, "failed")
    with pytest.raises(GoalNotReached, match=f"{dead} is failed"):
        do("verify_compute_services", run, running)


def test_a_service_that_dies_again_and_again_is_found(run: Run, running: Site, impatient: None) -> None:
    seen_by_the_cloud(run, running)
    running.tell(compute(run), "dies", "")
    with pytest.raises(GoalNotReached, match="a service does not stay up"):
        do("verify_compute_services", run, running)


def test_a_service_that_the_cloud_does_not_see_is_found(run: Run, running: Site, impatient: None) -> None:
    seen_by_the_cloud(run, running, State="down")
    with pytest.raises(GoalNotReached, match="nova-compute is not up on host-10-43-203-101"):
        do("verify_compute_services", run, running)


@pytest.mark.parametrize(
    ("status", "reason", "acted"),
    [
        ("disabled", "tecs-rollback rollback_compute/run-1", True),
        ("disabled", "tecs-rollback an/earlier-run", True),
        ("disabled", "memory is being replaced", False),
        ("disabled", None, False),
        ("enabled", None, False),
    ],
)
def test_only_what_a_rollback_has_disabled_is_enabled(
    run: Run, running: Site, status: str, reason: str | None, acted: bool
) -> None:
    seen_by_the_cloud(run, running, **{"Status": status, "Disabled Reason": reason})  # type: ignore[arg-type]
    assert do("enable_scheduling", run, running) is acted
    assert (running.seen("services")[0]["Status"] == "enabled") is (acted or status == "enabled")


def test_a_compute_that_is_not_back_is_not_enabled(run: Run, running: Site) -> None:
    seen_by_the_cloud(run, running, **{"Status": "disabled", "Disabled Reason": "tecs-rollback x"})
    running.note_reinstallation(compute(run))
    with pytest.raises(PreconditionFailed):
        do("enable_scheduling", run, running)

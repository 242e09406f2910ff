"""A4.1 and A4.7 to A4.9: nova.conf is saved, brought back and repaired on real files; services are asked and restarted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from include.runbook.cluster import Compute
from include.runbook.custody import folder
from include.runbook.errors import CommandFailed, GoalNotReached, PreconditionFailed
from include.runbook.perform import perform
from include.runbook.step import Run, kind

from .site import Site

OLD = "[DEFAULT]\nvcpu_pin_set = 4-15\nmy_ip = 1\n[libvirt]\nvolume_use_multipath = True\n"
STOCK = "[DEFAULT]\n# fresh\ncompute_manager = nova.compute.manager.ComputeManager\nvncserver_proxyclient_address=127.0.0.1\n"


def compute(run: Run) -> Compute:
    return run.computes[0]


def do(name: str, run: Run, site: Site) -> bool:
    return perform(kind(name).make(run, compute(run)), site, run, print).acted


def conf(run: Run, site: Site, text: str) -> Path:
    return site.write(compute(run), run.cluster.paths.nova_conf, text)


def saved(run: Run) -> Path:
    return Path(f"{folder(run.cluster)}/saved/{compute(run).name}/nova_old.conf")


def reinstalled(run: Run, site: Site, text: str = STOCK) -> Path:
    """What the installer leaves: the old release, its own nova.conf, and nothing unproven."""
    site.install(compute(run), "100", at=2000)
    return conf(run, site, text)


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


def test_settings_that_a_reinstallation_loses_are_carried_over(run: Run, site: Site) -> None:
    conf(run, site, OLD)
    do("save_nova_conf", run, site)
    fresh = reinstalled(run, site)
    do("bring_back_nova_old_conf", run, site)
    do("repair_nova_conf", run, site)
    text = fresh.read_text()
    assert "volume_use_multipath = True" in text
    assert "my_ip" not in text, "only what is lost is carried over"
    assert "vcpu_pin_set" not in text, "pinning is carried over with DVS only"
    assert not do("repair_nova_conf", run, site)


def test_with_dvs_the_pinning_is_carried_over_too(run: Run, site: Site) -> None:
    dvs = replace(run, computes=(run.cluster.compute("host-10-43-203-106"),))
    conf(dvs, site, OLD)
    do("save_nova_conf", dvs, site)
    fresh = reinstalled(dvs, site)
    do("bring_back_nova_old_conf", dvs, site)
    do("repair_nova_conf", dvs, site)
    assert "vcpu_pin_set = 4-15" in fresh.read_text()


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

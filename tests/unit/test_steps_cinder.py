"""A5.4: cinder's settings of B are saved and restored on real files."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.runbook.custody import folder
from include.runbook.errors import CommandFailed, PreconditionFailed
from include.runbook.perform import perform
from include.runbook.step import Run, kind

from .site import Site

OURS, STOCK = '{"backends": ["KS3200_IPSAN"]}\n', '{"backends": ["LVM"]}\n'


def do(name: str, run: Run, site: Site) -> bool:
    return perform(kind(name).make(run, run.cluster.daisy), site, run, print).acted


def settings(run: Run, site: Site, text: str) -> Path:
    return site.write(run.cluster.controllers.b, f"{run.cluster.paths.storage_auto_config}/base/cinder.json", text)


def saved(run: Run) -> Path:
    return Path(f"{folder(run.cluster)}/saved/{run.cluster.controllers.b.name}/cinder.json")


@pytest.fixture
def reinstalled(run: Run, site: Site) -> Path:
    """B on the old release with the installer's settings; its own were saved before."""
    settings(run, site, OURS)
    do("save_cinder_settings", run, site)
    site.install(run.cluster.controllers.b, "100", at=2000)
    site.records(
        "python", 'test -f storage_auto_config.py || exit 2; echo "----------Operation $2 is done!----------"; exit 9'
    )
    fresh = settings(run, site, STOCK)
    fresh.parent.with_name("storage_auto_config.py").touch()
    return fresh


def test_the_settings_are_saved_on_the_daisy_host_for_nobody_else_to_read(run: Run, site: Site) -> None:
    settings(run, site, OURS)
    assert do("save_cinder_settings", run, site)
    assert (saved(run).read_text(), saved(run).stat().st_mode & 0o077) == (OURS, 0)
    assert not do("save_cinder_settings", run, site)


def test_settings_that_cannot_be_saved_stop_the_run_before_b_is_taken_down(run: Run, site: Site) -> None:
    with pytest.raises(CommandFailed, match="or put A's copy at"):
        do("save_cinder_settings", run, site)
    assert not saved(run).exists()


def test_empty_settings_are_not_saved(run: Run, site: Site) -> None:
    settings(run, site, "")
    with pytest.raises(CommandFailed):
        do("save_cinder_settings", run, site)


def test_what_was_saved_stays_when_b_has_been_taken_down(run: Run, site: Site) -> None:
    settings(run, site, OURS)
    do("save_cinder_settings", run, site)
    site.install(run.cluster.controllers.b, None)
    settings(run, site, OURS).unlink()
    assert not do("save_cinder_settings", run, site)
    assert saved(run).read_text() == OURS


def test_the_installers_settings_never_take_the_place_of_what_was_saved(
    run: Run, site: Site, reinstalled: Path
) -> None:
    """A run that begins anew after an installation that failed half way finds the installer's file on B."""
    site.note_reinstallation(run.cluster.controllers.b)
    assert not do("save_cinder_settings", run, site)
    assert saved(run).read_text() == OURS


def test_the_back_ends_are_restored_with_the_management_address(run: Run, site: Site, reinstalled: Path) -> None:
    assert do("restore_cinder_backends", run, site)
    assert reinstalled.read_text() == OURS
    assert site.asked == ["host-10-43-203-92: python storage_auto_config.py cinder_conf 10.43.203.90"]


def test_the_back_ends_are_restored_once_for_an_installation(run: Run, site: Site, reinstalled: Path) -> None:
    do("restore_cinder_backends", run, site)
    assert not do("restore_cinder_backends", run, site)
    site.install(run.cluster.controllers.b, "100", at=3000)
    assert do("restore_cinder_backends", run, site)


def test_success_is_what_the_script_says_and_not_its_exit_status(run: Run, site: Site, reinstalled: Path) -> None:
    site.program("python", "echo '----------Operation cinder_conf is Failed.----------'; exit 0")
    with pytest.raises(CommandFailed, match="did not report that it is done"):
        do("restore_cinder_backends", run, site)


def test_nothing_is_restored_before_b_is_back(run: Run, site: Site, reinstalled: Path) -> None:
    site.install(run.cluster.controllers.b, "101")
    with pytest.raises(PreconditionFailed):
        do("restore_cinder_backends", run, site)
    assert reinstalled.read_text() == STOCK


def test_where_nothing_was_saved_nothing_is_restored(run: Run, site: Site) -> None:
    assert not do("restore_cinder_backends", run, site)

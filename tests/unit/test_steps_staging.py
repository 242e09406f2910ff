"""A3: the installer is put in its place, on files that are really there."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from include.runbook.errors import CommandFailed, PreconditionFailed
from include.runbook.perform import perform
from include.runbook.step import Run, kind

from .site import Site

BIN = b"#!/bin/sh\necho installing\n"


@pytest.fixture
def staging(run: Run) -> Run:
    """A run whose inventory states the sum of the installer that these tests use."""
    release = run.cluster.releases["100"].model_copy(update={"sha256": hashlib.sha256(BIN).hexdigest()})
    releases = dict(run.cluster.releases) | {"100": release}
    return replace(run, cluster=run.cluster.model_copy(update={"releases": releases}))


def stage(run: Run, site: Site) -> bool:
    return perform(kind("stage_bin_on_daisy").make(run, run.cluster.daisy), site, run, print).acted


def stage_on_node(run: Run, site: Site) -> bool:
    return perform(kind("stage_bin_on_node").make(run, run.computes[0]), site, run, print).acted


def source(run: Run, site: Site) -> Path:
    return site.write(run.cluster.daisy, run.cluster.releases["100"].bin, BIN)


def test_the_installer_is_staged_whole_and_executable_in_a_folder_of_its_own(staging: Run, site: Site) -> None:
    source(staging, site)
    assert stage(staging, site)
    staged = Path(staging.cluster.daisy.path(staging.staged_bin))
    assert staged.read_bytes() == BIN
    assert staged.stat().st_mode & 0o777 == 0o755
    assert [file.name for file in staged.parent.iterdir()] == [staged.name]


def test_a_staged_installer_is_not_staged_again(staging: Run, site: Site) -> None:
    source(staging, site)
    stage(staging, site)
    assert not stage(staging, site)


def test_another_installer_beside_it_is_moved_aside_and_named(
    staging: Run, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    source(staging, site)
    stage(staging, site)
    staged = Path(staging.cluster.daisy.path(staging.staged_bin))
    staged.with_name("ZXTECS_V02_I101.bin").write_text("the bad release")
    assert stage(staging, site)
    assert [file.name for file in staged.parent.iterdir() if file.is_file()] == [staged.name]
    assert (staged.parent / "aside/ZXTECS_V02_I101.bin").read_text() == "the bad release"
    assert f"{staged.parent}/ZXTECS_V02_I101.bin" in capsys.readouterr().out


def test_a_damaged_staged_installer_is_replaced(staging: Run, site: Site) -> None:
    source(staging, site)
    site.write(staging.cluster.daisy, staging.staged_bin, BIN[:5])
    assert stage(staging, site)


def test_a_corrupt_source_is_refused_before_anything_is_staged(staging: Run, site: Site) -> None:
    site.write(staging.cluster.daisy, staging.cluster.releases["100"].bin, b"other")
    with pytest.raises(PreconditionFailed, match="Put the installer of release 100 whole at"):
        stage(staging, site)
    assert not Path(staging.cluster.daisy.path(staging.staged_bin)).exists()


def test_the_only_copy_of_the_installer_is_never_removed(staging: Run, site: Site) -> None:
    """The inventory may name as source the very place where installers are staged."""
    cluster = staging.cluster
    release = cluster.releases["100"].model_copy(update={"bin": staging.staged_bin})
    same = replace(staging, cluster=cluster.model_copy(update={"releases": dict(cluster.releases) | {"100": release}}))
    staged = source(same, site)
    staged.with_name("ZXTECS_V02_I101.bin").write_text("the bad release")
    assert stage(same, site)
    assert staged.read_bytes() == BIN


def test_the_node_gets_the_same_installer_over_ssh(staging: Run, site: Site) -> None:
    source(staging, site)
    stage(staging, site)
    assert stage_on_node(staging, site)
    there = Path(staging.computes[0].path(staging.staged_bin))
    assert (there.read_bytes(), there.stat().st_mode & 0o777) == (BIN, 0o755)
    assert not stage_on_node(staging, site)


def test_a_node_that_is_back_on_the_old_release_needs_no_installer(staging: Run, site: Site) -> None:
    source(staging, site)
    site.install(staging.computes[0], "100")
    assert not stage_on_node(staging, site)


def test_a_node_that_cannot_be_reached_from_the_daisy_host_is_named(staging: Run, site: Site) -> None:
    source(staging, site)
    stage(staging, site)
    site.tell(staging.computes[0], "down", "")
    with pytest.raises(CommandFailed) as failed:
        stage_on_node(staging, site)
    assert failed.value.status == 255
    assert "daisy reaches it by key" in failed.value.advice

"""The gate on the databases' schema, and the backup for whoever passes it on their own word; the SQL runs for real."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from include.runbook.errors import CommandFailed, FactUnreadable, PreconditionFailed
from include.runbook.perform import judge, perform
from include.runbook.step import Run, Verdict, kind
from include.runbook.steps.databases import backup_folder, schemas_known, schemas_safe

from .site import Site

NEWER = {
    "nova": {"migrate_version": ["320"]},
    "nova_api": {"migrate_version": ["7"]},
    "cinder": {"migrate_version": ["72"]},
    "glance": {"migrate_version": ["42"]},
    "keystone": {"migrate_version": ["97"]},
    "neutron": {"alembic_version": ["0e66c5227a8a", "unheard_of"]},
}


@pytest.fixture
def whole_run(run: Run) -> Run:
    return replace(run, dag="rollback_cluster", user="operator")


def gate(run: Run, site: Site) -> Verdict:
    return judge(schemas_safe(run), site)


def back_up(run: Run, site: Site) -> bool:
    return perform(kind("back_up_databases").make(run, run.cluster.daisy), site, run, print).acted


def test_databases_as_the_release_knows_them_pass_and_are_not_backed_up(whole_run: Run, site: Site) -> None:
    site.databases(site.cluster.controllers.a)
    assert gate(whole_run, site).met
    assert not back_up(whole_run, site)


def test_in_scenario_a_the_database_answers_on_b(whole_run: Run, site: Site) -> None:
    site.databases(site.cluster.controllers.b)
    assert gate(whole_run, site).met
    with pytest.raises(FactUnreadable, match="no database answers"):
        gate(replace(whole_run, dag="rollback_controller"), site)


def test_newer_schemas_are_named_and_refused(whole_run: Run, site: Site) -> None:
    site.databases(site.cluster.controllers.a, NEWER)
    verdict = gate(whole_run, site)
    assert not verdict.met
    assert "nova at 320, the release knows up to 319" in verdict.found
    assert "neutron at 0e66c5227a8a, unheard_of" in verdict.found
    assert "accept_newer_schema" in verdict.found
    with pytest.raises(PreconditionFailed, match="nobody has accepted that"):
        back_up(whole_run, site)


def test_an_inventory_that_does_not_say_what_the_release_knows_does_not_pass(whole_run: Run, site: Site) -> None:
    silent = whole_run.cluster.releases["100"].model_copy(update={"schemas": {}})
    releases = dict(whole_run.cluster.releases) | {"100": silent}
    mute = replace(whole_run, cluster=whole_run.cluster.model_copy(update={"releases": releases}))
    assert "releases.100.schemas" in judge(schemas_known(mute), site).found
    assert not judge(schemas_known(mute), site).met


def test_who_accepts_a_newer_schema_gets_a_whole_backup_once(whole_run: Run, site: Site) -> None:
    accepting = replace(whole_run, accept_newer_schema=True)
    site.databases(site.cluster.controllers.a, NEWER)
    assert gate(accepting, site).found == "operator accepts a newer schema; the databases are backed up first"
    assert back_up(accepting, site)
    for name in NEWER:
        dump = gzip.decompress((Path(backup_folder(accepting)) / f"{name}.sql.gz").read_bytes()).decode()
        assert f"-- {name}" in dump
    assert not back_up(accepting, site)


def test_a_dump_that_breaks_off_is_no_backup(whole_run: Run, site: Site) -> None:
    accepting = replace(whole_run, accept_newer_schema=True)
    site.databases(site.cluster.controllers.a, NEWER)
    site.tell(site.cluster.controllers.a, "dump-breaks-off", "")
    with pytest.raises(CommandFailed, match="the dump of nova is not whole"):
        back_up(accepting, site)
    assert not (Path(backup_folder(accepting)) / "SHA256SUMS").exists()


def test_a_backup_that_was_spoilt_is_made_again(whole_run: Run, site: Site) -> None:
    accepting = replace(whole_run, accept_newer_schema=True)
    site.databases(site.cluster.controllers.a, NEWER)
    assert back_up(accepting, site)
    (Path(backup_folder(accepting)) / "nova.sql.gz").write_bytes(b"")
    assert back_up(accepting, site)


def test_a_database_that_the_release_knows_and_the_server_does_not_is_no_backup(whole_run: Run, site: Site) -> None:
    accepting = replace(whole_run, accept_newer_schema=True)
    site.databases(site.cluster.controllers.a, {name: told for name, told in NEWER.items() if name != "glance"})
    with pytest.raises(CommandFailed, match="the dump of glance is not whole"):
        back_up(accepting, site)

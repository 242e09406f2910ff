"""The stand-ins for mysql and mysqldump, asked with the product's own scripts."""

from __future__ import annotations

import pytest

from include.lab.databases import SCHEMAS
from include.runbook.cluster import load_cluster
from include.runbook.steps.databases import versions_of
from tests.standins.site import A, B, TrialSite
from tests.unit.conftest import EXAMPLE


def versions() -> str:
    return versions_of(load_cluster(EXAMPLE), list(SCHEMAS))


def test_the_active_controller_tells_the_version_of_every_database(site: TrialSite) -> None:
    told = site.run(B, versions()).stdout.splitlines()
    assert sorted(told) == sorted(
        f"{name} {table} {version}" for name, (table, rows) in SCHEMAS.items() for version in rows
    )


def test_the_standby_has_no_server(site: TrialSite) -> None:
    answer = site.run(A, versions())
    assert (answer.returncode, "Can't connect to local MySQL server" in answer.stderr) == (1, True)


def test_a_schema_can_be_made_newer_or_taken_away(site: TrialSite) -> None:
    site.lab.fault({"schema": "nova", "versions": ["320"]})
    site.lab.fault({"schema": "cinder", "versions": []})
    told = site.run(B, versions()).stdout.splitlines()
    assert "nova migrate_version 320" in told
    assert "cinder migrate_version" in told


def test_a_dump_ends_with_the_line_that_says_so(site: TrialSite) -> None:
    dump = site.run(B, "mysqldump --single-transaction --routines --events neutron").stdout
    assert dump.splitlines()[-1].startswith("-- Dump completed")
    assert "0e66c5227a8a" in dump


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("mysqldump nosuch", "Unknown database 'nosuch'"),
        ("echo 'DROP DATABASE nova;' | mysql --batch --skip-column-names", "does not know this statement"),
        ("mysql -u root", "does not emulate"),
    ],
)
def test_what_is_not_emulated_is_refused(site: TrialSite, command: str, said: str) -> None:
    answer = site.run(B, command)
    assert answer.returncode != 0
    assert said in answer.stderr

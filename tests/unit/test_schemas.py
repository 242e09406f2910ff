"""Whether a release knows the schema of a database: by number where migrations are counted, by name where they are named."""

from __future__ import annotations

import pytest

from include.runbook.errors import FactUnreadable
from include.runbook.schemas import Declared, Schema, not_known, parse_schemas


def told(printed: str, known: dict[str, Declared]) -> str:
    return "; ".join(not_known(parse_schemas(printed, source="a: mysql"), known))


@pytest.mark.parametrize(
    ("printed", "known"),
    [
        ("nova migrate_version 319", {"nova": 319}),
        ("nova migrate_version 216", {"nova": 319}),
        ("neutron alembic_version kilo", {"neutron": ("juno", "kilo")}),
        ("neutron alembic_version e1\nneutron alembic_version c1", {"neutron": ("c1", "e1")}),
        ("nova migrate_version 402\nnova alembic_version a", {"nova": ("a",)}),
        ("nova migrate_version 402\nnova alembic_version", {"nova": 402}),
        ("nova migrate_version 319\nheat migrate_version 999", {"nova": 319}),
    ],
)
def test_a_schema_that_the_release_knows(printed: str, known: dict[str, Declared]) -> None:
    assert told(printed, known) == ""


@pytest.mark.parametrize(
    ("printed", "known", "problem"),
    [
        ("nova migrate_version 320", {"nova": 319}, "nova at 320, the release knows up to 319"),
        ("nova migrate_version", {"nova": 319}, "nova at no version, expected a number"),
        ("nova migrate_version x", {"nova": 319}, "nova at x, expected a number"),
        (
            "nova migrate_version 402\nnova alembic_version a",
            {"nova": 402},
            "nova at a (alembic), the release knows mig",
        ),
        ("neutron alembic_version b", {"neutron": ("a",)}, "neutron at b, the release knows a"),
        ("neutron alembic_version a\nneutron alembic_version b", {"neutron": ("a",)}, "neutron at a, b, the release"),
        ("neutron alembic_version", {"neutron": ("a",)}, "neutron at no version"),
        ("", {"nova_api": 7}, "nova_api has no schema version: whether the release knows it cannot be told"),
    ],
)
def test_a_schema_that_the_release_does_not_know(printed: str, known: dict[str, Declared], problem: str) -> None:
    assert problem in told(printed, known)


@pytest.mark.parametrize("garbled", ["nova", "nova version 3", "a b c d", "\x1b[2J"])
def test_an_answer_of_another_form_is_not_read_as_no_schema(garbled: str) -> None:
    with pytest.raises(FactUnreadable, match="expected a database, its table and its version"):
        parse_schemas(garbled, source="a: mysql")


def test_versions_of_one_table_belong_together() -> None:
    printed = "neutron alembic_version e1\nneutron alembic_version c1\n"
    assert parse_schemas(printed, source="a: mysql") == (Schema("neutron", "alembic_version", ("e1", "c1")),)

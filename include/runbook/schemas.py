"""Which versions the cloud's databases have, and whether a release knows them: old code on a newer schema destroys data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from include.runbook.errors import FactUnreadable

MIGRATE, ALEMBIC = "migrate_version", "alembic_version"
"""The tables of sqlalchemy-migrate, which counts upwards, and of alembic, whose revisions have names without an order."""

Declared = int | tuple[str, ...]
"""What a release knows of a database: the newest migration by number, or every revision by name."""


@dataclass(frozen=True)
class Schema:
    """The version of one database as it is: the table that tells it, and the rows of that table."""

    database: str
    table: str
    versions: tuple[str, ...]

    @property
    def told(self) -> str:
        """The version for an operator."""
        return f"{self.database} at {', '.join(self.versions) or 'no version'}"


def parse_schemas(printed: str, *, source: str) -> tuple[Schema, ...]:
    """Read lines of `database table version`; raise FactUnreadable for anything else."""
    found: dict[tuple[str, str], list[str]] = {}
    host, _, command = source.partition(": ")
    for line in printed.splitlines():
        words = line.split()
        if len(words) not in (2, 3) or words[1] not in (MIGRATE, ALEMBIC):
            raise FactUnreadable(host, command, f"{line[:200]!r}; expected a database, its table and its version")
        found.setdefault((words[0], words[1]), []).extend(words[2:])
    return tuple(Schema(database, table, tuple(versions)) for (database, table), versions in found.items())


def not_known(live: Sequence[Schema], known: Mapping[str, Declared]) -> tuple[str, ...]:
    """Return what a release that declares `known` does not know of the live databases, a sentence for each; empty: nothing.

    A database that changed from one table to the other between releases has both; then it is as new as the newer kind.
    """
    by_name: dict[str, dict[str, Schema]] = {}
    for schema in live:
        by_name.setdefault(schema.database, {})[schema.table] = schema
    problems = []
    for database, declared in known.items():
        tables = by_name.get(database, {})
        if not tables:
            problems.append(f"{database} has no schema version: whether the release knows it cannot be told")
        elif isinstance(declared, int):
            problems += _beyond_number(tables, declared)
        else:
            problems += _beyond_names(tables, declared)
    return tuple(problems)


def _beyond_number(tables: Mapping[str, Schema], newest: int) -> list[str]:
    alembic, migrate = tables.get(ALEMBIC), tables.get(MIGRATE)
    if alembic is not None and alembic.versions:
        return [f"{alembic.told} (alembic), the release knows migrations up to {newest} only"]
    versions = migrate.versions if migrate is not None else ()
    if not versions or not all(re.fullmatch("[0-9]{1,18}", version) for version in versions):
        return [f"{(migrate or alembic or next(iter(tables.values()))).told}, expected a number of at most {newest}"]
    return [f"{migrate.told}, the release knows up to {newest}"] if migrate and max(map(int, versions)) > newest else []


def _beyond_names(tables: Mapping[str, Schema], names: Sequence[str]) -> list[str]:
    schema = tables.get(ALEMBIC) or tables[MIGRATE]
    unknown = [version for version in schema.versions if version not in names]
    if schema.versions and not unknown:
        return []
    return [f"{schema.told}, the release knows {', '.join(names) or 'none'}"]

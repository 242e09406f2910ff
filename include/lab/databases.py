"""The versions of the cloud's databases: the newest that the target release is said to know, or the lab's own."""

from __future__ import annotations

import copy
from collections.abc import Mapping

SCHEMAS: dict[str, tuple[str, list[str]]] = {
    "nova": ("migrate_version", ["319"]),
    "nova_api": ("migrate_version", ["7"]),
    "cinder": ("migrate_version", ["72"]),
    "glance": ("migrate_version", ["42"]),
    "keystone": ("migrate_version", ["97"]),
    "neutron": ("alembic_version", ["0e66c5227a8a", "4ffceebfcdc"]),
}
"""Database -> (the table with its version, the rows of that table)."""


def in_service(known: Mapping[str, int | list[str]]) -> dict[str, tuple[str, list[str]]]:
    """The cloud's databases at the newest version that a release declares to know; one that declares nothing has SCHEMAS."""
    if not known:
        return copy.deepcopy(SCHEMAS)
    return {
        name: ("migrate_version", [str(declared)]) if isinstance(declared, int) else ("alembic_version", list(declared))
        for name, declared in known.items()
    }


def declared() -> dict[str, int | list[str]]:
    """What an inventory says of a release that knows exactly these versions."""
    return {
        name: int(versions[0]) if table == "migrate_version" else list(versions)
        for name, (table, versions) in SCHEMAS.items()
    }

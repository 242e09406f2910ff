"""The versions of the cloud's databases: those that both of the lab's releases know."""

from __future__ import annotations

SCHEMAS: dict[str, tuple[str, list[str]]] = {
    "nova": ("migrate_version", ["319"]),
    "nova_api": ("migrate_version", ["7"]),
    "cinder": ("migrate_version", ["72"]),
    "glance": ("migrate_version", ["42"]),
    "keystone": ("migrate_version", ["97"]),
    "neutron": ("alembic_version", ["0e66c5227a8a", "4ffceebfcdc"]),
}
"""Database -> (the table with its version, the rows of that table)."""


def declared() -> dict[str, int | list[str]]:
    """What an inventory says of a release that knows exactly these versions."""
    return {
        name: int(versions[0]) if table == "migrate_version" else list(versions)
        for name, (table, versions) in SCHEMAS.items()
    }

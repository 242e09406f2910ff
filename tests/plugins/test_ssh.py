"""A step's own session: bounded in time and in size, whatever the host prints."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
import yaml

from include.runbook import reach
from include.runbook.cluster import Cluster, Host
from include.runbook.errors import LimitExceeded
from include.runbook.shell import CUT
from tests.unit.conftest import EXAMPLE
from tests.unit.ssh_hosts import CLIENT_KEY, ssh_hosts

ADDRESS = "127.77.9.1"
LIMIT = 100_000


@pytest.fixture
def host() -> Host:
    return Cluster.model_validate(yaml.safe_load(Path(EXAMPLE).read_text(encoding="utf-8"))).controllers.a


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[paramiko.SSHClient]:
    monkeypatch.setattr(reach, "OUTPUT_LIMIT", LIMIT)
    with ssh_hosts() as servers, paramiko.SSHClient() as client:
        key = servers.start(ADDRESS)
        shown = paramiko.hostkeys.HostKeyEntry.from_line(f"host {key.export_public_key().decode()}").key
        client.get_host_keys().add(f"[{ADDRESS}]:{servers.port}", shown.get_name(), shown)
        login = paramiko.Ed25519Key.from_private_key(io.StringIO(CLIENT_KEY.export_private_key().decode()))
        client.connect(ADDRESS, servers.port, "root", pkey=login, allow_agent=False, look_for_keys=False)
        yield client


def test_what_is_beyond_the_limit_is_not_kept_and_that_is_said(client: paramiko.SSHClient, host: Host) -> None:
    from tecs.ssh import _exec

    output = _exec(client, host, f"yes | head -c {3 * LIMIT}; echo end >&2; exit 3", 30)
    assert (len(output.stdout), output.stderr, output.status, output.cut) == (LIMIT, "end\n", 3, True)
    assert CUT in output.tail


class Endless:
    """A session, its transport and its channel in one, on which there is always more to read."""

    closed = False

    def __init__(self) -> None:
        self._readable, self._written = socket.socketpair()
        self._written.send(b"y")

    def get_transport(self) -> Endless:
        return self

    def open_session(self, timeout: float) -> Endless:
        return self

    def exec_command(self, script: str) -> None: ...

    def shutdown_write(self) -> None: ...

    def fileno(self) -> int:
        return self._readable.fileno()

    def recv_ready(self) -> bool:
        return True

    recv_stderr_ready = recv_ready

    def recv(self, size: int) -> bytes:
        return b"y" * size

    recv_stderr = recv

    def close(self) -> None:
        self._readable.close()
        self._written.close()


def test_a_host_that_never_ends_printing_is_not_waited_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    from tecs.ssh import _exec

    monkeypatch.setattr(reach, "OUTPUT_LIMIT", LIMIT)
    with pytest.raises(LimitExceeded, match="yes") as told:
        _exec(Endless(), host, "yes", 0.3)
    assert CUT in str(told.value)


def test_an_output_comes_whole_and_in_both_streams(client: paramiko.SSHClient, host: Host) -> None:
    from tecs.ssh import _exec

    output = _exec(client, host, f"yes | head -c {LIMIT}; yes n | head -c {LIMIT} >&2", 30)
    assert (len(output.stdout), len(output.stderr), output.status, output.cut) == (LIMIT, LIMIT, 0, False)

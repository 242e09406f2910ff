"""A step's own session: bounded in time and in size, whatever the host prints."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest
import yaml

from include.runbook import reach
from include.runbook.cluster import Cluster, Host
from include.runbook.errors import LimitExceeded, RootDenied
from include.runbook.shell import CUT, Output
from tests.unit.conftest import EXAMPLE
from tests.unit.ssh_hosts import CLIENT_KEY, SshHosts, give_sudo, ssh_hosts

ADDRESS = "127.77.9.1"
LIMIT = 100_000
A_LONG_LINE = f"# {'0123456789' * 40_000}"


@pytest.fixture
def host() -> Host:
    return Cluster.model_validate(yaml.safe_load(Path(EXAMPLE).read_text(encoding="utf-8"))).controllers.a


@pytest.fixture
def servers() -> Iterator[SshHosts]:
    with ssh_hosts() as servers:
        yield servers


@contextmanager
def logged_in(servers: SshHosts, login: str) -> Iterator[paramiko.SSHClient]:
    with paramiko.SSHClient() as client:
        key = servers.start(ADDRESS)
        shown = paramiko.hostkeys.HostKeyEntry.from_line(f"host {key.export_public_key().decode()}").key
        client.get_host_keys().add(f"[{ADDRESS}]:{servers.port}", shown.get_name(), shown)
        own = paramiko.Ed25519Key.from_private_key(io.StringIO(CLIENT_KEY.export_private_key().decode()))
        client.connect(ADDRESS, servers.port, login, pkey=own, allow_agent=False, look_for_keys=False)
        yield client


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, servers: SshHosts) -> Iterator[paramiko.SSHClient]:
    monkeypatch.setattr(reach, "OUTPUT_LIMIT", LIMIT)
    with logged_in(servers, "root") as client:
        yield client


def test_what_is_beyond_the_limit_is_not_kept_and_that_is_said(client: paramiko.SSHClient, host: Host) -> None:
    from tecs.ssh import _exec

    output = _exec(client, host, f"yes | head -c {3 * LIMIT}; echo end >&2; exit 3", 30)
    assert (len(output.stdout), output.stderr, output.status, output.cut) == (LIMIT, "end\n", 3, True)
    assert CUT in output.tail


@pytest.mark.parametrize("login", ["root", "operator"])
def test_a_script_of_any_length_is_run(servers: SshHosts, host: Host, tmp_path: Path, login: str) -> None:
    from tecs.ssh import _exec

    give_sudo(servers, tmp_path, allowed=True)
    with logged_in(servers, login) as client:
        assert _exec(client, host, f"{A_LONG_LINE}\necho whole; exit 3", 30) == Output(3, "whole\n", "")


def test_a_login_that_is_not_root_acts_as_root_or_is_told_that_it_may_not(
    servers: SshHosts, host: Host, tmp_path: Path
) -> None:
    from tecs.ssh import _exec

    give_sudo(servers, tmp_path, allowed=True)
    with logged_in(servers, "operator") as client:
        assert _exec(client, host, 'echo "it\'s $((6 * 7))" && exit 3', 30) == Output(3, "it's 42\n", "")
        give_sudo(servers, tmp_path, allowed=False)
        with pytest.raises(RootDenied, match=f"operator cannot become root on {host.name}"):
            _exec(client, host, "true", 30)


class Endless:
    """A session, its transport and its channel in one, on which there is always more to read."""

    closed = False

    def __init__(self) -> None:
        self._readable, self._written = socket.socketpair()
        self._written.send(b"y")

    def get_transport(self) -> Endless:
        return self

    def get_username(self) -> str:
        return "root"

    def open_session(self, timeout: float) -> Endless:
        return self

    def exec_command(self, script: str) -> None: ...

    def settimeout(self, timeout: float) -> None: ...

    def sendall(self, data: bytes) -> None: ...

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

"""How Airflow reaches hosts: SSHHook for a step's own commands, credentials of the same connections for everything else."""

from __future__ import annotations

import logging
import selectors
import time
from functools import cache
from types import TracebackType

import paramiko
from airflow.providers.ssh.hooks.ssh import SSHHook
from airflow.sdk import BaseHook, Connection

from include.runbook import custody
from include.runbook.cluster import Cluster, Host
from include.runbook.custody import Custody
from include.runbook.errors import ConnectionLost, HostKeyMismatch, HostKeyMissing, HostUnreachable, LimitExceeded
from include.runbook.login_shell import call_for, require_root
from include.runbook.perform import READ_LIMIT, in_short
from include.runbook.reach import Credentials, CredentialsOf, Kept, output_of
from include.runbook.shell import Output

# Sessions are opened for every step; that they were is no news for its log.
logging.getLogger("paramiko").setLevel(logging.WARNING)


def credentials(connection: Connection) -> Credentials:
    """Return what an Airflow SSH connection says about logging in."""
    return Credentials.of(connection.login, connection.password, connection.extra_dejson)


def credentials_of(connection_id: str) -> Credentials:
    """Look an Airflow connection up by its id."""
    return credentials(BaseHook.get_connection(connection_id))


def cached_credentials() -> CredentialsOf:
    """Return a lookup of credentials that asks Airflow once for each connection, however many hosts share it."""
    return cache(credentials_of)


def parse_key(host_key: str) -> paramiko.PKey:
    """Return the paramiko key of a line such as `ssh-ed25519 AAAA...`."""
    return paramiko.hostkeys.HostKeyEntry.from_line(f"host {host_key}").key


class SshHosts:
    """Runs scripts on the cluster's hosts: one verified session for each host, opened when first needed.

    The nodes' host keys come from the Daisy host, so that a key that changes with a reinstallation is right everywhere at
    once; the Daisy host's own key comes from its connection. `spent` is how long hosts have worked for it, in seconds.
    """

    def __init__(self, cluster: Cluster, log: logging.Logger, ssh_conn_id: str | None = None) -> None:
        self.cluster, self.log, self.ssh_conn_id = cluster, log, ssh_conn_id
        self.spent = 0.0
        self._clients: dict[str, paramiko.SSHClient] = {}
        self._custody: Custody | None = None

    def __enter__(self) -> SshHosts:
        # Read before threads share this object: every other session needs a host key from it.
        self.read_custody()
        return self

    def read_custody(self) -> None:
        """Read again what the product keeps on the Daisy host, pinned host keys among it."""
        output = self.run(self.cluster.daisy, custody.read_script(self.cluster), READ_LIMIT)
        self._custody = custody.read(output, self.cluster)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every session. Commands that still run on hosts go on."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    @property
    def custody(self) -> Custody:
        """What the product keeps on the Daisy host, as read when this block was entered."""
        if self._custody is None:
            raise RuntimeError("SshHosts is used outside its `with` block")
        return self._custody

    def host_key(self, host: Host) -> str | None:
        """The key that the host must show; None for the Daisy host where its connection states it."""
        return host.host_key if host == self.cluster.daisy else self.custody.host_key(host)

    def run(self, host: Host, script: str, timeout: float) -> Output:
        """Run `script` by the host's shell; see `include.runbook.perform.Hosts`."""
        client = self._client(host)
        begun = time.monotonic()
        try:
            return _exec(client, host, script, timeout)
        except (paramiko.SSHException, EOFError, OSError) as error:
            self._clients.pop(host.name, client).close()
            raise ConnectionLost("ssh", host.name, in_short(script), str(error) or type(error).__name__) from None
        finally:
            self.spent += time.monotonic() - begun

    def _client(self, host: Host) -> paramiko.SSHClient:
        if host.name not in self._clients:
            self._clients[host.name] = self._open(host)
        return self._clients[host.name]

    def _open(self, host: Host) -> paramiko.SSHClient:
        pinned = self.host_key(host)
        if pinned is None and host != self.cluster.daisy:
            raise HostKeyMissing(host.name, host.address, host.port)
        # One attempt: a wrong key is wrong at once, and Airflow retries what is worth retrying.
        hook = SSHHook(
            ssh_conn_id=host.connection,
            remote_host=host.address,
            port=host.port,
            conn_timeout=20,
            conn_retry_attempts=1,
        )
        hook.no_host_key_check, hook.allow_host_key_change = False, False
        if pinned is not None:
            hook.host_key = parse_key(pinned)
        try:
            return hook.get_conn()
        except paramiko.BadHostKeyException as error:
            expected, shown = error.expected_key.get_base64(), error.key.get_base64()
            raise HostKeyMismatch(host.name, expected, shown) from None
        except paramiko.SSHException as error:
            if "known_hosts" in str(error):
                raise HostKeyMismatch(host.name, pinned or "none", str(error)) from None
            raise HostUnreachable(host.name, f"{host.address}:{host.port}: {error}") from None
        except (OSError, EOFError) as error:
            raise HostUnreachable(host.name, f"{host.address}:{host.port}: {error or type(error).__name__}") from None


def _exec(client: paramiko.SSHClient, host: Host, script: str, timeout: float) -> Output:
    """Run a script as root to its end, keeping the beginning of each stream."""
    transport = client.get_transport()
    if transport is None:
        raise paramiko.SSHException("the session is closed")
    login = transport.get_username() or ""
    sent = call_for(script, login)
    channel = transport.open_session(timeout=20)
    channel.exec_command(sent.command)
    channel.settimeout(timeout)
    channel.sendall(sent.stdin)
    channel.shutdown_write()
    ends = time.monotonic() + timeout
    out, err = Kept(), Kept()
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        while True:
            left = ends - time.monotonic()
            if left <= 0:
                channel.close()
                tail = output_of(None, out, err).tail
                advice = "the command may still run on the host: look for it there before the failed task is cleared"
                raise LimitExceeded(in_short(script), host.name, timeout, tail, advice)
            selector.select(min(left, 1.0))
            # One piece of each, then the time is looked at again: a host that never ends printing is not waited for either.
            if channel.recv_ready():
                out.add(channel.recv(65536))
            if channel.recv_stderr_ready():
                err.add(channel.recv_stderr(65536))
            if channel.recv_ready() or channel.recv_stderr_ready():
                continue
            if channel.exit_status_ready() or channel.closed or not transport.is_active():
                break
    status = channel.recv_exit_status() if channel.exit_status_ready() else -1
    channel.close()
    # paramiko says -1 where the channel ended without an exit status: that is a lost connection, not a result.
    return require_root(output_of(None if status == -1 else status, out, err), host.name, login)

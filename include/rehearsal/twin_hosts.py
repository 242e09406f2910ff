"""How a rehearsal reaches the twin's hosts: as a step reaches real ones, by SSH with every key verified; and no others."""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

import asyncssh

from include.rehearsal.errors import RehearsalError
from include.runbook import custody, reach
from include.runbook.cluster import Cluster, Host
from include.runbook.custody import Custody
from include.runbook.errors import ConnectionLost, LimitExceeded
from include.runbook.perform import READ_LIMIT, in_short
from include.runbook.reach import CredentialsOf
from include.runbook.shell import Output

Result = TypeVar("Result")


class Background:
    """An event loop in a thread of its own, which the threads of a rehearsal share for their sessions."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="twin's sessions", daemon=True)

    def __enter__(self) -> Background:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def result(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Return what the coroutine returns, or raise what it raises."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def require_loopback(cluster: Cluster) -> None:
    """Raise RehearsalError unless every address of the cluster is on this machine's loopback."""
    addresses = [host.address for host in cluster.hosts] + list(cluster.virtual_ips)
    strangers = [address for address in addresses if not ipaddress.ip_address(address).is_loopback]
    if strangers:
        raise RehearsalError(f"a rehearsal connects to no host but its twin's: {', '.join(strangers)} is none")


class TwinHosts:
    """Runs scripts on the twin's hosts for one step: a session for each host, opened when first needed.

    As for a step on real hosts, the nodes' keys are those that are pinned on the Daisy host when the step begins.
    """

    def __init__(self, cluster: Cluster, credentials_of: CredentialsOf, background: Background) -> None:
        require_loopback(cluster)
        self.cluster, self._credentials_of, self._background = cluster, credentials_of, background
        self._sessions: dict[str, asyncssh.SSHClientConnection] = {}
        self._custody: Custody | None = None

    def __enter__(self) -> TwinHosts:
        # Read before threads share this object: every other session needs a host key from it.
        output = self.run(self.cluster.daisy, custody.read_script(self.cluster), READ_LIMIT)
        self._custody = custody.read(output, self.cluster)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in self._sessions.values():
            self._background.result(_closed(session))

    @property
    def custody(self) -> Custody:
        """What the product keeps on the Daisy host, as read when this block was entered."""
        if self._custody is None:
            raise RuntimeError("TwinHosts is used outside its `with` block")
        return self._custody

    def run(self, host: Host, script: str, timeout: float) -> Output:
        """Run `script` by the host's shell; see `include.runbook.perform.Hosts`."""
        return self._background.result(self._run(host, script, timeout))

    async def _run(self, host: Host, script: str, timeout: float) -> Output:
        session = self._sessions.get(host.name)
        if session is None:
            session = self._sessions[host.name] = await self._open(host)
        try:
            # Beyond the script's own limit, so that it is this one that tells.
            return await asyncio.wait_for(reach.run(session, host, script, timeout + READ_LIMIT), timeout)
        except TimeoutError:
            raise LimitExceeded(
                in_short(script), host.name, timeout, "", "see what the twin's host waited for"
            ) from None
        except (OSError, asyncssh.Error) as error:
            self._sessions.pop(host.name).abort()
            raise ConnectionLost("ssh", host.name, in_short(script), str(error) or type(error).__name__) from None

    async def _open(self, host: Host) -> asyncssh.SSHClientConnection:
        credentials = self._credentials_of(host.connection)
        of_daisy = host == self.cluster.daisy
        return await reach.connect(host, credentials, credentials.host_key if of_daisy else self.custody.host_key(host))


async def _closed(session: asyncssh.SSHClientConnection) -> None:
    # Every command has ended; one that has not, because its step has failed, is not waited for.
    session.abort()
    await session.wait_closed()

"""Reading from many hosts at once, over asyncssh, each host's key verified. Nothing here changes anything.

Trust begins with one key, the Daisy host's, which the Airflow connection pins. The nodes' keys are those that the
product's own known_hosts on the Daisy host holds, and the inventory's where no run has pinned another yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncssh

from include.runbook import custody
from include.runbook.cluster import Cluster, Host
from include.runbook.custody import Custody
from include.runbook.errors import FactUnreadable, HostKeyMismatch, HostKeyMissing, HostUnreachable, RunbookError
from include.runbook.login_shell import ROOT, Call, call_for, require_root
from include.runbook.perform import READ_LIMIT, whole
from include.runbook.shell import Output
from include.runbook.step import Goal, Read, Verdict

# Sessions and channels are no news for whoever reads a step's log.
logging.getLogger("asyncssh").setLevel(logging.WARNING)

AT_ONCE = 50
"""Connections opened side by side; sshd's default MaxStartups is per host, so this bounds only this machine."""

OUTPUT_LIMIT = 16 * 1024 * 1024
"""Bytes of each stream of a command that are kept, so that a host cannot fill this machine's memory. The longest answer of a
sound cluster, the list of its VMs, has some 700 bytes for each: so it may have twenty thousand."""

CONNECT_LIMIT = 20.0
"""Seconds for opening a session."""

SESSION_PAUSES = (0.1, 0.5, 2.0)
"""Seconds before a host that refuses one more session is asked for it again."""


@dataclass(frozen=True)
class Credentials:
    """How to log in by one Airflow connection: user, secret, and the host key that the connection pins."""

    username: str
    key_file: str | None = None
    private_key: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    host_key: str | None = None

    @classmethod
    def of(cls, login: str | None, password: str | None, extra: Mapping[str, Any]) -> Credentials:
        """Return what the fields of an Airflow SSH connection say; `extra` has the names of Airflow's SSHHook."""
        return cls(
            username=login or ROOT,
            key_file=extra.get("key_file"),
            private_key=extra.get("private_key"),
            passphrase=extra.get("private_key_passphrase"),
            password=password,
            host_key=extra.get("host_key"),
        )


CredentialsOf = Callable[[str], Credentials]
"""Looks up the credentials of an Airflow connection id."""


async def connect(host: Host, credentials: Credentials, host_key: str | None) -> asyncssh.SSHClientConnection:
    """Open a verified session; raises HostUnreachable, HostKeyMissing or HostKeyMismatch."""
    if host_key is None:
        raise HostKeyMissing(host.name, host.address, host.port)
    keys: list[object] = []
    if credentials.private_key:
        keys.append(asyncssh.import_private_key(credentials.private_key, credentials.passphrase))
    elif credentials.key_file:
        keys.append(asyncssh.read_private_key(credentials.key_file, credentials.passphrase))
    try:
        return await asyncio.wait_for(
            asyncssh.connect(
                host.address,
                host.port,
                username=credentials.username,
                password=credentials.password,
                client_keys=keys or None,
                known_hosts=([asyncssh.import_public_key(host_key)], [], []),
                config=None,
                agent_path=None,
                keepalive_interval=15,
            ),
            CONNECT_LIMIT,
        )
    except asyncssh.HostKeyNotVerifiable:
        raise HostKeyMismatch(host.name, host_key, "another key") from None
    except TimeoutError:
        raise HostUnreachable(
            host.name, f"no answer from {host.address}:{host.port} in {CONNECT_LIMIT:.0f} s"
        ) from None
    except (OSError, asyncssh.Error) as error:
        raise HostUnreachable(host.name, f"{host.address}:{host.port}: {error}") from None


async def run(connection: asyncssh.SSHClientConnection, host: Host, script: str, timeout: float = READ_LIMIT) -> Output:
    """Run a script as root and return at most OUTPUT_LIMIT bytes of each stream.

    Raises FactUnreadable when it takes too long, RootDenied when the login is not root and cannot become it, HostUnreachable
    when the host allows no session.
    """
    login = connection.get_extra_info("username")
    sent = call_for(script, login)
    process = await _start(connection, host, sent)
    try:
        async with asyncio.timeout(timeout):
            out, err = await asyncio.gather(_read_all(process.stdout), _read_all(process.stderr))
            await process.wait_closed()
    except TimeoutError:
        raise FactUnreadable(host.name, script.splitlines()[0], f"no end after {timeout:.0f} s") from None
    finally:
        process.close()
    return require_root(output_of(process.exit_status, out, err), host.name, login)


async def _start(connection: asyncssh.SSHClientConnection, host: Host, sent: Call) -> asyncssh.SSHClientProcess[bytes]:
    """Start the call in a session of its own. A host may allow few at a time (sshd's MaxSessions), and it counts one for a
    moment after its end: so it is asked again."""
    for pause in SESSION_PAUSES:
        with suppress(asyncssh.ChannelOpenError):
            return await _begin(connection, sent)
        await asyncio.sleep(pause)
    try:
        return await _begin(connection, sent)
    except asyncssh.ChannelOpenError as error:
        raise HostUnreachable(host.name, f"it allows no session: {error}", "see MaxSessions of its sshd") from None


async def _begin(connection: asyncssh.SSHClientConnection, sent: Call) -> asyncssh.SSHClientProcess[bytes]:
    return await connection.create_process(sent.command, input=sent.stdin, stdin=asyncssh.DEVNULL, encoding=None)


async def _read_all(stream: asyncssh.SSHReader[bytes]) -> Kept:
    """Read to the end; what is beyond OUTPUT_LIMIT is read and thrown away."""
    kept = Kept()
    while data := await stream.read(65536):
        kept.add(data)
    return kept


class Kept:
    """What is kept of a stream: its first OUTPUT_LIMIT bytes, and whether there was more."""

    def __init__(self) -> None:
        self.data, self.cut = bytearray(), False

    def add(self, data: bytes) -> None:
        """Take the next bytes of the stream, as far as there is room for them."""
        room = OUTPUT_LIMIT - len(self.data)
        self.data += data[:room]
        self.cut = self.cut or len(data) > room

    @property
    def text(self) -> str:
        """What is kept as text; bytes that are none are shown as U+FFFD."""
        return self.data.decode("utf-8", "replace")


def output_of(status: int | None, out: Kept, err: Kept) -> Output:
    """Return what a command left, from what is kept of its streams."""
    return Output(status, out.text, err.text, out.cut or err.cut)


@dataclass(frozen=True)
class Sweep:
    """The answers of one pass over the hosts: an output for each read, or the error that kept it from being had."""

    outputs: Mapping[Read, Output | RunbookError]

    def judge(self, goal: Goal) -> Verdict:
        """Judge a goal from these answers; a host that could not be read is a goal that does not hold."""
        outputs = []
        for read in goal.reads:
            answer = self.outputs[read]
            if isinstance(answer, RunbookError):
                return Verdict(False, str(answer))
            outputs.append(answer)
        try:
            return goal.judge(outputs)
        except RunbookError as error:
            return Verdict(False, str(error))

    def unread(self, read: Read) -> bool:
        """True where the read got no answer."""
        return isinstance(self.outputs[read], RunbookError)

    def output(self, read: Read) -> Output:
        """Return the answer to one read; raises the error that kept it from being had."""
        answer = self.outputs[read]
        if isinstance(answer, RunbookError):
            raise answer
        return answer


async def read_custody(cluster: Cluster, credentials_of: CredentialsOf) -> Custody:
    """Read what the product keeps on the Daisy host."""
    daisy = cluster.daisy
    credentials = credentials_of(daisy.connection)
    async with await connect(daisy, credentials, daisy.host_key or credentials.host_key) as connection:
        output = await run(connection, daisy, custody.read_script(cluster))
    return custody.read(output, cluster)


async def sweep(cluster: Cluster, reads: Iterable[Read], credentials_of: CredentialsOf) -> Sweep:
    """Send every read to its host, hosts side by side and one session each; nothing is raised for a single host."""
    kept = await read_custody(cluster, credentials_of)
    by_host: dict[Host, list[Read]] = {}
    for read in dict.fromkeys(reads):
        by_host.setdefault(read.host, []).append(read)
    bound = asyncio.Semaphore(AT_ONCE)

    async def visit(host: Host, wanted: Sequence[Read]) -> dict[Read, Output | RunbookError]:
        credentials = credentials_of(host.connection)
        pinned = (host.host_key or credentials.host_key) if host == cluster.daisy else kept.host_key(host)
        try:
            async with bound, await connect(host, credentials, pinned) as connection:
                answers = {read: await _answer(connection, read) for read in wanted}
        except RunbookError as error:
            return dict.fromkeys(wanted, error)
        return answers

    answers = await asyncio.gather(*(visit(host, wanted) for host, wanted in by_host.items()))
    return Sweep({read: output for answer in answers for read, output in answer.items()})


async def _answer(connection: asyncssh.SSHClientConnection, read: Read) -> Output | RunbookError:
    try:
        return whole(read, await run(connection, read.host, read.command))
    except RunbookError as error:
        return error
    except (OSError, asyncssh.Error) as error:
        return HostUnreachable(read.host.name, str(error))

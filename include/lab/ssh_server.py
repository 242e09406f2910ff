"""SSH and SFTP on every address of the site, over real subprocesses.

Who answers is decided when a connection is accepted: a virtual IP is whichever controller is active then, and a host
shows the key it has then. As with a real sshd without a terminal, a command goes on when its connection drops.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import socket
import struct
import termios
import time
from pathlib import Path

import asyncssh

from include.lab.isolation import Isolation, host_environment
from include.lab.keys import HostKeys
from include.lab.ssh_faults import Disturbance, reads_script, take_disturbance
from include.lab.store import changing
from include.lab.world import Machine, World

CHUNK = 65536
LISTENERS_FOLLOW_AFTER = 0.05


class _Login(asyncssh.SSHServer):
    """Accepts root with any of the keys the lab made."""

    def __init__(self, accepted: list[asyncssh.SSHKey]) -> None:
        self._accepted = {key.public_data for key in accepted}

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == "root" and key.public_data in self._accepted


class Present:
    """The world as of now, read again only when the file has changed or something has fallen due."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._seen: tuple[int, int] | None = None
        self._world: World | None = None

    def world(self) -> World:
        """The world of this moment, to be read only."""
        found = (self._state / "world.json").stat()
        # Not the inode alone: the file is replaced at every change, and a freed inode soon comes back.
        seen = (found.st_ino, found.st_mtime_ns)
        due = self._world is not None and any(event.due <= time.time() for event in self._world.events)
        if self._world is None or due or seen != self._seen:
            with changing(self._state) as world:
                self._world = world
            self._seen = seen
        return self._world


class SshHosts:
    """Listens on every address and runs what is asked on the host that answers there."""

    def __init__(self, state: Path, isolation: Isolation, host_keys: HostKeys, accepted: list[asyncssh.SSHKey]) -> None:
        self._state = state
        self._isolation = isolation
        self._host_keys = host_keys
        self._accepted = accepted
        self._present = Present(state)
        self._options: dict[tuple[str, int], asyncssh.SSHServerConnectionOptions] = {}
        self._listeners: dict[tuple[str, int], socket.socket] = {}
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def listen(self) -> None:
        """Listen where somebody answers, and nowhere else: a host that is down refuses connections."""
        world = self._present.world()
        wanted = {address for address in _addresses(world) if _answering(world, address[0]) is not None}
        for address in [each for each in self._listeners if each not in wanted]:
            asyncio.get_running_loop().remove_reader(self._listeners[address])
            self._listeners.pop(address).close()
        for address in wanted - self._listeners.keys():
            self._listeners[address] = listener = _listener(*address)
            asyncio.get_running_loop().add_reader(listener, self._accept, listener, address[0])

    async def follow(self) -> None:
        """Keep listening where somebody answers, until cancelled."""
        while True:
            self.listen()
            await asyncio.sleep(LISTENERS_FOLLOW_AFTER)

    def close(self) -> None:
        """Close every listener and connection."""
        for listener in self._listeners.values():
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        for task in self._tasks:
            task.cancel()
        for connection in list(self._connections):
            connection.abort()

    def _accept(self, listener: socket.socket, address: str) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # The client has gone away again.
        client.setblocking(False)
        machine = _answering(self._present.world(), address)
        if machine is None:
            client.close()
            return
        task = asyncio.create_task(self._connect(client, machine))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, client: socket.socket, machine: Machine) -> None:
        # A client that goes away during the handshake is its own affair, as it is for sshd.
        with contextlib.suppress(asyncssh.Error, OSError):
            connection = await asyncssh.run_server(client, options=self._connection_options(machine))
            self._connections.add(connection)
            try:
                await connection.wait_closed()
            finally:
                self._connections.discard(connection)

    def _connection_options(self, machine: Machine) -> asyncssh.SSHServerConnectionOptions:
        version = (machine.name, machine.key_version)
        if version not in self._options:
            self._options[version] = asyncssh.SSHServerConnectionOptions(
                server_factory=lambda: _Login(self._accepted),
                server_host_keys=[self._host_keys.of(machine)],
                process_factory=lambda process: self._run(machine, process),
                sftp_factory=lambda channel: _HostFiles(channel, self._isolation, machine),
                encoding=None,
                line_editor=False,
                login_timeout=30,
            )
        return self._options[version]

    async def _run(self, machine: Machine, process: asyncssh.SSHServerProcess[bytes]) -> None:
        if process.term_type is not None:
            await self._run_on_terminal(machine, process)
            return
        command = process.command or ""
        script, disturbance = b"", None
        if self._disturbed(machine):
            script = await process.stdin.read() if reads_script(command) else b""
            disturbance = take_disturbance(self._state, machine.name, command + "\n" + script.decode(errors="replace"))
        disturbance = disturbance or Disturbance()
        if disturbance.stderr:
            process.stderr.write(disturbance.stderr.encode())
        await asyncio.sleep(disturbance.delay)
        if disturbance.cut_before:
            process.channel.get_connection().abort()
            return
        if disturbance.status is not None:
            process.exit(disturbance.status)
            return
        await self._run_subprocess(machine, process, command, script, disturbance.cut_after)

    def _disturbed(self, machine: Machine) -> bool:
        aims = [fault["ssh"] for fault in self._present.world().faults if "ssh" in fault]
        return any(aim.get("host") in (None, machine.name) for aim in aims)

    async def _run_subprocess(
        self, machine: Machine, process: asyncssh.SSHServerProcess[bytes], command: str, script: bytes, cut_after: bool
    ) -> None:
        shell = ["/bin/sh", "-c", command] if command else ["/bin/sh"]
        child = await asyncio.create_subprocess_exec(
            *await self._isolation.argv(machine, shell),
            env=host_environment(self._state, machine, self._isolation.root(machine)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert child.stdin is not None and child.stdout is not None and child.stderr is not None
        feeding = asyncio.create_task(_feed(process, child.stdin, script))
        try:
            await asyncio.gather(_pass_on(child.stdout, process.stdout), _pass_on(child.stderr, process.stderr))
            status = await child.wait()
        finally:
            feeding.cancel()
        if cut_after:
            process.channel.get_connection().abort()
        elif status < 0:
            process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
        else:
            process.exit(status)

    async def _run_on_terminal(self, machine: Machine, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """A login with a terminal; it ends with its connection, as a real one does by hang-up."""
        master, slave = pty.openpty()
        columns, rows, _, _ = process.term_size
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        shell = ["/bin/sh", "-c", process.command] if process.command else ["/bin/sh", "-i"]
        environment = host_environment(self._state, machine, self._isolation.root(machine))
        child = await asyncio.create_subprocess_exec(
            "setsid",
            "--ctty",
            "--wait",
            *await self._isolation.argv(machine, shell),
            env={**environment, "TERM": str(process.term_type), "PS1": f"[root@{machine.name}]# "},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        os.set_blocking(master, False)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(master, "rb", 0)
        )
        typing = asyncio.create_task(_type(process, master))
        try:
            # Linux ends a terminal whose last user is gone with EIO.
            with contextlib.suppress(OSError):
                await _pass_on(reader, process.stdout)
            process.exit(max(await child.wait(), 0))
        finally:
            typing.cancel()
            transport.close()


class _HostFiles(asyncssh.SFTPServer):
    """The host's files over SFTP."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], isolation: Isolation, machine: Machine) -> None:
        super().__init__(channel)
        self._isolation = isolation
        self._machine = machine

    def map_path(self, path: bytes) -> bytes:
        """Where the file lies on this machine; a relative path is meant from root's home."""
        text = path.decode(errors="surrogateescape")
        home = self._isolation.root(self._machine) + "/root"
        absolute = text if text.startswith("/") else f"{home}/{text}"
        return os.fsencode(self._isolation.local_path(self._machine, absolute))

    def realpath(self, path: bytes) -> bytes:
        """The absolute path as the host knows it."""
        text = path.decode(errors="surrogateescape")
        home = self._isolation.root(self._machine) + "/root"
        return os.fsencode(os.path.normpath(text if text.startswith("/") else f"{home}/{text}"))

    def exit(self) -> None:
        """End with status 0: without one, OpenSSH's scp and sftp report a failure."""
        with contextlib.suppress(OSError):
            self.channel.exit(0)


def _addresses(world: World) -> list[tuple[str, int]]:
    hosts = [(machine.address, machine.port) for machine in world.machines.values()]
    return hosts + [(address, world.virtual_port) for address in world.virtual_ips]


def _answering(world: World, address: str) -> Machine | None:
    """Who answers at an address now: the host itself, or at a virtual IP the active controller."""
    if address in world.virtual_ips:
        machine = world.active
    else:
        machine = next(machine for machine in world.machines.values() if machine.address == address)
    return None if machine is None or machine.down else machine


def _listener(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setblocking(False)
    listener.bind((address, port))
    listener.listen(128)
    return listener


async def _feed(process: asyncssh.SSHServerProcess[bytes], stdin: asyncio.StreamWriter, script: bytes) -> None:
    # The command may end without reading its input, and the connection may drop: neither concerns the other side.
    with contextlib.suppress(OSError, asyncssh.Error):
        if script:
            stdin.write(script)
        while data := await process.stdin.read(CHUNK):
            stdin.write(data)
            await stdin.drain()
    with contextlib.suppress(OSError):
        stdin.close()


async def _type(process: asyncssh.SSHServerProcess[bytes], master: int) -> None:
    while data := await process.stdin.read(CHUNK):
        os.write(master, data)


async def _pass_on(source: asyncio.StreamReader, target: asyncssh.SSHWriter[bytes]) -> None:
    """Pass output on; when nobody listens any more, keep reading so that the command is not blocked."""
    gone = False
    while data := await source.read(CHUNK):
        if gone:
            continue
        try:
            target.write(data)
            await target.drain()
        except (OSError, asyncssh.Error):
            gone = True

"""Small SSH servers on loopback addresses, each with a host key of its own that can be changed, as a reinstallation does."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh

CLIENT_KEY = asyncssh.generate_private_key("ssh-ed25519")
"""The key that logs in everywhere here."""


class SshHosts:
    """Servers that run what they are asked to in a real shell. `sessions` counts the logins at each address.

    `environment` is the commands' own; any login is let in.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._servers: dict[str, asyncssh.SSHAcceptor] = {}
        self._connections: dict[str, list[asyncssh.SSHServerConnection]] = {}
        self._commands: dict[asyncio.Task[None], asyncio.subprocess.Process] = {}
        self.sessions: dict[str, int] = {}
        self.environment = dict(os.environ)
        self.port = 0

    def start(self, address: str, key: asyncssh.SSHKey | None = None) -> asyncssh.SSHKey:
        """Start a server with this host key, or with a new one; a server that is there already ends first."""
        self.stop(address)
        key = key or asyncssh.generate_private_key("ssh-ed25519")
        self._await(self._listen(address, key))
        return key

    def stop(self, address: str) -> None:
        """End the server at the address with its sessions, if there is one."""
        if server := self._servers.pop(address, None):
            self._await(self._close(address, server))

    def cut(self, address: str) -> None:
        """End the sessions at the address; the server goes on."""
        self._await(self._cut(address))

    def close(self) -> None:
        """End every server and every command that still runs."""
        for address in list(self._servers):
            self.stop(address)
        self._await(self._end_commands())

    async def _listen(self, address: str, key: asyncssh.SSHKey) -> None:
        connections = self._connections.setdefault(address, [])

        class Server(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                connections.append(conn)

        authorized = asyncssh.import_authorized_keys(CLIENT_KEY.export_public_key().decode())
        self._servers[address] = await asyncssh.listen(
            address,
            self.port,
            server_factory=Server,
            server_host_keys=[key],
            authorized_client_keys=authorized,
            process_factory=lambda process: self._serve(address, process),
            encoding=None,
        )
        self.port = self._servers[address].get_port()

    async def _serve(self, address: str, process: asyncssh.SSHServerProcess[bytes]) -> None:
        self.sessions[address] = self.sessions.get(address, 0) + 1
        pipes: dict[str, Any] = {
            "stdin": asyncio.subprocess.PIPE,
            "stdout": asyncio.subprocess.PIPE,
            "stderr": asyncio.subprocess.PIPE,
            "env": self.environment,
        }
        given = await process.stdin.read()
        shell = await asyncio.create_subprocess_exec("sh", "-c", process.command or "", **pipes)
        task = asyncio.current_task()
        assert task is not None
        self._commands[task] = shell
        out, err = await shell.communicate(given)
        del self._commands[task]
        if process.is_closing():
            return
        process.stdout.write(out)
        process.stderr.write(err)
        process.exit(shell.returncode or 0)

    async def _close(self, address: str, server: asyncssh.SSHAcceptor) -> None:
        server.close()
        await server.wait_closed()
        await self._cut(address)

    async def _end_commands(self) -> None:
        running = dict(self._commands)
        for shell in running.values():
            shell.kill()
        await asyncio.gather(*running, return_exceptions=True)

    async def _cut(self, address: str) -> None:
        connections = self._connections.get(address, [])
        while connections:
            connections.pop().abort()

    def _await(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)


def give_sudo(hosts: SshHosts, folder: Path, *, allowed: bool) -> None:
    """The hosts' commands find a sudo that runs what it is given, as the same user, or that says no as the real one does."""
    sudo = folder / "sudo"
    end = 'shift 3; exec "$@"' if allowed else "echo 'sudo: a password is required' >&2; exit 1"
    sudo.write_text(f'#!/bin/sh\ntest "$1 $2 $3" = "-n -H --" || exit 99\n{end}\n')
    sudo.chmod(0o755)
    hosts.environment["PATH"] = f"{folder}:{hosts.environment['PATH']}"


@contextmanager
def ssh_hosts() -> Iterator[SshHosts]:
    """Yield servers whose loop runs in a thread of its own, so that programs of this process can ask them."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    hosts = SshHosts(loop)
    try:
        yield hosts
    finally:
        hosts.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def line(key: asyncssh.SSHKey) -> str:
    """Return the public key as it stands in an inventory: type and base64."""
    return " ".join(key.export_public_key().decode().split()[:2])

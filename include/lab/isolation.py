"""How a command comes to run "on" a host: with the host's own files, name and PATH.

`userns`: a user, mount and UTS namespace per host, made when the host is first used and held by a sleeping process;
/etc, /home, /root and /var are the host's own, at their real paths. `path`: no namespaces; the host's files lie below
`hosts/<name>/` and whoever talks to the host puts that in front of every path (`root:` in the written inventory).
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from include.lab.errors import LabError
from include.lab.world import Machine

OWN_DIRECTORIES = ("etc", "home", "root", "var")
PROJECT_ROOT = Path(__file__).resolve().parents[2]
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def host_environment(state: Path, machine: Machine, root: str) -> dict[str, str]:
    """The environment of every command on a host. LAB_STATE also marks what the lab ends when it stops."""
    return {
        "PATH": f"{state}/bin/{machine.role}:{SYSTEM_PATH}",
        "HOME": f"{root}/root",
        "USER": "root",
        "LOGNAME": "root",
        "SHELL": "/bin/sh",
        "LANG": "C.UTF-8",
        "LAB_STATE": str(state),
        "LAB_HOST": machine.name,
    }


class PathIsolation:
    """Commands run as they are; the host's files are below its tree."""

    name = "path"

    def __init__(self, state: Path) -> None:
        self._state = state

    def root(self, machine: Machine) -> str:
        """What stands for "/" on this host."""
        return str(self._state / "hosts" / machine.name)

    async def argv(self, machine: Machine, command: list[str]) -> list[str]:
        """The machine's own command line that runs `command` on the host."""
        return in_home(f"{self.root(machine)}/root", command)

    def local_path(self, machine: Machine, path: str) -> str:
        """Where a file of the host lies on this machine."""
        return path

    async def stop(self) -> None:
        """Nothing is held."""


class NamespaceIsolation:
    """Commands enter the host's namespaces; the holder of each host is started when it is first needed."""

    name = "userns"

    def __init__(self, state: Path) -> None:
        self._state = state
        self._holders: dict[str, asyncio.subprocess.Process] = {}
        self._starting: dict[str, asyncio.Lock] = {}

    def root(self, machine: Machine) -> str:
        """Files are at their real paths."""
        return ""

    async def argv(self, machine: Machine, command: list[str]) -> list[str]:
        """The machine's own command line that runs `command` on the host, whose holder is started if need be."""
        async with self._starting.setdefault(machine.name, asyncio.Lock()):
            holder = self._holders.get(machine.name)
            if holder is None or holder.returncode is not None:
                holder = self._holders[machine.name] = await self._hold(machine)
        return enter_command(holder.pid, command)

    def local_path(self, machine: Machine, path: str) -> str:
        """Where a file of the host lies on this machine."""
        absolute = os.path.normpath("/" + path.lstrip("/"))
        if absolute.split("/")[1] not in OWN_DIRECTORIES or _kept(Path(absolute)):
            return absolute
        return f"{self._state}/hosts/{machine.name}{absolute}"

    async def stop(self) -> None:
        """End every holder: with its last process a namespace and its mounts are gone."""
        for holder in self._holders.values():
            if holder.returncode is None:
                holder.kill()
            await holder.wait()
        self._holders.clear()

    async def _hold(self, machine: Machine) -> asyncio.subprocess.Process:
        holder = await asyncio.create_subprocess_exec(
            *holder_command(self._state, machine.name),
            env=host_environment(self._state, machine, ""),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert holder.stdout is not None
        if await holder.stdout.readline() != b"held\n":
            _, problem = await holder.communicate()
            raise LabError(
                f"the namespaces of {machine.name} cannot be made: {problem.decode(errors='replace').strip()}"
            )
        return holder


Isolation = PathIsolation | NamespaceIsolation


def choose_isolation(wanted: str, state: Path) -> tuple[Isolation, str]:
    """The isolation to use and a sentence that says which it is and why; `wanted` is auto, userns or path."""
    if wanted == "path":
        return PathIsolation(state), "Isolation: path, as asked; each host's files lie below its own directory."
    obstacle = namespace_obstacle(state)
    if obstacle is None:
        return NamespaceIsolation(state), "Isolation: userns; each host has its own /etc, /home, /root and /var."
    if wanted == "userns":
        raise LabError(f"user namespaces do not work here ({obstacle}); use --isolation path")
    return (
        PathIsolation(state),
        f"Isolation: PATH, because user namespaces do not work here ({obstacle}). "
        "Each host's files lie below its own directory, and host names do not resolve on the hosts.",
    )


def namespace_obstacle(state: Path) -> str | None:
    """Why namespaces cannot be used on this machine, found by making and entering one; None when they can."""
    missing = [program for program in ("unshare", "nsenter", "mount", "hostname") if shutil.which(program) is None]
    if missing:
        return f"{', '.join(missing)} is not installed"
    for directory in OWN_DIRECTORIES:
        (state / "hosts" / ".trial" / directory).mkdir(parents=True, exist_ok=True)
    holder = subprocess.Popen(
        holder_command(state, ".trial", "trial"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None and holder.stderr is not None
        if holder.stdout.readline() != b"held\n":
            return holder.stderr.read().decode(errors="replace").strip() or "unshare failed"
        look = ["sh", "-c", f'test -r "{PROJECT_ROOT}/include" && uname -n']
        test = subprocess.run(enter_command(holder.pid, look), capture_output=True, check=False)
        return None if test.stdout == b"trial\n" else test.stderr.decode(errors="replace").strip() or "nsenter failed"
    finally:
        holder.kill()
        holder.communicate()
        shutil.rmtree(state / "hosts" / ".trial")


def enter_command(holder: int, command: list[str]) -> list[str]:
    """The command line that runs `command` in the namespaces of a holder, in root's home there."""
    namespaces = ["--user", "--mount", "--uts", "--preserve-credentials"]
    # nsenter opens a working directory before it enters: it has to be one that both sides have, and that all may open.
    return ["nsenter", f"--target={holder}", *namespaces, "--wd=/", *in_home("/root", command)]


def in_home(home: str, command: list[str]) -> list[str]:
    """The command line that runs `command` in a home directory."""
    return ["/bin/sh", "-c", 'cd "$0" && exec "$@"', home, *command]


def holder_command(state: Path, tree: str, hostname: str | None = None) -> list[str]:
    """The command that makes a host's namespaces, prints `held` and sleeps."""
    root = state / "hosts" / tree
    lines = ["set -e", f"command -p hostname {shlex.quote(hostname or tree)}"]
    # Interpreter, project and state may themselves lie below a directory that is about to be covered: they are put
    # back at the same path, inside the host's tree, before the tree goes over the real directory.
    for path in _paths_to_keep(state):
        if path.parts[1] in OWN_DIRECTORIES:
            lines.append(f"mkdir -p {shlex.quote(f'{root}{path}')}")
            lines.append(f"mount --bind {shlex.quote(str(path))} {shlex.quote(f'{root}{path}')}")
    lines += [f"mount --rbind {shlex.quote(f'{root}/{directory}')} /{directory}" for directory in OWN_DIRECTORIES]
    # Here and not at the lab's start, so that two hundred hosts start quickly; a host is held again after a crash.
    shared = shlex.quote(str(state / "etc"))
    lines.append(f"test -e /etc/passwd || ln -s {shared}/* /etc/; test -e /etc/hostname || hostname > /etc/hostname")
    lines.append("test -e /var/run || ln -s /run /var/run")
    lines += ["echo held", "exec sleep infinity"]
    return ["unshare", "--user", "--map-root-user", "--mount", "--uts", "sh", "-c", "\n".join(lines)]


def _paths_to_keep(state: Path) -> list[Path]:
    wanted = {PROJECT_ROOT, state.resolve(), Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}
    return sorted(path for path in wanted if not any(other in path.parents for other in wanted))


def _kept(path: Path) -> bool:
    return any(keep == path or keep in path.parents for keep in (PROJECT_ROOT, Path(sys.base_prefix).resolve()))

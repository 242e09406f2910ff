"""docker and podman on the Daisy host, for a Daisy that runs in a container.

Emulated: `exec NAME cat|ls [ARGUMENT ...]` on the container's own files. Not emulated: every other command of the engine,
and what the container and its host share: nothing is mounted into it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from include.lab.programs.standin import Here, Refused


def container_tree(host_tree: Path, name: str) -> Path:
    """The directory with the container's own files, below its host's."""
    return host_tree / "var/lib/lab-containers" / name


def main(here: Here, argv: list[str]) -> int:
    """Run the command on the container's files."""
    match argv:
        case ["exec", name, "cat" | "ls" as program, *arguments]:
            tree = container_tree(here.tree, name)
            if not tree.is_dir():
                raise Refused(f"Error response from daemon: No such container: {name}")
            own = [f"{tree}{each}" if each.startswith("/") else each for each in arguments]
            return subprocess.run([program, *own], check=False).returncode
    raise Refused(f"the lab's engine knows exec NAME cat or ls, not: {' '.join(argv)}", 125)

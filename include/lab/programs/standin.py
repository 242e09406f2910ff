"""What every stand-in program has: the host it runs on, the shared world, and a way to refuse as the real one does."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from include.lab.store import changing
from include.lab.world import World


class Refused(Exception):
    """The program ends with `status`; `message` goes to standard error as it is."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


@dataclass(frozen=True)
class Here:
    """The host that a program runs on."""

    state: Path
    host: str

    def changing(self) -> AbstractContextManager[World]:
        """The world of now, held exclusively for a moment."""
        return changing(self.state)

    @property
    def tree(self) -> Path:
        """The directory with this host's own files."""
        return self.state / "hosts" / self.host

    def wait(self, seconds: float) -> None:
        """Take so many seconds of simulated time."""
        with self.changing() as world:
            pace = world.pace
        time.sleep(seconds / pace)


def here_from_environment() -> Here:
    """The host named by the environment that the lab gives every command."""
    return Here(Path(os.environ["LAB_STATE"]), os.environ["LAB_HOST"])

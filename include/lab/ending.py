"""Ending what runs on the lab's hosts, detached jobs included: found by the lab's mark in their environment."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from include.lab.errors import LabError

GRACE_SECONDS = 5.0


def end_processes_of(state: Path) -> None:
    """No process that was started on a host of this lab is left; LabError names those that cannot be ended."""
    deadline = time.monotonic() + GRACE_SECONDS
    while found := processes_of(state):
        if time.monotonic() > deadline:
            raise LabError(f"processes of the lab do not end: {', '.join(map(str, found))}")
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.01)


def processes_of(state: Path) -> list[int]:
    """The ids of the living processes that carry this lab's mark."""
    mark = f"LAB_STATE={state}".encode()
    return [pid for pid in _own_processes() if pid != os.getpid() and mark in _environment(pid) and not _is_zombie(pid)]


def _own_processes() -> list[int]:
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []  # Another user's process, or one that has just ended.


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True

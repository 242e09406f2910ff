"""Disturbances of single SSH commands, as ordered by `fault`: which command, and what happens to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from include.lab.store import changing
from include.lab.world import FOREVER

HANG_SECONDS = 7 * 24 * 3600.0
SHELL_READING_STDIN = re.compile(r"\b(ba|da)?sh\b(\s+-\w+)*\s*(-\s*)?$|\b(ba|da)?sh\s+-\w*s\b")


@dataclass(frozen=True)
class Disturbance:
    """What happens to one command: nothing, unless a field says so. `delay` is in real seconds."""

    delay: float = 0.0
    status: int | None = None
    stderr: str = ""
    cut_before: bool = False
    cut_after: bool = False


def reads_script(command: str) -> bool:
    """Whether the command is a shell that takes its script from standard input, such as `sh -s`."""
    return bool(SHELL_READING_STDIN.search(command))


def take_disturbance(state: Path, host: str, text: str) -> Disturbance | None:
    """The disturbance ordered for this command on this host, used up by one."""
    with changing(state) as world:
        for fault in world.faults:
            aim = fault.get("ssh")
            if aim is None or aim.get("host", host) != host or not re.search(aim.get("match", ""), text):
                continue
            if fault["count"] != FOREVER:
                fault["count"] -= 1
            world.faults = [left for left in world.faults if left["count"] != 0]
            world.record(host, "fault", [fault["do"]], f"disturbed: {text.strip()[:120]}")
            return _disturbance(fault)
    return None


def _disturbance(fault: dict[str, object]) -> Disturbance:
    match fault["do"]:
        case "exit":
            return Disturbance(status=int(str(fault.get("status", 1))), stderr=str(fault.get("stderr", "")))
        case "drop_before":
            return Disturbance(cut_before=True)
        case "drop_after":
            return Disturbance(cut_after=True)
        case "hang":
            return Disturbance(delay=HANG_SECONDS)
        case _:
            return Disturbance(delay=float(str(fault.get("seconds", 1))))

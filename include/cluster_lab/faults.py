"""The faults that can be ordered, in the embedded lab's form, and the list of those that are pending."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

from include.cluster_lab.site import C1, C2, HOSTS
from include.lab.errors import LabError
from include.lab.faults import VALUES, check_ssh, require_one_of
from include.lab.topology import BAD_RELEASE, GOOD_RELEASE
from include.lab.world import FOREVER

HOST_ACTIONS = ("down", "up", "cut", "slow", "join")
SLOWEST = 60
"""Seconds that a packet may be late."""

KEYS = {
    "ssh": {"ssh", "do", "status", "stderr", "seconds", "count"},
    "installer": {"installer", "factor", "count"},
    "flaw": {"flaw", "release", "host"},
    "host": {"host", "do", "seconds"},
    "clear": {"clear"},
}


def kind_of(fault: dict[str, Any]) -> str:
    """Which fault this is: one of KEYS; LabError says what is wrong with its form."""
    kind = next((name for name in KEYS if name in fault), None)
    if kind is None:
        raise LabError(f"no such fault: {fault}; expected one of {', '.join(KEYS)}")
    unknown = set(fault) - KEYS[kind]
    if unknown:
        raise LabError(f"fault {kind!r} does not know {', '.join(sorted(unknown))}; it knows {', '.join(KEYS[kind])}")
    match kind:
        case "ssh":
            check_ssh(fault, tuple(host.name for host in HOSTS))
        case "installer":
            require_one_of("installer", fault["installer"], VALUES["installer"])
        case "flaw":
            require_one_of("flaw", fault["flaw"], VALUES["flaw"])
            require_one_of("release", fault.get("release"), (GOOD_RELEASE, BAD_RELEASE))
            if fault["flaw"] == "compute_dies":
                require_one_of("host", fault.get("host"), (C1.name, C2.name))
        case "host":
            require_one_of("host", fault["host"], tuple(host.name for host in HOSTS))
            require_one_of("do", fault.get("do"), HOST_ACTIONS)
            _check_seconds(fault)
    return kind


def _check_seconds(fault: dict[str, Any]) -> None:
    """By how many seconds a host's cable is slow is said, and of nothing else."""
    seconds = fault.get("seconds")
    if fault["do"] != "slow":
        if seconds is not None:
            raise LabError('"seconds" is for "do": "slow"')
    elif isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= SLOWEST:
        raise LabError(f'"slow" wants "seconds": more than 0, at most {SLOWEST}')


class Pending:
    """Faults that wait for their occasion; each counts for one unless its `count` says otherwise (-1: until cleared)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[dict[str, Any]] = []

    def add(self, fault: dict[str, Any]) -> None:
        """The fault waits."""
        with self._lock:
            self._faults.append({**fault, "count": int(fault.get("count", 1))})

    def clear(self) -> None:
        """No fault waits."""
        with self._lock:
            self._faults = []

    def listed(self) -> list[dict[str, Any]]:
        """The faults that wait."""
        with self._lock:
            return [dict(fault) for fault in self._faults]

    def concern(self, host: str) -> bool:
        """Whether an SSH command on this host may meet a fault."""
        return any(fault["ssh"].get("host") in (None, host) for fault in self.listed() if "ssh" in fault)

    def take_ssh(self, host: str, text: str) -> dict[str, Any] | None:
        """The fault for this command on this host, used up by one."""

        def aims(fault: dict[str, Any]) -> bool:
            aim = fault.get("ssh")
            return aim is not None and aim.get("host", host) == host and bool(re.search(aim.get("match", ""), text))

        return self._take(aims)

    def take_installer(self) -> dict[str, Any] | None:
        """The fault for the installer that begins, used up by one."""
        return self._take(lambda fault: "installer" in fault)

    def _take(self, meant: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        with self._lock:
            for fault in self._faults:
                if meant(fault):
                    if fault["count"] != FOREVER:
                        fault["count"] -= 1
                    self._faults = [left for left in self._faults if left["count"] != 0]
                    return fault
        return None

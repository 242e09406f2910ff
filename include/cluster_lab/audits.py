"""What should never happen, noticed while the lab runs, and what was done, counted."""

from __future__ import annotations

import json
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from include.cluster_lab.host import Host
from include.cluster_lab.site import FLOAT_IP, HOSTS
from include.lab.errors import LabError

SAMPLE_EVERY = 0.25


class Journal:
    """Violations, counts and changes since the scenario began; safe to use from any thread."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self.begin()

    def begin(self) -> None:
        """Everything counts from now on; the journal's file begins anew too."""
        with self._lock:
            self.violations: list[dict[str, Any]] = []
            self.installs = {host.name: {"installed": 0, "uninstalled": 0} for host in HOSTS if host.role != "cloud"}
            self.installer_runs = 0
            self._file.write_text("")

    def violate(self, audit: str, host: str, detail: str) -> dict[str, Any]:
        """An audit is broken; it stays recorded. Returns the record, whose detail may become more precise."""
        record = {"time": time.time(), "audit": audit, "host": host, "detail": detail}
        with self._lock:
            self.violations.append(record)
        return record

    def record(self, host: str, program: str, argv: list[str], effect: str) -> None:
        """One change of state is in the journal."""
        line = {"time": time.time(), "host": host, "program": program, "argv": argv, "effect": effect}
        with self._lock, self._file.open("a") as file:
            file.write(json.dumps(line) + "\n")


class Watch(threading.Thread, ABC):
    """Looks a few times a second, until ended. Not being able to look is a violation (`unable`), and it goes on looking."""

    unable: str

    def __init__(self, name: str, journal: Journal) -> None:
        super().__init__(name=name, daemon=True)
        self.journal = journal
        self._ending = threading.Event()

    @abstractmethod
    def look(self) -> None:
        """Look once; LabError where that cannot be done."""

    def run(self) -> None:
        """Look until ended."""
        blind = False
        while not self._ending.wait(SAMPLE_EVERY):
            try:
                self.look()
            except LabError as problem:
                if not blind:
                    self.journal.violate(self.unable, "", str(problem))
                blind = True
            else:
                blind = False

    def end(self) -> None:
        """The watch has ended."""
        self._ending.set()
        self.join()


class FloatIpWatch(Watch):
    """Watches the float IP on both controllers: it must never be on both."""

    unable = "the float IP cannot be watched"

    def __init__(self, controllers: tuple[Host, Host], journal: Journal) -> None:
        super().__init__("float-ip-watch", journal)
        self._controllers = controllers
        self._record: dict[str, Any] | None = None

    def look(self) -> None:
        """Record that both have it, once for as long as that lasts."""
        if not self._on_both():
            self._record = None
        elif self._record is None:
            names = " and ".join(host.site.name for host in self._controllers)
            self._record = self.journal.violate("the float IP on both nodes", names, "seen once")
        else:
            self._record["detail"] = f"for at least {time.time() - self._record['time']:.1f} s"

    def _on_both(self) -> bool:
        first, second = self._controllers
        # The looks are not at one moment: only if the first still has it after the second had it, both had it at once.
        return first.holds(FLOAT_IP) and second.holds(FLOAT_IP) and first.holds(FLOAT_IP)

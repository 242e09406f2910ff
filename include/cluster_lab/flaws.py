"""A flaw of a release, which shows once the new release serves: the cloud's API fails while a controller with it is active."""

from __future__ import annotations

import threading

from include.cluster_lab.audits import SAMPLE_EVERY
from include.cluster_lab.lab import Lab
from include.cluster_lab.site import FLOAT_IP
from include.cluster_lab.truth import release_of
from include.lab.errors import LabError


class FlawWatch(threading.Thread):
    """Stops the cloud's nova-api while the flaw shows, and starts it again when another release serves or it is cleared.

    The controller that is active is looked for a few times a second; where none is, the API stays as it is.
    """

    def __init__(self, lab: Lab) -> None:
        super().__init__(name="flaw-watch", daemon=True)
        self._lab = lab
        self._ending = threading.Event()

    def run(self) -> None:
        """Watch until ended; not being able to is a violation: the flaw would not be what the test believes."""
        try:
            self._watch()
        except LabError as problem:
            self._lab.journal.violate("a flaw cannot be shown", "", str(problem))

    def end(self) -> None:
        """The watch has ended."""
        self._ending.set()
        self.join()

    def _watch(self) -> None:
        fails = False
        while not self._ending.wait(SAMPLE_EVERY):
            wanted = self._shows(fails)
            if wanted == fails or self._lab.cloud is None:
                continue
            fails = wanted
            self._lab.cloud.let_nova_api_fail(fails)
            self._lab.journal.record(
                "cloud", "flaw", ["api_fails"], "the API " + ("fails" if fails else "answers again")
            )

    def _shows(self, now: bool) -> bool:
        flawed = {fault["release"] for fault in self._lab.pending.listed() if "flaw" in fault}
        if not flawed:
            return False
        active = [host for host in (self._lab.a, self._lab.b) if host.running and host.holds(FLOAT_IP)]
        return any(release_of(host) in flawed for host in active) if active else now

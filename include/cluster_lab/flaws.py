"""A flaw of a release, which shows once the new release serves: the cloud's API fails while a controller with it is active."""

from __future__ import annotations

from include.cluster_lab.audits import Watch
from include.cluster_lab.lab import Lab
from include.cluster_lab.site import FLOAT_IP
from include.cluster_lab.truth import release_of


class FlawWatch(Watch):
    """Stops the cloud's nova-api while the flaw shows, and starts it again when another release serves or it is cleared.

    Where no controller is active, the API stays as it is.
    """

    unable = "a flaw cannot be shown"

    def __init__(self, lab: Lab) -> None:
        super().__init__("flaw-watch", lab.journal)
        self._lab = lab
        self._fails = False

    def look(self) -> None:
        """Let the API fail, or answer again, as the flaws that were ordered want it."""
        wanted = self._shows(self._fails)
        if wanted == self._fails or self._lab.cloud is None:
            return
        self._lab.cloud.let_nova_api_fail(wanted)
        self._fails = wanted
        self.journal.record("cloud", "flaw", ["api_fails"], "the API " + ("fails" if wanted else "answers again"))

    def _shows(self, now: bool) -> bool:
        flawed = {fault["release"] for fault in self._lab.pending.listed() if "flaw" in fault}
        if not flawed:
            return False
        active = [host for host in (self._lab.a, self._lab.b) if host.running and host.holds(FLOAT_IP)]
        return any(release_of(host) in flawed for host in active) if active else now

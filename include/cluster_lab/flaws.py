"""Flaws of a release, which show while a controller with it is active: the cloud's API fails, or a compute's service dies."""

from __future__ import annotations

from typing import Any

from include.cluster_lab.audits import Watch
from include.cluster_lab.cloud_files import COMPUTE_UNIT
from include.cluster_lab.lab import Lab
from include.cluster_lab.site import FLOAT_IP
from include.cluster_lab.truth import release_of


class FlawWatch(Watch):
    """Lets the flaws that were ordered show, and ends what they do once another release serves or they are cleared.

    Where no controller is active, the API stays as it is. What has died stays dead.
    """

    unable = "a flaw cannot be shown"

    def __init__(self, lab: Lab) -> None:
        super().__init__("flaw-watch", lab.journal)
        self._lab = lab
        self._fails = False

    def look(self) -> None:
        """Let the API fail, or answer again, and services die, as the flaws want it."""
        flaws = [fault for fault in self._lab.pending.listed() if "flaw" in fault]
        if not flaws and not self._fails:
            return
        self._fail_api({flaw["release"] for flaw in flaws if flaw["flaw"] == "api_fails"})
        for flaw in flaws:
            if flaw["flaw"] == "compute_dies":
                self._end_compute_service(flaw)

    def _fail_api(self, flawed: set[str]) -> None:
        serving = self._serving()
        # Between two controllers there is none, and what has failed does not come back by itself.
        wanted = bool(flawed & serving) if serving else self._fails and bool(flawed)
        if wanted == self._fails or self._lab.cloud is None:
            return
        self._lab.cloud.let_nova_api_fail(wanted)
        self._fails = wanted
        self.journal.record("cloud", "flaw", ["api_fails"], "the API " + ("fails" if wanted else "answers again"))

    def _end_compute_service(self, flaw: dict[str, Any]) -> None:
        host = self._lab.hosts[flaw["host"]]
        if not host.running or release_of(host) != flaw["release"] or flaw["release"] not in self._serving():
            return
        if host.run("systemctl", "is-active", "--quiet", COMPUTE_UNIT, check=False).returncode == 0:
            # Killed, it would be started again by systemd.
            host.run("systemctl", "stop", COMPUTE_UNIT)
            self.journal.record(host.site.name, "flaw", ["compute_dies"], f"{COMPUTE_UNIT} has died")

    def _serving(self) -> set[str | None]:
        """The releases of the controllers that have the float IP."""
        both = (self._lab.a, self._lab.b)
        return {release_of(host) for host in both if host.running and host.holds(FLOAT_IP)}

"""TECS's habit at the rejoin of a reinstalled controller: the cluster goes into maintenance mode, once (A5.9).

Run by a unit that Pacemaker's start pulls in. Not emulated: why TECS does it.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

PATIENCE = 60.0
POLL = 0.2
LINK = Path("/etc/systemd/system/pacemaker.service.wants/tecs-maintenance-once.service")


def main(_: list[str]) -> int:
    """Wait until this node is in one partition with its peer, set the mode, and never do it again."""
    deadline = time.monotonic() + PATIENCE
    # Before both nodes are in one partition, what is set here would be lost when the peer's configuration wins.
    while len(_output("crm_node", "--partition").split()) < 2:
        if time.monotonic() > deadline:
            return 1
        time.sleep(POLL)
    while subprocess.run(
        ["crm_attribute", "--type", "crm_config", "--name", "maintenance-mode", "--update", "true"], check=False
    ).returncode:
        if time.monotonic() > deadline:
            return 1
        time.sleep(POLL)
    LINK.unlink()
    return 0


def _output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout

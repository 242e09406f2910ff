"""Without a virtual machine: DRBD 8.4's own drbdadm reads every command that the product sends (`drbdadm -d`)."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

import pytest

from include.runbook.drbd import state
from include.runbook.steps.storage import AS_SOURCE, AS_TARGET, LOOK

from .conftest import WEB_DATA
from .guests import NoGuests, prepare

pytestmark = pytest.mark.cluster

SENT = sorted(
    {
        *re.findall(r"drbdadm ([a-z-]+(?: --force)?)", AS_SOURCE + LOOK + AS_TARGET + state("/etc/drbd.d")),
        *("role", "cstate", "dstate", "get-gi"),
    }
)


def drbdadm(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """What drbdadm would do, on a resource file of this host."""
    try:
        tree = prepare().tree
    except NoGuests as missing:
        pytest.skip(f"NOT EVEN THE DRY RUN OF drbdadm WAS MADE: {missing}")
    file = folder / "WebData.res"
    file.write_text(WEB_DATA.replace("node-a", socket.gethostname()).replace("10.77.0.1", "127.0.0.1"))
    line = [str(tree / "lib/drbd/drbdadm-84"), "-d", "-c", str(file), *command]
    return subprocess.run(line, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("command", SENT)
def test_drbdadm_knows_the_command(tmp_path: Path, command: str) -> None:
    done = drbdadm(tmp_path, *command.split(), *([] if command == "sh-resources" else ["glance"]))
    assert (done.returncode, done.stderr) == (0, ""), done


def test_drbdadm_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    assert drbdadm(tmp_path, "resync", "glance").returncode != 0


def test_nothing_is_ever_sent_that_changes_as_copy() -> None:
    asking = {"role", "cstate", "dstate", "get-gi", "status", "sh-minor"}
    assert set(re.findall(r"drbdadm ([a-z-]+)", AS_SOURCE + LOOK)) <= asking
    assert set(SENT) == asking | {"sh-resources", "create-md --force", "up", "down", "invalidate", "connect"}

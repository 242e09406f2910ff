"""The disk that A and B share: one image with a file system, behind a loop device that both controllers have.

It lies in memory: a busy disk of this machine must not make a failover wait for its flushing.
"""

from __future__ import annotations

from include.cluster_lab.commands import run
from include.cluster_lab.traces import DISK

SIZE = 64 * 1024 * 1024


def attach_disk() -> str:
    """Make the disk anew and return its device, such as /dev/loop0."""
    with DISK.open("wb") as file:
        file.truncate(SIZE)
    run(["mkfs.ext4", "-q", str(DISK)])
    return run(["losetup", "--find", "--show", str(DISK)]).stdout.strip()

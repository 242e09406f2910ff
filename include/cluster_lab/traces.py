"""What the lab puts on this machine outside its directories, all of it found by name, so that it can always be removed.

Processes (by control group), namespaces with their cables, the bridge, mounts below the state directory, the loop
device of the shared disk. Nothing needs to be remembered: a lab that was killed is cleared away by the next one.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from include.cluster_lab.commands import run
from include.lab.errors import LabError

RUN = Path("/run/tecs-cluster-lab")
LOCK = Path("/var/cache/tecs-cluster-lab/director.lock")
"""Held by the director as long as it lives: one lab per machine. It stays, because whoever removes a lock races for it."""

OWNER = RUN / "state"
"""Names the state directory of the lab that runs or was left behind, and its director's process."""

BRIDGE = "tecslab0"
PREFIX = "tecslab-"
CGROUP = "tecslab"
BUILDING = "tecslab-building"
"""The control group of what builds the base tree, which belongs to no lab."""

NAMESPACES = Path("/run/netns")
DISK = RUN / "shared.img"
ENDED_WITHIN = 20.0
POLL = 0.05


def hierarchies() -> list[Path]:
    """The roots of the control group trees in which processes are kept: one with cgroup v2, two in the hybrid layout."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return [root]
    found = [root / name for name in ("systemd", "unified") if (root / name / "cgroup.procs").exists()]
    if not found:
        raise LabError(f"{root} has neither cgroup v2 nor the systemd hierarchy of v1; hosts cannot boot here")
    return found


def pids_in(group: str) -> set[int]:
    """The processes in a control group and those below it, such as `tecslab/a`."""
    found: set[int] = set()
    for root in hierarchies():
        for listing in (root / group).rglob("cgroup.procs"):
            with contextlib.suppress(FileNotFoundError):  # The group ended while we looked.
                found.update(int(line) for line in listing.read_text().split())
    return found


def in_group(group: str, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` in this control group, which is made."""
    groups = [root / group for root in hierarchies()]
    for each in groups:
        each.mkdir(parents=True, exist_ok=True)
    enter = " && ".join(f"echo $$ > {each}/cgroup.procs" for each in groups)
    return ["sh", "-c", f'{enter} && exec "$@"', "enter", *argv]


def remove_group(group: str) -> None:
    """Every process of the group is dead and the group is gone."""
    deadline = time.monotonic() + ENDED_WITHIN
    while left := pids_in(group):
        if time.monotonic() > deadline:
            raise LabError(f"processes {sorted(left)} of {group} do not end")
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL)
    for root in hierarchies():
        top = root / group
        if top.exists():
            for directory in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
                _remove_empty(directory, deadline)
            _remove_empty(top, deadline)


def _remove_empty(directory: Path, deadline: float) -> None:
    """The kernel lets go of a group a moment after its last process."""
    while True:
        try:
            directory.rmdir()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL)


def remove_namespace(name: str) -> None:
    """The namespace is gone, and its cable at both ends, and every address."""
    if name in links():
        # By itself the cable would go a while after the namespace, and a new one of this name be refused until then.
        run(["ip", "link", "delete", name])
    if name in namespaces():
        run(["ip", "netns", "delete", name])


def namespaces() -> list[str]:
    """The lab's network namespaces."""
    return sorted(path.name for path in NAMESPACES.glob(PREFIX + "*")) if NAMESPACES.exists() else []


def remove_namespaces_folder() -> None:
    """Where no namespace of anybody's is left, the folder that `ip netns add` has made and mounted is gone, too."""
    if NAMESPACES.is_dir() and not any(NAMESPACES.iterdir()):
        # Somebody else may just make a namespace there: then the folder is busy, and stays.
        run(["umount", str(NAMESPACES)], check=False)
        with contextlib.suppress(OSError):
            NAMESPACES.rmdir()


def mounts_below(folder: Path) -> list[Path]:
    """What is mounted below a folder, the innermost first."""
    prefix = f"{folder}/"
    points = [line.split()[4].replace("\\040", " ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [Path(point) for point in reversed(points) if point.startswith(prefix)]


def loop_devices(image: Path) -> list[str]:
    """The loop devices that are backed by this file, even when it is already deleted."""
    listing = json.loads(run(["losetup", "--json", "--list"]).stdout or '{"loopdevices": []}')
    return [each["name"] for each in listing["loopdevices"] if (each["back-file"] or "").startswith(str(image))]


def links() -> list[str]:
    """The bridge and the cables' ends on this machine."""
    listing = json.loads(run(["ip", "--json", "link", "show"]).stdout)
    return [link["ifname"] for link in listing if link["ifname"] == BRIDGE or link["ifname"].startswith(PREFIX)]


def remove_all(state: Path) -> None:
    """Nothing of a lab is left on this machine; its state directory stays, to be read."""
    for root in hierarchies():
        if (root / CGROUP).exists():
            remove_group(CGROUP)
    for name in namespaces():
        remove_namespace(name)
    remove_namespaces_folder()
    for link in links():
        run(["ip", "link", "delete", link])
    for point in mounts_below(state):
        run(["umount", str(point)])
    for device in loop_devices(DISK):
        run(["losetup", "--detach", device])

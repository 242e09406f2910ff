"""What the lab asks of the machine that it is to run on: root, the programs that make hosts, and a kernel that lets it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from include.cluster_lab import traces
from include.cluster_lab.commands import run
from include.lab.errors import LabError

PROGRAMS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "losetup": "mount",
    "mkfs.ext4": "e2fsprogs",
    "nsenter": "util-linux",
    "ssh-keygen": "openssh-client",
}
"""Program -> Debian's package that has it."""

OVERLAY = 'mount -t tmpfs probe "$1" && cd "$1" && mkdir l u w m && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w probe m'
KERNEL = {
    "network, mount and process namespaces": ["unshare", "--net", "--mount", "--pid", "--fork", "true"],
    "network bridges": ["unshare", "--net", "ip", "link", "add", "probe", "type", "bridge"],
    "loop devices": ["losetup", "--find"],
}
"""What the kernel must let root have -> a command that has it and leaves nothing."""

Say = Callable[[str], None]


def require_able(say: Say) -> None:
    """The lab can run on this machine, whose missing programs are installed; LabError says what it lacks."""
    require_root()
    install_programs(say)
    for what, argv in KERNEL.items():
        _require(what, argv)
    with tempfile.TemporaryDirectory() as folder:
        _require("overlay mounts", ["unshare", "--mount", "sh", "-c", OVERLAY, "sh", folder])
    for root in traces.hierarchies():
        _require_group(root)


def require_root() -> None:
    """This process is root's."""
    if os.geteuid() != 0:
        raise LabError("the cluster lab needs root: it makes network namespaces, mounts and control groups")


def install_programs(say: Say) -> None:
    """This machine has the programs that make and run hosts."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise LabError(f"this machine lacks {', '.join(missing)} and has no apt-get; the cluster lab needs Debian 12+")
    say(f"installing on this machine: {' '.join(missing)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update"], timeout=300, env=env)
    run(["apt-get", "install", "--yes", "--no-install-recommends", *missing], timeout=600, env=env)


def _require(what: str, argv: list[str]) -> None:
    try:
        run(argv)
    except LabError as refused:
        raise LabError(f"{what} cannot be had here, and the cluster lab needs them: {refused}") from refused


def _require_group(root: Path) -> None:
    group = root / f"{traces.CGROUP}-probe"
    try:
        group.mkdir(exist_ok=True)
        group.rmdir()
    except OSError as refused:
        raise LabError(
            f"control groups cannot be made in {root}, and the cluster lab needs them: {refused}"
        ) from refused

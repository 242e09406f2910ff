"""What every host's tree has of the core: real HA programs, OpenSSH, rpm, and nothing that runs by itself but sshd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from include.lab.topology import BAD_RELEASE, GOOD_RELEASE

LOGIN = "tecs-rollback"
"""The account by which the product logs in to every host; sudo makes it root."""

RPMS = "/usr/share/tecs-lab"
PACKAGES = (
    "corosync",
    "dbus",
    "drbd-utils",
    "iproute2",
    "iputils-arping",
    "iputils-ping",
    "less",
    "openssh-client",
    "openssh-server",
    "pacemaker",
    "pacemaker-cli-utils",
    "pcs",
    "procps",
    "psmisc",
    "python-is-python3",
    "python3",
    "resource-agents",
    "rpm",
    "sudo",
    "systemd",
    "systemd-sysv",
)
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "console-getty.service",
    "dev-hugepages.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "getty.target",
    "logd.service",
    "modprobe@.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "systemd-logind.service",
    "systemd-networkd.service",
    "systemd-resolved.service",
)
RPM_SPEC = """\
Name: openstack-nova-common
Version: 2014.2
Release: {release}
Summary: Stand-in for the package by which a TECS node's release is told
License: none
BuildArch: noarch
%description
Holds nothing; its release number is the release of TECS.
%files
"""

InTree = Callable[[list[str]], None]
"""Runs a program in the tree."""


def prepare(tree: Path, in_tree: InTree) -> None:
    """The tree boots: sshd alone is enabled, no host has an identity yet, no cluster is configured."""
    for unit in MASKED:
        _replace_link(tree / f"etc/systemd/system/{unit}", "/dev/null")
    _replace_link(tree / "etc/systemd/system/default.target", "/lib/systemd/system/multi-user.target")
    in_tree(["systemctl", "disable", "corosync", "pacemaker", "pcsd", "pcsd-ruby", "drbd"])
    in_tree(["systemctl", "enable", "ssh"])
    for key in (tree / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    (tree / "etc/corosync/corosync.conf").unlink()
    for name in ("etc/hostname", "etc/machine-id", "etc/resolv.conf"):
        (tree / name).write_text("")
    # ocf:heartbeat:Filesystem refuses to run where there is no modprobe; the kernel is this machine's.
    _replace_link(tree / "sbin/modprobe", "/bin/true")
    # Debian's rpm keeps its database in each user's home otherwise.
    (tree / "etc/rpm").mkdir(exist_ok=True)
    (tree / "etc/rpm/macros").write_text("%_dbpath /var/lib/rpm\n")
    _build_rpms(tree, in_tree)
    in_tree(["sh", "-c", "echo hacluster:hacluster | chpasswd"])
    in_tree(["useradd", "--create-home", "--shell", "/bin/bash", LOGIN])


def _build_rpms(tree: Path, in_tree: InTree) -> None:
    (tree / RPMS.lstrip("/")).mkdir()
    for release in (GOOD_RELEASE, BAD_RELEASE):
        spec = tree / RPMS.lstrip("/") / f"{release}.spec"
        spec.write_text(RPM_SPEC.format(release=release))
        in_tree(["rpmbuild", "-bb", "--define", f"_rpmdir {RPMS}", f"{RPMS}/{release}.spec"])


def rpm_path(release: str) -> str:
    """Where the rpm of a release lies in every host."""
    return f"{RPMS}/noarch/openstack-nova-common-2014.2-{release}.noarch.rpm"


def _replace_link(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)

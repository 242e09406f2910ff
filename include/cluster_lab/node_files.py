"""What lies in a host's tree before it boots: who it is, what an installation leaves, what a cluster in service adds.

Every function writes into the tree of a host that is off.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from include.cluster_lab.cloud import Cloud
from include.cluster_lab.host import PROGRAMS, Host
from include.cluster_lab.keys import public_file
from include.cluster_lab.likeness import machine_of
from include.cluster_lab.site import HOSTS
from include.cluster_lab.tree_recipe import LOGIN, rpm_path
from include.lab import host_files
from include.lab.service_units import CONTROLLER_UNITS, DISABLED_UNITS, units_of
from include.lab.world import World

SUDOERS = Path(__file__).parents[2] / "docs/sudoers.example"
"""What the documentation tells a site to give the product's login."""

UNITS = "etc/systemd/system"
REAL_UNITS = ("corosync", "pacemaker", "pcsd", "openstack-nova-compute")
"""Of the units of include/lab/service_units.py, those that are no stand-ins here."""

STAND_INS = ("lab-installer", "lab-node-installer", "lab-storage-auto-config", "openstack-service")
"""Programs on every host's PATH, by the modules of their names in `programs`."""

SSHD_CONFIG = f"""\
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
UseDNS no
MaxSessions 100
MaxStartups 200
ForceCommand {PROGRAMS}/ssh-session
"""
SLEEPING_UNIT = """\
[Unit]
Description={name}: a stand-in that sleeps

[Service]
ExecStart=/bin/sleep infinity

[Install]
WantedBy=multi-user.target
"""
MAINTENANCE_UNIT = f"""\
[Unit]
Description=TECS puts the cluster into maintenance mode once when a reinstalled controller joins it
After=pacemaker.service

[Service]
Type=oneshot
ExecStart={PROGRAMS}/launch maintenance-once
Restart=no
"""
MAINTENANCE = "tecs-maintenance-once.service"


def lay_identity(host: Host, host_key: Path, accepted: list[str]) -> None:
    """The host has its name, knows the others by name, shows this SSH host key and lets the accepted keys in.

    They open root and LOGIN, which sudo lets become root.
    """
    etc = host.tree / "etc"
    (etc / "hostname").write_text(f"{host.site.name}\n")
    names = "".join(f"{each.address} {each.name}\n" for each in HOSTS)
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
    shutil.copy(host_key, etc / "ssh/ssh_host_ed25519_key")
    shutil.copy(public_file(host_key), etc / "ssh/ssh_host_ed25519_key.pub")
    (etc / "ssh/sshd_config.d/lab.conf").write_text(SSHD_CONFIG)
    for home in ("root", f"home/{LOGIN}"):
        keys = host.tree / home / ".ssh"
        keys.mkdir(mode=0o700, exist_ok=True)
        (keys / "authorized_keys").write_text("".join(f"{key}\n" for key in accepted))
    host.in_tree("chown", "-R", f"{LOGIN}:", f"/home/{LOGIN}")
    sudoers = etc / "sudoers.d/tecs-rollback"
    shutil.copy(SUDOERS, sudoers)
    sudoers.chmod(0o440)
    for program in STAND_INS:
        path = host.tree / "usr/local/bin" / program
        path.write_text(f'#!/bin/sh\nexec {PROGRAMS}/launch {program} "$@"\n')
        path.chmod(0o755)


def lay_installed(world: World, host: Host, release: str, cloud: Cloud | None) -> None:
    """The node has what an installation of the release leaves: packages, fresh configuration, no cluster's files."""
    machine = machine_of(world, host.site)
    _install_rpm(host, release)
    host_files.write_nova_conf(world, machine, host_files.fresh_nova_conf(world, machine))
    _lay_units(host, with_cloud=cloud is not None)
    if host.site.role == "controller":
        host_files.lay_down_controller(world, machine)
        _enable(host, "pcsd", "/lib/systemd/system")
        if cloud is not None:
            cloud.lay_down_controller(host)
    elif cloud is not None:
        cloud.lay_down_compute(host)


def lay_in_service(world: World, host: Host, cloud: Cloud | None) -> None:
    """The node, on which an installation was laid down, has the site's own settings too."""
    machine = machine_of(world, host.site)
    if host.site.role == "controller":
        host_files.lay_out_cinder(world, machine)
    elif cloud is not None:
        cloud.lay_out_compute(host)
    else:
        host_files.lay_out_compute(world, machine)


def lay_node_lists(world: World, host: Host) -> None:
    """The controller has TECS's and pcsd's lists of nodes, which pcs removes when it sets a cluster up."""
    host_files.lay_out_pcsd(world, machine_of(world, host.site))


def lay_maintenance_habit(host: Host) -> None:
    """The controller puts the cluster into maintenance mode when Pacemaker starts on it the first time (A5.9)."""
    _write_unit(host, MAINTENANCE, MAINTENANCE_UNIT)
    wants = host.tree / UNITS / "pacemaker.service.wants"
    wants.mkdir(exist_ok=True)
    (wants / MAINTENANCE).symlink_to(f"/{UNITS}/{MAINTENANCE}")


def _install_rpm(host: Host, release: str) -> None:
    # --force-debian: this rpm serves a system of another kind, which it otherwise refuses.
    host.in_tree("rpm", "--install", "--force-debian", "--nodeps", rpm_path(release))


def _lay_units(host: Host, *, with_cloud: bool) -> None:
    real = REAL_UNITS if with_cloud else tuple(unit for unit in REAL_UNITS if unit in CONTROLLER_UNITS)
    for name in units_of(host.site.role):
        if name in real:
            continue
        _write_unit(host, f"{name}.service", SLEEPING_UNIT.format(name=name))
        if name not in DISABLED_UNITS:
            _enable(host, name, f"/{UNITS}")


def _write_unit(host: Host, name: str, text: str) -> None:
    path = host.tree / UNITS / name
    # The base tree masks some: what is written must not go through a link to this machine's /dev/null.
    path.unlink(missing_ok=True)
    path.write_text(text)


def _enable(host: Host, name: str, folder: str) -> None:
    link = host.tree / UNITS / "multi-user.target.wants" / f"{name}.service"
    link.unlink(missing_ok=True)
    link.symlink_to(f"{folder}/{name}.service")

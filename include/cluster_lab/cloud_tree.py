"""What the hosts' base tree needs for a real OpenStack: Debian 12's Zed packages, nothing of them running.

The same tree serves the host of the control plane, the computes (`nova-compute`) and the controllers (the `openstack`
client). Debian's own units stay masked: which service runs where, and under which name, is decided by the units that
the lab lays down on a host.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

PACKAGES = (
    "glance-api",
    "keystone",
    "mariadb-server",
    "neutron-server",
    "nova-api",
    "nova-compute",
    "nova-conductor",
    "nova-scheduler",
    "placement-api",
    "python3-openstackclient",
    "python3-pymysql",
    "rabbitmq-server",
)

PRESEED = """\
glance-common glance/configure_db boolean false
keystone keystone/configure_db boolean false
neutron-common neutron/configure_db boolean false
nova-common nova/configure_db boolean false
placement-api placement/configure_db boolean false
"""
"""The databases are made later, all at once: see cloud_layer.py."""

MASKED = (
    "glance-api.service",
    "keystone.service",
    "libvirt-guests.service",
    "libvirtd-admin.socket",
    "libvirtd-ro.socket",
    "libvirtd.service",
    "libvirtd.socket",
    "machines.target",
    "neutron-api.service",
    "neutron-rpc-server.service",
    "nova-api-metadata.service",
    "nova-api.service",
    "nova-compute.service",
    "nova-conductor.service",
    "nova-scheduler.service",
    "placement-api.service",
    "virtlockd.service",
    "virtlockd.socket",
    "virtlogd.service",
    "virtlogd.socket",
)
"""Debian's units of what the lab starts by units of its own, and of what a fake hypervisor does not need."""

DISABLED = ("epmd.service", "epmd.socket", "mariadb.service", "rabbitmq-server.service")
"""Debian's units that the control plane's host starts, and no other host."""


def prepare(tree: Path, in_tree: Callable[[list[str]], None]) -> None:
    """No part of OpenStack starts on a host that boots from `tree`."""
    in_tree(["systemctl", "disable", *MASKED, *DISABLED])
    in_tree(["systemctl", "mask", *MASKED])
    # The package's own settings name libvirt, and nova-compute reads them beside nova.conf.
    (tree / "etc/nova/nova-compute.conf").write_text("")

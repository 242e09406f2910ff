"""The systemd units of each kind of host."""

from __future__ import annotations

from include.lab.world import Unit

DISABLED_UNITS = ("corosync", "pacemaker", "openstack-nova-storage")
CONTROLLER_UNITS = (
    "corosync",
    "pacemaker",
    "pcsd",
    "openstack-nova-api",
    "openstack-nova-scheduler",
    "openstack-nova-conductor",
    "openstack-cinder-api",
    "openstack-cinder-volume",
    "openstack-glance-api",
    "openstack-keystone",
    "neutron-server",
    "multipathd",
)
COMPUTE_UNITS = (
    "libvirtd",
    "multipathd",
    "openstack-nova-compute",
    "openstack-nova-storage",
    "openstack-ceilometer-compute",
    "neutron-openvswitch-agent",
)


def units_of(role: str) -> dict[str, Unit]:
    """The units of a host in service: all active, some of them not enabled."""
    names = {"controller": CONTROLLER_UNITS, "compute": COMPUTE_UNITS}.get(role, ())
    return {name: Unit("active", name not in DISABLED_UNITS) for name in names}

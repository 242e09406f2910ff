"""What the installer does to a node: packages come, services run, everything goes."""

from __future__ import annotations

from pathlib import Path

from include.lab import cinder_files
from include.lab.host_files import fresh_nova_conf, lay_down_controller, write_nova_conf
from include.lab.pacemaker import CLUSTER_UNITS, start_cluster, stop_cluster
from include.lab.replication import WEB_DATA, take_down
from include.lab.service_units import units_of
from include.lab.world import Machine, World

OUTLIVING_UNITS = ("libvirtd", "multipathd")
CLUSTER_FILES = ("etc/corosync/corosync.conf", "var/lib/pcsd/ip_name.conf", "var/lib/pcsd/pcs_settings.conf", WEB_DATA)


def lay_packages(world: World, machine: Machine, release: str) -> None:
    """The packages are there and nothing more: rpm shows the release, no service runs."""
    if machine.release not in (None, release):
        world.violate(
            "installed over another release", machine.name, f"{machine.release} was still there, {release} came"
        )
    machine.release = release
    machine.complete = False
    machine.installed_at = int(world.now)


def finish(world: World, machine: Machine, release: str) -> None:
    """The node is installed: services run, configuration is fresh, and its SSH host key is a new one."""
    machine.release, machine.complete = release, True
    machine.installed_at = int(world.now)
    machine.installs += 1
    machine.units = units_of(machine.role)
    for unit in CLUSTER_UNITS:
        if unit in machine.units:
            machine.units[unit].state = "inactive"
    write_nova_conf(world, machine, fresh_nova_conf(world, machine))
    if machine.role == "controller":
        lay_down_controller(world, machine)
    if world.new_host_keys:
        machine.key_version += 1


def begin_removal(world: World, machine: Machine) -> None:
    """Services stop. VMs that are still here, and users of an active controller, are not asked."""
    here = [vm for vm in world.vms.values() if vm.host == machine.name]
    for vm in here:
        vm.status, vm.migrating_to = "ERROR", None
    if here:
        world.violate("uninstalled under VMs", machine.name, ", ".join(vm.name for vm in here))
    if machine.node and world.float_on == machine.node:
        world.violate("clean on the active controller", machine.name, f"{machine.node} held {world.resource}")
    if machine.role == "controller":
        stop_cluster(world, machine)
        take_down(world, machine)
    for name, unit in machine.units.items():
        if name not in OUTLIVING_UNITS:
            unit.state = "inactive"


def remove(world: World, machine: Machine) -> None:
    """The release is gone, and with it its configuration."""
    machine.release, machine.complete = None, False
    machine.uninstalls += 1
    machine.units = {name: unit for name, unit in machine.units.items() if name in OUTLIVING_UNITS}
    tree = world.tree(machine.name)
    remove_tree(tree / "etc/nova")
    if machine.role == "controller":
        for name in CLUSTER_FILES:
            (tree / name).unlink(missing_ok=True)
        cinder_files.remove(tree)


def begin_upgrade(world: World, machine: Machine, release: str) -> None:
    """The packages are those of the new release, and services are down. VMs here lose theirs, and nobody is asked."""
    here = [vm for vm in world.vms.values() if vm.host == machine.name]
    for vm in here:
        vm.status, vm.migrating_to = "ERROR", None
    if here:
        world.violate("upgraded under VMs", machine.name, ", ".join(vm.name for vm in here))
    if machine.node and world.float_on == machine.node:
        world.violate("upgrade of the active controller", machine.name, f"{machine.node} held {world.resource}")
    if machine.role == "controller":
        stop_cluster(world, machine)
    for name, unit in machine.units.items():
        if name not in OUTLIVING_UNITS:
            unit.state = "inactive"
    machine.release, machine.complete = release, False
    machine.installed_at = int(world.now)


def finish_upgrade(world: World, machine: Machine) -> None:
    """Services run again, a controller's cluster among them, with a nova.conf of the new release; all else is as it was."""
    machine.complete = True
    machine.units = units_of(machine.role)
    write_nova_conf(world, machine, fresh_nova_conf(world, machine))
    if machine.role == "controller":
        for unit in CLUSTER_UNITS:
            machine.units[unit].state = "inactive"
        start_cluster(world, machine)


def remove_tree(path: Path) -> None:
    """The directory is gone; a missing one is as good."""
    if path.exists():
        for child in path.iterdir():
            if child.is_dir() and not child.is_symlink():
                remove_tree(child)
            else:
                child.unlink()
        path.rmdir()

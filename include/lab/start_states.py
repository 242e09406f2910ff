"""The states that a lab can start in: the three failed upgrades of the runbook, and the cluster as it should be."""

from __future__ import annotations

import copy
import json
import os
import sys
import time
import uuid
from pathlib import Path

from include.lab.answer_file import mappings_json, tecs_conf
from include.lab.host_files import lay_out, lay_out_compute, lay_out_controller, lay_out_shared
from include.lab.installer_bin import bin_bytes
from include.lab.isolation import PROJECT_ROOT
from include.lab.pacemaker import ban
from include.lab.programs.container_engine import container_tree
from include.lab.replication import lay_out_copies, resources_of
from include.lab.service_units import units_of
from include.lab.topology import Site
from include.lab.world import Machine, Vm, World

SCENARIOS = ("A", "B", "C", "good", "done")
VMS_PER_COMPUTE = 2
HOST_PROGRAMS = {
    "daisy": ("docker", "hostname", "podman", "systemctl", "rpm"),
    "controller": (
        "hostname",
        "systemctl",
        "rpm",
        "pcs",
        "crm_mon",
        "crm_node",
        "cibadmin",
        "drbdadm",
        "mysql",
        "mysqldump",
        "openstack",
        "openstack-service",
        "lab-storage-auto-config",
    ),
    "compute": ("hostname", "systemctl", "rpm", "openstack-service"),
}
HIDDEN_PROGRAMS = ("lab-installer", "lab-node-installer")


def new_world(site: Site, state: Path, pcs: str, names_resolve: bool) -> World:
    """A world with the site's hosts, nothing installed on them."""
    machines = {
        host.name: Machine(host.name, host.role, host.address, host.port, host.network, host.pacemaker_node)
        for host in site.hosts
    }
    return World(
        state=state,
        site=site.name,
        cluster_id=site.cluster_id,
        resource=site.resource,
        pace=site.pace,
        pcs=pcs,
        self_maintenance=True,
        new_host_keys=True,
        installer_status="zero",
        names_resolve=names_resolve,
        use_dns=site.use_dns,
        cinder_ip=str(site.inventory.get("cinder_management_ip", "")),
        virtual_ips=list(site.virtual_ips),
        virtual_port=site.virtual_port,
        machines=machines,
        schemas=copy.deepcopy(site.schemas),
        now=time.time(),
    )


def put_in_scenario(world: World, site: Site, scenario: str) -> None:
    """Every host, the cluster and the VMs are as the scenario finds them (files are `lay_out_hosts`'s)."""
    a, b = world.controllers
    good, bad = site.target_release, site.bad_release
    releases = {machine.name: good for machine in (*world.controllers, *world.computes)}
    if scenario == "A":
        releases.update({machine.name: bad for machine in (b, *world.computes)})
    elif scenario == "B":
        releases[b.name] = bad
    elif scenario == "C":
        releases[world.computes[0].name] = bad
    for name, release in releases.items():
        machine = world.machines[name]
        machine.release, machine.complete = release, True
        machine.installed_at = int(world.now) - (86_400 if release == good else 7_200)
        machine.units = units_of(machine.role)
    lay_out_copies(world, resources_of(site.inventory))
    world.online = [a.node, b.node]
    world.float_on = b.node if scenario == "A" else a.node
    if scenario in ("A", "B", "C"):
        ban(world, a.node if scenario == "A" else b.node)
    world.properties = {"stonith-enabled": "false", "no-quorum-policy": "ignore"}
    for compute in world.computes:
        for number in range(1, VMS_PER_COMPUTE + 1):
            name = f"vm-{compute.name.removeprefix('host-')}-{number}"
            vm_id = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{world.site}.{name}"))
            world.vms[vm_id] = Vm(vm_id, name, compute.name)


def lay_out_hosts(world: World, site: Site) -> None:
    """Every host has the files of a cluster that was installed and then upgraded."""
    lay_out_shared(world)
    for machine in world.machines.values():
        lay_out(world, machine)
    for machine in world.controllers:
        lay_out_controller(world, machine)
    for machine in world.computes:
        lay_out_compute(world, machine)
    daisy = world.tree(site.daisy.name)
    daisys_own = container_tree(daisy, site.daisy.container) if site.daisy.container else daisy
    data = daisys_own / "var/lib/daisy/tecs" / site.cluster_id
    data.mkdir(parents=True)
    (data / "tecs.conf").write_bytes(tecs_conf(world, f"/var/lib/daisy/tecs//{site.cluster_id}/mappings.json"))
    (data / "mappings.json").write_bytes(mappings_json(world))
    for directory in ("home/tecs_install", "var/log/daisy", "var/tmp/packstack"):
        (daisy / directory).mkdir(parents=True, exist_ok=True)
    for release, path in site.bins.items():
        target = daisy / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(bin_bytes(release))
        target.chmod(0o755)


def install_programs(state: Path, interpreter: str) -> None:
    """Each role has its programs in `bin/<role>`; `python` there is the lab's own interpreter."""
    launcher = PROJECT_ROOT / "include/lab/programs/launch.py"
    for role, programs in HOST_PROGRAMS.items():
        directory = state / "bin" / role
        directory.mkdir(parents=True)
        for name in ("python", "python3"):
            (directory / name).symlink_to(interpreter)
        for program in (*programs, *HIDDEN_PROGRAMS):
            text = f'#!/bin/sh\nexec {json.dumps(interpreter)} -I -S {json.dumps(str(launcher))} {program} "$@"\n'
            (directory / program).write_text(text)
            (directory / program).chmod(0o755)


def own_interpreter() -> str:
    """The real interpreter below this virtual environment: hosts have the standard library only."""
    return os.path.realpath(sys.executable)

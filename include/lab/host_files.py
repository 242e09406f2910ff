"""The files that the lab's hosts begin with, and those that an installation lays down afresh."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from include.lab import cinder_files
from include.lab.replication import WEB_DATA, web_data
from include.lab.world import Machine, World

MACHINE_ETC = (
    "alternatives",
    "group",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "nsswitch.conf",
    "passwd",
    "protocols",
    "services",
)

COROSYNC_CONF = """\
totem {{
    version: 2
    cluster_name: tecs
    transport: udpu
    secauth: off
}}
nodelist {{
{nodes}}}
quorum {{
    provider: corosync_votequorum
    two_node: 1
}}
logging {{
    to_syslog: yes
}}
"""

OPENRC = """\
export OS_USERNAME=admin
export OS_PASSWORD=keystone
export OS_AUTH_URL=http://{address}:5000/v2.0/
export OS_TENANT_NAME=admin
export OS_PROJECT_NAME=admin
export OS_REGION_NAME=RegionOne
export PS1='[\\u@\\h \\W(keystone_admin)]\\$ '
"""

NOVA_CONF = """\
[DEFAULT]

#
# From oslo.messaging
#

# Use durable queues in AMQP. (boolean value)
#amqp_durable_queues=false
rpc_backend=rabbit
rabbit_hosts={controllers}

# Compute manager class: nova.compute.manager.ComputeManager, or the one of the
# distribution. (string value)
compute_manager=nova.compute.manager.ComputeManager
compute_driver=libvirt.LibvirtDriver
my_ip={address}
{extra}
# Notification drivers; may be given several times. (multi valued)
notification_driver=nova.openstack.common.notifier.rpc_notifier
notification_driver=ceilometer.compute.nova_notifier

# A list of monitors; may be given several times. (multi valued)
#compute_available_monitors=nova.compute.monitors.all_monitors
novncproxy_base_url=http://{virtual}:6080/vnc_auto.html
vncserver_listen=0.0.0.0

# The address to which proxy clients should connect. (string value)
vncserver_proxyclient_address={vnc}
sql_connection=mysql://nova:nova@{virtual}/nova

[libvirt]

# Libvirt domain type. (string value)
virt_type=kvm
inject_partition=-1
live_migration_flag=VIR_MIGRATE_UNDEFINE_SOURCE, VIR_MIGRATE_PEER2PEER, VIR_MIGRATE_LIVE
{libvirt_extra}
[keystone_authtoken]
auth_host={virtual}
admin_user=nova
admin_password=lab-only
"""


def lay_out_shared(world: World) -> None:
    """The state directory has what is the same in every host's /etc: names, and what this machine's programs need."""
    shared = world.state / "etc"
    (shared / "ssh").mkdir(parents=True)
    (shared / "ssh/ssh_config").write_text("Host *\n    HashKnownHosts yes\n")
    names = [f"{each.address} {each.name}\n" for each in world.machines.values()]
    (shared / "hosts").write_text("127.0.0.1 localhost\n" + "".join(names))
    for name in MACHINE_ETC:
        source = Path("/etc") / name
        if source.is_dir():
            shutil.copytree(source, shared / name, symlinks=True)
        elif source.exists():
            shutil.copy(source, shared / name)


def lay_out(world: World, machine: Machine) -> None:
    """The host has the directories that every host has."""
    tree = world.tree(machine.name)
    tree.mkdir(parents=True)
    for directory in ("etc", "home", "root", "root/.ssh", "var", "var/lib", "var/log", "var/tmp"):
        (tree / directory).mkdir()
    (tree / "root/.ssh").chmod(0o700)


def lay_out_compute(world: World, machine: Machine) -> None:
    """The compute has the nova.conf of a node in service, with settings of its own; cpu_allocation_ratio is in no list."""
    fresh = fresh_nova_conf(world, machine)
    tuned = fresh.replace("=nova.compute.manager.ComputeManager\n", "=nova.compute.tecs_manager.TecsComputeManager\n")
    tuned = tuned.replace("address=127.0.0.1\n", f"address={machine.name}.STORAGE\n")
    # Passwords are made anew by each installation, and the proxy's address has a name that an installation does not know.
    tuned = tuned.replace("admin_password=", "admin_password=former-")
    tuned = tuned.replace(f"base_url=http://{_virtual(world)}:", "base_url=http://console.lab:")
    extra = "iscsi_use_multipath=true\ncpu_allocation_ratio=4.0\n"
    libvirt = "iscsi_use_multipath=true\nvolume_use_multipath=true\nreserved_huge_pages=node:0,size:1048576,count:4\n"
    if machine.network == "dvs":
        extra += "vcpu_pin_set=4-23,28-47\nvcpupin_policy=all\ndvs_high_cpu_set=2,3\n"
        for function in ("0000:05:10.1", "0000:05:10.3"):
            extra += f'pci_passthrough_whitelist={{"address": "{function}", "physical_network": "physnet2"}}\n'
        libvirt += "reserved_huge_pages=node:1,size:1048576,count:4\n"
    tuned = tuned.replace(f"my_ip={machine.address}\n", f"my_ip={machine.address}\n{extra}")
    tuned = tuned.replace("VIR_MIGRATE_LIVE\n", f"VIR_MIGRATE_LIVE\n{libvirt}")
    write_nova_conf(world, machine, tuned)


def lay_out_controller(world: World, machine: Machine) -> None:
    """The controller has its cluster, cinder and OpenStack client files."""
    tree = world.tree(machine.name)
    write_nova_conf(world, machine, fresh_nova_conf(world, machine))
    (tree / "etc/corosync").mkdir(exist_ok=True)
    (tree / "var/lib/pcsd").mkdir(exist_ok=True)
    nodes = "".join(f"    node {{\n        ring0_addr: {each.node}\n    }}\n" for each in world.controllers)
    (tree / "etc/corosync/corosync.conf").write_text(COROSYNC_CONF.format(nodes=nodes))
    lay_out_pcsd(world, machine)
    lay_down_controller(world, machine)
    lay_out_cinder(world, machine)
    if world.copies:
        lay_out_web_data(world, machine)


def lay_out_pcsd(world: World, machine: Machine) -> None:
    """The controller has the lists of nodes that pcsd and TECS keep."""
    folder = world.tree(machine.name) / "var/lib/pcsd"
    names = [each.node for each in world.controllers]
    (folder / "ip_name.conf").write_text("".join(f"{each.address} {each.node}\n" for each in world.controllers))
    settings = {"format_version": 2, "data_version": 1, "clusters": [{"name": "tecs", "nodes": names}]}
    (folder / "pcs_settings.conf").write_text(json.dumps(settings, indent=2))


def lay_out_web_data(world: World, machine: Machine) -> None:
    """The controller has the resource file of what it replicates."""
    file = world.tree(machine.name) / WEB_DATA
    file.parent.mkdir(exist_ok=True)
    file.write_text(web_data(world))


def lay_out_cinder(world: World, machine: Machine) -> None:
    """The controller, on which an installation has laid down its files, uses the arrays and Ceph."""
    tree = world.tree(machine.name)
    cinder_files.put_in_service(tree, world.cinder_ip)


def lay_down_controller(world: World, machine: Machine) -> None:
    """What an installation leaves on a controller: LVM only, no array's settings, the OpenStack credentials."""
    tree = world.tree(machine.name)
    cinder_files.install(tree)
    (tree / "root/keystonerc_admin").write_text(OPENRC.format(address=_virtual(world)))
    (tree / "root/keystonerc_admin").chmod(0o600)
    (tree / "var/lib/pcsd").mkdir(exist_ok=True)
    (tree / "etc/corosync").mkdir(exist_ok=True)


def fresh_nova_conf(world: World, machine: Machine) -> str:
    """nova.conf as an installation leaves it: nothing of the site's own."""
    controllers = ",".join(f"{each.address}:5672" for each in world.controllers)
    return NOVA_CONF.format(
        controllers=controllers,
        address=machine.address,
        virtual=_virtual(world),
        vnc="127.0.0.1",
        extra="",
        libvirt_extra="",
    )


def write_nova_conf(world: World, machine: Machine, text: str) -> None:
    """Put a nova.conf on the host."""
    directory = world.tree(machine.name) / "etc/nova"
    directory.mkdir(exist_ok=True)
    (directory / "nova.conf").write_text(text)
    (directory / "nova.conf").chmod(0o640)


def _virtual(world: World) -> str:
    return world.virtual_ips[0] if world.virtual_ips else world.controllers[0].address

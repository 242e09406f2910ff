"""Configuration files of the real OpenStack: the control plane's, and what lies on controllers and computes.

The control plane is called `cloud` everywhere; every host knows that name. Its services reach the database as their
own users over its socket, without a password; `PASSWORD` is that of every account in Keystone and is worth nothing
outside the lab.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from include.cluster_lab import site
from include.cluster_lab.cloud_services import PORTS, SERVICES

CLOUD = site.CLOUD.name
PASSWORD = "lab-only"
REGION = "RegionOne"
DATABASES = {
    "keystone": ("keystone",),
    "glance": ("glance",),
    "placement": ("placement",),
    "nova": ("nova", "nova_api", "nova_cell0"),
    "neutron": ("neutron",),
}
"""Database user, which is the operating system's user too -> its databases."""

SERVICE_DOWN_AFTER = 10
"""Seconds after which Nova takes a silent service for dead; in a real cloud it is 60."""
REPORT_EVERY = 2
"""Seconds between two signs of life of a Nova service; in a real cloud 10."""

COMPUTE_UNIT = "openstack-nova-compute.service"
TRANSPORT_URL = f"rabbit://nova:{PASSWORD}@{CLOUD}:5672/"

OPENRC = f"""\
export OS_USERNAME=admin
export OS_PASSWORD={PASSWORD}
export OS_AUTH_URL=http://{CLOUD}:{PORTS["keystone"]}/v3
export OS_IDENTITY_API_VERSION=3
export OS_PROJECT_NAME=admin
export OS_USER_DOMAIN_NAME=Default
export OS_PROJECT_DOMAIN_NAME=Default
export OS_REGION_NAME={REGION}
export PS1='[\\u@\\h \\W(keystone_admin)]\\$ '
"""

_DURABLE: dict[str, Any] = {"vhost": "/", "durable": True, "auto_delete": False, "arguments": {}}

DATABASE_USER = "operator"
"""Who may read and dump the databases from a controller."""

_MY_CNF = f"""\
[client]
host = {CLOUD}
user = {DATABASE_USER}
password = {PASSWORD}
"""

_MARIADB = """\
[mysqld]
bind-address = 0.0.0.0
skip-name-resolve
innodb_buffer_pool_size = 64M
innodb_log_file_size = 8M
innodb_flush_log_at_trx_commit = 0
innodb_doublewrite = 0
performance_schema = off
max_connections = 300
"""


def account(user: str) -> str:
    """The lines by which a service proves to Keystone that it is `user`."""
    url = f"http://{CLOUD}:{PORTS['keystone']}/v3"
    return (
        f"auth_type = password\nauth_url = {url}\nwww_authenticate_uri = {url}\nproject_domain_name = Default\n"
        f"user_domain_name = Default\nproject_name = service\nregion_name = {REGION}\n"
        f"username = {user}\npassword = {PASSWORD}\n"
    )


def database_url(user: str, name: str | None = None) -> str:
    """Where a service finds its database: on its own host, as its own user."""
    return f"mysql+pymysql://{user}@localhost/{name or user}?unix_socket=/run/mysqld/mysqld.sock"


_RABBITMQ = """\
# Its threads do not spin while they wait: there are few processors, and others want them.
SERVER_ADDITIONAL_ERL_ARGS="+sbwt none +sbwtdcpu none +sbwtdio none"
"""

_MESSAGE_QUEUES: dict[str, list[dict[str, Any]]] = {
    "vhosts": [{"name": "/"}],
    "users": [{"name": "nova", "password": PASSWORD, "tags": ""}],
    "permissions": [{"user": "nova", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}],
    "exchanges": [_DURABLE | {"name": "nova", "type": "topic", "internal": False}],
    "queues": [_DURABLE | {"name": "conductor"}],
    "bindings": [
        {
            "vhost": "/",
            "source": "nova",
            "destination": "conductor",
            "destination_type": "queue",
            "routing_key": "conductor",
            "arguments": {},
        }
    ],
}
"""The account, and the conductor's queue from the beginning: a nova-compute that starts before nova-conductor is served
when that comes. Else its first question is lost, and it waits ten seconds before it asks again."""

_KEYSTONE = f"""\
[database]
connection = {database_url("keystone")}
[identity]
# The least that bcrypt takes: with the default, each login costs a quarter of a second of CPU.
password_hash_rounds = 4
[token]
provider = fernet
"""

_PLACEMENT = f"""\
[api]
auth_strategy = keystone
[keystone_authtoken]
{account("placement")}
[placement_database]
connection = {database_url("placement")}
"""

_GLANCE = f"""\
[DEFAULT]
workers = 0
[database]
connection = {database_url("glance")}
[keystone_authtoken]
{account("glance")}
[paste_deploy]
flavor = keystone
[glance_store]
stores = file
default_store = file
filesystem_store_datadir = /var/lib/glance/images/
"""

_NEUTRON = f"""\
[DEFAULT]
core_plugin = ml2
# port_forwarding: without it the first look at a port ends with "Port has no attribute 'port_forwardings'".
service_plugins = router,port_forwarding
auth_strategy = keystone
transport_url = {TRANSPORT_URL}
api_workers = 0
rpc_workers = 0
rpc_state_report_workers = 0
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
[database]
connection = {database_url("neutron")}
[keystone_authtoken]
{account("neutron")}
[oslo_concurrency]
lock_path = /var/lib/neutron/tmp
"""

_ML2 = """\
[ml2]
type_drivers = local
tenant_network_types = local
mechanism_drivers = logger
"""

_NOVA_SERVICES = f"""\
[keystone_authtoken]
{account("nova")}
[placement]
{account("placement")}
[neutron]
{account("neutron")}
[glance]
api_servers = http://{CLOUD}:{PORTS["glance"]}
[oslo_concurrency]
lock_path = /var/lib/nova/tmp
[oslo_messaging_rabbit]
# See _MESSAGE_QUEUES.
amqp_durable_queues = true
# Try again every second until the message queue is there.
rabbit_retry_interval = 1
rabbit_retry_backoff = 0
"""

_NOVA = f"""\
[DEFAULT]
state_path = /var/lib/nova
transport_url = {TRANSPORT_URL}
service_down_time = {SERVICE_DOWN_AFTER}
report_interval = {REPORT_EVERY}
periodic_fuzzy_delay = 0
enabled_apis = osapi_compute
osapi_compute_workers = 1
[api]
auth_strategy = keystone
[api_database]
connection = {database_url("nova", "nova_api")}
[database]
connection = {database_url("nova")}
[conductor]
workers = 1
[scheduler]
workers = 1
# A new compute is taken in at once, not up to a minute later.
discover_hosts_in_cells_interval = {REPORT_EVERY}
{_NOVA_SERVICES}"""

_COMPUTE_NOVA = f"""\
[DEFAULT]

#
# From nova.conf
#

# Compute manager class: nova.compute.manager.ComputeManager, or the one of the
# distribution. (string value)
compute_manager=nova.compute.manager.ComputeManager

# Driver to use for controlling virtualization. The lab has no hypervisor: this one
# keeps its VMs in memory. (string value)
compute_driver=fake.FakeLiveMigrateDriver
my_ip={{address}}
state_path=/var/lib/nova
service_down_time={SERVICE_DOWN_AFTER}
report_interval={REPORT_EVERY}
vif_plugging_is_fatal=False
vif_plugging_timeout=0
{{extra}}
#
# From oslo.messaging
#

# Use durable queues in AMQP. (boolean value)
#amqp_durable_queues=false
rpc_backend=rabbit
transport_url={TRANSPORT_URL}

# Notification drivers; may be given several times. (multi valued)
notification_driver=nova.openstack.common.notifier.rpc_notifier
notification_driver=ceilometer.compute.nova_notifier

# A list of monitors; may be given several times. (multi valued)
#compute_available_monitors=nova.compute.monitors.all_monitors
novncproxy_base_url=http://{CLOUD}:6080/vnc_auto.html
vncserver_listen=0.0.0.0

# The address to which proxy clients should connect. (string value)
vncserver_proxyclient_address={{vnc}}

[libvirt]

# Libvirt domain type. (string value)
virt_type=kvm
inject_partition=-1
live_migration_flag=VIR_MIGRATE_UNDEFINE_SOURCE, VIR_MIGRATE_PEER2PEER, VIR_MIGRATE_LIVE
{{libvirt}}
{_NOVA_SERVICES}"""

_COMPUTE_UNIT = """\
[Unit]
Description=OpenStack Nova Compute Server
After=network.target

[Service]
Type=notify
NotifyAccess=all
User=nova
ExecStart=/usr/bin/nova-compute --config-file /etc/nova/nova.conf
Restart=on-failure
RestartSec=2
TimeoutStopSec=10

[Install]
WantedBy=multi-user.target
"""

_TUNED = "iscsi_use_multipath=true\ncpu_allocation_ratio=4.0\n"
_TUNED_DVS = """\
vcpu_pin_set=4-23,28-47
vcpupin_policy=all
dvs_high_cpu_set=2,3
pci_passthrough_whitelist={"address": "0000:05:10.1", "physical_network": "physnet2"}
pci_passthrough_whitelist={"address": "0000:05:10.3", "physical_network": "physnet2"}
"""
_TUNED_LIBVIRT = """\
iscsi_use_multipath=true
volume_use_multipath=true
reserved_huge_pages=node:0,size:1048576,count:4
"""
_TUNED_LIBVIRT_DVS = "reserved_huge_pages=node:1,size:1048576,count:4\n"


def fresh_nova_conf(address: str) -> str:
    """A compute's nova.conf as an installation leaves it: it works, and has nothing of the site's own."""
    return _COMPUTE_NOVA.format(address=address, vnc="127.0.0.1", extra="", libvirt="")


def tuned_nova_conf(name: str, address: str, network: str) -> str:
    """The nova.conf of a compute in service, with TECS's manager and the site's own settings; `network` is ovs or dvs.

    Zed knows neither `compute_manager` nor the DVS settings and passes over them: the file counts, not the effect.
    """
    dvs = network == "dvs"
    text = _COMPUTE_NOVA.format(
        address=address,
        vnc=f"{name}.STORAGE",
        extra=_TUNED + (_TUNED_DVS if dvs else ""),
        libvirt=_TUNED_LIBVIRT + (_TUNED_LIBVIRT_DVS if dvs else ""),
    )
    # Consoles are reached by a name that an installation does not know.
    text = text.replace(f"base_url=http://{CLOUD}:", "base_url=http://console.lab:")
    return text.replace("=nova.compute.manager.ComputeManager\n", "=nova.compute.tecs_manager.TecsComputeManager\n")


def lay_out_control_plane(tree: Path) -> None:
    """The host `cloud` has the configuration of every service, and starts them when it boots."""
    files = {
        "etc/mysql/mariadb.conf.d/99-lab.cnf": _MARIADB,
        "etc/rabbitmq/rabbitmq.conf": "load_definitions = /etc/rabbitmq/definitions.json\n",
        "etc/rabbitmq/rabbitmq-env.conf": _RABBITMQ,
        "etc/rabbitmq/definitions.json": json.dumps(_MESSAGE_QUEUES),
        "etc/keystone/keystone.conf": _KEYSTONE,
        "etc/placement/placement.conf": _PLACEMENT,
        "etc/glance/glance-api.conf": _GLANCE,
        "etc/nova/nova.conf": _NOVA,
        "etc/neutron/neutron.conf": _NEUTRON,
        "etc/neutron/plugins/ml2/ml2_conf.ini": _ML2,
        **{f"etc/systemd/system/{service.unit}": service.unit_text for service in SERVICES},
    }
    for name, text in files.items():
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text(text)
    for service in SERVICES:
        _enable(tree, service.unit)
    for unit in ("mariadb.service", "rabbitmq-server.service"):
        _enable(tree, unit, "/lib/systemd/system")


def lay_down_client(tree: Path) -> None:
    """The `openstack` client of a controller has the administrator's credentials, and `mysql` those of a reader."""
    openrc = tree / "root/keystonerc_admin"
    openrc.write_text(OPENRC)
    openrc.chmod(0o600)
    my_cnf = tree / "root/.my.cnf"
    my_cnf.write_text(_MY_CNF)
    my_cnf.chmod(0o600)


def lay_down_nova_compute(tree: Path, address: str) -> None:
    """What an installation leaves on a compute: a fresh nova.conf and nova-compute, which starts at boot."""
    write_nova_conf(tree, fresh_nova_conf(address))
    (tree / "etc/systemd/system" / COMPUTE_UNIT).write_text(_COMPUTE_UNIT)
    _enable(tree, COMPUTE_UNIT)


def write_nova_conf(tree: Path, text: str) -> None:
    """Put a nova.conf on the host, readable by root and Nova alone."""
    path = tree / "etc/nova/nova.conf"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o640)
    shutil.chown(path, 0, _group_id(tree, "nova"))


def _group_id(tree: Path, name: str) -> int:
    groups = dict(line.split(":")[0:3:2] for line in (tree / "etc/group").read_text().splitlines())
    return int(groups[name])


def _enable(tree: Path, unit: str, directory: str = "/etc/systemd/system") -> None:
    wanted = tree / "etc/systemd/system/multi-user.target.wants" / unit
    wanted.parent.mkdir(exist_ok=True)
    wanted.unlink(missing_ok=True)
    wanted.symlink_to(f"{directory}/{unit}")

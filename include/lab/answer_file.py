"""tecs.conf: the Packstack answer file of the lab's cluster, and the installer's own reading of it."""

from __future__ import annotations

import json
from pathlib import Path

from include.lab.world import World

CLASSES = {
    "KEYSTONE": 70,
    "GLANCE": 80,
    "CINDER": 150,
    "NOVA": 180,
    "NEUTRON": 190,
    "HORIZON": 50,
    "SWIFT": 60,
    "HEAT": 70,
    "CEILOMETER": 80,
    "TROVE": 60,
    "SAHARA": 50,
    "IRONIC": 60,
    "HA": 120,
    "LB": 80,
    "STORAGE": 60,
}
GB2312_COMMENT = "# 高可用配置由部署系统生成\n".encode("gb2312")


def tecs_conf(world: World, mappings_path: str) -> bytes:
    """The answer file as the deployment system generates it: `KEY = value`, about 1,400 lines, one GB2312 comment."""
    controllers = ",".join(_named(world, machine.name) for machine in world.controllers)
    computes = ",".join(_named(world, machine.name) for machine in world.computes)
    virtual = world.virtual_ips[0] if world.virtual_ips else controllers.split(",")[0]
    public = world.virtual_ips[-1] if world.virtual_ips else virtual
    given = {
        "CLUSTER_ID": world.cluster_id,
        "CONFIG_REPO": "",
        "EXCLUDE_SERVERS": "",
        "CONFIG_SSH_KEY": "/root/.ssh/id_ed25519.pub",
        "CONFIG_KEYSTONE_HOST": virtual,
        "CONFIG_GLANCE_HOST": virtual,
        "CONFIG_CINDER_HOST": virtual,
        "CONFIG_CINDER_BACKEND": "lvm",
        "CONFIG_HORIZON_HOST": public,
        "CONFIG_NOVA_VNCPROXY_HOST": public,
        "CONFIG_PUBLIC_IP": public,
        "CONFIG_LB_HOST": virtual,
        "CONFIG_LB_FRONTEND_HOSTS": controllers,
        "CONFIG_LB_BACKEND_HOSTS": controllers,
        "CONFIG_HA_HOSTS": controllers,
        "CONFIG_CONTROLLER_HOSTS": controllers,
        "CONFIG_COMPUTE_HOSTS": computes,
        "CONFIG_NOVA_COMPUTE_HOSTS": computes,
        "CONFIG_NOVA_COMPUTE_MANAGER": "nova.compute.manager.ComputeManager",
        "CONFIG_NEUTRON_L3_HOSTS": controllers,
        "CONFIG_NEUTRON_ML2_JSON_PATH": mappings_path,
        "CONFIG_NEUTRON_ML2_TYPE_DRIVERS": "vlan,vxlan",
        "CONFIG_DVS_TYPE": "{'ovdk':[], 'ovs_agent_patch':[]}",
    }
    lines = ["[general]"] + [f"{key} = {value}" for key, value in given.items()]
    body = "\n".join(lines).encode() + b"\n" + GB2312_COMMENT
    for component, count in CLASSES.items():
        for number in range(1, count + 1):
            body += f"CONFIG_{component}_OPTION_{number:03} = {'y' if number % 3 else ''}\n".encode()
    return body


def mappings_json(world: World) -> bytes:
    """The physical networks of every node, as one line of JSON."""
    hosts = {}
    for number, machine in enumerate(world.controllers + world.computes):
        nic = {
            "type": "ether",
            "name": "enp129s0f1",
            "vswitch_type": machine.network,
            "pci": f"0000:81:00.{number % 8}",
            "mtu": 1500,
        }
        hosts[_named(world, machine.name)] = {"physnet1": nic}
    return json.dumps({"hosts": hosts}).encode()


def read_answers(path: Path) -> dict[str, str]:
    """The answers in a file of `KEY=value` or `KEY = value` lines."""
    answers = {}
    for line in path.read_bytes().decode("utf-8", errors="replace").splitlines():
        key, separator, value = line.partition("=")
        if separator and not line.lstrip().startswith(("#", "[")):
            answers[key.strip()] = value.strip()
    return answers


def asked_hosts(answers: dict[str, str]) -> list[str]:
    """Every host that the installer opens SSH to: all CONFIG_*_HOST(S) values less EXCLUDE_SERVERS, in file order."""
    excluded = _split(answers.get("EXCLUDE_SERVERS", ""))
    found: list[str] = []
    for key, value in answers.items():
        if key.startswith("CONFIG_") and key.endswith(("_HOST", "_HOSTS")):
            found += [host for host in _split(value) if host not in excluded and host not in found]
    return found


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _named(world: World, host: str) -> str:
    return host if world.use_dns else world.machines[host].address

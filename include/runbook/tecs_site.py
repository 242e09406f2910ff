"""Read a cluster from the files that Daisy wrote for its installer: tecs.conf, mappings.json and, for names, a hosts file."""

from __future__ import annotations

import ast
import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.runbook.cluster import Address, Name, Uuid
from include.runbook.conf_edit import Layout
from include.runbook.site_draft import (
    ADDRESS_HOW,
    CINDER_HOW,
    DAISY_HOW,
    NAME_HOW,
    STORAGE_HOW,
    STORAGE_NETWORK_HOW,
    DraftCompute,
    DraftHost,
    SiteDraft,
    SourceUnusable,
    Unknown,
    network_mode,
    two_controllers,
    valid,
)

LARGEST_FILE = 8 * 1024 * 1024
"""Bytes; the real tecs.conf has some 1,400 lines."""

CONTROLLER_KEYS = ("CONFIG_HA_HOSTS", "CONFIG_LB_FRONTEND_HOSTS", "CONFIG_LB_BACKEND_HOSTS")
COMPUTE_KEYS = ("CONFIG_COMPUTE_HOSTS", "CONFIG_NOVA_COMPUTE_HOSTS")
_CINDER_KEY = re.compile(r"CONFIG_CINDER(_API|_VOLUME)?_HOST")
_VSWITCH_TYPES = {"ovdk": "dvs", "ovs_agent_patch": "ovs"}

Answers = Mapping[str, str]


@dataclass(frozen=True)
class HostsFile:
    """Which names a hosts file gives to which addresses; empty where there is none."""

    names: Mapping[str, tuple[str, ...]]

    def name_of(self, address: str) -> str | Unknown:
        """Return the host's own name; names of its networks, such as <name>.STORAGE, are none."""
        known = self.names.get(address, ())
        own = [name for name in known if not any(name.startswith(f"{other}.") for other in known)]
        return valid(Name, own[0], f"hosts file, {address}") if len(own) == 1 else Unknown(NAME_HOW, hint=address)

    def address_of(self, name: str) -> str | Unknown:
        """Return the address that the name has."""
        found = [address for address, names in self.names.items() if name in names]
        return valid(Address, found[0], f"hosts file, {name}") if len(found) == 1 else Unknown(ADDRESS_HOW, hint=name)


def read_site(tecs_conf: Path, mappings: Path, hosts_file: Path | None) -> SiteDraft:
    """Return what the files tell of the cluster; raise SourceUnusable, naming file and key, where they cannot be used."""
    answers = _answers(_content(tecs_conf), tecs_conf.name)
    hosts = HostsFile(_host_names(_content(hosts_file)) if hosts_file else {})
    named_controllers, named_computes = _listed(answers, CONTROLLER_KEYS), _listed(answers, COMPUTE_KEYS)
    both = sorted(set(named_controllers) & set(named_computes))
    if both:
        raise SourceUnusable(f"{both[0]} is controller and compute at once; its rollback is not supported")
    nodes = {**dict.fromkeys(named_controllers), **dict.fromkeys(named_computes)}
    use_dns = _names_hosts(nodes)
    switches = _switches(answers, _mappings(_content(mappings), mappings.name))
    controllers = sorted((_host(node, hosts) for node in named_controllers), key=_order)
    computes = sorted((_compute(node, hosts, switches.get(node, ())) for node in named_computes), key=_order)
    return SiteDraft(
        source=f"{tecs_conf} and {mappings}",
        cluster_id=valid(Uuid, answers.get("CLUSTER_ID"), "CLUSTER_ID"),
        daisy_address=Unknown(DAISY_HOW),
        controllers=two_controllers(controllers, " and ".join(CONTROLLER_KEYS)),
        computes=tuple(computes),
        virtual_ips=_virtual_ips(answers, nodes, hosts),
        use_dns=use_dns,
        storage=Unknown(STORAGE_HOW),
        storage_network=Unknown(STORAGE_NETWORK_HOW),
        cinder_management_ip=_cinder_address(answers, nodes, hosts),
        remarks=tuple(_strangers(answers, nodes)),
    )


# ---- the nodes ---------------------------------------------------------------------------------------------------------


def _listed(answers: Answers, keys: Iterable[str]) -> list[str]:
    """Return the hosts that the keys name, each once."""
    found: dict[str, None] = {}
    for key in keys:
        for host in _split(answers.get(key, "")):
            found[valid(Address if _is_address(host) else Name, host, key)] = None
    return list(found)


def _names_hosts(nodes: Iterable[str]) -> bool:
    """Tell whether the cluster's hosts stand in the file by name (`use_dns`) or by management address."""
    kinds = {_is_address(node) for node in nodes}
    if len(kinds) > 1:
        raise SourceUnusable("CONFIG_*_HOSTS: hosts stand there by name and by address; expected one or the other")
    return kinds == {False}


def _host(node: str, hosts: HostsFile) -> DraftHost:
    if _is_address(node):
        return DraftHost(hosts.name_of(node), node)
    return DraftHost(node, hosts.address_of(node))


def _compute(node: str, hosts: HostsFile, switches: Iterable[str]) -> DraftCompute:
    host = _host(node, hosts)
    return DraftCompute(host.name, host.address, network_mode(switches, node))


def _order(host: DraftHost) -> str:
    """Order hosts by what is known of them: tecs.conf has them in no order of its own."""
    return host.name if isinstance(host.name, str) else host.name.hint


def _switches(answers: Answers, mappings: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the types of virtual switch that either file gives to a node: ovs, dvs, or others that do not count."""
    found = {node: list(types) for node, types in mappings.items()}
    for kind, nodes in _dvs_type(answers.get("CONFIG_DVS_TYPE", "")).items():
        for node in nodes:
            found.setdefault(node, []).append(_VSWITCH_TYPES.get(kind, kind))
    return found


def _dvs_type(text: str) -> dict[str, list[str]]:
    expected = "expected {'ovdk': [...], 'ovs_agent_patch': [...]}"
    if not text:
        return {}
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise SourceUnusable(f"CONFIG_DVS_TYPE: cannot be read; {expected}") from None
    if not isinstance(found, dict) or not all(_are_texts(nodes) for nodes in found.values()):
        raise SourceUnusable(f"CONFIG_DVS_TYPE: is something else; {expected}")
    return found


# ---- virtual IPs -------------------------------------------------------------------------------------------------------


def _virtual_ips(answers: Answers, nodes: Iterable[str], hosts: HostsFile) -> tuple[str, ...] | Unknown:
    """Return the addresses of CONFIG_*_HOST and CONFIG_PUBLIC_IP that are no node's, the load balancer's first."""
    keys = ["CONFIG_LB_HOST", "CONFIG_PUBLIC_IP", *(key for key in answers if re.fullmatch(r"CONFIG_\w+_HOST", key))]
    named = [host for host in _listed(answers, keys) if host not in set(nodes)]
    found = [host if _is_address(host) else hosts.address_of(host) for host in named]
    lost = [host.hint for host in found if isinstance(host, Unknown)]
    if lost:
        return Unknown(f"the cluster's virtual IPs as [address, address]; tecs.conf has their names: {', '.join(lost)}")
    return tuple(dict.fromkeys(host for host in found if isinstance(host, str)))


def _cinder_address(answers: Answers, nodes: Iterable[str], hosts: HostsFile) -> str | Unknown:
    named = _listed(answers, [key for key in answers if _CINDER_KEY.fullmatch(key)])
    found = [host if _is_address(host) else hosts.address_of(host) for host in named if host not in set(nodes)]
    if len(found) == 1 and isinstance(found[0], str):
        return found[0]
    return Unknown(f"{CINDER_HOW}. The CONFIG_CINDER*_HOST keys have: {', '.join(named) or 'none'}")


def _strangers(answers: Answers, nodes: Iterable[str]) -> list[str]:
    """Tell of hosts that the installer would log in to and that are neither controller nor compute."""
    keys = [key for key in answers if re.fullmatch(r"CONFIG_\w+_HOSTS", key)]
    return [
        f"{host} is left out; it stands in a CONFIG_*_HOSTS key, but neither as a controller nor as a compute."
        for host in sorted(set(_listed(answers, keys)) - set(nodes))
    ]


# ---- the files ---------------------------------------------------------------------------------------------------------


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
    except OSError as refused:
        raise SourceUnusable(f"{path}: cannot be read: {refused.strerror}") from None
    if len(content) > LARGEST_FILE:
        raise SourceUnusable(f"{path}: is larger than {LARGEST_FILE:,} bytes; this is another file")
    return content


def _answers(content: bytes, file: str) -> dict[str, str]:
    """Return the answers of the section [general]; comments may be in any encoding, keys and values are text."""
    entries = [entry for entry in Layout(content.splitlines(keepends=True)).entries if entry.section == b"general"]
    answers = {entry.key.decode("utf-8", "replace"): entry.value.decode("utf-8", "replace") for entry in entries}
    if not any(key in answers for key in CONTROLLER_KEYS):
        raise SourceUnusable(f"{file}: no {CONTROLLER_KEYS[0]} in a section [general]; expected Daisy's tecs.conf")
    return {key: value.strip("'\"") for key, value in answers.items()}


def _mappings(content: bytes, file: str) -> dict[str, list[str]]:
    """Return node -> the types of virtual switch of its physical networks."""
    expected = 'expected {"hosts": {"<node>": {"<network>": {"vswitch_type": "ovs", ...}}}}'
    try:
        read = json.loads(content)
        hosts = read["hosts"]
        return {node: [_switch(network) for network in networks.values()] for node, networks in hosts.items()}
    except (ValueError, RecursionError):
        raise SourceUnusable(f"{file}: is not JSON; expected Daisy's mappings.json") from None
    except (KeyError, TypeError, AttributeError):
        raise SourceUnusable(f"{file}: is not built like Daisy's mappings.json; {expected}") from None


def _switch(network: Mapping[str, Any]) -> str:
    return str(network["vswitch_type"])


def _host_names(content: bytes) -> dict[str, tuple[str, ...]]:
    """Return address -> names of a file like /etc/hosts."""
    found: dict[str, tuple[str, ...]] = {}
    for line in content.decode("utf-8", "replace").splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if names:
            found[address] = tuple(dict.fromkeys((*found.get(address, ()), *names)))
    return found


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _are_texts(found: object) -> bool:
    return isinstance(found, (list, tuple)) and all(isinstance(item, str) for item in found)

"""The one site that the cluster lab has: its hosts, addresses and inventory."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from typing import Any

from include.cluster_lab.tree_recipe import LOGIN
from include.lab.installer_bin import bin_bytes, bin_name
from include.lab.topology import BAD_RELEASE, DEFAULT_CLUSTER_ID, GOOD_RELEASE

NAME = "cluster-lab"
CONNECTION = "tecs_cluster_lab"
GATEWAY = "198.18.0.1"
"""The lab's bridge on this machine. The network is the one that is set aside for tests between devices (RFC 2544)."""

FLOAT_IP = "198.18.0.100"
PUBLIC_IP = "198.18.0.101"
FLOAT_RESOURCE = "lb_float_ip"
BIN_FOLDER = "/home/tecs_releases"


@dataclass(frozen=True)
class SiteHost:
    """One host. `short` names what this machine keeps for it; `node` is its Pacemaker name, on purpose not its own."""

    short: str
    name: str
    role: str
    address: str
    network: str = "ovs"
    node: str = ""


DAISY = SiteHost("daisy", "daisy", "daisy", "198.18.0.10")
A = SiteHost("a", "host-198-18-0-11", "controller", "198.18.0.11", node="host_198_18_0_11")
B = SiteHost("b", "host-198-18-0-12", "controller", "198.18.0.12", node="host_198_18_0_12")
C1 = SiteHost("c1", "host-198-18-0-21", "compute", "198.18.0.21")
C2 = SiteHost("c2", "host-198-18-0-22", "compute", "198.18.0.22", network="dvs")
CLOUD = SiteHost("cloud", "cloud", "cloud", "198.18.0.30")
CONTROLLERS = (A, B)
COMPUTES = (C1, C2)
HOSTS = (DAISY, A, B, C1, C2, CLOUD)


def releases_of(scenario: str) -> dict[str, str]:
    """Each node's release where a scenario begins."""
    releases = {host.name: GOOD_RELEASE for host in (*CONTROLLERS, *COMPUTES)}
    upgraded = {"A": (B, *COMPUTES), "B": (B,), "C": (C1,)}.get(scenario, ())
    return releases | {host.name: BAD_RELEASE for host in upgraded}


def inventory(host_keys: dict[str, str], schemas: dict[str, Any] | None = None) -> dict[str, Any]:
    """The product's inventory of this site, with each node's SSH host key. Daisy's is pinned by the connection.

    `schemas`: the versions of the cloud's databases, which both releases know.
    """

    def entry(host: SiteHost) -> dict[str, Any]:
        network = {"network": host.network} if host.network != "ovs" else {}
        return {"name": host.name, "address": host.address, "host_key": host_keys[host.name], **network}

    return {
        "name": NAME,
        "title": "Cluster lab",
        "ssh": {"connection": CONNECTION, "port": 22},
        "daisy": {"name": DAISY.name, "address": DAISY.address, "cluster_id": DEFAULT_CLUSTER_ID},
        "controllers": {"a": entry(A), "b": entry(B)},
        "computes": [entry(host) for host in COMPUTES],
        "virtual_ips": [FLOAT_IP, PUBLIC_IP],
        "float_ip_resource": FLOAT_RESOURCE,
        "storage": "share",
        "storage_network": "STORAGE",
        "cinder_management_ip": FLOAT_IP,
        "verification_vm": {"flavor": "m1.tiny", "image": "cirros", "network": "none"},
        "releases": {
            release: {
                "bin": f"{BIN_FOLDER}/{bin_name(release)}",
                "sha256": hashlib.sha256(bin_bytes(release)).hexdigest(),
                **({"schemas": copy.deepcopy(schemas)} if schemas else {}),
            }
            for release in (GOOD_RELEASE, BAD_RELEASE)
        },
        "target_release": GOOD_RELEASE,
        "batch_size": 1,
        # As long as three looks take, after which a failure holds.
        "soak": 90,
        # Real programs need real seconds: the product's limits are the runbook's.
        "pace": 1,
    }


def connection(key_file: str, daisy_key: str) -> dict[str, Any]:
    """The Airflow connection to the Daisy host, its key pinned."""
    return {
        CONNECTION: {
            "conn_type": "ssh",
            "host": DAISY.address,
            "port": 22,
            "login": LOGIN,
            "extra": {
                "key_file": key_file,
                "host_key": daisy_key,
                "look_for_keys": False,
                "no_host_key_check": False,
            },
        }
    }

"""Which hosts a lab has: generated inventories, and the reading of an inventory into a `Site`."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from include.lab.databases import declared, in_service
from include.lab.errors import LabError
from include.lab.installer_bin import bin_bytes, bin_name

GOOD_RELEASE = "100"
BAD_RELEASE = "101"
DEFAULT_CLUSTER_ID = "f3e0fd0c-512b-43b6-a078-f9c41c0daa8a"
COMPUTES_PER_OCTET = 70


@dataclass(frozen=True)
class SiteHost:
    """One host of the inventory; `role` is daisy, controller or compute. `container`: that in which Daisy runs, if any."""

    name: str
    role: str
    address: str
    port: int
    network: str = "ovs"
    container: str = ""

    @property
    def pacemaker_node(self) -> str:
        """The cluster's own name for this host, on purpose not the host name; empty where Pacemaker does not run."""
        return self.name.replace("-", "_") if self.role == "controller" else ""


@dataclass(frozen=True)
class Site:
    """What the lab needs of an inventory."""

    name: str
    inventory: dict[str, Any]
    hosts: tuple[SiteHost, ...]
    virtual_ips: tuple[str, ...]
    virtual_port: int
    cluster_id: str
    connection: str
    resource: str
    use_dns: bool
    pace: float
    bins: dict[str, str]
    target_release: str
    schemas: dict[str, tuple[str, list[str]]]

    @property
    def daisy(self) -> SiteHost:
        """The deployment host."""
        return next(host for host in self.hosts if host.role == "daisy")

    @property
    def controllers(self) -> tuple[SiteHost, SiteHost]:
        """A (stays on, or returns first to, the old release) and B (is reinstalled)."""
        a, b = (host for host in self.hosts if host.role == "controller")
        return a, b

    @property
    def computes(self) -> tuple[SiteHost, ...]:
        """The compute nodes in the inventory's order."""
        return tuple(host for host in self.hosts if host.role == "compute")

    @property
    def bad_release(self) -> str:
        """The release that the cluster is to be rolled back from."""
        return next((release for release in sorted(self.bins) if release != self.target_release), BAD_RELEASE)


def make_inventory(
    name: str = "lab",
    network: str = "127.1",
    computes: int = 2,
    *,
    dvs: int = 1,
    batch_size: int = 1,
    pace: float = 20,
) -> dict[str, Any]:
    """An inventory for a lab of `computes` computes, the last `dvs` of them with DVS networking.

    Daisy is `<network>.0.1`, A `.0.11`, B `.0.12`, the virtual IPs `.0.100` and `.0.101`; computes begin at `.0.21`,
    seventy to an octet. `network` is the first two octets within 127.0.0.0/8.
    """
    _require_loopback(f"{network}.0.1")
    if not 0 <= dvs <= computes or computes < 1:
        raise LabError(
            f"{computes} computes, {dvs} of them with DVS: expected at least one, and no more DVS than computes"
        )

    def host(third: int, fourth: int) -> dict[str, Any]:
        address = f"{network}.{third}.{fourth}"
        return {"name": "host-" + address.replace(".", "-"), "address": address}

    compute_hosts = [host(i // COMPUTES_PER_OCTET, 21 + i % COMPUTES_PER_OCTET) for i in range(computes)]
    for compute in compute_hosts[computes - dvs :]:
        compute["network"] = "dvs"
    return {
        "name": name,
        "title": "Embedded lab" if name == "lab" else f"Embedded lab {name}",
        "ssh": {"connection": f"tecs_{name}", "port": 2222},
        "daisy": {"name": "daisy", "address": f"{network}.0.1", "cluster_id": DEFAULT_CLUSTER_ID},
        "controllers": {"a": host(0, 11), "b": host(0, 12)},
        "computes": compute_hosts,
        "virtual_ips": [f"{network}.0.100", f"{network}.0.101"],
        "storage": "share",
        "storage_network": "STORAGE",
        "cinder_management_ip": f"{network}.0.100",
        "releases": {
            release: {
                "bin": f"/home/tecs_releases/{bin_name(release)}",
                "sha256": hashlib.sha256(bin_bytes(release)).hexdigest(),
                "schemas": declared(),
            }
            for release in (GOOD_RELEASE, BAD_RELEASE)
        },
        "target_release": GOOD_RELEASE,
        "batch_size": batch_size,
        "pace": pace,
    }


def read_site(inventory: dict[str, Any]) -> Site:
    """The site that an inventory describes; LabError names the key when the lab cannot serve it."""
    if "paths" in inventory:
        raise LabError("inventory key 'paths': the lab's hosts have the default paths only; remove the key")
    try:
        releases = {str(release): entry for release, entry in inventory["releases"].items()}
        target = str(inventory["target_release"])
        port = int(inventory.get("ssh", {}).get("port", 22))
        hosts = tuple(_hosts(inventory, port))
        site = Site(
            name=inventory["name"],
            inventory=inventory,
            hosts=hosts,
            virtual_ips=tuple(inventory.get("virtual_ips", ())),
            virtual_port=port,
            cluster_id=inventory["daisy"]["cluster_id"],
            connection=inventory["ssh"]["connection"],
            resource=inventory.get("float_ip_resource", "lb_float_ip"),
            use_dns=bool(inventory.get("use_dns", False)),
            pace=float(inventory.get("pace", 1)),
            bins={release: entry["bin"] for release, entry in releases.items()},
            target_release=target,
            schemas=in_service(releases[target].get("schemas", {})),
        )
    except KeyError as missing:
        raise LabError(
            f"the inventory has no key {missing}; see include/clusters/lab.yaml for a complete one"
        ) from missing
    for address in (*(host.address for host in hosts), *site.virtual_ips):
        _require_loopback(address)
    for release, path in site.bins.items():
        if PurePosixPath(path).name != bin_name(release):
            raise LabError(
                f"releases.{release}.bin: the lab has {bin_name(release)} for it, not {PurePosixPath(path).name}"
            )
    return site


def _hosts(inventory: dict[str, Any], port: int) -> Iterator[SiteHost]:
    entries = [
        ("daisy", inventory["daisy"]),
        ("controller", inventory["controllers"]["a"]),
        ("controller", inventory["controllers"]["b"]),
        *(("compute", compute) for compute in inventory["computes"]),
    ]
    for role, entry in entries:
        yield SiteHost(
            name=entry["name"],
            role=role,
            address=entry["address"],
            port=int(entry.get("port", port)),
            network=entry.get("network", "ovs"),
            container=entry.get("container", {}).get("name", ""),
        )


def _require_loopback(address: str) -> None:
    try:
        loopback = ipaddress.IPv4Address(address).is_loopback
    except ValueError as problem:
        raise LabError(f"{address!r} is not an IPv4 address: {problem}") from problem
    if not loopback:
        raise LabError(f"{address} is not a loopback address: the lab serves addresses within 127.0.0.0/8 only")

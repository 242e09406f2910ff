"""The inventory of a cluster's twin: the site's names, sizes and settings, with nothing in it that leads to the site.

Every address is another one, on the loopback; connections and host keys are the twin's own. So whoever has the twin's
inventory cannot reach a host of the site.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from include.lab.installer_bin import bin_bytes, bin_name
from include.runbook.cluster import CarryOver, Cluster, Databases, Paths, Probes

CONNECTION = "tecs_twin"
PORT = 2222
BINS = "/home/tecs_releases"

LEFT_OUT = {"notify", "validation", "rehearsal", "paths", "probes", "databases"}
"""Keys without a meaning on the twin: nobody is told of it, and its hosts have the default paths and programs only."""

OF_THE_SITE = ("address", "port", "connection", "host_key", "root")
"""What of a host leads to the site."""


@dataclass(frozen=True)
class TwinInventory:
    """The inventory's values, and in words what of the site's is played in another way or not at all."""

    values: Mapping[str, Any]
    not_played: tuple[str, ...]


def twin_inventory(cluster: Cluster, network: str, pace: float) -> TwinInventory:
    """Return the inventory of the cluster's twin; `network` is the first two octets of a loopback network."""
    values = cluster.model_dump(mode="json", exclude=LEFT_OUT, exclude_none=True)
    free = _addresses(network)
    values["daisy"] = _moved(values["daisy"], next(free))
    moved = {host.address: next(free) for host in cluster.nodes}
    moved |= {address: next(free) for address in cluster.virtual_ips}
    for role, host in values["controllers"].items():
        values["controllers"][role] = _moved(host, moved[host["address"]])
    values["computes"] = [_moved(host, moved[host["address"]]) for host in values["computes"]]
    values["virtual_ips"] = [moved[address] for address in cluster.virtual_ips]
    values["cinder_management_ip"] = moved.get(cluster.cinder_management_ip) or next(free)
    values["ssh"] = {"connection": CONNECTION, "port": PORT}
    values["releases"] = {
        name: _stood_in_for(name, release) for name, release in sorted(values["releases"].items(), key=str)
    }
    values["carry_over"]["unlisted_differences"] = "report"
    if "container" in values["daisy"]:
        values["daisy"]["container"]["installer"] = "outside"
    return TwinInventory(values | {"pace": pace}, tuple(_not_played(cluster)))


def _addresses(network: str) -> Iterator[str]:
    return (f"{network}.{number // 250}.{number % 250 + 1}" for number in count())


def _moved(host: Mapping[str, Any], address: str) -> dict[str, Any]:
    return {key: value for key, value in host.items() if key not in OF_THE_SITE} | {"address": address}


def _stood_in_for(name: str, release: Mapping[str, Any]) -> dict[str, Any]:
    """Return the release with the lab's installer in the place of the site's, below a folder that the twin's hosts have."""
    sha256 = hashlib.sha256(bin_bytes(name)).hexdigest()
    return {"bin": f"{BINS}/{bin_name(name)}", "sha256": sha256, "schemas": release["schemas"]}


def _not_played(cluster: Cluster) -> Iterator[str]:
    yield f"releases: the installers are the lab's stand-ins in {BINS}; whether the site's are whole, validate_cluster reads"
    yield "addresses, ssh, host_key: the twin has its own, on the loopback"
    if cluster.daisy.address == cluster.controllers.a.address:
        yield "daisy.address: Daisy is a host of its own, beside A"
    container = cluster.daisy.container
    if container is not None and container.installer == "inside":
        yield "daisy.container.installer: the bin runs outside of the container"
    for name, release in cluster.releases.items():
        if release.reports != name:
            yield f"releases.{name}.reports: the twin's hosts report {name}"
    for key, told in (("paths", Paths()), ("probes", Probes()), ("databases", Databases())):
        if getattr(cluster, key) != told:
            yield f"{key}: the twin has the defaults"
    if cluster.carry_over.unlisted_differences != CarryOver().unlisted_differences:
        yield "carry_over.unlisted_differences: reported only; the twin's nova.conf is not the site's"

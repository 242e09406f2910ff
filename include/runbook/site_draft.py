"""An inventory drafted from what Daisy knows of a cluster. What Daisy does not know is marked, never guessed.

Every unknown value is written as a text that begins with a question mark. No key of the inventory takes such a text, so
`load_cluster` refuses the draft, by file, line and key, until a person has filled it in.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from include.runbook.cluster import NetworkMode
from include.runbook.errors import RunbookError

NAME_HOW = "the name that Nova uses: hostname, on the host"
ADDRESS_HOW = "the management address: ip addr, on the host"
DAISY_HOW = "the Daisy host's address by which Airflow's workers reach it: ip addr, on the Daisy host"
STORAGE_HOW = (
    "share, share_cluster or local: where glance, db, dbbackup and mongodb of the controllers lie. lsblk and, for DRBD, "
    "/etc/drbd.d on a controller"
)
STORAGE_NETWORK_HOW = (
    "the storage network's name where it stands behind the host's name in vncserver_proxyclient_address (nova.conf of a "
    "compute that Daisy installed), null where the host's name stands there alone"
)
CINDER_HOW = "the management address of Cinder, which is a virtual IP; not that of a disk array"
NETWORK_HOW = "ovs or dvs: the type of its virtual switch in Daisy"


class SourceUnusable(RunbookError):
    """Daisy's answer, or a file of Daisy's, is not what it should be; no inventory can be drafted from it."""


@dataclass(frozen=True)
class Unknown:
    """A value that the source does not tell. `how` says what to fill in and how to find out, `hint` what it belongs to."""

    how: str
    hint: str = ""


@dataclass(frozen=True)
class DraftHost:
    """A node as the source knows it."""

    name: str | Unknown
    address: str | Unknown


@dataclass(frozen=True)
class DraftCompute(DraftHost):
    """A compute node as the source knows it."""

    network: NetworkMode | Unknown


@dataclass(frozen=True)
class SiteDraft:
    """What a source tells of one cluster. `remarks` are sentences for the person who completes the inventory."""

    source: str
    cluster_id: str
    daisy_address: str | Unknown
    controllers: tuple[DraftHost, DraftHost]
    computes: tuple[DraftCompute, ...]
    virtual_ips: tuple[str, ...] | Unknown
    use_dns: bool
    storage: str | Unknown
    storage_network: str | Unknown | None
    cinder_management_ip: str | Unknown
    remarks: tuple[str, ...] = ()


def valid(kind: Any, value: object, where: str) -> str:
    """Return the value when it has the shape that the inventory asks for; raise SourceUnusable telling where it stood."""
    try:
        return str(TypeAdapter(kind).validate_python(value))
    except ValidationError as refused:
        raise SourceUnusable(f"{where}: {refused.errors(include_url=False)[0]['msg']}") from None


def two_controllers(controllers: list[DraftHost], where: str) -> tuple[DraftHost, DraftHost]:
    """Return the HA pair; raise SourceUnusable for any other number of controllers."""
    if len(controllers) != 2:
        found = ", ".join(str(_value(host.name)) for host in controllers) or "none"
        raise SourceUnusable(f"{where}: found {len(controllers)} controllers ({found}); expected two, an HA pair")
    return controllers[0], controllers[1]


def network_mode(vswitch_types: Iterable[object], host: str) -> NetworkMode | Unknown:
    """Return what the types of a compute's virtual switches make it; types that are neither OVS nor DVS do not count."""
    told = {part.strip() for kind in vswitch_types if isinstance(kind, str) for part in kind.casefold().split(",")}
    modes: list[NetworkMode] = [mode for mode in ("ovs", "dvs") if mode in told]
    return modes[0] if len(modes) == 1 else Unknown(NETWORK_HOW, hint=host)


def draft_text(name: str, site: SiteDraft) -> str:
    """Return the inventory of the cluster as YAML, with `# UNKNOWN:` at each key that a person must fill in."""
    return "\n".join([*_head(name, site), *_hosts(name, site), *_cloud(site), *_releases()]) + "\n"


def _head(name: str, site: SiteDraft) -> Iterator[str]:
    yield from _comment(f"Drafted from {site.source}.")
    yield "# Fill in every UNKNOWN; until then the file is refused, key by key:"
    yield f"#   make check-cluster CLUSTER={name}"
    yield "# include/clusters/example.yaml says what each key means, and which others there are."
    for remark in site.remarks:
        yield from _comment(f"Note: {remark}")
    yield f"name: {_yaml(name)}"
    yield f"title: {_yaml(name)}"
    yield ""
    yield "ssh:"
    yield f"  connection: {_yaml(f'tecs_{name}')}   # Airflow connection to be made: login, private key, Daisy's host key"


def _hosts(name: str, site: SiteDraft) -> Iterator[str]:
    yield ""
    yield "daisy:"
    yield "  name: daisy"
    yield from _key("address", site.daisy_address, indent="  ")
    yield from _key("cluster_id", site.cluster_id, indent="  ")
    yield ""
    yield from _how_to_complete(site.controllers)
    yield "controllers:"
    # Which one is A depends on how far the upgrade went; Daisy has no word for it.
    yield from _comment(
        "UNKNOWN: which of the two is A, which stays on the old release or returns to it first; B is reinstalled. A is the "
        "one that is on the old release (rpm -q openstack-nova-common); where both are, the active one (pcs status). Swap "
        "the letters if need be, then take the question marks away.",
        indent="  ",
    )
    for letter, host in zip("ab", site.controllers, strict=True):
        yield f"  {_yaml(f'?{letter}')}: {_host(host)}"
    yield ""
    yield from _how_to_complete(site.computes)
    yield "computes:"
    for compute in site.computes:
        yield f"  - {_host(compute)}"


def _cloud(site: SiteDraft) -> Iterator[str]:
    yield ""
    yield from _key("virtual_ips", site.virtual_ips)
    yield "float_ip_resource: lb_float_ip   # its usual name; pcs status shows it"
    yield from _key("use_dns", site.use_dns)
    yield ""
    yield from _key("storage", site.storage)
    yield from _key("storage_network", site.storage_network)
    yield from _key("cinder_management_ip", site.cinder_management_ip)


def _releases() -> Iterator[str]:
    yield ""
    yield from _comment(
        "UNKNOWN: the releases' names, and per release the path of its installer on the Daisy host and the installer's "
        "sum (sha256sum, over a copy that is known to be good). What a node has: rpm -q --qf '%{RELEASE}' "
        "openstack-nova-common; add `reports` where that differs from the release's name, and `schemas` as in example.yaml."
    )
    yield "releases:"
    for which in ("old", "new"):
        yield f"  {_yaml(f'?{which}')}:"
        yield f"    bin: {_yaml('?')}"
        yield f"    sha256: {_yaml('?')}"
    yield "# UNKNOWN: the release to return to, one of those above"
    yield f"target_release: {_yaml('?old')}"


def _key(key: str, value: object, indent: str = "") -> Iterator[str]:
    if isinstance(value, Unknown):
        yield from _comment(f"UNKNOWN: {value.how}", indent)
    yield f"{indent}{key}: {_yaml(_value(value))}"


def _host(host: DraftHost) -> str:
    written = {key: value for key, value in vars(host).items() if (key, value) != ("network", "ovs")}
    unknown = [key for key, value in written.items() if isinstance(value, Unknown)]
    marked = f"   # UNKNOWN: {', '.join(unknown)}; see above" if unknown else ""
    return _yaml({key: _value(value) for key, value in written.items()}) + marked


def _how_to_complete(hosts: Iterable[DraftHost]) -> Iterator[str]:
    """Tell once, above the list, what each host's marks ask for."""
    asked = {key: value.how for host in hosts for key, value in vars(host).items() if isinstance(value, Unknown)}
    for key, how in asked.items():
        yield from _comment(f"To fill in where it is marked UNKNOWN: {key}, {how}")


def _value(value: object) -> object:
    return f"?{value.hint}" if isinstance(value, Unknown) else value


def _yaml(value: object) -> str:
    # In a list every text is quoted that needs it within { } too. The brackets then go.
    listed = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump([listed], default_flow_style=True, sort_keys=False, width=100_000).strip()[1:-1]


def _comment(text: str, indent: str = "") -> Iterator[str]:
    # ASCII only: YAML knows line breaks that others do not, and a source must not write lines of its own here.
    plain = text.encode("ascii", "backslashreplace").decode("ascii")
    first, further = f"{indent}# ", f"{indent}#   "
    yield from textwrap.wrap(
        plain, 110, initial_indent=first, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    )

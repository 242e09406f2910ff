"""Read a cluster from what Daisy's REST API tells. No login of a disk array, which the API tells too, is kept or shown."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

import httpx

from include.runbook.cluster import Address, Name, Uuid
from include.runbook.daisy_api import DaisyApi, Entry, as_object, flag_in, list_in, shown, text_in
from include.runbook.site_draft import (
    ADDRESS_HOW,
    CINDER_HOW,
    DAISY_HOW,
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

CONTROLLER_ROLES = frozenset({"CONTROLLER_HA", "CONTROLLER_LB"})
COMPUTE_ROLE = "COMPUTER"
VIRTUAL_IPS = ("vip", "public_vip", "glance_vip", "db_vip", "mongodb_vip")


def read_site(url: str, cluster_id: str | None) -> SiteDraft:
    """Return what the Daisy at this address knows of the cluster; without an id, of the only cluster that it has."""
    if cluster_id is not None:
        valid(Uuid, cluster_id, "CLUSTER_ID")
    with DaisyApi(url) as daisy:
        cluster_id = cluster_id or _only_cluster(daisy)
        cluster = daisy.one(f"/v1/clusters/{cluster_id}", "cluster")
        if text_in(cluster, "id", "cluster") != cluster_id:
            raise SourceUnusable(
                f"cluster, id: found {shown(cluster['id'])}; expected {cluster_id}, which was asked for"
            )
        nodes = list(_nodes(daisy, cluster))
        roles = _roles(daisy, cluster_id)
        controllers, computes, left_out = _sorted_by_role(nodes)
        storage, back_ends = _storage(daisy, roles), _back_ends(daisy, roles)
    return SiteDraft(
        source=f"Daisy's API at {daisy.url}",
        cluster_id=cluster_id,
        daisy_address=_daisy_address(daisy.url),
        controllers=two_controllers([_host(node) for node in controllers], f"cluster {cluster_id} in Daisy"),
        computes=tuple(_compute(node) for node in computes),
        virtual_ips=_virtual_ips(roles),
        use_dns=flag_in(cluster, "use_dns", "cluster"),
        storage=storage,
        storage_network=_storage_network(computes),
        cinder_management_ip=_cinder_address(roles),
        remarks=(*left_out, *back_ends),
    )


# ---- the cluster and its nodes -----------------------------------------------------------------------------------------


def _only_cluster(daisy: DaisyApi) -> str:
    clusters = {
        valid(Uuid, entry["id"], "/v1/clusters, id"): entry for entry in daisy.every("/v1/clusters", "clusters")
    }
    if len(clusters) == 1:
        return next(iter(clusters))
    known = ", ".join(f"{known_id} ({shown(entry.get('name'))})" for known_id, entry in clusters.items()) or "none"
    raise SourceUnusable(f"Daisy at {daisy.url} has {len(clusters)} clusters; choose one with CLUSTER_ID=: {known}")


def _nodes(daisy: DaisyApi, cluster: Entry) -> Iterator[Entry]:
    """Yield the cluster's nodes, those that the cluster itself lists: Daisy's list of nodes may hold foreign ones too."""
    listed = list_in(cluster, "nodes", "cluster") if cluster.get("nodes") else []
    if not listed:
        raise SourceUnusable("cluster, nodes: Daisy has no node in this cluster")
    for node_id in listed:
        node = daisy.one(f"/v1/nodes/{valid(Uuid, node_id, 'cluster, nodes')}", "host")
        belongs_to = node.get("cluster")
        if belongs_to is not None and belongs_to != cluster.get("name"):
            raise SourceUnusable(
                f"node {shown(node.get('name'))}: the cluster lists it, yet it says that it belongs to {shown(belongs_to)}"
            )
        yield node


def _sorted_by_role(nodes: list[Entry]) -> tuple[list[Entry], list[Entry], list[str]]:
    """Return controllers, computes, and a remark for each node that is neither. By name, for Daisy's order means nothing."""
    controllers, computes, left_out = [], [], []
    for node in sorted(nodes, key=_name):
        roles = set(map(shown, list_in(node, "role", f"node {_name(node)}"))) if node.get("role") else set()
        if roles & CONTROLLER_ROLES and COMPUTE_ROLE in roles:
            raise SourceUnusable(f"node {_name(node)} is controller and compute at once; its rollback is not supported")
        if roles & CONTROLLER_ROLES:
            controllers.append(node)
        elif COMPUTE_ROLE in roles:
            computes.append(node)
        else:
            told = ", ".join(sorted(roles)) or "none"
            left_out.append(f"node {_name(node)} is left out; it is no controller and no compute (its roles: {told}).")
    return controllers, computes, left_out


def _host(node: Entry) -> DraftHost:
    return DraftHost(_name(node), _management_ip(node))


def _compute(node: Entry) -> DraftCompute:
    # Daisy tells the switch at the network, or at the interface that has it.
    switches = [place.get("vswitch_type") for interface, network in _networks(node) for place in (interface, network)]
    return DraftCompute(_name(node), _management_ip(node), network_mode(switches, _name(node)))


def _name(node: Entry) -> str:
    return valid(Name, node.get("name"), f"node {shown(node.get('id'))}, name")


def _management_ip(node: Entry) -> str | Unknown:
    addresses = _addresses(node, "MANAGEMENT")
    return addresses.pop() if len(addresses) == 1 else Unknown(ADDRESS_HOW, hint=_name(node))


def _addresses(node: Entry, network_name: str) -> set[str]:
    """Return the node's addresses in the network of that name."""
    return {
        valid(Address, network["ip"], f"node {_name(node)}, address in {network_name}")
        for _, network in _networks(node)
        if network.get("name") == network_name and network.get("ip")
    }


def _networks(node: Entry) -> Iterator[tuple[Entry, Entry]]:
    """Yield each interface with each network that is assigned to it."""
    where = f"node {_name(node)}"
    for interface in list_in(node, "interfaces", where):
        for network in list_in(interface, "assigned_networks", f"{where}, interfaces"):
            if network:
                yield as_object(interface, where), as_object(network, where)


def _storage_network(computes: list[Entry]) -> str | Unknown | None:
    """Return STORAGE where it shares the management address of every compute, None where it has addresses of its own."""
    shares = {
        _addresses(node, "STORAGE") == _addresses(node, "MANAGEMENT") if _addresses(node, "STORAGE") else "not there"
        for node in computes
    }
    if shares == {True}:
        return "STORAGE"
    if shares == {False}:
        return None
    return Unknown(STORAGE_NETWORK_HOW)


# ---- what the roles tell -----------------------------------------------------------------------------------------------


def _roles(daisy: DaisyApi, cluster_id: str) -> dict[str, Entry]:
    """Return the cluster's roles by name. Those of other clusters are passed over, asked for or not."""
    path = "/v1/roles/detail"
    entries = daisy.every(path, "roles", cluster_id=cluster_id)
    roles = {
        text_in(entry, "name", path): entry for entry in entries if text_in(entry, "cluster_id", path) == cluster_id
    }
    if "CONTROLLER_HA" not in roles:
        raise SourceUnusable(
            f"{path}: cluster {cluster_id} has no role CONTROLLER_HA, but {', '.join(map(shown, roles)) or 'none'}"
        )
    return roles


def _virtual_ips(roles: Mapping[str, Entry]) -> tuple[str, ...]:
    """Return the virtual IPs of the controllers' roles, the load balancer's first."""
    found = [
        valid(Address, role[key], f"role {name}, {key}")
        for name, role in sorted(roles.items(), reverse=True)
        if name in CONTROLLER_ROLES
        for key in VIRTUAL_IPS
        if role.get(key)
    ]
    return tuple(dict.fromkeys(found))


def _cinder_address(roles: Mapping[str, Entry]) -> str | Unknown:
    found = {str(role["vip"]) for name, role in roles.items() if name in CONTROLLER_ROLES and role.get("vip")}
    if len(found) == 1:
        return valid(Address, found.pop(), "role CONTROLLER_HA, vip")
    return Unknown(
        f"{CINDER_HOW}. CONFIG_CINDER_HOST in tecs.conf has it. The roles' virtual IPs: "
        f"{', '.join(sorted(map(shown, found))) or 'none'}"
    )


def _storage(daisy: DaisyApi, roles: Mapping[str, Entry]) -> str | Unknown:
    """Return where glance, db, dbbackup and mongodb lie; a database on a shared cluster decides over what is shared."""
    disks = _of_controllers(daisy, "/v1/service_disk/list", roles)
    places = {(shown(disk.get("service")), shown(disk.get("disk_location"))) for disk in disks}
    locations = {location for _, location in places}
    if locations in ({"share"}, {"share_cluster"}, {"local"}):
        return locations.pop()
    if locations == {"share", "share_cluster"}:
        return "share_cluster"
    told = ", ".join(f"{service}: {location}" for service, location in sorted(places)) or "none"
    return Unknown(f"{STORAGE_HOW}. The service disks that Daisy lists: {told}")


def _back_ends(daisy: DaisyApi, roles: Mapping[str, Entry]) -> list[str]:
    """Tell Cinder's back ends, which must be there again after B is reinstalled."""
    volumes = _of_controllers(daisy, "/v1/cinder_volume/list", roles)
    drivers = sorted({shown(volume.get("volume_driver")) for volume in volumes})
    return [f"Cinder's back ends by Daisy: {', '.join(drivers)}."] if drivers else []


def _of_controllers(daisy: DaisyApi, path: str, roles: Mapping[str, Entry]) -> list[Entry]:
    """Return the entries of a list that belong to the cluster's controllers, whatever else comes along."""
    role_id = valid(Uuid, roles["CONTROLLER_HA"]["id"], "role CONTROLLER_HA, id")
    entries = daisy.every(path, "disk_meta", role_id=role_id)
    return [entry for entry in entries if text_in(entry, "role_id", path) == role_id]


def _daisy_address(url: str) -> str | Unknown:
    try:
        address = ipaddress.ip_address(httpx.URL(url).host)
    except ValueError:
        address = None
    if address is None or address.is_loopback:
        return Unknown(DAISY_HOW)
    return str(address)

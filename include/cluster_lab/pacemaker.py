"""The cluster of A and B: made by the real pcs, read from the real Pacemaker."""

from __future__ import annotations

import shutil
import socket
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from include.cluster_lab import commands
from include.cluster_lab.host import NETMASK, Host
from include.cluster_lab.site import FLOAT_IP, FLOAT_RESOURCE, PUBLIC_IP, A, B
from include.lab.errors import LabError

TRANSPORTS = ("udpu", "knet")
PCSD_PORT = 2224
PROPERTIES = {"stonith-enabled": "false", "no-quorum-policy": "ignore", "dc-deadtime": "2s"}
SHARED_FOLDER = "/srv/shared"
FOLLOWERS = ("lb_public_ip", "shared_disk")
"""Resources that are where the float IP is."""

CLUSTER_FOLDERS = ("etc/corosync", "etc/pacemaker", "var/lib/pcsd")
WITHIN = 90.0
POLL = 0.2


@dataclass(frozen=True)
class ClusterView:
    """What one controller's Pacemaker tells of the cluster; node names are Pacemaker's."""

    online: tuple[str, ...]
    properties: dict[str, str]
    constraints: tuple[dict[str, str], ...]


def make_cluster(a: Host, b: Host, transport: str, kept: Path) -> None:
    """A and B, which never were in a cluster, are one cluster's nodes; its files are kept for `lay_cluster`."""
    for host in (a, b):
        host.run("systemctl", "start", "pcsd")
    _await("pcsd on A and B", lambda: all(_listens(host.site.address) for host in (a, b)))
    nodes = [word for site in (A, B) for word in (site.node, f"addr={site.address}")]
    # The password is the lab's own and protects nothing.
    a.run("pcs", "host", "auth", *nodes, "-u", "hacluster", "-p", "hacluster")
    a.run("pcs", "cluster", "setup", "tecs", *nodes, "transport", transport, timeout=120)
    making = kept.with_name(f"{kept.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    for host in (a, b):
        _copy(host.tree, making / host.site.short)
    making.rename(kept)


def lay_cluster(host: Host, kept: Path) -> None:
    """The controller, which is off, is a node of the cluster whose files were kept, as pcs made them on it."""
    _copy(kept / host.site.short, host.tree)


def start_cluster(a: Host, b: Host, disk: str, *, active: Host, ban: bool) -> None:
    """A and B are online; the float IP, and what follows it, runs on `active`; the other is banned from it if `ban`."""
    other = b if active is a else a
    for host in (a, b):
        host.run("mkdir", "-p", SHARED_FOLDER)
        _lay_configuration(host, disk, other.site.node)
        host.run("systemctl", "start", "--no-block", "corosync", "pacemaker")
    _await("A and B online", lambda: set(online(a)) == {A.node, B.node} == set(online(b)))
    _await(
        f"{FLOAT_RESOURCE} and what follows it on {active.site.node}",
        lambda: active.holds(FLOAT_IP) and _where(a, FOLLOWERS) == {active.site.node},
    )
    if not ban:
        a.run("crm_resource", "--clear", "--resource", FLOAT_RESOURCE)


def _copy(source: Path, target: Path) -> None:
    """Owners and modes are kept: Pacemaker's own processes read its key."""
    for folder in CLUSTER_FOLDERS:
        (target / folder).parent.mkdir(parents=True, exist_ok=True)
        commands.run(["cp", "--archive", "--no-target-directory", str(source / folder), str(target / folder)])


def online(host: Host) -> tuple[str, ...]:
    """The nodes that this controller's Pacemaker has online; none where it does not run."""
    status = host.run("crm_mon", "-1", "--output-as=xml", check=False)
    if status.returncode != 0:
        return ()
    nodes = ET.fromstring(status.stdout).findall("nodes/node")
    return tuple(node.attrib["name"] for node in nodes if node.get("online") == "true")


def view(hosts: Sequence[Host]) -> ClusterView:
    """The cluster as the first of these controllers tells whose Pacemaker answers; empty when none does."""
    for host in hosts:
        if host.running and (nodes := online(host)):
            cib = ET.fromstring(host.run("cibadmin", "--query").stdout)
            return ClusterView(
                online=nodes,
                properties={
                    pair.attrib["name"]: pair.attrib["value"]
                    for pair in cib.findall("configuration/crm_config/cluster_property_set/nvpair")
                },
                constraints=tuple(
                    {"id": each.attrib["id"], "node": each.get("node", ""), "score": each.get("score", "")}
                    for each in cib.findall("configuration/constraints/rsc_location")
                    if each.get("rsc") == FLOAT_RESOURCE
                ),
            )
    return ClusterView((), {}, ())


def _where(host: Host, resources: Sequence[str]) -> set[str | None]:
    """The nodes on which these resources run; None stands for one that runs nowhere."""
    status = ET.fromstring(host.run("crm_mon", "-1", "--output-as=xml").stdout)
    nodes = {each.attrib["id"]: each.find("node") for each in status.iter("resource")}
    return {None if (node := nodes.get(name)) is None else node.get("name") for name in resources}


def _lay_configuration(host: Host, disk: str, banned: str) -> None:
    """Pacemaker, which does not run yet, will begin with the cluster's configuration; one node is banned from the float IP.

    Were it set afterwards, the first election would take Pacemaker's own twenty seconds. The ban is as `pcs resource ban`
    makes it.
    """
    options = "cib-bootstrap-options"
    properties = "".join(f'<nvpair id="{options}-{n}" name="{n}" value="{v}"/>' for n, v in PROPERTIES.items())
    address = {"cidr_netmask": str(NETMASK)}
    resources = (
        _resource(FLOAT_RESOURCE, "IPaddr2", {"ip": FLOAT_IP, **address}),
        _resource("lb_public_ip", "IPaddr2", {"ip": PUBLIC_IP, **address}),
        _resource("shared_disk", "Filesystem", {"device": disk, "directory": SHARED_FOLDER, "fstype": "ext4"}),
    )
    together = "".join(
        f'<rsc_colocation id="{name}-with-{FLOAT_RESOURCE}" rsc="{name}" with-rsc="{FLOAT_RESOURCE}" score="INFINITY"/>'
        for name in FOLLOWERS
    )
    ban = (
        f'<rsc_location id="cli-ban-{FLOAT_RESOURCE}-on-{banned}" rsc="{FLOAT_RESOURCE}" role="Started" '
        f'node="{banned}" score="-INFINITY"/>'
    )
    configuration = (
        f'<configuration><crm_config><cluster_property_set id="{options}">{properties}</cluster_property_set></crm_config>'
        f"<nodes/><resources>{''.join(resources)}</resources><constraints>{together}{ban}</constraints></configuration>"
    )
    # An empty one by Pacemaker's own hand names the versions that it understands.
    cib = ET.fromstring(host.run("cibadmin", "--empty").stdout)
    cib.remove(cib.findall("configuration")[0])
    cib.insert(0, ET.fromstring(configuration))
    (host.tree / "var/lib/pacemaker/cib/cib.xml").write_text(ET.tostring(cib, encoding="unicode") + "\n")
    host.run("chown", "hacluster:haclient", "/var/lib/pacemaker/cib/cib.xml")
    host.run("chmod", "600", "/var/lib/pacemaker/cib/cib.xml")


def _resource(name: str, agent: str, attributes: dict[str, str]) -> str:
    pairs = "".join(f'<nvpair id="{name}-{n}" name="{n}" value="{v}"/>' for n, v in attributes.items())
    return (
        f'<primitive id="{name}" class="ocf" provider="heartbeat" type="{agent}">'
        f'<instance_attributes id="{name}-attributes">{pairs}</instance_attributes>'
        f'<operations><op id="{name}-monitor" name="monitor" interval="5s" timeout="20s"/></operations></primitive>'
    )


def _listens(address: str) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, PCSD_PORT)) == 0


def _await(what: str, reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN
    while not reached():
        if time.monotonic() > deadline:
            raise LabError(f"the cluster has not reached this within {WITHIN:g} s: {what}")
        time.sleep(POLL)

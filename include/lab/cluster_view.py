"""The cluster as Pacemaker's tools show it: nodes, resources, and crm_mon's text."""

from __future__ import annotations

import time
from dataclasses import dataclass

from include.lab.pacemaker import in_maintenance
from include.lab.world import World

PRIMITIVES = (
    ("lb_frontend_httpd", "systemd:httpd"),
    ("db_fs", "ocf::heartbeat:Filesystem"),
    ("db_mysqld", "ocf::heartbeat:mysql"),
    ("mongodb_fs", "ocf::heartbeat:Filesystem"),
    ("glance_fs", "ocf::heartbeat:Filesystem"),
)
CLONES = (
    ("lb_haproxy-clone", "lb_haproxy", "systemd:haproxy"),
    ("rabbitmq-clone", "rabbitmq", "ocf::heartbeat:rabbitmq-cluster"),
)


@dataclass(frozen=True)
class Resource:
    """One resource: where it runs, and the clone it is in, if any. A clone has one per node."""

    name: str
    agent: str
    node: str | None
    clone: str | None = None


def resources(world: World) -> list[Resource]:
    """Every resource. The plain ones follow the floating IP; a clone runs on each node that is online."""
    holder = world.float_on
    found = [Resource(world.resource, "ocf::heartbeat:IPaddr2", holder)]
    found += [Resource(name, agent, holder) for name, agent in PRIMITIVES]
    for clone, name, agent in CLONES:
        for machine in world.controllers:
            found.append(Resource(name, agent, machine.node if machine.node in world.online else None, clone))
    return found


def coordinator(world: World) -> str:
    """The node that decides for the cluster."""
    return next(iter(world.online), "NONE")


def status_text(world: World) -> str:
    """What crm_mon -1 prints, in the form of the lab's generation."""
    return _text_2(world) if world.pcs == "0.11" else _text_1(world)


def _text_2(world: World) -> str:
    now = time.gmtime(world.now)
    moment = time.strftime("%a %b %e %H:%M:%S %Y", now)
    found = resources(world)
    lines = [
        f"Status of pacemakerd: 'Pacemaker is running' (last updated {time.strftime('%Y-%m-%d %H:%M:%SZ', now)})",
        "Cluster Summary:",
        "  * Stack: corosync",
        f"  * Current DC: {coordinator(world)} (version 2.1.5-a3f44794f94) - partition with quorum",
        f"  * Last updated: {moment}",
        f"  * Last change:  {moment} by root via cibadmin on {coordinator(world)}",
        f"  * {len(world.controllers)} nodes configured",
        f"  * {len(found)} resource instances configured",
        "",
    ]
    if in_maintenance(world):
        lines += ["  The cluster will not attempt to start, stop or recover services", ""]
    lines += ["Node List:", *_nodes(world, "  * "), "", "Active Resources:"]
    unmanaged = " (unmanaged)" if in_maintenance(world) else ""
    lines += [
        f"  * {each.name}\t({each.agent.replace('::', ':')}):\t {_where(world, each)}{unmanaged}"
        for each in found
        if each.clone is None and each.node is not None
    ]
    for clone, name, _ in CLONES:
        started = [each.node for each in found if each.clone == clone and each.node]
        lines.append(f"  * Clone Set: {clone} [{name}]{unmanaged}:")
        lines.append(f"    * Started: [ {' '.join(started)} ]")
    return "\n".join(lines) + "\n"


def _text_1(world: World) -> str:
    moment = time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(world.now))
    found = resources(world)
    lines = [
        f"Last updated: {moment}\t\tLast change: {moment} by root via cibadmin on {coordinator(world)}",
        "Stack: corosync",
        f"Current DC: {coordinator(world)} (version 1.1.13-10.el7-44eb2dd) - partition with quorum",
        f"{len(world.controllers)} nodes and {len(found)} resources configured",
        "",
        *_nodes(world, ""),
        "",
    ]
    unmanaged = " (unmanaged)" if in_maintenance(world) else ""
    lines += [
        f" {each.name}\t({each.agent}):\t{_where(world, each)}{unmanaged}"
        for each in found
        if each.clone is None and each.node is not None
    ]
    for clone, name, _ in CLONES:
        started = [each.node for each in found if each.clone == clone and each.node]
        lines += [f" Clone Set: {clone} [{name}]{unmanaged}", f"     Started: [ {' '.join(started)} ]"]
    return "\n".join(lines) + "\n"


def _where(world: World, resource: Resource) -> str:
    stuck = world.float_stuck and resource.name == world.resource
    return f"FAILED {resource.node} (blocked)" if stuck else f"Started {resource.node}"


def _nodes(world: World, bullet: str) -> list[str]:
    online = [machine.node for machine in world.controllers if machine.node in world.online]
    offline = [machine.node for machine in world.controllers if machine.node not in world.online]
    lines = [f"{bullet}Online: [ {' '.join(online)} ]"] if online else []
    return lines + ([f"{bullet}OFFLINE: [ {' '.join(offline)} ]"] if offline else [])

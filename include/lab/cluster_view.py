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
CLONES = (("lb_haproxy-clone", "lb_haproxy", "systemd:haproxy"), ("rabbitmq-clone", "rabbitmq", "ocf::heartbeat:rabbitmq-cluster"))


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
        f"  * {each.name}\t({each.agent.replace('::', ':')}):\t Started {each.node}{unmanaged}"
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
        f" {each.name}\t({each.agent}):\tStarted {each.node}{unmanaged}"
        for each in found
        if each.clone is None and each.node is not None
    ]
    for clone, name, _ in CLONES:
        started = [each.node for each in found if each.clone == clone and each.node]
        lines += [f" Clone Set: {clone} [{name}]{unmanaged}", f"     Started: [ {' '.join(started)} ]"]
    return "\n".join(lines) + "\n"


def _nodes(world: World, bullet: str) -> list[str]:
    online = [machine.node for machine in world.controllers if machine.node in world.online]
    offline = [machine.node for machine in world.controllers if machine.node not in world.online]
    lines = [f"{bullet}Online: [ {' '.join(online)} ]"] if online else []
    return lines + ([f"{bullet}OFFLINE: [ {' '.join(offline)} ]"] if offline else [])


def status_xml(world: World, request: str | None) -> str:
    """crm_mon's XML: Pacemaker 2's `pacemaker-result` answering `request`, or with None Pacemaker 1's `crm_mon`."""
    now = time.gmtime(world.now)
    unmanaged = in_maintenance(world)
    maintenance = str(world.properties.get("maintenance-mode") == "true").lower()
    dc = coordinator(world)
    found = resources(world)
    version = "1.1.13-10.el7-44eb2dd" if request is None else "2.1.5-a3f44794f94"
    moment = time.strftime("%a %b %e %H:%M:%S %Y", now)
    # Pacemaker 1.1.13 knows maintenance mode but does not show it here; it shows resources as not managed.
    shown_mode = "" if request is None else f' maintenance-mode="{maintenance}" stop-all-resources="false"'
    summary = [
        "  <summary>",
        *([] if request is None else ['    <stack type="corosync" pacemakerd-state="running"/>']),
        *([f'    <last_update time="{moment}"/>'] if request is None else []),
        f'    <current_dc present="true" version="{version}" name="{dc}" id="{_id(world, dc)}" with_quorum="true"/>',
        *([f'    <last_update time="{moment}" origin="{dc}"/>'] if request is not None else []),
        f'    <last_change time="{moment}" user="root" client="cibadmin" origin="{dc}"/>',
        f'    <nodes_configured number="{len(world.controllers)}"{_votes(request)}/>',
        f'    <resources_configured number="{len(found)}" disabled="0" blocked="0"/>',
        '    <cluster_options stonith-enabled="false" symmetric-cluster="true" no-quorum-policy="ignore"' + shown_mode + "/>",
        "  </summary>",
    ]
    nodes = ["  <nodes>"]
    for machine in world.controllers:
        online = machine.node in world.online
        running = sum(1 for each in found if each.node == machine.node)
        nodes.append(
            f'    <node name="{machine.node}" id="{_id(world, machine.node)}" online="{str(online).lower()}" standby="false" '
            f'standby_onfail="false" maintenance="false" pending="false" unclean="false" shutdown="false" '
            f'expected_up="{str(online).lower()}" is_dc="{str(machine.node == dc).lower()}" resources_running="{running}" '
            'type="member"/>'
        )
    nodes.append("  </nodes>")
    body = [*summary, *nodes, "  <resources>", *_resource_xml(world, found, unmanaged, request is None), "  </resources>"]
    if request is not None and world.constraints:
        body += ["  <bans>"] + [
            f'    <ban id="{each.id}" resource="{world.resource}" node="{each.node}" weight="-1000000" promoted-only="false"/>'
            for each in world.constraints
            if each.score == "-INFINITY"
        ]
        body += ["  </bans>"]
    if request is None:
        return "\n".join(['<?xml version="1.0"?>', '<crm_mon version="1.1.13">', *body, "</crm_mon>"]) + "\n"
    stamp = time.strftime("%Y-%m-%d %H:%M:%SZ", now)
    return (
        "\n".join(
            [
                f'<pacemaker-result api-version="2.25" request="{request}">',
                f'  <pacemakerd sys_from="pacemakerd" state="running" last_updated="{stamp}"/>',
                *body,
                '  <status code="0" message="OK"/>',
                "</pacemaker-result>",
            ]
        )
        + "\n"
    )


def _votes(request: str | None) -> str:
    return ' expected_votes="unknown"' if request is None else ""


def _id(world: World, node: str) -> int:
    names = [machine.node for machine in world.controllers]
    return names.index(node) + 1 if node in names else 0


def _resource_xml(world: World, found: list[Resource], unmanaged: bool, old: bool) -> list[str]:
    managed = str(not unmanaged).lower()

    def one(each: Resource, indent: str) -> list[str]:
        state = (
            f'{indent}<resource id="{each.name}" resource_agent="{each.agent if old else each.agent.replace("::", ":")}" '
            f'role="{"Started" if each.node else "Stopped"}" active="{str(each.node is not None).lower()}" orphaned="false" '
            f'blocked="false" managed="{managed}" failed="false" failure_ignored="false" '
            f'nodes_running_on="{1 if each.node else 0}"'
        )
        if each.node is None:
            return [state + "/>"]
        node = f'{indent}  <node name="{each.node}" id="{_id(world, each.node)}" cached="{"false" if old else "true"}"/>'
        return [state + ">", node, f"{indent}</resource>"]

    lines = [line for each in found if each.clone is None for line in one(each, "    ")]
    for clone, _, _ in CLONES:
        lines.append(
            f'    <clone id="{clone}" multi_state="false" unique="false" managed="{managed}" failed="false" failure_ignored="false">'
        )
        lines += [line for each in found if each.clone == clone for line in one(each, "      ")]
        lines.append("    </clone>")
    return lines

"""The cluster as crm_mon's XML, in the forms of Pacemaker 1.1 and 2.1."""

from __future__ import annotations

import time
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from include.lab.cluster_view import CLONES, Resource, coordinator, resources
from include.lab.pacemaker import in_maintenance
from include.lab.world import World

VERSIONS = {"1.1": "1.1.13-10.el7-44eb2dd", "2.1": "2.1.5-a3f44794f94"}


def status_xml_result(world: World, request: str) -> str:
    """Pacemaker 2's `pacemaker-result`, answering `request`."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(world.now))
    root = Element("pacemaker-result", {"api-version": "2.25", "request": request})
    SubElement(root, "pacemakerd", sys_from="pacemakerd", state="running", last_updated=stamp)
    summary = SubElement(root, "summary")
    SubElement(summary, "stack", {"type": "corosync", "pacemakerd-state": "running"})
    mode = {
        "maintenance-mode": _word(world.properties.get("maintenance-mode") == "true"),
        "stop-all-resources": "false",
    }
    _summarise(world, summary, VERSIONS["2.1"], mode)
    _add_nodes(world, root)
    _add_resources(world, root, old=False)
    banned = [each for each in world.constraints if each.score == "-INFINITY"]
    if banned:
        bans = SubElement(root, "bans")
        for each in banned:
            attributes = {"id": each.id, "resource": world.resource, "node": each.node, "weight": "-1000000"}
            SubElement(bans, "ban", {**attributes, "promoted-only": "false"})
    SubElement(root, "status", code="0", message="OK")
    return _text(root)


def status_xml_old(world: World) -> str:
    """The `crm_mon` form, of Pacemaker 1.1 and of 2.1 when it is asked for the old form.

    It does not show maintenance mode as such, only that resources are not managed.
    """
    version = VERSIONS["2.1" if world.pcs == "0.11" else "1.1"]
    root = Element("crm_mon", version=version.partition("-")[0])
    summary = SubElement(root, "summary")
    _summarise(world, summary, version, {})
    _add_nodes(world, root)
    _add_resources(world, root, old=True)
    return '<?xml version="1.0"?>\n' + _text(root)


def _summarise(world: World, summary: Element, version: str, mode: dict[str, str]) -> None:
    moment = time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(world.now))
    dc = coordinator(world)
    SubElement(summary, "last_update", time=moment)
    identity = {"version": version, "name": dc, "id": _id(world, dc), "with_quorum": "true"}
    SubElement(summary, "current_dc", {"present": "true", **identity})
    SubElement(summary, "last_change", time=moment, user="root", client="cibadmin", origin=dc)
    SubElement(summary, "nodes_configured", number=str(len(world.controllers)))
    SubElement(summary, "resources_configured", number=str(len(resources(world))), disabled="0", blocked="0")
    options = {"stonith-enabled": "false", "symmetric-cluster": "true", "no-quorum-policy": "ignore"}
    SubElement(summary, "cluster_options", {**options, **mode})


def _add_nodes(world: World, root: Element) -> None:
    nodes = SubElement(root, "nodes")
    for machine in world.controllers:
        online = _word(machine.node in world.online)
        SubElement(
            nodes,
            "node",
            name=machine.node,
            id=_id(world, machine.node),
            online=online,
            standby="false",
            standby_onfail="false",
            maintenance="false",
            pending="false",
            unclean="false",
            shutdown="false",
            expected_up=online,
            is_dc=_word(machine.node == coordinator(world)),
            resources_running=str(sum(1 for each in resources(world) if each.node == machine.node)),
            type="member",
        )


def _add_resources(world: World, root: Element, old: bool) -> None:
    parent = SubElement(root, "resources")
    found = resources(world)
    for each in found:
        if each.clone is None:
            _add_resource(world, parent, each, old)
    managed = _word(not in_maintenance(world))
    for name, _, _ in CLONES:
        state = {"multi_state": "false", "unique": "false", "managed": managed, "failed": "false"}
        clone = SubElement(parent, "clone", {"id": name, **state, "failure_ignored": "false"})
        for each in found:
            if each.clone == name:
                _add_resource(world, clone, each, old)


def _add_resource(world: World, parent: Element, resource: Resource, old: bool) -> None:
    element = SubElement(
        parent,
        "resource",
        id=resource.name,
        resource_agent=resource.agent if old else resource.agent.replace("::", ":"),
        role="Started" if resource.node else "Stopped",
        active=_word(resource.node is not None),
        orphaned="false",
        blocked="false",
        managed=_word(not in_maintenance(world)),
        failed="false",
        failure_ignored="false",
        nodes_running_on="1" if resource.node else "0",
    )
    if resource.node is not None:
        SubElement(element, "node", name=resource.node, id=_id(world, resource.node), cached=_word(not old))


def _id(world: World, node: str) -> str:
    names = [machine.node for machine in world.controllers]
    return str(names.index(node) + 1) if node in names else "0"


def _word(true: bool) -> str:
    return "true" if true else "false"


def _text(root: Element) -> str:
    indent(root)
    return tostring(root, encoding="unicode") + "\n"

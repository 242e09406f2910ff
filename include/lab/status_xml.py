"""The cluster as crm_mon's XML, in the forms of Pacemaker 1.1.13 and 2.1.5."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from include.lab.cluster_view import CLONES, Resource, coordinator, resources
from include.lab.pacemaker import in_maintenance, maintenance_mode
from include.lab.world import World

VERSIONS = {"1.1": "1.1.13-10.el7-44eb2dd", "2.1": "2.1.5-a3f44794f94"}
FEATURE_SET = "3.16.1"


def status_xml_result(world: World, request: str) -> str:
    """Pacemaker 2's `pacemaker-result`, answering `request`."""
    root = _result(request)
    stamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(world.now))
    SubElement(root, "pacemakerd", sys_from="pacemakerd", state="running", last_updated=stamp)
    _fill_new(world, root)
    SubElement(root, "status", code="0", message="OK")
    return _text(root)


def failure_xml_result(request: str, errors: Sequence[str]) -> str:
    """Pacemaker 2's `pacemaker-result` when the cluster does not run: status 102 and what went wrong."""
    root = _result(request)
    listed = SubElement(SubElement(root, "status", code="102", message="Not connected"), "errors")
    for error in errors:
        SubElement(listed, "error").text = error
    return _text(root)


def status_xml_deprecated(world: World | None) -> str:
    """The `crm_mon` form as Pacemaker 2.1 still prints it; empty (None) when the cluster does not run."""
    root = Element("crm_mon", version=VERSIONS["2.1"].partition("-")[0])
    if world is not None:
        _fill_new(world, root)
    return _text(root)


def status_xml_old(world: World, letters: Collection[str]) -> str:
    """The `crm_mon` form of Pacemaker 1.1, for the options of these letters.

    It shows maintenance mode only by resources that are not managed, leaves out what runs nowhere unless asked for the
    inactive ones (r), and how often something failed unless asked for that (f).
    """
    version = VERSIONS["1.1"]
    root = Element("crm_mon", version=version.partition("-")[0])
    summary = SubElement(root, "summary")
    _add_times(world, summary)
    SubElement(summary, "stack", type="corosync")
    _add_coordinator(world, summary, version)
    SubElement(summary, "nodes_configured", number=str(len(world.controllers)), expected_votes="unknown")
    SubElement(summary, "resources_configured", number=str(len(resources(world))))
    SubElement(summary, "cluster_options", _options())
    _add_nodes(world, root, new=False)
    _add_resources(world, root, new=False, inactive="r" in letters)
    _add_failures(world, root, "unknown error", counts="f" in letters)
    bans = SubElement(root, "bans")
    for attributes in _bans(world):
        SubElement(bans, "ban", {**attributes, "master_only": "false"})
    return '<?xml version="1.0"?>\n' + _text(root)


def _result(request: str) -> Element:
    return Element("pacemaker-result", {"api-version": "2.25", "request": request})


def _fill_new(world: World, root: Element) -> None:
    summary = SubElement(root, "summary")
    SubElement(summary, "stack", {"type": "corosync", "pacemakerd-state": "running"})
    _add_coordinator(world, summary, VERSIONS["2.1"]).set("mixed_version", "false")
    _add_times(world, summary)
    SubElement(summary, "nodes_configured", number=str(len(world.controllers)))
    SubElement(summary, "resources_configured", number=str(len(resources(world))), disabled="0", blocked="0")
    mode = {"maintenance-mode": _word(maintenance_mode(world)), "stop-all-resources": "false"}
    limits = {"stonith-timeout-ms": "60000", "priority-fencing-delay-ms": "0"}
    SubElement(summary, "cluster_options", {**_options(), **mode, **limits})
    _add_nodes(world, root, new=True)
    _add_resources(world, root, new=True, inactive=True)
    _add_failures(world, root, "error", counts=True)
    banned = _bans(world)
    if banned:
        bans = SubElement(root, "bans")
        for attributes in banned:
            SubElement(bans, "ban", {**attributes, "promoted-only": "false", "master_only": "false"})


def _options() -> dict[str, str]:
    return {"stonith-enabled": "false", "symmetric-cluster": "true", "no-quorum-policy": "ignore"}


def _add_times(world: World, summary: Element) -> None:
    moment = time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(world.now))
    SubElement(summary, "last_update", time=moment)
    SubElement(summary, "last_change", time=moment, user="root", client="cibadmin", origin=coordinator(world))


def _add_coordinator(world: World, summary: Element, version: str) -> Element:
    dc = coordinator(world)
    identity = {"version": version, "name": dc, "id": _id(world, dc), "with_quorum": "true"}
    return SubElement(summary, "current_dc", {"present": "true", **identity})


def _add_nodes(world: World, root: Element, new: bool) -> None:
    nodes = SubElement(root, "nodes")
    for machine in world.controllers:
        online = _word(machine.node in world.online)
        state = {"name": machine.node, "id": _id(world, machine.node), "online": online}
        state |= dict.fromkeys(("standby", "standby_onfail", "maintenance", "pending", "unclean"), "false")
        if new:
            state["health"] = "green"
        if new and machine.node in world.online:
            state["feature_set"] = FEATURE_SET
        state |= {"shutdown": "false", "expected_up": online, "is_dc": _word(machine.node == coordinator(world))}
        running = sum(1 for each in resources(world) if each.node == machine.node)
        SubElement(nodes, "node", {**state, "resources_running": str(running), "type": "member"})


def _add_resources(world: World, root: Element, new: bool, inactive: bool) -> None:
    parent = SubElement(root, "resources")
    found = resources(world)
    for each in found:
        if each.clone is None and (each.node or inactive):
            _add_resource(world, parent, each, new)
    managed = _word(not in_maintenance(world))
    for name, _, _ in CLONES:
        instances = [each for each in found if each.clone == name]
        if not (inactive or any(each.node for each in instances)):
            continue
        state = {"multi_state": "false", "unique": "false", "managed": managed}
        state |= {"disabled": "false"} if new else {}
        clone = SubElement(parent, "clone", {"id": name, **state, "failed": "false", "failure_ignored": "false"})
        for each in instances:
            _add_resource(world, clone, each, new)


def _add_resource(world: World, parent: Element, resource: Resource, new: bool) -> None:
    state = {
        "id": resource.name,
        "resource_agent": resource.agent.replace("::", ":") if new else resource.agent,
        "role": "Started" if resource.node else "Stopped",
        "active": _word(resource.node is not None),
        "orphaned": "false",
    }
    stuck = world.float_stuck and resource.name == world.resource
    state |= {"blocked": _word(stuck)} if new else {}
    managed = not in_maintenance(world) and not stuck
    state |= {"managed": _word(managed), "failed": _word(stuck), "failure_ignored": "false"}
    element = SubElement(parent, "resource", {**state, "nodes_running_on": "1" if resource.node else "0"})
    if resource.node is not None:
        SubElement(element, "node", name=resource.node, id=_id(world, resource.node), cached=_word(new))


def _add_failures(world: World, root: Element, exit_status: str, *, counts: bool) -> None:
    """Show a floating IP that did not stop: without fencing, Pacemaker leaves it there and calls it blocked."""
    if not world.float_stuck or world.float_on is None:
        return
    if counts:
        history = SubElement(SubElement(root, "node_history"), "node", name=world.float_on)
        count = {"migration-threshold": "1000000", "fail-count": "INFINITY"}
        SubElement(history, "resource_history", {"id": world.resource, "orphan": "false", **count})
    told = {"exitstatus": exit_status, "exitreason": "", "exitcode": "1", "call": "41", "status": "complete"}
    SubElement(
        SubElement(root, "failures"),
        "failure",
        {"op_key": f"{world.resource}_stop_0", "node": world.float_on, **told, "interval": "0", "task": "stop"},
    )


def _bans(world: World) -> list[dict[str, str]]:
    return [
        {"id": each.id, "resource": world.resource, "node": each.node, "weight": "-1000000"}
        for each in world.constraints
        if each.score == "-INFINITY"
    ]


def _id(world: World, node: str) -> str:
    names = [machine.node for machine in world.controllers]
    return str(names.index(node) + 1) if node in names else "0"


def _word(true: bool) -> str:
    return "true" if true else "false"


def _text(root: Element) -> str:
    indent(root)
    return tostring(root, encoding="unicode") + "\n"

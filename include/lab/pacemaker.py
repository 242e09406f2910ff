"""How the simulated cluster behaves over time: who may hold the floating IP, when it moves, who is online."""

from __future__ import annotations

from dataclasses import replace

from include.lab.replication import arrive
from include.lab.world import Constraint, Event, Machine, World

FLOAT_MOVES_AFTER = 1.0
JOIN_TAKES = 2.3
CLUSTER_UNITS = ("corosync", "pacemaker")
COROSYNC_CONF = "etc/corosync/corosync.conf"
TRUE = ("true", "on", "yes", "y", "1")
FALSE = ("false", "off", "no", "n", "0")


def settle(world: World) -> None:
    """Let everything happen that was due by `world.now`, in order, and start what the cluster would start itself."""
    _place_float(world)
    while world.events:
        event = min(world.events, key=lambda each: each.due)
        if event.due > world.now:
            return
        world.events.remove(event)
        _happen(world, event)
        _place_float(world)


def maintenance_mode(world: World) -> bool:
    """Whether Pacemaker's own property is set."""
    return world.properties.get("maintenance-mode", "").lower() in TRUE


def in_maintenance(world: World) -> bool:
    """Whether the cluster leaves its resources alone, by Pacemaker's property or by that of TECS."""
    return maintenance_mode(world) or world.properties.get("unmanaged", "").lower() in TRUE


def seen_by(world: World, machine: Machine) -> World:
    """The cluster as the node's own Pacemaker sees it: with the link cut, each of two is alone and takes what it may."""
    if not world.link_cut:
        return world
    holds = world.float_on == machine.node
    takes = not in_maintenance(world) and not _banned(world, machine.node) and not refuses_takeover(world, machine.node)
    online = [node for node in world.online if node == machine.node]
    return replace(world, online=online, float_on=machine.node if online and (holds or takes) else None)


def clean_up(world: World) -> None:
    """Forget that the floating IP could not be stopped: the cluster tries what it wanted once more."""
    world.float_stuck = False


def configured(world: World, machine: Machine) -> bool:
    """Whether the node has a corosync.conf, and the same as its peer's: otherwise it is not part of this cluster."""
    own = world.tree(machine.name) / COROSYNC_CONF
    peers = [world.tree(peer.name) / COROSYNC_CONF for peer in world.controllers if peer.name != machine.name]
    return own.exists() and all(own.read_bytes() == peer.read_bytes() for peer in peers if peer.exists())


def start_cluster(world: World, machine: Machine) -> None:
    """Start corosync and pacemaker on a node; it is online a moment later."""
    if machine.runs("pacemaker"):
        return
    for unit in CLUSTER_UNITS:
        machine.units[unit].state = "active"
    world.after(JOIN_TAKES, "online", machine.node)


def stop_cluster(world: World, machine: Machine) -> None:
    """Stop pacemaker and corosync on a node: its resources go to the other node, or stop."""
    for unit in CLUSTER_UNITS:
        if unit in machine.units:
            machine.units[unit].state = "inactive"
    world.events = [event for event in world.events if not (event.kind == "online" and event.subject == machine.node)]
    if machine.node in world.online:
        world.online.remove(machine.node)
    if world.float_on == machine.node:
        _cancel_move(world)
        world.float_on = None if in_maintenance(world) else _best_node(world, leaving=machine.node)


def ban(world: World, node: str) -> str:
    """Forbid the floating IP on a node; returns the constraint's id."""
    return _constrain(world, f"cli-ban-{world.resource}-on-{node}", node, "-INFINITY")


def prefer(world: World, node: str) -> str:
    """Want the floating IP on a node, as `crm_resource --move` does: a ban of that node goes; returns the new id."""
    clear(world, node)
    return _constrain(world, f"cli-prefer-{world.resource}", node, "INFINITY")


def clear(world: World, node: str | None) -> list[str]:
    """Remove the constraints that ban and move left behind (for one node or all); returns their ids."""
    gone = [each.id for each in world.constraints if each.id.startswith("cli-") and node in (None, each.node)]
    world.constraints = [each for each in world.constraints if each.id not in gone]
    return gone


def _constrain(world: World, constraint_id: str, node: str, score: str) -> str:
    world.constraints = [each for each in world.constraints if each.id != constraint_id]
    world.constraints.append(Constraint(constraint_id, node, score))
    return constraint_id


def _banned(world: World, node: str) -> bool:
    return any(each.node == node and each.score == "-INFINITY" for each in world.constraints)


def refuses_takeover(world: World, node: str) -> bool:
    """Whether a fault keeps this node from ever taking the floating IP: by default A, the first controller."""
    return node == world.controllers[0].node and any("takeover" in fault for fault in world.faults)


def eligible(world: World, node: str) -> bool:
    """Whether the floating IP may go to this node."""
    return node in world.online and not _banned(world, node) and not refuses_takeover(world, node)


def _best_node(world: World, leaving: str | None = None) -> str | None:
    candidates = [machine.node for machine in world.controllers if machine.node != leaving]
    allowed = [node for node in candidates if eligible(world, node)]
    preferred = [each.node for each in world.constraints if each.score == "INFINITY" and each.node in allowed]
    return next(iter(preferred + allowed), None)


def _wanted(world: World) -> str | None:
    """Where the cluster wants the floating IP: where it is, unless it may not stay or is preferred elsewhere."""
    holder = world.float_on
    preferred = [each.node for each in world.constraints if each.score == "INFINITY" and eligible(world, each.node)]
    if preferred:
        return preferred[0]
    if holder and holder in world.online and not _banned(world, holder):
        return holder
    return _best_node(world)


def _place_float(world: World) -> None:
    if in_maintenance(world) or world.float_stuck:
        _cancel_move(world)
        return
    wanted = _wanted(world)
    planned = [event for event in world.events if event.kind == "move_float"]
    if planned and planned[0].target == wanted:
        return
    _cancel_move(world)
    if wanted != world.float_on:
        world.after(FLOAT_MOVES_AFTER, "move_float", world.resource, wanted)


def _cancel_move(world: World) -> None:
    world.events = [event for event in world.events if event.kind != "move_float"]


def _happen(world: World, event: Event) -> None:
    if event.kind == "move_float" and world.float_on in world.online and world.take_fault("float_ip"):
        world.float_stuck = True
        world.record("", "pacemaker", [], f"{world.resource} could not be stopped on {world.float_on}")
    elif event.kind == "move_float":
        world.float_on = event.target
        world.record("", "pacemaker", [], f"{world.resource} is now on {event.target or 'no node'}")
        _show_flaws(world)
    elif event.kind == "online":
        if event.subject not in world.online:
            world.online.append(event.subject)
        world.record("", "pacemaker", [], f"node {event.subject} is online")
        _rejoined(world, event.subject)
    elif event.kind == "arrive":
        vm = world.vms.get(event.subject)
        if vm is not None and vm.status == "MIGRATING" and event.target is not None:
            source, vm.host, vm.migrating_to, vm.status = vm.host, event.target, None, "ACTIVE"
            world.record(event.target, "nova", [], f"VM {vm.name} arrived from {source}")
    elif event.kind == "appear":
        vm = world.vms.get(event.subject)
        if vm is not None and vm.status == "BUILD":
            vm.status = "ACTIVE"
            world.record(vm.host, "nova", [], f"VM {vm.name} is active")
    elif event.kind == "die":
        machine = world.machines[event.subject]
        if machine.release == event.target and machine.runs("openstack-nova-compute"):
            machine.units["openstack-nova-compute"].state = "failed"
            world.record(machine.name, "nova", [], "openstack-nova-compute has died")
    elif event.kind == "synced":
        arrive(world, event)


def _show_flaws(world: World) -> None:
    """A compute service that does not bear a controller of its own release dies some time after that became active."""
    for flaw in [fault for fault in world.faults if fault.get("flaw") == "compute_dies"]:
        if world.active is not None and world.active.release == flaw["release"]:
            world.after(float(flaw.get("after", 0)), "die", flaw["host"], flaw["release"])


def _rejoined(world: World, node: str) -> None:
    machine = world.by_node(node)
    reinstalled = machine is not None and machine.installs > 0
    others_online = len(world.online) > 1
    if world.self_maintenance and reinstalled and others_online:
        # Once only: a later restart of the same node must not surprise an operator who has left maintenance.
        world.self_maintenance = False
        world.properties["maintenance-mode"] = "true"
        world.record("", "pacemaker", [], f"maintenance mode on, after {node} came back reinstalled")

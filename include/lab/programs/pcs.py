"""pcs 0.11 or 0.9, by the lab's setting.

Emulated: --version; resource ban, clear, move and cleanup of the floating IP; constraint [--full], constraint remove|delete;
property set, unset, show, list and config; cluster start, stop and status; status. Messages, exit statuses and
timing of 0.11 are those captured from pcs 0.11.5. Those of 0.9 are read from its source and its own tests, and what
Pacemaker 1.1's crm_resource says through it from that program's source: its `move` leaves its constraint behind and does
not wait.
Not emulated: every other command, which is refused with a usage message and status 1; resources other than the
floating IP; rules, lifetimes and node attributes.
"""

from __future__ import annotations

import sys

from include.lab.cluster_view import resources, status_text
from include.lab.pacemaker import (
    FALSE,
    TRUE,
    ban,
    clean_up,
    clear,
    configured,
    in_maintenance,
    prefer,
    refuses_takeover,
    start_cluster,
    stop_cluster,
)
from include.lab.programs.pcs_0_9 import change_float_ip, check_property
from include.lab.programs.standin import Here, Refused
from include.lab.world import Machine, World

VERSIONS = {"0.11": "0.11.5", "0.9": "0.9.169"}
CANNOT_CONTINUE = "Error: Errors have occurred, therefore pcs is unable to continue"
TAKES = {"start": 2.9, "stop": 1.8}
PROPERTIES = (
    "batch-limit",
    "cluster-delay",
    "cluster-ipc-limit",
    "cluster-recheck-interval",
    "concurrent-fencing",
    "dc-deadtime",
    "election-timeout",
    "enable-acl",
    "enable-startup-probes",
    "fence-reaction",
    "join-finalization-timeout",
    "join-integration-timeout",
    "load-threshold",
    "maintenance-mode",
    "migration-limit",
    "no-quorum-policy",
    "node-action-limit",
    "node-health-base",
    "node-health-green",
    "node-health-red",
    "node-health-strategy",
    "node-health-yellow",
    "pe-error-series-max",
    "pe-input-series-max",
    "pe-warn-series-max",
    "placement-strategy",
    "priority-fencing-delay",
    "remove-after-stop",
    "shutdown-escalation",
    "shutdown-lock",
    "shutdown-lock-limit",
    "start-failure-is-fatal",
    "startup-fencing",
    "stonith-action",
    "stonith-enabled",
    "stonith-max-attempts",
    "stonith-timeout",
    "stonith-watchdog-timeout",
    "stop-all-resources",
    "stop-orphan-actions",
    "stop-orphan-resources",
    "symmetric-cluster",
    "transition-delay",
)


def main(here: Here, argv: list[str]) -> int:
    """Do what the command asks, or refuse it."""
    with here.changing() as world:
        generation = world.pcs
    status = 0
    match argv:
        case ["--version"]:
            print(VERSIONS[generation])
        case ["resource", "ban" | "clear" | "move" as verb, *rest]:
            status = _resource(here, argv, verb, rest, generation)
        case ["resource", "cleanup", *rest]:
            _clean_up(here, argv, rest)
        case ["constraint"] | ["constraint", "--full" | "list" | "show"] | ["constraint", "list" | "show", "--full"]:
            _show_constraints(here, full="--full" in argv, generation=generation)
        case ["constraint", "remove" | "delete", *ids] if ids:
            status = _remove_constraints(here, argv, ids)
        case ["property", "set", *rest] if rest:
            status = _set_properties(here, argv, rest, generation)
        case ["property", "unset", *names] if names:
            status = _unset_properties(here, argv, names, generation)
        case ["property"] | ["property", "show" | "list" | "config"]:
            _show_properties(here)
        case ["cluster", "start" | "stop" as verb]:
            status = _cluster(here, argv, verb)
        case ["cluster", "status"] | ["status", "cluster"]:
            print(_status(here, "Error: cluster is not currently running on this node", indent=" "), end="")
        case ["status"]:
            problem = "Error: error running crm_mon, is pacemaker running?\n  " + _no_connection()
            print(_status(here, problem, indent=""), end="")
        case _:
            status = _usage(argv[0] if argv else "[-f file] [-h]", generation)
    return status


def _usage(of: str, generation: str) -> int:
    if generation == "0.11":
        raise Refused(f"\nUsage: pcs {of} ...\n")
    print(f"\nUsage: pcs {of} [commands]...\n")
    return 1


def _no_connection() -> str:
    return "crm_mon: Connection to cluster failed: Connection refused"


def _running(here: Here, world: World, otherwise: str = "Error: unable to get cib") -> Machine:
    machine = world.machines[here.host]
    if not machine.runs("pacemaker"):
        raise Refused(otherwise)
    return machine


def _resource(here: Here, argv: list[str], verb: str, rest: list[str], generation: str) -> int:
    if not rest:
        raise Refused(f"Error: must specify a resource to {verb if generation == '0.11' else 'move/unmove'}")
    if len(rest) > 2:
        return _usage(f"resource {verb}" if generation == "0.11" else "resource", generation)
    node = rest[1] if len(rest) == 2 else None
    with here.changing() as world:
        _running(here, world)
        _must_be_the_float_ip(world, rest[0], generation)
        if generation == "0.9":
            return change_float_ip(here, world, argv, verb, node)
        if node is not None and world.by_node(node) is None:
            raise Refused(
                f"Error: cannot clear resource '{rest[0]}'\n"
                f"crm_resource: Node '{node}' not found\nError performing operation: No such object"
                if verb == "clear"
                else f"Error: Node '{node}' does not appear to exist in configuration\n{CANNOT_CONTINUE}"
            )
        if verb == "clear":
            removed = clear(world, node)
            world.record(here.host, "pcs", argv, f"removed {', '.join(removed) or 'nothing'}")
            for constraint in removed:
                print(f"Removing constraint: {constraint}", file=sys.stderr)
            return 0
        if verb == "ban":
            _ban(world, node or _holder(world, rest[0]))
            world.record(here.host, "pcs", argv, f"banned {node or world.float_on}")
            return 0
        target = _begin_move(world, rest[0], node)
        world.record(here.host, "pcs", argv, f"move to {target} begun")
    return _finish_move(here, argv, rest[0], target)


def _clean_up(here: Here, argv: list[str], rest: list[str]) -> None:
    with here.changing() as world:
        _running(here, world)
        if rest not in ([], [world.resource]):
            raise Refused(f"Error: the lab cleans up {world.resource} or everything")
        clean_up(world)
        world.record(here.host, "pcs", argv, "failures forgotten")
    print("Cleaned up all resources on all nodes" if not rest else f"Cleaned up {rest[0]} on all nodes")


def _must_be_the_float_ip(world: World, resource: str, generation: str) -> None:
    if resource == world.resource:
        return
    if resource in [each.name for each in resources(world)]:
        raise Refused(f"Error: the lab moves and bans {world.resource} only")
    if generation == "0.9":
        raise Refused(f"Error: {resource} is not a valid resource")
    raise Refused(f"Error: bundle/clone/group/resource '{resource}' does not exist\n{CANNOT_CONTINUE}")


def _holder(world: World, resource: str) -> str:
    if world.float_on is None:
        raise Refused(f"Error: You must specify a node when banning/moving a stopped resource: {resource}")
    return world.float_on


def _ban(world: World, node: str) -> None:
    constraint = ban(world, node)
    print(
        f"Warning: Creating location constraint '{constraint}' with a score of -INFINITY for resource {world.resource} "
        f"on {node}.\n"
        f"\tThis will prevent {world.resource} from running on {node} until the constraint is removed\n"
        "\tThis will be the case even if "
        f"{node} is the last node in the cluster",
        file=sys.stderr,
    )


def _begin_move(world: World, resource: str, node: str | None) -> str:
    if in_maintenance(world):
        raise Refused(f"Error: '{resource}' is unmanaged")
    holder = _holder(world, resource)
    others = [machine.node for machine in world.controllers if machine.node != holder]
    target = node or others[0]
    if target == holder:
        raise Refused(
            f"Error: cannot move resource '{resource}'\n"
            "crm_resource: Error performing operation: Requested item already exists"
        )
    if target not in world.online or any(
        each.node == target and each.score == "-INFINITY" for each in world.constraints
    ):
        raise Refused(
            f"Error: Unable to move resource '{resource}' to node '{target}': "
            "the resource cannot run there with the present constraints and node states"
        )
    prefer(world, target)
    return target


def _finish_move(here: Here, argv: list[str], resource: str, target: str) -> int:
    print(f"Location constraint to move resource '{resource}' has been created", file=sys.stderr)
    print("Waiting for the cluster to apply configuration changes...", file=sys.stderr)
    here.wait(3.4)
    with here.changing() as world:
        arrived = world.float_on == target
        failed = refuses_takeover(world, target)
        if failed:
            world.take_fault("takeover")
        world.constraints = [each for each in world.constraints if each.id != f"cli-prefer-{resource}"]
        world.record(here.host, "pcs", argv, f"move to {target} {'done' if arrived else 'failed'}")
        holder = world.float_on
    print(f"Location constraint created to move resource '{resource}' has been removed", file=sys.stderr)
    print("Waiting for the cluster to apply configuration changes...", file=sys.stderr)
    here.wait(2.0)
    if not arrived:
        where = f"is running on node '{holder}'" if holder else "is not running on any node"
        raise Refused(f"Error: resource '{resource}' {where}\n{CANNOT_CONTINUE}")
    print(f"resource '{resource}' is running on node '{target}'", file=sys.stderr)
    return 0


def _show_constraints(here: Here, full: bool, generation: str) -> None:
    with here.changing() as world:
        _running(here, world)
        print("Location Constraints:")
        if world.constraints:
            print(f"  Resource: {world.resource}")
        for score, title in (("INFINITY", "Enabled on:"), ("-INFINITY", "Disabled on:")):
            chosen = [each for each in world.constraints if each.score == score]
            if chosen and generation == "0.11":
                print(f"    {title}")
            for each in chosen:
                name = f" (id:{each.id})" if full else ""
                if generation == "0.11":
                    print(f"      Node: {each.node} (score:{each.score}) (role:Started){name}")
                else:
                    print(f"    {title} {each.node} (score:{each.score}) (role: Started){name}")
    print("Ordering Constraints:\nColocation Constraints:\nTicket Constraints:")


def _remove_constraints(here: Here, argv: list[str], ids: list[str]) -> int:
    with here.changing() as world:
        _running(here, world)
        known = [each.id for each in world.constraints]
        unknown = [wanted for wanted in ids if wanted not in known]
        if unknown:
            raise Refused("\n".join(f"Error: Unable to find constraint - '{wanted}'" for wanted in unknown))
        world.constraints = [each for each in world.constraints if each.id not in ids]
        world.record(here.host, "pcs", argv, f"removed {', '.join(ids)}")
    return 0


def _set_properties(here: Here, argv: list[str], rest: list[str], generation: str) -> int:
    force = "--force" in rest
    pairs = [item.partition("=") for item in rest if item != "--force"]
    if not pairs or any(not separator for _, separator, _ in pairs):
        return _usage("property", generation)
    with here.changing() as world:
        _running(here, world)
        for name, _, value in pairs:
            if generation == "0.9":
                check_property(name, value, force, PROPERTIES)
            else:
                _check_property(name, value, force)
        for name, _, value in pairs:
            if value:
                world.properties[name] = value
            else:
                world.properties.pop(name, None)
        world.record(here.host, "pcs", argv, "properties set")
    return 0


def _check_property(name: str, value: str, force: bool) -> None:
    if name not in PROPERTIES:
        allowed = ", ".join(f"'{known}'" for known in PROPERTIES)
        _refuse_unless_forced(f"invalid cluster property option '{name}', allowed options are: {allowed}", force)
    elif name == "maintenance-mode" and value and value.lower() not in (*TRUE, *FALSE):
        allowed = ", ".join(f"'{word}'" for word in sorted((*TRUE, *FALSE)))
        _refuse_unless_forced(f"'{value}' is not a valid {name} value, use a pacemaker boolean value: {allowed}", force)


def _refuse_unless_forced(sentence: str, force: bool) -> None:
    if not force:
        raise Refused(f"Error: {sentence}, use --force to override\n{CANNOT_CONTINUE}")
    print(f"Warning: {sentence}", file=sys.stderr)


def _unset_properties(here: Here, argv: list[str], names: list[str], generation: str) -> int:
    force = "--force" in names
    with here.changing() as world:
        _running(here, world)
        wanted = [name for name in names if name != "--force"]
        for name in wanted:
            if name in world.properties:
                continue
            if generation == "0.11":
                place = "it is not present in property set 'cib-bootstrap-options'"
                _refuse_unless_forced(f"Cannot remove property '{name}', {place}", force)
            elif not force:
                raise Refused(f"Error: can't remove property: '{name}' that doesn't exist")
        for name in wanted:
            world.properties.pop(name, None)
        world.record(here.host, "pcs", argv, "properties unset")
    return 0


def _show_properties(here: Here) -> None:
    with here.changing() as world:
        _running(here, world)
        version = "2.1.5-a3f44794f94" if world.pcs == "0.11" else "1.1.13-10.el7-44eb2dd"
        shown = {
            "cluster-infrastructure": "corosync",
            "cluster-name": "tecs",
            "dc-version": version,
            "have-watchdog": "false",
            **world.properties,
        }
    print("Cluster Properties:")
    for name in sorted(shown):
        print(f" {name}: {shown[name]}")


def _cluster(here: Here, argv: list[str], verb: str) -> int:
    with here.changing() as world:
        machine = world.machines[here.host]
        if not configured(world, machine) or "pacemaker" not in machine.units:
            raise Refused("Error: cluster is not currently configured on this node")
        broken = world.take_fault("service", service="pacemaker", host=here.host) if verb == "start" else None
        if broken is None and verb == "start":
            start_cluster(world, machine)
        elif verb == "stop":
            stop_cluster(world, machine)
        world.record(here.host, "pcs", argv, f"cluster {verb}")
    if verb == "start":
        print("Starting Cluster...")
    else:
        print("Stopping Cluster (pacemaker)...\nStopping Cluster (corosync)...")
    here.wait(TAKES[verb])
    if broken is not None:
        raise Refused(
            "Error: unable to start pacemaker\n"
            "Job for pacemaker.service failed because the control process exited with error code."
        )
    return 0


def _status(here: Here, otherwise: str, indent: str) -> str:
    with here.changing() as world:
        _running(here, world, otherwise)
        summary = status_text(world)
        nodes = [(machine.node, machine.runs("pcsd")) for machine in world.controllers]
        units = {unit: world.machines[here.host].units[unit] for unit in ("corosync", "pacemaker", "pcsd")}
    if indent:
        lines = ["Cluster Status:"] + [indent + line for line in summary.splitlines() if line]
        lines += ["", "PCSD Status:"] + [f"  {node}: {'Online' if online else 'Offline'}" for node, online in nodes]
    else:
        lines = ["Cluster name: tecs", *summary.splitlines(), "", "Daemon Status:"]
        lines += [f"  {name}: {unit.state}/{'enabled' if unit.enabled else 'disabled'}" for name, unit in units.items()]
    return "\n".join(lines) + "\n"

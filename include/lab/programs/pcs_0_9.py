"""Where pcs 0.9 over Pacemaker 1.1 differs from 0.11: it hands ban, clear and move to crm_resource and waits for nothing.

Its words are those of its own source and tests; crm_resource's are those of that program's source.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NoReturn

from include.lab.pacemaker import FALSE, TRUE, ban, clear, prefer
from include.lab.programs.standin import Here, Refused
from include.lab.world import World

CRM_RESOURCE = "Error performing operation"


def change_float_ip(here: Here, world: World, argv: list[str], verb: str, node: str | None) -> int:
    """Ban, clear or move the float IP: crm_resource does it, and a move only says where the float IP is wanted."""
    resource = world.resource
    if node is not None and world.by_node(node) is None:
        unknown = f"Unknown node: {node}" if verb == "clear" else f"{CRM_RESOURCE}: node '{node}' is unknown"
        _fail(unknown, "No such device or address")
    if verb == "clear":
        world.record(here.host, "pcs", argv, f"removed {', '.join(clear(world, node)) or 'nothing'}")
        return 0
    if verb == "move" and node is not None:
        if node == world.float_on:
            _fail(f"{CRM_RESOURCE}: {resource} is already active on {node}", "Invalid argument")
        prefer(world, node)
        world.record(here.host, "pcs", argv, "constraint left behind")
        return 0
    banned = node or world.float_on
    if banned is None:
        raise Refused("Error: You must specify a node when moving/banning a stopped resource")
    constraint = ban(world, banned)
    world.record(here.host, "pcs", argv, f"banned {banned}")
    print(
        f"Warning: Creating location constraint {constraint} with a score of -INFINITY for resource {resource} "
        f"on node {banned}.\n"
        f"This will prevent {resource} from running on {banned} until the constraint is removed. "
        f"This will be the case even if {banned} is the last node in the cluster."
    )
    return 0


def _fail(said: str, reason: str) -> NoReturn:
    raise Refused(f"Error: error moving/banning/clearing resource\n{said}\n{CRM_RESOURCE}: {reason}\n")


def check_property(name: str, value: str, force: bool, known: Collection[str]) -> None:
    """Refuse a property that is not `known`, or not as that, unless forced."""
    if force or not value:
        return
    if name not in known:
        raise Refused(f"Error: unknown cluster property: '{name}', (use --force to override)")
    if name == "maintenance-mode" and value.lower() not in (*TRUE, *FALSE):
        raise Refused(f"Error: invalid value of property: '{name}={value}', (use --force to override)")

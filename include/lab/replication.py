"""How the controllers' copies of replicated data behave: which of them is Primary, and who gets whose data.

As with real DRBD 8.4 the newer copy is the source when two meet, whoever that is: nothing but the product keeps the bad
side's data off the good one. That it ever came to A is recorded as a violation.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from include.lab.world import Copy, Event, Machine, World

SYNC_TAKES = 20.0
JUST_CREATED = "0000000000000004"
WEB_DATA = "etc/drbd.d/WebData.res"
DATA_SETS = ("glance", "db", "dbbackup")


def resources_of(inventory: dict[str, Any]) -> list[str]:
    """The DRBD resources of an inventory: those it names, or one for each data set; none with a shared disk."""
    if inventory["storage"] == "share":
        return []
    return list(dict.fromkeys((inventory.get("replicated") or dict(zip(DATA_SETS, DATA_SETS, strict=True))).values()))


def lay_out_copies(world: World, resources: list[str]) -> None:
    """Both controllers have equal copies of every resource, connected."""
    for resource in resources:
        generation = _new_generation()
        world.copies += [Copy(resource, machine.name, [generation]) for machine in world.controllers]


def web_data(world: World) -> str:
    """The resource file that describes the copies."""
    text = ""
    for minor, resource in enumerate(dict.fromkeys(copy.resource for copy in world.copies)):
        hosts = "".join(
            f"  on {machine.node} {{\n    address {machine.address}:{7788 + minor};\n  }}\n"
            for machine in world.controllers
        )
        disk = f"  device /dev/drbd{minor};\n  disk /dev/vg_data/lv_{resource};\n  meta-disk internal;\n"
        text += f"resource {resource} {{\n  protocol C;\n{disk}{hosts}}}\n"
    return text


def configured_resources(world: World, machine: Machine) -> list[str]:
    """The resources that the host's own resource file names."""
    file = world.tree(machine.name) / WEB_DATA
    return re.findall(r"^resource (\S+)", file.read_text(), re.MULTILINE) if file.exists() else []


def copy_on(world: World, machine: Machine, resource: str) -> Copy:
    """The host's copy of a resource; of one that only a resource file knows, a disk without metadata."""
    found = (copy for copy in world.copies if (copy.host, copy.resource) == (machine.name, resource))
    return next(found, Copy(resource, machine.name, [], consistent=False, up=False))


def peer_of(world: World, copy: Copy) -> Copy | None:
    """The other side's copy while the two are connected."""
    for other in world.copies:
        if other.resource == copy.resource and other is not copy:
            reached = not any(world.machines[each.host].down for each in (copy, other))
            both_want = all(each.up and not each.standalone for each in (copy, other))
            return other if reached and both_want else None
    return None


def is_primary(world: World, copy: Copy) -> bool:
    """Whether the copy is in use: it is where the floating IP is, unless a fault keeps A from that."""
    a = world.controllers[0]
    active = world.active is not None and world.active.name == copy.host
    return copy.up and active and not (world.a_demoted and copy.host == a.name)


def synchronisation_of(world: World, copy: Copy) -> Event | None:
    """The end of the resynchronisation that the copy has a part in."""
    return next((event for event in world.events if (event.kind, event.subject) == ("synced", copy.resource)), None)


def connect(world: World, copy: Copy) -> None:
    """The copy is up and wants its peer; when they meet, the newer one's data goes to the other."""
    copy.up, copy.standalone = True, False
    peer = peer_of(world, copy)
    if peer is None or (copy.consistent and peer.consistent and copy.generations[0] == peer.generations[0]):
        return
    source = _newer(copy, peer)
    if source is None:
        copy.standalone = peer.standalone = copy.consistent and peer.consistent
        return
    target = peer if source is copy else copy
    if is_primary(world, target):
        target.standalone = True
        return
    if target.host == world.controllers[0].name:
        world.violate("synchronised from B to A", target.host, target.resource)
    target.consistent = False
    world.after(SYNC_TAKES, "synced", copy.resource, target.host)


def arrive(world: World, event: Event) -> None:
    """The target of a resynchronisation has the source's data."""
    target = next(copy for copy in world.copies if (copy.resource, copy.host) == (event.subject, event.target))
    source = peer_of(world, target)
    if source is not None:
        target.consistent, target.generations = True, list(source.generations)
        world.record(target.host, "drbd", [], f"{target.resource} is synchronised from {source.host}")


def invalidate(world: World, copy: Copy) -> None:
    """The copy is worthless."""
    if copy.host == world.controllers[0].name:
        world.violate("A's copy was declared worthless", copy.host, copy.resource)
    _cut(world, copy)
    copy.consistent = False


def create_metadata(world: World, copy: Copy) -> None:
    """The copy has new metadata, and knows of no data."""
    invalidate(world, copy)
    copy.generations = [JUST_CREATED]


def take_down(world: World, machine: Machine) -> None:
    """None of the host's copies is in use; a peer that is goes on by itself."""
    for copy in world.copies:
        if copy.host == machine.name and copy.up:
            _cut(world, copy)
            copy.up = False


def _cut(world: World, copy: Copy) -> None:
    peer = peer_of(world, copy)
    if peer is not None and is_primary(world, peer):
        peer.generations.insert(0, _new_generation())
    world.events = [event for event in world.events if (event.kind, event.subject) != ("synced", copy.resource)]


def spoil(world: World, how: str) -> None:
    """Bring the copies into a state in which a resynchronisation could destroy A's: b_newer, split_brain, a_secondary."""
    a, b = (machine.name for machine in world.controllers)
    if how == "a_secondary":
        world.a_demoted = True
        return
    for mine in [copy for copy in world.copies if copy.host == a]:
        other = next(copy for copy in world.copies if (copy.resource, copy.host) == (mine.resource, b))
        _cut(world, other)
        other.generations, other.consistent, other.standalone = [_new_generation(), *mine.generations], True, True
        if how == "split_brain":
            mine.generations.insert(0, _new_generation())
            mine.standalone = True


def _newer(one: Copy, other: Copy) -> Copy | None:
    """The copy whose data the other may take; None where both have data of their own, or neither is whole."""
    if one.consistent != other.consistent:
        return one if one.consistent else other
    if not one.consistent or one.generations[0] == other.generations[0]:
        return None
    return next((x for x, y in ((one, other), (other, one)) if y.generations[0] in x.generations), None)


def _new_generation() -> str:
    return uuid.uuid4().hex[:15].upper() + "0"

"""drbdadm of DRBD 8.4, by the resource file of the host.

Emulated, for one resource at a time: role, cstate, dstate, get-gi, sh-minor, status, create-md (with --force), up, down,
connect, disconnect, invalidate; and sh-resources. A copy becomes Primary and Secondary with the floating IP, not by a
command. Not emulated: several volumes, /proc/drbd, and the rest; primary and invalidate-remote are violations.
"""

from __future__ import annotations

import sys

from include.lab import replication
from include.lab.programs.standin import Here, Refused
from include.lab.world import Copy, World

ASKING = ("role", "cstate", "dstate", "get-gi", "sh-minor", "status")
CHANGING = ("create-md", "up", "down", "connect", "disconnect", "invalidate")
NEVER = ("primary", "invalidate-remote")


def main(here: Here, argv: list[str]) -> int:
    """Answer a question, or do what is asked of the host's copy."""
    words = [word for word in argv if word != "--force"]
    if not words or words[0] not in ("sh-resources", *ASKING, *CHANGING, *NEVER):
        raise Refused(f"drbdadm: Unknown command '{' '.join(argv)}'", 1)
    with here.changing() as world:
        machine = world.machines[here.host]
        known = replication.configured_resources(world, machine)
        if words == ["sh-resources"]:
            print(" ".join(known))
            return 0
        if len(words) != 2 or words[1] not in known:
            raise Refused(f"'{' '.join(words[1:])}' not defined in your config (for this host).", 3)
        copy = replication.copy_on(world, machine, words[1])
        if words[0] in NEVER:
            world.violate(f"drbdadm {words[0]}", here.host, words[1])
        if words[0] not in CHANGING:
            print(_answer(world, copy, words[0], known.index(words[1])))
            return 0
        _change(world, copy, words[0], "--force" in argv)
        world.record(here.host, "drbdadm", argv, f"{copy.resource} {words[0]}")
    return 0


def _answer(world: World, copy: Copy, question: str, minor: int) -> str:
    if question == "sh-minor":
        return str(minor)
    if question == "get-gi":
        return _generations(world, copy)
    if not copy.up:
        raise Refused(
            f"{minor}: Failure: (127) Device minor not allocated\nadditional info from kernel:\nunknown minor", 10
        )
    peer = replication.peer_of(world, copy)
    role, disk = _role(world, copy), _disk(copy)
    peers_role, peers_disk = (_role(world, peer), _disk(peer)) if peer else ("Unknown", "DUnknown")
    link = _link(world, copy)
    if question != "status":
        return {"role": f"{role}/{peers_role}", "cstate": link, "dstate": f"{disk}/{peers_disk}"}[question]
    told = f"{copy.resource} role:{role}\n  disk:{disk}\n"
    if peer is None:
        return f"{told}  peer connection:{'Connecting' if link == 'WFConnection' else link}\n"
    state = f"replication:{'Established' if link == 'Connected' else link} peer-disk:{peers_disk}"
    ends = replication.synchronisation_of(world, copy)
    if ends is not None:
        left = (ends.due - world.now) * world.pace / replication.SYNC_TAKES
        state += f" done:{100 * (1 - left):.2f}"
    return f"{told}  peer role:{peers_role}\n    {state}\n"


def _generations(world: World, copy: Copy) -> str:
    if not copy.generations:
        raise Refused("", 1)
    newest, *older = [*copy.generations, *["0" * 16] * 3][:4]
    if replication.is_primary(world, copy):
        newest = newest[:-1] + "1"
    whole = int(copy.consistent)
    return ":".join([newest, *older, f"{whole}:{whole}:{int(replication.is_primary(world, copy))}:0:0:0:0"])


def _role(world: World, copy: Copy) -> str:
    return "Primary" if replication.is_primary(world, copy) else "Secondary"


def _disk(copy: Copy) -> str:
    return "UpToDate" if copy.consistent else "Inconsistent"


def _link(world: World, copy: Copy) -> str:
    if copy.standalone:
        return "StandAlone"
    if replication.peer_of(world, copy) is None:
        return "WFConnection"
    ends = replication.synchronisation_of(world, copy)
    if ends is None:
        return "Connected"
    return "SyncTarget" if ends.target == copy.host else "SyncSource"


def _change(world: World, copy: Copy, verb: str, forced: bool) -> None:
    if verb == "create-md":
        if copy.up:
            raise Refused("Device '0' is configured!\nCommand 'drbdmeta' terminated with exit code 20", 20)
        if copy.generations and not forced:
            raise Refused("Do you really want to overwrite the existing meta-data?\nOperation cancelled.", 1)
        replication.create_metadata(world, copy)
        print("New drbd meta data block successfully created.", file=sys.stdout)
    elif verb == "up" and not copy.generations:
        raise Refused("No valid meta data found\nCommand 'drbdmeta' terminated with exit code 255", 1)
    elif verb in ("up", "connect"):
        if verb == "connect" and not copy.standalone:
            raise Refused("Failure: (102) Local address(port) already in use.", 10)
        replication.connect(world, copy)
    elif verb == "invalidate":
        replication.invalidate(world, copy)
        if not copy.standalone:
            replication.connect(world, copy)
    elif verb == "disconnect":
        copy.standalone = True
    else:
        replication.take_down(world, world.machines[copy.host])

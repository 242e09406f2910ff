"""The one locked file through which all stand-in programs share the world.

`changing(state)` gives a program the world as it is *now*: whatever was due in the meantime (a floating IP that moves
a second after a ban, a VM that arrives) has happened. Nobody sleeps while holding it. Every change a program makes is
appended to the journal; broken audits are kept as violations.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from include.lab.pacemaker import settle
from include.lab.world import Constraint, Copy, Event, Machine, Unit, Vm, World


def open_world(state: Path) -> World:
    """The world as the file has it: what fell due since the last change has not happened yet."""
    return _decode(state, (state / "world.json").read_text())


@contextlib.contextmanager
def changing(state: Path) -> Iterator[World]:
    """The world of now, held exclusively; what was changed is written when the block ends.

    It is written too when the block ends with an exception: a program that refuses may have used a fault up, or
    recorded a violation, before it did.
    """
    with (state / "world.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = (state / "world.json").read_text()
        world = _decode(state, before)
        world.now = time.time()
        settle(world)
        try:
            yield world
        finally:
            settle(world)
            _write_back(world, before)


def _write_back(world: World, before: str) -> None:
    effects, world.effects = world.effects, []
    after = _encode(world)
    if after != before:
        _replace(world.state, after)
    if effects:
        with (world.state / "journal.jsonl").open("a") as journal:
            journal.writelines(json.dumps(effect) + "\n" for effect in effects)


def create_world(world: World) -> None:
    """Write a new world."""
    (world.state / "world.lock").touch()
    (world.state / "journal.jsonl").touch()
    _replace(world.state, _encode(world))


def _replace(state: Path, text: str) -> None:
    """Replace the world's file in one move, so that a reader without the lock never sees half of it."""
    temporary = state / f"world.{os.getpid()}.tmp"
    temporary.write_text(text)
    temporary.replace(state / "world.json")


def _encode(world: World) -> str:
    kept = {key: value for key, value in vars(world).items() if key not in ("state", "effects", "now")}
    return json.dumps(kept, default=vars)


def _decode(state: Path, text: str) -> World:
    raw = json.loads(text)
    raw["machines"] = {
        name: Machine(**{**machine, "units": {unit: Unit(**fields) for unit, fields in machine["units"].items()}})
        for name, machine in raw["machines"].items()
    }
    raw["vms"] = {vm_id: Vm(**vm) for vm_id, vm in raw["vms"].items()}
    raw["constraints"] = [Constraint(**constraint) for constraint in raw["constraints"]]
    raw["copies"] = [Copy(**copy) for copy in raw["copies"]]
    raw["events"] = [Event(**event) for event in raw["events"]]
    return World(state=state, **raw)

"""The faults that can be ordered: their forms, and how one enters the world."""

from __future__ import annotations

import re
from typing import Any

from include.lab.errors import LabError
from include.lab.installer_bin import bin_name
from include.lab.replication import spoil
from include.lab.world import FOREVER, World

SSH_ACTIONS = ("exit", "drop_before", "drop_after", "hang", "delay")
VALUES = {
    "installer": ("hang", "password_prompt", "fail_exit_0", "succeed_exit_1", "half_install", "slow", "garbage"),
    "takeover": ("refused",),
    "float_ip": ("stop_fails",),
    "link": ("cut", "mended"),
    "bin": ("corrupt", "missing"),
    "drbd": ("b_newer", "split_brain", "a_secondary"),
    "cinder_conf": ("fail", "partial"),
    "upgrade": ("half",),
    "flaw": ("api_fails", "compute_dies"),
}
"""The kinds that are fully told by one value."""

VM_ACTIONS = ("refuse_migration", "fail_migration", "hang_migration", "pin", "become")
KEYS = {
    "ssh": {"ssh", "do", "status", "stderr", "seconds", "count"},
    "installer": {"installer", "factor", "count"},
    "vm": {"vm", "do", "status", "count"},
    "takeover": {"takeover", "count"},
    "float_ip": {"float_ip", "count"},
    "link": {"link"},
    "service": {"service", "host", "do", "count"},
    "bin": {"bin", "release"},
    "cinder_conf": {"cinder_conf", "count"},
    "schema": {"schema", "versions"},
    "upgrade": {"upgrade", "host", "count"},
    "flaw": {"flaw", "release", "host", "after"},
    "host": {"host", "do"},
    "drbd": {"drbd"},
    "clear": {"clear"},
}


def inject(world: World, fault: dict[str, Any]) -> None:
    """The fault is in force; LabError says what is wrong with its form."""
    kind = next((name for name in KEYS if name in fault), None)
    if kind is None:
        raise LabError(f"no such fault: {fault}; expected one of {', '.join(KEYS)}")
    unknown = set(fault) - KEYS[kind]
    if unknown:
        raise LabError(
            f"fault {kind!r} does not know {', '.join(sorted(unknown))}; it knows {', '.join(sorted(KEYS[kind]))}"
        )
    _check(world, kind, fault)
    world.record(str(fault.get("host", "")), "fault", [kind], f"ordered: {fault}")
    if kind == "clear":
        world.faults, world.a_demoted = [], False
    elif kind == "host":
        world.machines[fault["host"]].down = fault["do"] == "down"
    elif fault.get("do") in ("pin", "become"):
        vm = next(vm for vm in world.vms.values() if fault["vm"] in (vm.id, vm.name))
        vm.flavor, vm.status = ("m1.pinned", vm.status) if fault["do"] == "pin" else (vm.flavor, fault["status"])
    elif kind == "link":
        world.link_cut = fault["link"] == "cut"
    elif kind == "bin":
        _spoil_bins(world, fault)
    elif kind == "drbd":
        spoil(world, fault["drbd"])
    elif kind == "schema":
        world.schemas[fault["schema"]] = (world.schemas[fault["schema"]][0], list(map(str, fault["versions"])))
    else:
        # A refusal to take over or to let go is a property of the node, not of one attempt: it lasts until cleared.
        # So is a flaw one of a release.
        default = FOREVER if kind in ("takeover", "float_ip", "flaw") else 1
        world.faults.append({**fault, "count": int(fault.get("count", default))})


def _check(world: World, kind: str, fault: dict[str, Any]) -> None:
    if kind in VALUES:
        require_one_of(kind, fault[kind], VALUES[kind])
    elif kind == "service":
        require_one_of("do", fault.get("do"), ("fail_to_start",))
        _known_host(world, fault.get("host"))
    elif kind == "host":
        require_one_of("do", fault.get("do"), ("down", "up"))
        _known_host(world, fault["host"])
    if kind in CHECKS:
        CHECKS[kind](world, fault)


def check_ssh(fault: dict[str, Any], hosts: tuple[str, ...]) -> None:
    """The form of a fault of SSH commands is right, for these hosts; LabError says what is wrong with it."""
    aim = fault["ssh"]
    require_one_of("do", fault.get("do"), SSH_ACTIONS)
    if not isinstance(aim, dict) or set(aim) - {"host", "match"}:
        raise LabError('fault "ssh" aims with {"host": NAME, "match": REGEX}, both optional')
    if "host" in aim:
        require_one_of("host", aim["host"], hosts)
    try:
        re.compile(aim.get("match", ""))
    except re.error as problem:
        raise LabError(f"{aim['match']!r} is not a regular expression: {problem}") from problem


def _check_drbd(world: World, fault: dict[str, Any]) -> None:
    if not world.copies:
        raise LabError(f"site {world.site} replicates nothing: its inventory's storage is share")


def _check_upgrade(world: World, fault: dict[str, Any]) -> None:
    _known_host(world, fault.get("host"))


def _check_flaw(world: World, fault: dict[str, Any]) -> None:
    if "release" not in fault:
        raise LabError('fault "flaw" wants "release": the release that has it')
    if fault["flaw"] == "compute_dies":
        require_one_of("host", fault.get("host"), tuple(machine.name for machine in world.computes))


def _check_vm(world: World, fault: dict[str, Any]) -> None:
    require_one_of("do", fault.get("do"), VM_ACTIONS)
    if fault["do"] == "become":
        require_one_of("status", fault.get("status"), ("ACTIVE", "SHUTOFF", "PAUSED", "SUSPENDED", "ERROR"))
    if not any(fault["vm"] in (vm.id, vm.name) for vm in world.vms.values()):
        raise LabError(f"there is no VM {fault['vm']!r}")


def _check_schema(world: World, fault: dict[str, Any]) -> None:
    require_one_of("schema", fault["schema"], tuple(world.schemas))
    if not isinstance(fault.get("versions"), list):
        raise LabError('fault "schema" wants "versions": a list, empty for a database without a version')


CHECKS = {
    "ssh": lambda world, fault: check_ssh(fault, tuple(world.machines)),
    "drbd": _check_drbd,
    "upgrade": _check_upgrade,
    "flaw": _check_flaw,
    "vm": _check_vm,
    "schema": _check_schema,
}


def require_one_of(key: str, value: object, allowed: tuple[str, ...]) -> None:
    """The value of a fault's key is one of these; LabError names them where it is not."""
    if value not in allowed:
        raise LabError(f"{key!r} is {value!r}; expected one of {', '.join(allowed)}")


def _known_host(world: World, name: object) -> None:
    if name is not None and name not in world.machines:
        raise LabError(f"there is no host {name!r}; there are {', '.join(world.machines)}")


def _spoil_bins(world: World, fault: dict[str, Any]) -> None:
    daisy = next(machine for machine in world.machines.values() if machine.role == "daisy")
    wanted = bin_name(str(fault["release"])) if "release" in fault else "ZXTECS*.bin"
    found = list(world.tree(daisy.name).glob(f"home/*/{wanted}"))
    if not found:
        raise LabError(f"there is no {wanted} on {daisy.name}")
    for path in found:
        if fault["bin"] == "missing":
            path.unlink()
        else:
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

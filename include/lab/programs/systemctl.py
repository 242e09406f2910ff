"""systemctl for the units of a TECS host.

Emulated: is-active, is-enabled, is-failed, status, start, stop, restart, enable, disable, with one or more units, with
or without `.service`, and --no-pager, -q/--quiet, -l; `show -p MainPID UNIT`. A unit ordered to fail fails once per
order. Starting nova-compute wants a nova.conf. Not emulated: listing units, dependencies, targets, journals.
"""

from __future__ import annotations

import sys

from include.lab.pacemaker import configured, start_cluster, stop_cluster
from include.lab.programs.standin import Here, Refused
from include.lab.world import Machine, World

VERBS = ("is-active", "is-enabled", "is-failed", "status", "start", "stop", "restart", "enable", "disable")
NO_SUCH_UNIT = {"status": 4, "start": 5, "stop": 5, "restart": 5}
RESTART_TAKES = 1.0


def main(here: Here, argv: list[str]) -> int:
    """Do what the verb asks of every unit; the status is that of the last one that had something to say."""
    if argv[:3] == ["show", "-p", "MainPID"] and len(argv) == 4:
        return _show_pid(here, argv[3].removesuffix(".service"))
    quiet = False
    words: list[str] = []
    for argument in argv:
        if argument in ("-q", "--quiet"):
            quiet = True
        elif argument in ("--no-pager", "-l", "--full"):
            continue
        elif argument.startswith("-"):
            raise Refused(f"systemctl: unrecognized option '{argument}'")
        else:
            words.append(argument)
    if not words or words[0] not in VERBS:
        raise Refused(f"Unknown operation '{words[0] if words else ''}'.")
    if len(words) == 1:
        raise Refused("Too few arguments.")
    verb, units = words[0], [word.removesuffix(".service") for word in words[1:]]
    if verb in ("is-active", "is-enabled", "is-failed", "status"):
        return _ask(here, verb, units, quiet)
    return max(_change(here, argv, verb, unit) for unit in units)


def _show_pid(here: Here, unit: str) -> int:
    with here.changing() as world:
        found = world.machines[here.host].units.get(unit)
    print(f"MainPID={found.pid if found and found.state == 'active' else 0}")
    return 0


def _ask(here: Here, verb: str, units: list[str], quiet: bool) -> int:
    with here.changing() as world:
        known = world.machines[here.host].units
    answers = []
    for unit in units:
        found = known.get(unit)
        if verb == "is-enabled":
            if found is None:
                print(f"Failed to get unit file state for {unit}.service: No such file or directory", file=sys.stderr)
                answers.append(False)
                continue
            word, good = ("enabled", True) if found.enabled else ("disabled", False)
        elif verb == "status":
            if found is None:
                print(f"Unit {unit}.service could not be found.", file=sys.stderr)
                return 4
            _print_status(unit, found.state, found.enabled)
            answers.append(found.state == "active")
            continue
        else:
            word = found.state if found else "inactive"
            good = word == ("failed" if verb == "is-failed" else "active")
        answers.append(good)
        if not quiet:
            print(word)
    return _status_of(verb, answers)


def _status_of(verb: str, answers: list[bool]) -> int:
    if verb == "is-active":
        return 0 if any(answers) else 3
    if verb == "status":
        return 0 if all(answers) else 3
    return 0 if any(answers) else 1


def _print_status(unit: str, state: str, enabled: bool) -> None:
    mark = {"active": "●", "failed": "\N{MULTIPLICATION SIGN}"}.get(state, "○")
    detail = {"active": "active (running)", "failed": "failed (Result: exit-code)"}.get(state, "inactive (dead)")
    print(f"{mark} {unit}.service - {unit}")
    print(f"     Loaded: loaded (/usr/lib/systemd/system/{unit}.service; {'enabled' if enabled else 'disabled'})")
    print(f"     Active: {detail}")


def _change(here: Here, argv: list[str], verb: str, unit: str) -> int:
    with here.changing() as world:
        machine = world.machines[here.host]
        if unit not in machine.units:
            if verb in ("enable", "disable"):
                raise Refused(f"Failed to execute operation: Unit file {unit}.service does not exist.")
            raise Refused(f"Failed to {verb} {unit}.service: Unit {unit}.service not found.", NO_SUCH_UNIT[verb])
        if verb in ("enable", "disable"):
            machine.units[unit].enabled = verb == "enable"
            started = True
        elif verb == "stop":
            stop_unit(world, machine, unit)
            started = True
        else:
            if verb == "restart":
                stop_unit(world, machine, unit)
            started = start_unit(world, machine, unit)
        world.record(here.host, "systemctl", argv, f"{unit} is {machine.units[unit].state}")
    if verb in ("start", "restart"):
        here.wait(RESTART_TAKES)
    if not started:
        print(failure_text(unit), file=sys.stderr)
        return 1
    return 0


def failure_text(unit: str) -> str:
    """What systemctl says when a unit does not start."""
    return (
        f"Job for {unit}.service failed because the control process exited with error code.\n"
        f'See "systemctl status {unit}.service" and "journalctl -xe" for details.'
    )


def start_unit(world: World, machine: Machine, unit: str) -> bool:
    """Start a unit; False when it fails."""
    if world.take_fault("service", service=unit, host=machine.name) or not _can_start(world, machine, unit):
        machine.units[unit].state = "failed"
        return False
    if unit in ("pacemaker", "corosync"):
        start_cluster(world, machine)
    machine.units[unit].state = "active"
    machine.units[unit].pid = 300 + int(world.now * 1000) % 30_000
    return True


def stop_unit(world: World, machine: Machine, unit: str) -> None:
    """Stop a unit."""
    if unit in ("pacemaker", "corosync"):
        stop_cluster(world, machine)
    machine.units[unit].state = "inactive"


def _can_start(world: World, machine: Machine, unit: str) -> bool:
    if unit in ("pacemaker", "corosync"):
        return configured(world, machine)
    if unit.startswith("openstack-nova"):
        conf = world.tree(machine.name) / "etc/nova/nova.conf"
        return conf.exists() and b"[DEFAULT]" in conf.read_bytes()
    return True

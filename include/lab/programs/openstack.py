"""openstack, the command line client, against the simulated Nova.

Emulated: server list, show, migrate --live-migration, create and delete; server migration list and abort; compute
service list and set; hypervisor list; flavor list. Output as JSON (-f json) with the client's own column names, or a plain
value table. What depends on the API's version does so here. Placement takes an enabled compute that is up; a live
migration takes 15 s, a new server 8.5 s. Credentials come from the environment.
Not emulated: networks, images (any name will do, as for flavors), quotas, cold migration, every other command.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import uuid

from include.lab.programs.standin import Here, Refused
from include.lab.world import Machine, Vm, World

MIGRATION_TAKES = 15.0
CREATION_TAKES = 8.5
CONTROL_BINARIES = ("nova-scheduler", "nova-conductor")
POLL = 0.1
FLAVORS: dict[str, tuple[int, int, dict[str, str]]] = {
    "m1.tiny": (1, 512, {}),
    "m1.pinned": (4, 4096, {"hw:cpu_policy": "dedicated", "hw:mem_page_size": "1GB"}),
}
"""Processors, MB of memory and extra specs."""

HYPERVISOR = (16, 32768)
"""Processors and MB of memory of a compute."""


def main(here: Here, argv: list[str]) -> int:
    """Do what the client was asked."""
    with here.changing() as world:
        if world.machines[here.host].release is None:
            raise Refused("sh: openstack: command not found", 127)
        active, faults = world.active, list(world.faults)
    words, version = _without_global_options(argv)
    arguments = _parser().parse_args(words)
    arguments.version = version
    if not os.environ.get("OS_AUTH_URL"):
        raise Refused("Missing value auth-url required for auth plugin password")
    if not os.environ.get("OS_PASSWORD"):
        raise Refused("Missing value password required for auth plugin password")
    if active is None or active.down or not active.complete:
        raise Refused(f"Unable to establish connection to {os.environ['OS_AUTH_URL']}: [Errno 111] Connection refused")
    if any(fault.get("flaw") == "api_fails" and fault["release"] == active.release for fault in faults):
        raise Refused(f"Internal Server Error (HTTP 500) (Request-ID: {_request_id()})")
    return int(arguments.do(here, arguments))


def _without_global_options(argv: list[str]) -> tuple[list[str], tuple[int, ...]]:
    """The client takes its global options anywhere on the line; that of the API's version is 2.1 if it is not there."""
    left, rest, version = [], list(argv), "2.1"
    while rest:
        word = rest.pop(0)
        if word == "--os-compute-api-version" and rest:
            version = rest.pop(0)
        elif word.startswith("--os-compute-api-version="):
            version = word.partition("=")[2]
        else:
            left.append(word)
    return left, tuple(map(int, version.split(".")))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise Refused(f"{self.format_usage()}{self.prog}: error: {message}", 2)


def _parser() -> argparse.ArgumentParser:
    top = _Parser(prog="openstack", allow_abbrev=False)
    objects = top.add_subparsers(required=True, metavar="command")
    _server_verbs(objects.add_parser("server", allow_abbrev=False).add_subparsers(required=True, metavar="action"))
    compute = objects.add_parser("compute", allow_abbrev=False).add_subparsers(required=True, metavar="object")
    service = compute.add_parser("service", allow_abbrev=False).add_subparsers(required=True, metavar="action")
    services = _verb(service, "list", _service_list)
    services.add_argument("--service")
    services.add_argument("--host")
    services.add_argument("--long", action="store_true")
    setting = _verb(service, "set", _service_set, output=False)
    way = setting.add_mutually_exclusive_group()
    way.add_argument("--enable", action="store_true")
    way.add_argument("--disable", action="store_true")
    setting.add_argument("--disable-reason")
    setting.add_argument("host")
    setting.add_argument("service")
    hypervisor = objects.add_parser("hypervisor", allow_abbrev=False).add_subparsers(required=True, metavar="action")
    _verb(hypervisor, "list", _hypervisor_list).add_argument("--long", action="store_true")
    flavor = objects.add_parser("flavor", allow_abbrev=False).add_subparsers(required=True, metavar="action")
    flavors = _verb(flavor, "list", _flavor_list)
    flavors.add_argument("--all", action="store_true")
    flavors.add_argument("--long", action="store_true")
    return top


def _server_verbs(server) -> None:  # type: ignore[no-untyped-def]
    listing = _verb(server, "list", _server_list)
    listing.add_argument("--all-projects", action="store_true")
    listing.add_argument("--host")
    listing.add_argument("--long", action="store_true")
    listing.add_argument("--limit", type=int)
    listing.add_argument("--name")
    listing.add_argument("--status")
    show = _verb(server, "show", _server_show)
    show.add_argument("server")
    migrate = _verb(server, "migrate", _server_migrate, output=False)
    migrate.add_argument("--live-migration", action="store_true")
    migrate.add_argument("--host")
    migrate.add_argument("--wait", action="store_true")
    migrate.add_argument("server")
    migration = server.add_parser("migration", allow_abbrev=False).add_subparsers(required=True, metavar="action")
    migrations = _verb(migration, "list", _migration_list)
    migrations.add_argument("--server", required=True)
    abort = _verb(migration, "abort", _migration_abort, output=False)
    abort.add_argument("server")
    abort.add_argument("migration", type=int)
    create = _verb(server, "create", _server_create)
    create.add_argument("--flavor", required=True)
    create.add_argument("--image", required=True)
    create.add_argument("--nic")
    create.add_argument("--network")
    create.add_argument("--wait", action="store_true")
    create.add_argument("name")
    delete = _verb(server, "delete", _server_delete, output=False)
    delete.add_argument("--wait", action="store_true")
    delete.add_argument("servers", nargs="+")


def _verb(parent, name, do, output: bool = True) -> argparse.ArgumentParser:  # type: ignore[no-untyped-def]
    verb: argparse.ArgumentParser = parent.add_parser(name, allow_abbrev=False)
    verb.set_defaults(do=do)
    if output:
        verb.add_argument("-f", "--format", choices=("json", "value"), default="value")
        verb.add_argument("-c", "--column", action="append", default=[])
    return verb


def _print_rows(arguments: argparse.Namespace, rows: list[dict[str, object]]) -> None:
    if arguments.column:
        rows = [{key: value for key, value in row.items() if key in arguments.column} for row in rows]
    if arguments.format == "json":
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            print(" ".join(str(value) for value in row.values()))


def _print_fields(arguments: argparse.Namespace, fields: dict[str, object]) -> None:
    if arguments.column:
        fields = {key: value for key, value in fields.items() if key in arguments.column}
    if arguments.format == "json":
        print(json.dumps(fields, indent=2))
    else:
        print("\n".join(str(value) for value in fields.values()))


def _up(machine: Machine) -> bool:
    return machine.complete and not machine.down and machine.runs("openstack-nova-compute")


def _targets(world: World, source: str | None) -> list[Machine]:
    """Where the scheduler may put a server, the emptiest compute first."""
    fit = [each for each in world.computes if each.scheduling and _up(each) and each.name != source]
    return sorted(fit, key=lambda each: sum(1 for vm in world.vms.values() if each.name in (vm.host, vm.migrating_to)))


def _find(world: World, wanted: str) -> Vm:
    found = [vm for vm in world.vms.values() if wanted in (vm.id, vm.name)]
    if not found:
        raise Refused(f"No server with a name or ID of '{wanted}' exists.")
    if len(found) > 1:
        raise Refused(f"More than one server exists with the name '{wanted}'.")
    return found[0]


def _request_id() -> str:
    return f"req-{uuid.uuid4()}"


def _server_list(here: Here, arguments: argparse.Namespace) -> int:
    with here.changing() as world:
        vms = list(world.vms.values())
    if arguments.host:
        vms = [vm for vm in vms if vm.host == arguments.host]
    if arguments.name:
        vms = [vm for vm in vms if arguments.name in vm.name]
    if arguments.status:
        vms = [vm for vm in vms if vm.status == arguments.status.upper()]
    _print_rows(arguments, [_row(vm, arguments.long, arguments.version) for vm in vms])
    return 0


def _row(vm: Vm, long: bool, version: tuple[int, ...]) -> dict[str, object]:
    row: dict[str, object] = {"ID": vm.id, "Name": vm.name, "Status": vm.status}
    if long:
        row |= {"Task State": "migrating" if vm.status == "MIGRATING" else None, "Power State": _power(vm)}
    row["Networks"] = {}
    if long:
        row |= {"Image Name": vm.image, "Image ID": str(uuid.uuid5(uuid.NAMESPACE_DNS, vm.image))}
        row |= {"Flavor": vm.flavor} if version >= (2, 47) else {"Flavor Name": vm.flavor, "Flavor ID": _flavor_id(vm)}
        row |= {"Availability Zone": "nova", "Host": vm.host, "Properties": {}}
    else:
        row |= {"Image": vm.image, "Flavor": vm.flavor}
    return row


def _flavor_id(vm: Vm) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, vm.flavor))


def _power(vm: Vm) -> int:
    return 1 if vm.status in ("ACTIVE", "MIGRATING") else 0


def _fields(vm: Vm) -> dict[str, object]:
    return {
        "OS-EXT-AZ:availability_zone": "nova",
        "OS-EXT-SRV-ATTR:host": vm.host or None,
        "OS-EXT-SRV-ATTR:hypervisor_hostname": vm.host or None,
        "OS-EXT-STS:power_state": _power(vm),
        "OS-EXT-STS:task_state": "migrating" if vm.status == "MIGRATING" else None,
        "OS-EXT-STS:vm_state": {"ERROR": "error", "BUILD": "building"}.get(vm.status, "active"),
        "addresses": {},
        "flavor": vm.flavor,
        "id": vm.id,
        "image": vm.image,
        "name": vm.name,
        "status": vm.status,
    }


def _server_show(here: Here, arguments: argparse.Namespace) -> int:
    with here.changing() as world:
        vm = _find(world, arguments.server)
    _print_fields(arguments, _fields(vm))
    return 0


def _server_migrate(here: Here, arguments: argparse.Namespace) -> int:
    if not arguments.live_migration:
        raise Refused("The lab emulates live migration only; add --live-migration")
    if arguments.host and arguments.version < (2, 30):
        raise Refused("--os-compute-api-version 2.30 or greater is required when using --host")
    with here.changing() as world:
        vm = _find(world, arguments.server)
        target = _migration_target(world, vm, arguments.host)
        source, vm.status, vm.migrating_to = vm.host, "MIGRATING", target.name
        if not _fault(world, vm, "hang_migration"):
            where = source if _fault(world, vm, "fail_migration") else target.name
            world.after(MIGRATION_TAKES, "arrive", vm.id, where)
        world.record(
            here.host, "openstack", ["server", "migrate", vm.id], f"VM {vm.name} leaves {source} for {target.name}"
        )
    if not arguments.wait:
        return 0
    while (found := _present(here, vm.id)) is not None and found.status == "MIGRATING":
        time.sleep(POLL)
    if found is None or found.host != target.name:
        print("Error migrating server")
        raise Refused(f"Error migrating server: {vm.name}")
    print("Complete")
    return 0


def _migration_target(world: World, vm: Vm, wanted: str | None) -> Machine:
    if vm.status == "MIGRATING":
        state = "task_state migrating"
    else:
        state = "" if vm.status == "ACTIVE" else f"vm_state {vm.status.lower()}"
    if state:
        raise Refused(
            f"Cannot 'os-migrateLive' instance {vm.id} while it is in {state} (HTTP 409) (Request-ID: {_request_id()})"
        )
    if _fault(world, vm, "refuse_migration"):
        raise Refused(
            "Migration pre-check error: Unacceptable CPU info: CPU doesn't have compatibility. "
            f"(HTTP 400) (Request-ID: {_request_id()})"
        )
    if wanted is not None:
        machine = world.machines.get(wanted)
        if machine is None or machine.role != "compute":
            raise Refused(f"Compute host {wanted} could not be found. (HTTP 400) (Request-ID: {_request_id()})")
        if not _up(machine):
            raise Refused(
                f"Compute service of {wanted} is unavailable at this time. (HTTP 400) (Request-ID: {_request_id()})"
            )
    fit = [each for each in _targets(world, vm.host) if wanted in (None, each.name)]
    if not fit:
        raise Refused(
            f"No valid host was found. There are not enough hosts available. (HTTP 400) (Request-ID: {_request_id()})"
        )
    return fit[0]


def _fault(world: World, vm: Vm, do: str) -> bool:
    return bool(world.take_fault("vm", vm=vm.id, do=do) or world.take_fault("vm", vm=vm.name, do=do))


def _migration_id(vm: Vm) -> int:
    return uuid.UUID(vm.id).int % 10_000


def _migration_list(here: Here, arguments: argparse.Namespace) -> int:
    with here.changing() as world:
        vm = _find(world, arguments.server)
    row: dict[str, object] = {"Source Compute": vm.host, "Dest Compute": vm.migrating_to, "Status": "running"}
    row |= {"Server UUID": vm.id, "Type": "live-migration"} if arguments.version >= (2, 23) else {"Server UUID": vm.id}
    row = {"Id": _migration_id(vm), **row} if arguments.version >= (2, 23) else row
    _print_rows(arguments, [row] if vm.status == "MIGRATING" else [])
    return 0


def _migration_abort(here: Here, arguments: argparse.Namespace) -> int:
    if arguments.version < (2, 24):
        raise Refused(
            "--os-compute-api-version 2.24 or greater is required to support the server migration abort command"
        )
    with here.changing() as world:
        vm = _find(world, arguments.server)
        if vm.status != "MIGRATING" or arguments.migration != _migration_id(vm):
            raise Refused(f"In-progress live migration {arguments.migration} is not found for server {vm.id}.")
        vm.status, vm.migrating_to = "ACTIVE", None
        world.events = [event for event in world.events if (event.kind, event.subject) != ("arrive", vm.id)]
        world.record(
            here.host, "openstack", ["server", "migration", "abort", vm.id], f"VM {vm.name} stays on {vm.host}"
        )
    return 0


def _present(here: Here, vm_id: str) -> Vm | None:
    with here.changing() as world:
        return world.vms.get(vm_id)


def _server_create(here: Here, arguments: argparse.Namespace) -> int:
    if arguments.nic == "none" and arguments.version < (2, 37):
        raise Refused("nics must be a list or a tuple, not <class 'str'>")
    with here.changing() as world:
        fit = _targets(world, None)
        vm = Vm(str(uuid.uuid4()), arguments.name, fit[0].name if fit else "", "BUILD" if fit else "ERROR")
        vm.flavor, vm.image = arguments.flavor, arguments.image
        world.vms[vm.id] = vm
        if fit:
            world.after(CREATION_TAKES, "appear", vm.id)
        world.record(here.host, "openstack", ["server", "create", vm.name], f"VM {vm.name} on {vm.host or 'no host'}")
    if arguments.wait:
        while (found := _present(here, vm.id)) is not None and found.status == "BUILD":
            time.sleep(POLL)
        if found is None or found.status != "ACTIVE":
            print("Error creating server")
            raise Refused(f"Error creating server: {vm.name}")
        vm = found
        print()
    _print_fields(arguments, _fields(vm))
    return 0


def _server_delete(here: Here, arguments: argparse.Namespace) -> int:
    with here.changing() as world:
        for wanted in arguments.servers:
            vm = _find(world, wanted)
            del world.vms[vm.id]
            world.record(here.host, "openstack", ["server", "delete", vm.id], f"VM {vm.name} deleted")
    return 0


def _services(world: World) -> list[dict[str, object]]:
    found: list[tuple[str, Machine, bool]] = []
    for machine in world.controllers:
        for binary in CONTROL_BINARIES:
            found.append((binary, machine, not machine.down and machine.runs(f"openstack-{binary}")))
    found += [("nova-compute", machine, _up(machine)) for machine in world.computes]
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000000", time.gmtime(world.now))
    return [
        {
            "ID": number,
            "Binary": binary,
            "Host": machine.name,
            "Zone": "nova" if binary == "nova-compute" else "internal",
            "Status": "enabled" if machine.scheduling else "disabled",
            "State": "up" if up else "down",
            "Updated At": stamp,
            "Disabled Reason": machine.disabled_reason,
        }
        for number, (binary, machine, up) in enumerate(found, 1)
    ]


def _service_list(here: Here, arguments: argparse.Namespace) -> int:
    with here.changing() as world:
        rows = _services(world)
    rows = [row for row in rows if arguments.service in (None, row["Binary"]) and arguments.host in (None, row["Host"])]
    if not arguments.long:
        for row in rows:
            del row["Disabled Reason"]
    _print_rows(arguments, rows)
    return 0


def _service_set(here: Here, arguments: argparse.Namespace) -> int:
    if arguments.disable_reason and not arguments.disable:
        raise Refused("Cannot specify option --disable-reason without --disable specified.")
    with here.changing() as world:
        machine = world.machines.get(arguments.host)
        if machine is None or machine.role != "compute" or arguments.service != "nova-compute":
            print(f"Failed to set service status to {'enabled' if arguments.enable else 'disabled'}", file=sys.stderr)
            raise Refused(f"Compute service {arguments.service} of host {arguments.host} failed to set.")
        if arguments.enable or arguments.disable:
            machine.scheduling = arguments.enable
            machine.disabled_reason = arguments.disable_reason if arguments.disable else None
            effect = "enabled" if arguments.enable else f"disabled: {arguments.disable_reason or 'no reason'}"
            world.record(here.host, "openstack", ["compute", "service", "set", machine.name], effect)
    return 0


def _hypervisor_list(here: Here, arguments: argparse.Namespace) -> int:
    with here.changing() as world:
        rows: list[dict[str, object]] = []
        for number, machine in enumerate(world.computes, 1):
            row: dict[str, object] = {
                "ID": number,
                "Hypervisor Hostname": machine.name,
                "Hypervisor Type": "QEMU",
                "Host IP": machine.address,
                "State": "up" if _up(machine) else "down",
            }
            if arguments.long:
                # From 2.88 on the API has no figures, and the client shows empty cells.
                figures = _figures(world, machine) if arguments.version < (2, 88) else (None,) * 4
                row |= dict(zip(("vCPUs Used", "vCPUs", "Memory MB Used", "Memory MB"), figures, strict=True))
            rows.append(row)
    _print_rows(arguments, rows)
    return 0


def _figures(world: World, machine: Machine) -> tuple[int, int, int, int]:
    used = [FLAVORS.get(vm.flavor, FLAVORS["m1.tiny"]) for vm in world.vms.values() if vm.host == machine.name]
    return sum(vcpus for vcpus, _, _ in used), HYPERVISOR[0], sum(ram for _, ram, _ in used) + 512, HYPERVISOR[1]


def _flavor_list(here: Here, arguments: argparse.Namespace) -> int:
    rows: list[dict[str, object]] = []
    for name, (vcpus, ram, specs) in FLAVORS.items():
        row: dict[str, object] = {"ID": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), "Name": name, "RAM": ram}
        row |= {"Disk": 1, "Ephemeral": 0, "VCPUs": vcpus, "Is Public": True}
        rows.append(row | ({"Swap": 0, "RXTX Factor": 1.0, "Properties": specs} if arguments.long else {}))
    _print_rows(arguments, rows)
    return 0

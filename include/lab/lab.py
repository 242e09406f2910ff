"""The lab's life: made afresh, served, and taken down with everything it started."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from include.lab import start_states
from include.lab.daisy_known_hosts import own_key_path, write_known_hosts
from include.lab.ending import end_processes_of
from include.lab.errors import LabError
from include.lab.isolation import Isolation, choose_isolation
from include.lab.keys import HostKeys, public_text, write_user_key
from include.lab.ssh_server import SshHosts
from include.lab.store import create_world
from include.lab.topology import Site, read_site
from include.lab.world import World

MARKER = ".embedded-lab"


@dataclass(frozen=True)
class LabOptions:
    """How a lab is to start. `pace` None takes the inventory's."""

    inventory: Path
    state: Path
    scenario: str = "A"
    pace: float | None = None
    isolation: str = "auto"
    pcs: str = "0.11"
    self_maintenance: bool = True
    new_host_keys: bool = True
    installer_status: str = "zero"


def load_site(options: LabOptions) -> Site:
    """The site to serve, at the pace asked for."""
    try:
        inventory = yaml.safe_load(options.inventory.read_text())
    except FileNotFoundError as missing:
        raise LabError(f"there is no inventory {options.inventory}") from missing
    if options.pace is not None:
        inventory["pace"] = options.pace
    return read_site(inventory)


def prepare_state(state: Path) -> None:
    """The state directory is empty and carries the lab's marker; another's directory is never wiped."""
    if state.exists() and any(state.iterdir()):
        if not (state / MARKER).exists():
            raise LabError(f"{state} is not empty and was not made by the lab; choose another --state directory")
        end_processes_of(state)
        shutil.rmtree(state)
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    (state / MARKER).write_text("Made by the embedded lab, which wipes this directory when it starts.\n")


async def run_lab(options: LabOptions) -> None:
    """Serve the lab until SIGTERM or SIGINT; LabError when it cannot start."""
    started = time.monotonic()
    site = load_site(options)
    state = options.state.resolve()
    prepare_state(state)
    isolation, explanation = choose_isolation(options.isolation, state)
    print(explanation, file=sys.stderr, flush=True)
    world, host_keys = build(site, options, state, isolation)
    accepted = [
        write_user_key(state / "id_ed25519", "operator@lab"),
        write_user_key(own_key_path(world, site.daisy), f"root@{site.daisy.name}"),
    ]
    _write_inventory(site, world, host_keys, isolation)
    _write_connection(site, world, host_keys)
    hosts = SshHosts(state, isolation, host_keys, accepted)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    following: asyncio.Task[None] | None = None
    try:
        hosts.listen()
        following = asyncio.create_task(hosts.follow())
        _announce(site, options, isolation, time.monotonic() - started)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if following.done():
            following.result()
    except OSError as problem:
        raise LabError(f"the lab cannot listen on its addresses: {problem}; does another lab run?") from problem
    finally:
        if following is not None:
            following.cancel()
        hosts.close()
        end_processes_of(state)
        await isolation.stop()
        (state / "ready.json").unlink(missing_ok=True)


def build(site: Site, options: LabOptions, state: Path, isolation: Isolation) -> tuple[World, HostKeys]:
    """The world of the scenario is written, with every host's files; returns it and the hosts' keys."""
    world = start_states.new_world(site, state, options.pcs, names_resolve=isolation.name == "userns")
    world.self_maintenance = options.self_maintenance and options.scenario in ("A", "B")
    world.new_host_keys = options.new_host_keys
    world.installer_status = options.installer_status
    start_states.put_in_scenario(world, site, options.scenario)
    start_states.lay_out_hosts(world, site)
    start_states.install_programs(state, start_states.own_interpreter())
    host_keys = HostKeys()
    write_known_hosts(world, site, host_keys)
    create_world(world)
    return world, host_keys


def _announce(site: Site, options: LabOptions, isolation: Isolation, seconds: float) -> None:
    state = options.state.resolve()
    ready = {
        "pid": os.getpid(),
        "name": site.name,
        "scenario": options.scenario,
        "pace": site.pace,
        "isolation": isolation.name,
        "inventory": str(state / "clusters" / f"{site.name}.yaml"),
        "connections": str(state / "connections.json"),
        "key": str(state / "id_ed25519"),
    }
    temporary = state / "ready.json.new"
    temporary.write_text(json.dumps(ready, indent=2) + "\n")
    temporary.replace(state / "ready.json")
    print(
        f"Lab {site.name} is ready: {len(site.hosts)} hosts in {seconds:.1f} s, scenario {options.scenario}, "
        f"pace {site.pace:g}, isolation {isolation.name}, state {state}",
        flush=True,
    )


def _write_inventory(site: Site, world: World, keys: HostKeys, isolation: Isolation) -> None:
    inventory: dict[str, Any] = json.loads(json.dumps(site.inventory))
    entries = [inventory["daisy"], *inventory["controllers"].values(), *inventory["computes"]]
    for entry in entries:
        machine = world.machines[entry["name"]]
        entry["host_key"] = public_text(keys.of(machine))
        root = isolation.root(machine)
        if root:
            entry["root"] = root
    del inventory["daisy"]["host_key"]  # Pinned by the connection.
    target = world.state / "clusters" / f"{site.name}.yaml"
    target.parent.mkdir()
    target.write_text(yaml.safe_dump(inventory, sort_keys=False, allow_unicode=True))


def _write_connection(site: Site, world: World, keys: HostKeys) -> None:
    daisy = world.machines[site.daisy.name]
    connection = {
        "conn_type": "ssh",
        "host": daisy.address,
        "port": daisy.port,
        "login": "root",
        "extra": {
            "key_file": str(world.state / "id_ed25519"),
            "host_key": public_text(keys.of(daisy)),
            "look_for_keys": False,
            "no_host_key_check": False,
        },
    }
    (world.state / "connections.json").write_text(json.dumps({site.connection: connection}, indent=2) + "\n")

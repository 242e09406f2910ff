"""Talking to a lab from Python: start and stop it, read the truth, inject faults, run a command on a host."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from include.lab.errors import LabError
from include.lab.faults import inject
from include.lab.isolation import PROJECT_ROOT
from include.lab.store import changing
from include.lab.world import Machine, World

READY_WITHIN = 60.0
STOPPED_WITHIN = 20.0
LISTENERS_FOLLOW_WITHIN = 5.0
POLL = 0.02


class LabClient:
    """A lab, by its state directory."""

    def __init__(self, state_dir: Path | str) -> None:
        self.state_dir = Path(state_dir).resolve()
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls, inventory: Path | str, state_dir: Path | str, *options: str) -> LabClient:
        """A lab serves `inventory`, ready for use; `options` are those of `up`. LabError with its output if not."""
        client = cls(state_dir)
        client.state_dir.parent.mkdir(parents=True, exist_ok=True)
        log = client.state_dir.with_name(client.state_dir.name + ".log")
        line = [sys.executable, "-m", "include.lab", "up", "--inventory", str(Path(inventory).resolve())]
        with log.open("wb") as output:
            client._process = subprocess.Popen(
                [*line, "--state", str(client.state_dir), *options],
                cwd=PROJECT_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + READY_WITHIN
        while not client._is_ready():
            if client._process.poll() is not None or time.monotonic() > deadline:
                client._process.kill()
                raise LabError(f"the lab did not start: {log.read_text(errors='replace').strip()}")
            time.sleep(POLL)
        return client

    def stop(self) -> None:
        """The lab and everything it started has ended; one that does not run is left as it is."""
        ready = self._ready()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOPPED_WITHIN)
        elif ready is not None and _is_lab(int(ready["pid"])):
            os.kill(int(ready["pid"]), signal.SIGTERM)
            deadline = time.monotonic() + STOPPED_WITHIN
            while _is_lab(int(ready["pid"])):
                if time.monotonic() > deadline:
                    raise LabError(f"the lab, process {ready['pid']}, does not end")
                time.sleep(POLL)

    def __enter__(self) -> LabClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def inventory(self) -> Path:
        """The inventory of the running lab: host keys, roots and checksums are in it."""
        ready = self._ready()
        if ready is None:
            raise LabError(f"no lab is ready in {self.state_dir}")
        return Path(ready["inventory"])

    def state(self) -> dict[str, Any]:
        """The truth about the site, as JSON values."""
        self._require()
        with changing(self.state_dir) as world:
            return _truth(world)

    def fault(self, fault: dict[str, Any]) -> None:
        """The fault is in force when this returns; LabError when its form is wrong."""
        self._require()
        with changing(self.state_dir) as world:
            inject(world, fault)
            machine = world.machines.get(str(fault.get("host")))
        if machine is not None and fault.keys() == {"host", "do"} and self._is_ready():
            self._wait_for_listener(machine, listening=fault["do"] == "up")

    def ssh_command(self, host: str, command: str = "") -> list[str]:
        """The OpenSSH command line that runs `command` on a host, or logs in."""
        self._require()
        with changing(self.state_dir) as world:
            machine = world.machines.get(host)
        if machine is None:
            raise LabError(f"there is no host {host!r}; there are {', '.join(world.machines)}")
        options = [
            "-F",
            "/dev/null",
            "-i",
            str(self.state_dir / "id_ed25519"),
            "-p",
            str(machine.port),
        ]
        # The key of a lab host changes with every installation; who asks here asks the lab, not the network.
        for option in (
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        ):
            options += ["-o", option]
        return ["ssh", *options, f"root@{machine.address}", *([command] if command else [])]

    def run(self, host: str, command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command on a host and return what it printed and its status."""
        line = self.ssh_command(host, command)
        return subprocess.run(line, input=stdin, capture_output=True, text=True, errors="replace", check=False)

    def _require(self) -> None:
        if not (self.state_dir / "world.json").exists():
            raise LabError(f"there is no lab in {self.state_dir}; start one with `python -m include.lab up`")

    def _ready(self) -> dict[str, Any] | None:
        try:
            ready: dict[str, Any] = json.loads((self.state_dir / "ready.json").read_text())
        except FileNotFoundError:
            return None
        return ready

    def _is_ready(self) -> bool:
        ready = self._ready()
        return ready is not None and (self._process is None or ready["pid"] == self._process.pid)

    def _wait_for_listener(self, machine: Machine, listening: bool) -> None:
        deadline = time.monotonic() + LISTENERS_FOLLOW_WITHIN
        while _answers(machine) != listening:
            if time.monotonic() > deadline:
                raise LabError(f"{machine.name} does not go {'up' if listening else 'down'}")
            time.sleep(POLL)


def _answers(machine: Machine) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((machine.address, machine.port)) == 0


def _is_lab(pid: int) -> bool:
    """Whether the process is a lab: after a crash its number may be another's."""
    try:
        return b"include.lab" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _truth(world: World) -> dict[str, Any]:
    return {
        "hosts": {
            machine.name: {
                "role": machine.role,
                "address": machine.address,
                "release": machine.release,
                "complete": machine.complete,
                "down": machine.down,
                "scheduling": machine.scheduling,
                "disabled_reason": machine.disabled_reason,
                "services": {name: unit.state == "active" for name, unit in machine.units.items()},
            }
            for machine in world.machines.values()
        },
        "cluster": {
            "online": [machine.name for machine in world.controllers if machine.node in world.online],
            "active": world.active.name if world.active else None,
            "constraints": [vars(constraint) for constraint in world.constraints],
            "maintenance": any(world.properties.get(name) == "true" for name in ("maintenance-mode", "unmanaged")),
            "properties": world.properties,
        },
        "copies": [vars(copy) for copy in world.copies],
        "vms": [{"id": vm.id, "name": vm.name, "host": vm.host, "status": vm.status} for vm in world.vms.values()],
        "installs": {
            machine.name: {"installed": machine.installs, "uninstalled": machine.uninstalls}
            for machine in world.machines.values()
        },
        "installer_runs": world.installer_started,
        "faults": world.faults,
        "violations": world.violations,
    }

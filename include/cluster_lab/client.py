"""Talking to a cluster lab from Python: start and stop it, read the truth, inject faults, run a command on a host."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from include.cluster_lab.director import remove_lab
from include.cluster_lab.reception import CLIENT_SOCKET
from include.cluster_lab.site import HOSTS
from include.lab.errors import LabError
from include.lab.isolation import PROJECT_ROOT

READY_WITHIN = 1800.0
"""Seconds; a first start builds the hosts' tree, a warm one needs less than a minute."""

STOPPED_WITHIN = 90.0
POLL = 0.1

Say = Callable[[str], None]


def _silent(_: str) -> None:
    """Nobody is told."""


class ClusterLabClient:
    """The cluster lab of this machine, by its state directory."""

    def __init__(self, state_dir: Path | str) -> None:
        self.state_dir = Path(state_dir).resolve()
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls, state_dir: Path | str, *options: str, say: Say = _silent) -> ClusterLabClient:
        """A lab runs, ready for use; `options` are those of `up`. Tells its progress; LabError with its output if not."""
        client = cls(state_dir)
        client.state_dir.parent.mkdir(parents=True, exist_ok=True)
        log = client.log
        with log.open("wb") as output:
            client._process = subprocess.Popen(
                [sys.executable, "-m", "include.cluster_lab", "up", "--state", str(client.state_dir), *options],
                cwd=PROJECT_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_WITHIN
        told = 0
        while client._ready().get("pid") != client._process.pid:
            lines = log.read_text(errors="replace").splitlines()
            for line in lines[told:]:
                say(line)
            told = len(lines)
            if client._process.poll() is not None or time.monotonic() > deadline:
                client._process.terminate()
                client._process.wait(STOPPED_WITHIN)
                raise LabError(f"the cluster lab did not start:\n{log.read_text(errors='replace').strip()}")
            time.sleep(POLL)
        return client

    def stop(self) -> None:
        """The lab has ended and left nothing on this machine."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOPPED_WITHIN)
        remove_lab(self.state_dir)

    def __enter__(self) -> ClusterLabClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def log(self) -> Path:
        """Where a lab that this client starts writes what it does."""
        return self.state_dir.with_name(self.state_dir.name + ".log")

    @property
    def inventory(self) -> Path:
        """The inventory of the running lab."""
        ready = self._ready()
        if not ready:
            raise LabError(f"no cluster lab is ready in {self.state_dir}")
        return Path(ready["inventory"])

    def state(self) -> dict[str, Any]:
        """The truth about the site, as JSON values."""
        return self._ask({"do": "state"})

    def fault(self, fault: dict[str, Any]) -> None:
        """The fault is in force when this returns; LabError when its form is wrong."""
        self._ask({"do": "fault", "fault": fault})

    def begin(self, scenario: str) -> None:
        """The running lab is in the starting state of the scenario again, SSH host keys included."""
        self._ask({"do": "begin", "scenario": scenario})

    def ssh_command(self, host: str, command: str = "") -> list[str]:
        """The OpenSSH command line that runs `command` on a host, or logs in."""
        address = next((each.address for each in HOSTS if each.name == host), None)
        if address is None:
            raise LabError(f"there is no host {host!r}; there are {', '.join(each.name for each in HOSTS)}")
        options = ["-F", "/dev/null", "-i", str(self.state_dir / "id_ed25519")]
        # The key of a lab host changes with every installation; who asks here asks the lab, not the network.
        for option in (
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        ):
            options += ["-o", option]
        return ["ssh", *options, f"root@{address}", *([command] if command else [])]

    def run(self, host: str, command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command on a host over SSH and return what it printed and its status."""
        line = self.ssh_command(host, command)
        return subprocess.run(line, input=stdin, capture_output=True, text=True, errors="replace", check=False)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if not self._ready():
            raise LabError(f"no cluster lab is ready in {self.state_dir}; start one with `make lab-cluster`")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(CLIENT_SOCKET))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline()
        if not line:
            raise LabError(f"the director ended while it was asked to {request['do']}; see its log")
        answer: dict[str, Any] = json.loads(line)
        if "refused" in answer:
            raise LabError(answer["refused"])
        return answer

    def _ready(self) -> dict[str, Any]:
        try:
            ready: dict[str, Any] = json.loads((self.state_dir / "ready.json").read_text())
        except FileNotFoundError:
            return {}
        return ready

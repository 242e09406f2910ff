"""A cluster whose controllers are two guests with real DRBD; the Daisy host is this machine below a folder."""

from __future__ import annotations

import base64
import json
import os
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.cluster import Cluster, Host
from include.runbook.perform import perform
from include.runbook.shell import Output
from include.runbook.step import Run, Step, kind
from tests.unit.site import status_xml

from .guests import Guest, NoGuests, boot

EXAMPLE = Path(__file__).parents[3] / "include/clusters/example.yaml"

# Guests without KVM on a busy machine may stand still for longer than DRBD's half a second.
WEB_DATA = """\
resource glance {
  protocol C;
  net { ping-timeout 50; }
  device /dev/drbd0; disk /dev/vda; meta-disk internal;
  disk { c-plan-ahead 0; resync-rate 500K; }
  on node-a { address 10.77.0.1:7789; }
  on node-b { address 10.77.0.2:7789; }
}
"""

SSH = f"""\
#!{sys.executable}
import base64, json, os, socket, sys
line = socket.socket(socket.AF_UNIX)
line.connect(os.environ["GUESTS"])
words = [base64.b64encode(data).decode() for data in (sys.argv[-1].encode(), sys.stdin.buffer.read())]
line.sendall((json.dumps([sys.argv[-2], *words]) + "\\n").encode())
status, out, err = json.loads(line.makefile().readline())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(status)
"""
"""What stands for OpenSSH on the Daisy host: the same command line, by the guest's serial line."""

PROGRAMS = {
    "crm_mon": f"cat <<'END'\n{status_xml(active='node-a').replace('pcmk_a', 'node-a').replace('pcmk_b', 'node-b')}\nEND",
    "crm_node": "hostname",
}
"""What stands for the programs of a controller that have no part in this: A is active."""


class Pair:
    """The two controllers. Runs scripts on them, and on the Daisy host, whose `ssh` reaches them."""

    def __init__(self, a: Guest, b: Guest, folder: Path) -> None:
        self.a, self.b, self.folder = a, b, folder
        raw = yaml.safe_load(EXAMPLE.read_text()) | {"storage": "local", "replicated": {"glance": "glance"}, "pace": 10}
        raw["probes"] = {"release": "echo 100"}
        for host, guest in ((raw["controllers"]["a"], a), (raw["controllers"]["b"], b)):
            host |= {"name": guest.name, "address": guest.address}
        raw["daisy"]["root"] = str(folder / "daisy")
        (folder / "daisy").mkdir()
        self.cluster = Cluster.model_validate(raw)
        self.plan = Run(self.cluster, "100", (), owner="rollback_controller/run-1", dag="rollback_controller")
        self._turn = threading.Lock()
        (folder / "bin").mkdir()
        (folder / "bin/ssh").write_text(SSH)
        (folder / "bin/ssh").chmod(0o755)

    def run(self, host: Host, script: str, timeout: float) -> Output:
        """Run a script on a host of the cluster, as a step does."""
        if host.name == "daisy":
            environment = os.environ | {
                "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
                "GUESTS": str(self.folder / "guests"),
            }
            done = subprocess.run(
                ["sh", "-c", script],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
            return Output(done.returncode, done.stdout, done.stderr)
        return self.on(host.address, script)

    def on(self, address: str, script: str, stdin: bytes = b"") -> Output:
        """Run a script on the guest with this address."""
        guest = next(guest for guest in (self.a, self.b) if address.endswith(guest.address))
        with self._turn:
            said = guest.run(script, stdin)
        return Output(said.status, said.stdout, said.stderr)

    def step(self, name: str) -> Step:
        """Return a step of this cluster."""
        return kind(name).make(self.plan, self.cluster.daisy)

    def do(self, name: str) -> list[str]:
        """Carry out a step; return what it said, or raise what stopped it. Nothing said: it was true already."""
        said: list[str] = []
        return said if perform(self.step(name), self, self.plan, said.append).acted else []


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Two running guests with a resource file and nothing else."""
    with tempfile.TemporaryDirectory(prefix="drbd-", dir="/tmp") as name:
        folder = Path(name)
        booting = boot(folder)
        try:
            a, b = next(booting)
        except NoGuests as missing:
            pytest.skip(f"REAL DRBD WAS NOT TESTED, only the dry run of drbdadm was made (test_dry_run.py): {missing}")
        pair = Pair(a, b, folder)
        for guest in (a, b):
            guest.run("cat > /etc/drbd.d/WebData.res", WEB_DATA.encode())
            for program, text in PROGRAMS.items():
                guest.run(f"cat > /usr/bin/{program}; chmod +x /usr/bin/{program}", f"#!/bin/sh\n{text}\n".encode())

        class Switchboard(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                address, script, stdin = json.loads(self.rfile.readline())
                said = pair.on(address, base64.b64decode(script).decode(), base64.b64decode(stdin))
                self.wfile.write((json.dumps([said.status, said.stdout, said.stderr]) + "\n").encode())

        with socketserver.ThreadingUnixStreamServer(str(folder / "guests"), Switchboard) as switchboard:
            threading.Thread(target=switchboard.serve_forever, daemon=True).start()
            yield pair
            switchboard.shutdown()
        booting.close()

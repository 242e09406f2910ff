"""A site without SSH for tests of the stand-in programs: they are run as the lab's hosts run them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from include.lab.client import LabClient
from include.lab.isolation import PathIsolation, host_environment, in_home
from include.lab.lab import LabOptions, build, prepare_state
from include.lab.store import changing, open_world
from include.lab.topology import make_inventory, read_site
from include.lab.world import World

A, B = "host-127-1-0-11", "host-127-1-0-12"
OVS, DVS = "host-127-1-0-21", "host-127-1-0-22"
A_NODE, B_NODE = "host_127_1_0_11", "host_127_1_0_12"
OLD_BIN = "home/tecs_releases/ZXTECS_V02.16.11_P7B1_I100_installtecs_el7_noarch.bin"


class TrialSite:
    """The default lab's hosts in a scenario, a thousand times faster than the real ones."""

    def __init__(self, state: Path, scenario: str = "A", pcs: str = "0.11", computes: int = 2) -> None:
        self.state = state
        prepare_state(state)
        site = read_site(make_inventory(computes=computes, dvs=1, pace=1000))
        options = LabOptions(inventory=Path("unused"), state=state, scenario=scenario, pcs=pcs)
        build(site, options, state, PathIsolation(state))
        self.lab = LabClient(state)

    def run(self, host: str, command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """A shell command on a host; `@` stands for the host's root directory."""
        machine = open_world(self.state).machines[host]
        root = str(self.state / "hosts" / host)
        return subprocess.run(
            in_home(f"{root}/root", ["/bin/sh", "-c", command.replace("@", root)]),
            env={**host_environment(self.state, machine, root), "LC_ALL": os.environ.get("LC_ALL", "C.UTF-8")},
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )

    def openstack(self, command: str) -> subprocess.CompletedProcess[str]:
        """An openstack command on A, with the administrator's credentials."""
        return self.run(A, f". @/root/keystonerc_admin; openstack {command}")

    def settled(self) -> World:
        """The world after everything that was to happen has happened."""
        while True:
            with changing(self.state) as world:
                if not world.events:
                    return world

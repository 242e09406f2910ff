"""The program that moves VMs: what it makes of the client's lists, and that every Python of a real node reads it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from include.runbook import drain
from include.runbook.drain import Flavor, Unreadable, Vm, bound_by, flavors_in, properties, reason_to_stay, rooms_in

PROGRAM = Path(drain.__file__)
TINY = {"Name": "tiny", "ID": "1", "RAM": 512, "VCPUs": 1, "Properties": {}}
PINNED = {"Name": "pinned", "ID": "2", "RAM": 4096, "VCPUs": 4, "Properties": "hw:cpu_policy='dedicated', x='y'"}
FLAVORS = flavors_in([TINY, PINNED])


def vm(**other: Any) -> Vm:
    return Vm({"ID": "7", "Name": "web", "Status": "ACTIVE", "Flavor Name": "tiny", **other})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, ""),
        ({"Task State": "None"}, ""),
        ({"Status": "MIGRATING", "Task State": "migrating"}, ""),
        ({"Status": "ERROR"}, "it is in error state"),
        ({"Status": "SHUTOFF"}, "it is shut off: nothing of it can be moved alive"),
        ({"Status": "PAUSED"}, "it is paused"),
        ({"Status": "SUSPENDED"}, "it is suspended"),
        ({"Status": "BUILD"}, "it is still being built"),
        ({"Status": "SHELVED"}, "it is in status SHELVED"),
        ({"Task State": "rebuilding"}, "Nova is busy with it (rebuilding)"),
        ({"Flavor Name": "pinned"}, "its processors are pinned (hw:cpu_policy)"),
        ({"Flavor Name": None, "Flavor": "pinned"}, "its processors are pinned (hw:cpu_policy)"),
        ({"Flavor Name": "", "Flavor ID": "2"}, "its processors are pinned (hw:cpu_policy)"),
        ({"Flavor Name": "deleted since"}, ""),
    ],
)
def test_why_a_vm_cannot_be_moved_is_told_beforehand_as_far_as_it_is_listed(row: dict[str, Any], reason: str) -> None:
    assert reason_to_stay(vm(**row), FLAVORS) == reason


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ({}, ""),
        ("", ""),
        (None, ""),
        ({"hw:mem_page_size": "small"}, ""),
        ("hw:mem_page_size='1048576'", "it uses huge pages (hw:mem_page_size)"),
        ({"hw:mem_page_size": "large"}, "it uses huge pages (hw:mem_page_size)"),
        ({"pci_passthrough:alias": "gpu:1"}, "it uses a PCI device of the compute (pci_passthrough)"),
        ({"hw:cpu_policy": "shared"}, ""),
    ],
)
def test_extra_specs_are_read_from_old_clients_and_new_ones(cell: object, reason: str) -> None:
    assert bound_by(properties(cell)) == reason


def test_room_is_what_is_free_with_the_overcommitment_of_the_site() -> None:
    row = {"vCPUs": 8, "vCPUs Used": 4, "Memory MB": 1000, "Memory MB Used": 900}
    rows = [{"Hypervisor Hostname": name, **row} for name in ("host-1.site", "host-10", "stranger")]
    rooms = rooms_in(rows, ["host-1", "host-10"], (2.0, 1.5))
    assert {name: (room.vcpus, room.ram) for name, room in rooms.items()} == {"host-1": (12, 600), "host-10": (12, 600)}


def test_a_hypervisor_without_figures_is_not_an_empty_one() -> None:
    with pytest.raises(Unreadable, match="no number in column 'vCPUs'"):
        rooms_in([{"Hypervisor Hostname": "host-1", "vCPUs": None}], ["host-1"], (1, 1))


@pytest.mark.parametrize("row", [{}, {"ID": "7"}, {"ID": "7", "Name": "", "Status": "ACTIVE"}])
def test_a_list_without_what_is_needed_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(Unreadable, match="a list of VMs without"):
        Vm(row)
    with pytest.raises(Unreadable, match="no number"):
        Flavor({"VCPUs": "many", "RAM": 1})


# ---- the Pythons of real nodes ---------------------------------------------------------------------------------------


def _works(python: str | None) -> bool:
    return python is not None and subprocess.run([python, "-V"], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("python", [name for name in (sys.executable, shutil.which("python2.7")) if _works(name)])
def test_names_in_any_script_pass_through_every_python(tmp_path: Path, python: str) -> None:
    """A node's locale is C, in which Python 2.7 prints nothing but ASCII to a pipe by itself."""
    rows = [{"ID": "7", "Name": "网元", "Status": "ERROR"}]
    client = tmp_path / "openstack"
    client.write_text(f"#!/bin/sh\ncase \"$*\" in *'server list'*) echo '{json.dumps(rows)}' ;; *) echo '[]' ;; esac\n")
    client.chmod(0o755)
    order = {"computes": ["host-1"], "reason": "because of 网元", "faulty": [], "anywhere": True, "ratios": [1, 1]}
    order |= {"per_compute": 1, "per_batch": 1, "limit": 1, "pause": 0.1}
    done = subprocess.run(
        [python, "-", "empty", json.dumps(order), "", ""],
        input=PROGRAM.read_bytes(),
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LC_ALL": "C"},
        capture_output=True,
        check=False,
    )
    assert done.stderr == b""
    assert "stays 7 on host-1: 网元: it is in error state" in done.stdout.decode()


def test_the_program_is_for_python_2_7_and_3_11() -> None:
    checked = subprocess.run(
        [Path(sys.executable).with_name("vermin"), "-t=2.7-", "-t=3.11-", "--violations", str(PROGRAM)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout

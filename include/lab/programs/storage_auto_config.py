"""storage_auto_config.py, behind the script of that name in /home/tecs_install/storage_auto_config on a controller.

Emulated: `cinder_conf <host ip>`, which reads base/cinder.json relative to the working directory, writes cinder's back
ends of all five drivers, the arrays' XML files and the address into ZTE's, and restarts cinder-volume and multipathd. Its
exit status means nothing. Of Ceph it knows the pool only. `share_disk` does nothing but is recorded as a violation: the
real one can make a file system. Not emulated: every other mode.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from include.lab.cinder_files import write_back_ends
from include.lab.programs.standin import Here, Refused
from include.lab.programs.systemctl import start_unit, stop_unit

DASHES = "-" * 10
TAKES = 10.0


def main(here: Here, argv: list[str]) -> int:
    """Write cinder's configuration back."""
    match argv:
        case ["cinder_conf", address] if address and not address.startswith("-"):
            return _cinder_conf(here, argv, address)
        case ["share_disk", *_]:
            with here.changing() as world:
                world.violate("share_disk called", here.host, " ".join(argv))
            print(f"{DASHES}Operation share_disk is Failed.{DASHES}")
            return 1
    raise Refused("usage: storage_auto_config.py {cinder_conf HOST_IP | share_disk HOST_IP ...}", 2)


def _cinder_conf(here: Here, argv: list[str], address: str) -> int:
    here.wait(TAKES)
    with here.changing() as world:
        fault = world.take_fault("cinder_conf") or {}
    # Relative on purpose: run from any other directory the real script does not find its files either.
    source = Path("base/cinder.json")
    try:
        if fault.get("cinder_conf") == "fail":
            raise ValueError("the array does not answer")
        arrays = json.loads(source.read_text())["disk_array"]
        if fault.get("cinder_conf") == "partial":
            arrays.remove(_last_array(arrays))
        write_back_ends(here.tree, arrays, address)
    except (OSError, ValueError, LookupError) as problem:
        print(f"cannot use {source}: {problem}")
        print(f"{DASHES}Operation cinder_conf is Failed.{DASHES}")
        return 0
    with here.changing() as world:
        machine = world.machines[here.host]
        names = ", ".join(str(array["backend_index"]) for array in arrays)
        world.record(here.host, "storage_auto_config.py", argv, f"back ends: lvm, {names}")
        for unit in ("openstack-cinder-volume", "multipathd"):
            if unit in machine.units:
                stop_unit(world, machine, unit)
                start_unit(world, machine, unit)
                world.record(here.host, "storage_auto_config.py", argv, f"{unit} is {machine.units[unit].state}")
    print(f"{DASHES}Operation cinder_conf is done!{DASHES}")
    return 0


def _last_array(arrays: list[dict[str, Any]]) -> dict[str, Any]:
    return [array for array in arrays if array["volume_driver"] not in ("CEPH", "LVM")][-1]

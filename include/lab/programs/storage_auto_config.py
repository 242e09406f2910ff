"""storage_auto_config.py, behind the script of that name in /home/tecs_install/storage_auto_config on a controller.

Emulated: `cinder_conf <host ip>`, which reads base/cinder.json relative to the working directory, writes cinder's back
ends and the address into the array's XML, and restarts cinder-volume. `share_disk` does nothing but is recorded as a
violation: the real one can make a file system. Not emulated: every other mode.
"""

from __future__ import annotations

import json
from pathlib import Path

from include.lab.host_files import backends, cinder_conf_of, zte_xml
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
    # Relative on purpose: run from any other directory the real script does not find its files either.
    source = Path("base/cinder.json")
    try:
        arrays = json.loads(source.read_text())
        conf, names = cinder_conf_of(arrays), backends(arrays)
    except (OSError, ValueError, KeyError) as problem:
        print(f"cannot use {source}: {problem}")
        print(f"{DASHES}Operation cinder_conf is Failed.{DASHES}")
        return 1
    etc = here.tree / "etc/cinder"
    etc.mkdir(exist_ok=True)
    (etc / "cinder.conf").write_text(conf)
    for name in ("cinder_zte_conf.xml", *(f"cinder_zte_conf_file_{index}.xml" for index in names)):
        (etc / name).write_text(zte_xml(address))
    with here.changing() as world:
        machine = world.machines[here.host]
        for unit in ("openstack-cinder-volume", "multipathd"):
            if unit in machine.units:
                stop_unit(world, machine, unit)
                start_unit(world, machine, unit)
        world.record(here.host, "storage_auto_config.py", argv, f"back ends: lvm, {', '.join(names)}")
    print(f"{DASHES}Operation cinder_conf is done!{DASHES}")
    return 0

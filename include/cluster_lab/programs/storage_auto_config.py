"""storage_auto_config.py, behind the script of that name in /home/tecs_install/storage_auto_config on a controller.

Emulated: `cinder_conf <host ip>`, which reads base/cinder.json relative to the working directory, writes cinder's back
ends, the arrays' XML files and the address into ZTE's, and restarts cinder-volume and multipathd. Its exit status means
nothing. `share_disk` does nothing but is recorded as a
violation: the real one can make a file system. Not emulated: every other mode.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from include.cluster_lab.programs.director import ask
from include.lab.cinder_files import write_back_ends
from include.lab.programs.storage_auto_config import DASHES, TAKES


def main(argv: list[str]) -> int:
    """Write cinder's configuration back."""
    match argv:
        case ["cinder_conf", address] if address and not address.startswith("-"):
            return _cinder_conf(argv, address)
        case ["share_disk", *_]:
            ask("violation", audit="share_disk called", detail=" ".join(argv))
            print(f"{DASHES}Operation share_disk is Failed.{DASHES}")
            return 1
    print("usage: storage_auto_config.py {cinder_conf HOST_IP | share_disk HOST_IP ...}", file=sys.stderr)
    return 2


def _cinder_conf(argv: list[str], address: str) -> int:
    time.sleep(TAKES / ask("settings")["pace"])
    # Relative on purpose: run from any other directory the real script does not find its files either.
    source = Path("base/cinder.json")
    try:
        arrays = json.loads(source.read_text())["disk_array"]
        write_back_ends(Path("/"), arrays, address)
    except (OSError, ValueError, LookupError) as problem:
        print(f"cannot use {source}: {problem}")
        print(f"{DASHES}Operation cinder_conf is Failed.{DASHES}")
        return 0
    subprocess.run(["systemctl", "restart", "openstack-cinder-volume", "multipathd"], check=True)
    names = ", ".join(str(array["backend_index"]) for array in arrays)
    ask("journal", program="storage_auto_config.py", argv=argv, effect=f"back ends: lvm, {names}")
    print(f"{DASHES}Operation cinder_conf is done!{DASHES}")
    return 0

"""Starts a stand-in program: `launch.py NAME [ARGUMENT ...]`, on any Python with the standard library only."""

import importlib
import os
import sys
from pathlib import Path

MODULES = {
    "cibadmin": "cibadmin",
    "crm_mon": "crm_mon",
    "crm_node": "crm_node",
    "drbdadm": "drbdadm",
    "docker": "container_engine",
    "hostname": "hostname",
    "lab-installer": "installer",
    "lab-node-installer": "node_installer",
    "lab-storage-auto-config": "storage_auto_config",
    "mysql": "mysql",
    "mysqldump": "mysql",
    "openstack": "openstack",
    "openstack-service": "openstack_service",
    "pcs": "pcs",
    "podman": "container_engine",
    "rpm": "rpm",
    "systemctl": "systemctl",
}

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    from include.lab.programs.standin import Refused, here_from_environment

    program = importlib.import_module("include.lab.programs." + MODULES[sys.argv[1]])
    try:
        run = program.dump if sys.argv[1] == "mysqldump" else program.main
        status = run(here_from_environment(), sys.argv[2:])
        sys.stdout.flush()
    except Refused as refused:
        sys.stdout.flush()
        if refused.message:
            print(refused.message, file=sys.stderr)
        status = refused.status
    except BrokenPipeError:
        # The reader has gone, as `| head` does; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    sys.exit(status)

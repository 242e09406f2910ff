"""The steps of the runbook, one module for each part of the cluster they act on. Importing this registers them all."""

from include.runbook.steps import (
    cinder,
    cluster_mode,
    databases,
    evidence,
    ha,
    installer,
    nova,
    restore_points,
    run,
    staging,
    storage,
    tecs_conf,
    upgrade,
    vms,
)

__all__ = [
    "cinder",
    "cluster_mode",
    "databases",
    "evidence",
    "ha",
    "installer",
    "nova",
    "restore_points",
    "run",
    "staging",
    "storage",
    "tecs_conf",
    "upgrade",
    "vms",
]

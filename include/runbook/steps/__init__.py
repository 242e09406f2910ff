"""The steps of the runbook, one module for each part of the cluster they act on. Importing this registers them all."""

from include.runbook.steps import cinder, ha, installer, nova, run, staging, tecs_conf, vms

__all__ = ["cinder", "ha", "installer", "nova", "run", "staging", "tecs_conf", "vms"]

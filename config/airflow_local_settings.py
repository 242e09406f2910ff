"""Imported by every Airflow component at its start.

Workers are forked from the scheduler, parsers from the dag-processor, and triggers run inside the triggerer: what those
import here is paid for once instead of once per task or per look at a DAG file (a second of processor time each).
"""

from __future__ import annotations

import importlib
import sys

IMPORTED_ONCE = (
    "airflow.sdk.execution_time.task_runner",
    "airflow.providers.standard.operators.hitl",
    "airflow.providers.standard.operators.python",
    "airflow.providers.standard.operators.trigger_dagrun",
    "airflow.providers.ssh.operators.ssh",
    # the words of the DAG files, with the runbook's steps and the SSH libraries behind them
    "tecs.scenario",
    "tecs.sections",
)

if {"scheduler", "triggerer", "dag-processor", "worker"} & set(sys.argv):
    for module in IMPORTED_ONCE:
        importlib.import_module(module)

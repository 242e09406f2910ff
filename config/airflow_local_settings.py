"""Imported by every Airflow component at its start.

Workers are forked from the scheduler and triggers run inside the triggerer: what those two import here is paid for once
instead of once per task (about 0.1 s each).
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

if {"scheduler", "triggerer"} & set(sys.argv):
    for module in IMPORTED_ONCE:
        importlib.import_module(module)

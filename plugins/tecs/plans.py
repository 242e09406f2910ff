"""From a DAG to its plan: the same tasks, the same order, read off the DAG itself."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

from airflow.sdk import DAG

from include.runbook.plan import Plan, Stage
from include.runbook.request import batches
from include.runbook.scenarios import BATCH_OF
from include.runbook.step import Run, kind
from tecs.batches import BatchRun
from tecs.operators import RunbookStep
from tecs.soaking import SoakTime


def plan_of(dag: DAG, run: Run) -> Plan:
    """Return the plan of a run of this DAG."""
    stages = []
    for task in dag.topological_sort():
        operator = getattr(task, "operator_class", type(task))
        name = (
            task.partial_kwargs["step"]
            if task.is_mapped and issubclass(operator, RunbookStep)
            else getattr(task, "step", None)
        )
        stages.append(
            Stage(
                task.task_id,
                task.task_display_name,
                frozenset(task.upstream_task_ids),
                kind(name) if issubclass(operator, RunbookStep) and name else None,
                _rounds(dag, run) if issubclass(operator, BatchRun) else (),
                run.cluster.seconds(run.cluster.soak) if issubclass(operator, SoakTime) else 0.0,
            )
        )
    return Plan(dag.dag_id, run, tuple(stages))


def load_dag(file: Path) -> DAG:
    """Return the DAG that a file of the dags folder defines; nothing is registered and no database is needed."""
    specification = importlib.util.spec_from_file_location(f"plan_of_{file.stem}", file)
    if specification is None or specification.loader is None:
        raise FileNotFoundError(file)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    dag: DAG = module.dag
    dag.fileloc = str(file)
    return dag


def _rounds(dag: DAG, run: Run) -> tuple[Plan, ...]:
    batch_dag = load_dag(Path(dag.fileloc).with_name(f"{BATCH_OF[dag.dag_id]}.py"))
    return tuple(plan_of(batch_dag, replace(run, computes=batch, dag=batch_dag.dag_id)) for batch in batches(run))

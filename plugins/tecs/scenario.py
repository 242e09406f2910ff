"""The words in which a scenario's DAG file is written: `scenario`, `step`, `each`, `decide`, `count`, `in_batches`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

import pendulum
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import (
    DAG,
    BaseOperator,
    DeadlineAlert,
    Param,
    SyncCallback,
    TriggerRule,
    XComArg,
    chain,
    task_group,
)
from airflow.sdk.definitions._internal.node import DAGNode
from airflow.sdk.definitions.mappedoperator import MappedOperator

from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.cluster import Cluster, Inventories, clusters_directory
from include.runbook.errors import InventoryError
from include.runbook.plan import make_steps, step_text
from include.runbook.scenarios import OF_COMPUTES, ROLLBACK, UPGRADE, UPGRADES
from include.runbook.step import Kind, OnFailure, Run, VmPolicy, kind
from tecs.batches import ONLY_LOST_WORKERS, BatchRun
from tecs.consent import AskConsent, GoOnOrGiveBack
from tecs.deadlines import PlannedEnd, report_missed_deadline
from tecs.gate import ASK, SOAK, AskWhatFollows, HandOver, RollBack
from tecs.given_up import require_proof_ahead
from tecs.operators import DetachedStep, RunbookStep
from tecs.recording import record_failure
from tecs.soaking import SoakTime
from tecs.telling import tell_failed

log = logging.getLogger(__name__)

HOST_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"

POLICIES = [policy.value for policy in VmPolicy]

BATCH_NAME = (
    "{% set names = task.conf['computes'] %}{{ names[0] }}"
    "{% if names | length > 1 %} and {{ names | length - 1 }} more, to {{ names[-1] }}{% endif %}"
)
"""What the grid calls a batch. Airflow keeps 250 letters of it, and cannot end a task whose name is longer."""

EVERY_CLUSTER = 1000
"""No cluster's run, nor a batch of it, waits for those of other clusters: Airflow lets sixteen of a DAG go on by itself."""

RETRY_DELAY = timedelta(seconds=5)
"""Between two tries after a lost connection or worker; the step itself reads the host's state before it acts."""


def scenario(dag_id: str, doc: str | None) -> DAG:
    """Return the DAG of a scenario, triggered by hand or by API, with the form that asks what a scenario needs."""
    return DAG(
        dag_id,
        schedule=None,
        start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
        catchup=False,
        doc_md=doc,
        params=form(inventories(), dag_id),
        max_active_runs=EVERY_CLUSTER,
        max_active_tasks=64,
        tags=["upgrade" if dag_id in UPGRADES else "rollback"],
        default_args={
            "retries": 3,
            "retry_delay": RETRY_DELAY,
            "trigger_rule": TriggerRule.NONE_FAILED,
            "on_failure_callback": [record_failure, tell_failed],
            "pre_execute": require_proof_ahead,
        },
        deadline=[
            DeadlineAlert(
                name="planned end",
                reference=PlannedEnd(),
                interval=timedelta(0),
                callback=SyncCallback(report_missed_deadline, {"dag_id": dag_id}),
            )
        ],
    )


def form(clusters: dict[str, Cluster | None], dag_id: str) -> dict[str, Param]:
    """Return the parameters of a scenario: choices rather than free text, refused by Airflow when they do not fit."""
    computes, upgrade = dag_id in OF_COMPUTES, dag_id in UPGRADES
    releases = sorted({release for cluster in clusters.values() if cluster for release in cluster.releases})
    names = sorted(clusters)
    asked = {
        "cluster": Param(
            names[0] if len(names) == 1 else None,
            type="string",
            enum=names,
            title="Cluster",
            description=f"The cluster to {'upgrade' if upgrade else 'roll back'}; its inventory names every host.",
        ),
        "target_release": Param(
            None,
            type=["null", "string"],
            enum=[None, *releases],
            title="Release to upgrade to" if upgrade else "Release to return to",
            description="Empty: the only other release of the cluster's inventory than that to return to."
            if upgrade
            else "Empty: the target_release of the cluster's inventory.",
        ),
        "vm_policy": Param(
            VmPolicy.MIGRATE.value,
            anyOf=[
                {"type": "string", "enum": POLICIES},
                {"type": "object", "propertyNames": {"pattern": HOST_NAME}, "additionalProperties": {"enum": POLICIES}},
            ],
            examples=POLICIES,
            title="VMs that do not leave a compute",
            values_display={
                VmPolicy.MIGRATE.value: "must leave: someone is asked about those that stay",
                VmPolicy.ACCEPT_OUTAGE.value: "may lose their service",
                VmPolicy.NODE_FAULTY.value: "are lost anyway: the compute is faulty",
                VmPolicy.MIGRATE_ACROSS_RELEASES.value: "may go to computes of another release",
            },
            description="One word for all computes, or by the API an object with a word for each compute. Recorded with your "
            "name for every VM that stays.",
        ),
        "return_vms": Param(
            False,
            type="boolean",
            title="Move the VMs back at the end",
            description="To the computes that they were on before. What cannot come back is named and runs where it is.",
        ),
        "take_over": Param(
            False,
            type="boolean",
            title="Take the lock over",
            description="Only if the run that holds the cluster is certainly dead, and you answer for what it left.",
        ),
    }
    if not computes:
        asked["accept_newer_schema"] = Param(
            False,
            type="boolean",
            title=("If it is rolled back: although" if upgrade else "Go back although") + " the databases are newer",
            description="Only if the old release does not know a database's schema and you answer for what it does to "
            "the data. The databases are backed up first."
            + (" Without it, such a rollback stops before it changes anything." if upgrade else ""),
        )
    if dag_id == UPGRADE:
        asked |= _gate()
    if dag_id == ROLLBACK:
        asked["computes_first"] = Param(
            [],
            type="array",
            items={"type": "string", "pattern": HOST_NAME},
            uniqueItems=True,
            title="Computes to roll back first",
            description="Those that are out of service already, where the VMs of the others need their room. Names as in the "
            "inventory, one a line; they go before the canary.",
        )
    if computes:
        asked["computes"] = Param(
            type="array",
            items={"type": "string", "pattern": HOST_NAME},
            minItems=1,
            uniqueItems=True,
            title="Computes to upgrade" if upgrade else "Computes to roll back",
            description="Their names, as in the inventory, one a line.",
        )
        asked["parent"] = Param(
            None,
            type=["null", "object"],
            title="Part of a run",
            section=f"Set by {UPGRADE if upgrade else ROLLBACK}",
            description="Leave empty.",
        )
    return asked


def _gate() -> dict[str, Param]:
    """Return what is asked about the gate at U3."""
    return {
        "on_failure": Param(
            OnFailure.ASK.value,
            type="string",
            enum=[choice.value for choice in OnFailure],
            title="If the new release proves bad after the switchover",
            values_display={
                OnFailure.AUTOMATIC.value: "roll the whole cluster back at once",
                OnFailure.ASK.value: "ask a person",
                OnFailure.REPORT.value: "stop, and say how to roll back",
            },
            description="Where it cannot be told whether it is bad, a person is asked in any case.",
        ),
        "window_end": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="End of the maintenance window",
            description="If given: a person is asked until the last moment at which a rollback still fits in, and then it is "
            "rolled back. If not: without an answer nothing is done.",
        ),
    }


def step(name: str) -> RunbookStep:
    """Return the task of a step that is made for one host."""
    this = kind(name)
    return _operator(this)(step=name, **_common(this))


def each(name: str, hosts: XComArg) -> MappedOperator:
    """Return the task of a step that is made for several hosts side by side, whose names `hosts` gives."""
    this = kind(name)
    # A mapped operator loses what a subclass would set by itself, so everything is passed here.
    return _operator(this).partial(step=name, map_index_template="{{ task.host }}", **_common(this)).expand(host=hosts)


def each_in_turn(group_id: str, hosts: XComArg, *names: str) -> DAGNode:
    """Return the group in which each of several hosts goes through these steps, none waiting for another host."""

    @task_group(group_id=group_id, prefix_group_id=False)
    def go(host: str) -> None:
        kinds = [kind(name) for name in names]
        chain(
            *(
                _operator(this)(step=this.name, host=host, map_index_template="{{ task.host }}", **_common(this))
                for this in kinds
            )
        )

    return go.expand(host=hosts)


def ask_consent(hosts: XComArg) -> MappedOperator:
    """Return the task that asks a person about the VMs that stay on each compute."""
    return AskConsent.partial(
        task_id="A4.2_consent",
        task_display_name="A4.2 Ask what may become of VMs that stay on a compute",
        map_index_template="{{ task.host }}",
        do_xcom_push=False,
        doc_md=AskConsent.__doc__,
    ).expand(host=hosts)


def go_on_or_give_back(ready: XComArg) -> GoOnOrGiveBack:
    """Return the task that nothing passes unless all before it is well; it undoes what the drain has changed on computes
    that are not among those that are `ready`."""
    this = kind("give_back_computes")
    return GoOnOrGiveBack(step=this.name, ready=ready, **_common(this), trigger_rule=TriggerRule.ALL_DONE)


def soak(upgraded: XComArg) -> SoakTime:
    """Return the task that watches the new release (U3)."""
    return SoakTime(
        task_id=SOAK, task_display_name="U3 Watch the new release", computes=upgraded, doc_md=SoakTime.__doc__
    )


def ask_what_follows() -> AskWhatFollows:
    """Return the task that asks a person whether to roll back (U3)."""
    return AskWhatFollows(
        task_id=ASK, task_display_name="U3 Ask what follows, where it is not decided", doc_md=AskWhatFollows.__doc__
    )


def hand_over() -> HandOver:
    """Return the task that gives the cluster to the rollback (U3)."""
    this = kind("hand_over_lock")
    return HandOver(step=this.name, **_common(this))


def roll_back() -> RollBack:
    """Return the task that starts the rollback (U3)."""
    return RollBack(
        task_id="U3_roll_back",
        task_display_name="U3 Start the rollback of the whole cluster, if it is to be rolled back",
        doc_md=RollBack.__doc__,
    )


def decide(id: str, sentence: str, function: Callable[..., Any], *arguments: XComArg) -> BaseOperator:
    """Return the task of a decision: it reads, judges and says, and changes nothing. `arguments` come from earlier tasks."""
    return _decision(id, sentence, function, TriggerRule.NONE_FAILED, arguments)


def count(id: str, sentence: str, function: Callable[..., Any]) -> BaseOperator:
    """Return the task of a decision that is taken even where a task before it has failed: who goes on is read from hosts."""
    return _decision(id, sentence, function, TriggerRule.ALL_DONE, ())


def _decision(
    id: str, sentence: str, function: Callable[..., Any], rule: TriggerRule, arguments: Sequence[XComArg]
) -> BaseOperator:
    return PythonOperator(
        task_id=f"{id}_{function.__name__}",
        task_display_name=f"{id} {sentence}",
        python_callable=function,
        op_args=arguments,
        doc_md=function.__doc__,
        trigger_rule=rule,
        show_return_value_in_logs=False,
    )


def in_batches(id: str, sentence: str, dag_id: str, batches: XComArg) -> MappedOperator:
    """Return the task that takes the computes batch by batch, each a run of the scenario `dag_id`."""
    return BatchRun.partial(
        task_id=f"{id}_computes_in_batches",
        task_display_name=f"{id} {sentence}",
        trigger_dag_id=dag_id,
        map_index_template=BATCH_NAME,
        max_active_tis_per_dagrun=1,
        retry_policy=ONLY_LOST_WORKERS,
        doc_md=BatchRun.__doc__,
    ).expand_kwargs(batches)


def _operator(this: Kind) -> type[RunbookStep]:
    return DetachedStep if this.detached else RunbookStep


def _common(this: Kind) -> dict[str, Any]:
    return {
        "task_id": this.task_id,
        "task_display_name": this.title,
        "doc_md": _documentation(this),
        "ssh_conn_id": None,
        "do_xcom_push": False,
        "retries": this.timing.retries,
    }


@cache
def inventories() -> dict[str, Cluster | None]:
    """Every cluster by name; None for one whose inventory is refused, which is told when someone asks for it."""
    known = Inventories(clusters_directory())
    found: dict[str, Cluster | None] = {}
    for name in known:
        try:
            found[name] = known[name]
        except InventoryError as refused:
            log.warning("an inventory is refused: %s", refused)
            found[name] = None
    return found


def _documentation(this: Kind) -> str:
    """Say what the step is, how long it takes, and its exact script on the first inventory's hosts."""
    timing = this.timing
    head = (
        f"**{this.title}**\n\n{(this.make.__doc__ or '').strip()}\n\n"
        f"Made for {this.over.value}. Measured {timing.measured:g} s ({timing.source}); limit {timing.limit:g} s.\n\n"
    )
    cluster = next((cluster for cluster in inventories().values() if cluster), None)
    if cluster is None:
        return head
    made = make_steps(this, Run(cluster, cluster.target_release, cluster.computes[:1]))[0]
    told = f"Its script on the hosts of `{cluster.name}` (that of a run is under *Rendered Templates*):"
    return f"{head}{told}\n\n```sh\n{step_text(made)}\n```\n"

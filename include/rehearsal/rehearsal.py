"""A rehearsal from its beginning to its report."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from include.rehearsal.expectation import acts_in
from include.rehearsal.report import Report, Stepped, deviations_in, late_steps
from include.rehearsal.twin import Twin, running_twin
from include.rehearsal.twin_hosts import Background
from include.rehearsal.walk import Walk
from include.runbook.cluster import Cluster
from include.runbook.plan import Plan, nodes_rolled_back
from include.runbook.request import read_request
from include.runbook.step import Run

SCENARIOS = {"A": "rollback_cluster", "B": "rollback_controller", "C": "rollback_compute"}
"""The scenarios' DAGs by the letters of the runbook."""

PlanOf = Callable[[Run], Plan]
"""Makes the plan of a run from its scenario's DAG."""


@dataclass
class Rehearsal:
    """A scenario that is to be played on the twin of a cluster, `pace` times faster than real; `twin` while it is."""

    cluster: Cluster
    scenario: str
    pace: float
    twin: Twin | None = None
    _ended: threading.Event = field(default_factory=threading.Event)

    def play(self, plan_of: PlanOf, tell: Callable[[Stepped], None]) -> Report:
        """Play it and return the report; raises RehearsalError where it could not be played to its end."""
        begun, started = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
        with running_twin(self.cluster, self.scenario, self.pace) as twin, Background() as background:
            self.twin = twin
            plan = plan_of(self._run_on(twin))
            before = twin.lab.state()
            walk = Walk(twin, plan, background, acts_in(plan), tell, self._ended)
            well = walk.go()
            after = twin.lab.state()
        # Where a step has failed, the state in which it has left the cluster is no news.
        ended = end_deviations(before, after, plan.run) if well else ()
        deviations = (*deviations_in(walk.steps), *violations_in(after), *ended)
        return Report(
            self.cluster.name,
            plan.scenario,
            self.pace,
            begun,
            plan.predicted,
            time.monotonic() - started,
            tuple(walk.steps),
            deviations,
            (*late_steps(walk.steps), *walk.remarks),
            twin.not_played,
        )

    def end(self) -> None:
        """Let the rehearsal end soon, with RehearsalEnded where it is being played."""
        self._ended.set()
        if self.twin is not None:
            self.twin.hang_up()

    def _run_on(self, twin: Twin) -> Run:
        dag = SCENARIOS[self.scenario]
        chosen = {"computes": [twin.cluster.computes[0].name]} if self.scenario == "C" else {}
        return read_request(
            {"cluster": twin.cluster.name, **chosen},
            {twin.cluster.name: twin.cluster},
            owner=f"{dag}/rehearsal",
            user="the rehearsal",
            dag=dag,
            computes_asked=bool(chosen),
        )


def violations_in(truth: Mapping[str, Any]) -> Iterator[str]:
    """Tell what the twin has seen happen at any time that never should."""
    for violation in truth["violations"]:
        yield f"{violation['audit']} on {violation['host']}: {violation['detail']}"


def end_deviations(before: Mapping[str, Any], after: Mapping[str, Any], run: Run) -> Iterator[str]:
    """Compare the twin's own truth at the end with what the scenario promises; the product's readings have no part in it."""
    a = run.cluster.controllers.a.name
    for name, host in after["hosts"].items():
        if host["role"] != "daisy" and (host["release"] != run.target or not host["complete"]):
            state = f"release {host['release'] or 'none'}{'' if host['complete'] else ', not complete'}"
            yield f"at the end: {name} has {state}; expected release {run.target}"
        if host["role"] == "compute" and not host["scheduling"]:
            yield f"at the end: nothing is scheduled to {name}"
    reinstalled = {node.name for node in nodes_rolled_back(run)}
    for name, times in after["installs"].items():
        if times["installed"] != int(name in reinstalled):
            yield f"at the end: {name} was installed {times['installed']} times; expected {int(name in reinstalled)}"
    pair, found = after["cluster"], before["cluster"]
    if pair["active"] != a:
        yield f"at the end: {pair['active'] or 'no controller'} is active; expected {a}"
    expected = [] if run.dag != "rollback_compute" else found["constraints"]
    if pair["constraints"] != expected:
        yield f"at the end: constraints {_ids(pair['constraints'])}; expected {_ids(expected)}"
    if pair["maintenance"] != found["maintenance"]:
        yield f"at the end: maintenance is {pair['maintenance']}; it was {found['maintenance']}"
    now = {vm["id"]: vm["status"] for vm in after["vms"]}
    for vm in before["vms"]:
        if now.pop(vm["id"], "gone") != "ACTIVE":
            yield f"at the end: VM {vm['name']} is not active"
    if now:
        yield f"at the end: {len(now)} VMs are there that were not there before"


def _ids(constraints: list[dict[str, Any]]) -> str:
    return ", ".join(each["id"] for each in constraints) or "none"

"""A site that scenarios run on through a real Airflow, and what holds for them on every lab, embedded or of real programs."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from console.airflow_api import Airflow, Run, TaskInstance
from console.stack import Stack
from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.scenarios import BATCH_OF
from include.runbook.step import KINDS

CHANGING = {kind.task_id for kind in KINDS.values() if kind.changes}
OPTIONAL = {kind.name for kind in KINDS.values() if kind.optional}
"""Steps whose failure stops nothing: there is nothing to be resumed."""

UPGRADE = "upgrade_cluster"
LOOK_AGAIN = 1.0
"""Seconds between two looks at a run: each is work for the Airflow that is looked at."""

_numbers = itertools.count(1)


class Lab(Protocol):
    """What the clients of both labs have in common."""

    state_dir: Path

    def state(self) -> dict[str, Any]: ...

    def fault(self, fault: dict[str, Any]) -> None: ...

    def run(self, host: str, command: str, stdin: str = "") -> subprocess.CompletedProcess[str]: ...


@dataclass
class Site:
    """One lab and the Airflow that runs scenarios on it. A run that takes more than `patience` seconds is taken to hang."""

    name: str
    lab: Lab
    airflow: Airflow
    stack: Stack
    patience: float = 1800

    def start(self, dag: str, **conf: Any) -> Run:
        """Trigger a scenario on this site through the REST API."""
        return self.airflow.trigger(dag, f"{self.name}-{next(_numbers)}", {"cluster": self.name, **conf})

    def until(self, run: Run, condition: Callable[[Run], bool]) -> Run:
        """Wait until the run is as it should be."""
        ends = time.monotonic() + self.patience
        while not condition(now := self.airflow.run(run.dag_id, run.run_id)):
            assert time.monotonic() < ends, f"{run.run_id} is {now.state} after {self.patience} s\n{self.story(run)}"
            time.sleep(LOOK_AGAIN)
        return now

    def finish(self, run: Run) -> str:
        """Wait for the end of a run and return its state."""
        return self.until(run, lambda now: now.finished).state

    def batches(self, run: Run) -> list[Run]:
        """The runs that are batches of this one."""
        return self.airflow.child_runs(BATCH_OF[run.dag_id], run.run_id) if run.dag_id in BATCH_OF else []

    def tasks(self, run: Run) -> list[TaskInstance]:
        """Every task instance of the run and of its batches."""
        return [
            task for one in [*self.batches(run), run] for task in self.airflow.task_instances(one.dag_id, one.run_id)
        ]

    def failures(self, run: Run) -> dict[str, str]:
        """What each failed task of the run and its batches says, by its id."""
        return {
            task.task_id: "\n".join(self.airflow.failure(one.dag_id, one.run_id, task))
            for one in [run, *self.batches(run)]
            for task in self.airflow.task_instances(one.dag_id, one.run_id)
            if task.state == "failed"
        }

    def story(self, run: Run) -> str:
        """The run's tasks and failures, for the message of an assertion."""
        states = "\n".join(f"{t.state} {t.task_id} {t.host or ''} try {t.try_number}" for t in self.tasks(run))
        return f"{states}\n{json.dumps(self.failures(run), indent=1)}"

    def journal(self) -> list[dict[str, Any]]:
        """What the stand-ins changed so far."""
        text = (self.lab.state_dir / "journal.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]


def first_compute(site: Site) -> str:
    """The first compute of the site: the one that scenario C is about."""
    return next(name for name in site.lab.state()["hosts"] if name.endswith("-21"))


def record(site: Site, run: Run) -> list[dict[str, Any]]:
    """How the run's steps have ended, in the record that the Daisy host holds."""
    text = site.lab.run("daisy", f"cat /var/lib/tecs-rollback/record/*{run.run_id}.jsonl").stdout
    return [event for event in map(json.loads, text.splitlines()) if {"step", "outcome"} <= event.keys()]


def audit(site: Site, reinstalled: tuple[str, ...]) -> None:
    """The lab itself says that nothing was done that must not be, and that these hosts were installed once each."""
    truth = site.lab.state()
    assert truth["violations"] == []
    installed = {name: count["installed"] for name, count in truth["installs"].items()}
    assert installed == {name: int(name in reinstalled) for name in installed}
    a = next(name for name in truth["hosts"] if name.endswith("-11"))
    assert truth["cluster"]["active"] == a
    assert {host["release"] for host in truth["hosts"].values() if host["role"] != "daisy"} == {"100"}
    assert {vm["status"] for vm in truth["vms"]} == {"ACTIVE"}


def break_changing_steps(site: Site, dag: str, one_in: int) -> list[str]:
    """Let the first action of the scenario's changing steps, or of one in so many of them, fail with status 1.

    Return the names of those that stop it.
    """
    dags = ["rollback_compute", dag] if dag == "rollback_cluster" else [dag]
    tasks = {task.task_id for each in dags for task in site.airflow.tasks(each)} & CHANGING
    names = sorted(task_id.partition("_")[2] for task_id in tasks)[::one_in]
    for name in names:
        site.lab.fault(
            {"ssh": {"match": rf"# \S+ {name} on "}, "do": "exit", "status": 1, "stderr": "broken by a test"}
        )
    return [name for name in names if name not in OPTIONAL]


def asked_for(site: Site, dag: str) -> dict[str, Any]:
    """What a scenario is triggered with besides the cluster."""
    return {"computes": [first_compute(site)]} if dag == "rollback_compute" else {}


def breaks_at_changing_steps_and_is_resumed(
    site: Site, dag: str, reinstalled: tuple[str, ...], *, one_in: int = 1
) -> None:
    """The first action of changing steps fails; cleared each time, the scenario comes to its end, installed once."""
    names = break_changing_steps(site, dag, one_in)

    run = site.start(dag, **asked_for(site, dag))
    told: dict[str, str] = {}
    for _ in range(len(names) + 1):
        if site.finish(run) == "success":
            break
        # The gate before the uninstallation fails for the sake of the tasks before it, broken itself or not.
        told |= {
            task_id: text for task_id, text in site.failures(run).items() if "this batch does not go on" not in text
        }
        site.airflow.clear_failed(dag, run.run_id)
        site.until(run, lambda now: now.state in ("queued", "running"))
    assert site.airflow.run(dag, run.run_id).state == "success", site.story(run)

    # Steps that were already true at the time (the lock of a batch, say) had no action to break.
    broken = {task_id.partition("_")[2] for task_id in told} & set(names)
    acted = {e["step"] for e in record(site, run) if e["outcome"] == "done"} & set(names)
    assert acted <= broken, f"acted without being broken first: {sorted(acted - broken)}"
    for task_id, message in told.items():
        if task_id.partition("_")[2] in names:
            assert "broken by a test" in message, message
            assert "what to do:" in message, message
    audit(site, ending_in(site, *reinstalled))


def has_nothing_left_to_do(site: Site, dag: str) -> None:
    """A scenario that is run again skips every changing step, and nothing on the lab changes."""
    before = site.journal()
    again = site.start(dag, **asked_for(site, dag))
    assert site.finish(again) == "success", site.story(again)
    states = {task.task_id: task.state for task in site.tasks(again) if task.task_id in CHANGING}
    own = {"S3_take_lock", "S6_note_cluster_mode", "E2_release_lock"}
    assert {task_id: state for task_id, state in states.items() if state != "skipped" and task_id not in own} == {}
    assert site.journal() == before


def ending_in(site: Site, *numbers: str) -> tuple[str, ...]:
    """The site's hosts whose addresses end in these numbers."""
    return tuple(name for name in site.lab.state()["hosts"] if name.rsplit("-", 1)[-1] in numbers)


def validated(site: Site, run: Run) -> dict[str, str]:
    """What a validation has kept: check -> result and what was found."""
    kept = site.lab.run("daisy", "cat /var/lib/tecs-rollback/validation/*.json").stdout
    mine = next(each for each in map(json.loads, kept.splitlines()) if each["run_id"] == run.run_id)
    return {finding["check"]: f"{finding['result']}: {finding['found']}" for finding in mine["findings"]}


# ---- upgrades --------------------------------------------------------------------------------------------------------


def releases(site: Site) -> set[str]:
    """The releases of the nodes, as the lab knows them."""
    return {host["release"] for host in site.lab.state()["hosts"].values() if host["role"] != "daisy"}


def host(site: Site, number: str) -> str:
    """The site's host whose address ends in this number."""
    return ending_in(site, number)[0]


def vms(site: Site) -> dict[str, str]:
    """Every VM with its state."""
    return {vm["name"]: vm["status"] for vm in site.lab.state()["vms"]}


def rollback_of(site: Site, run: Run) -> Run:
    """The rollback that the upgrade has started."""
    return site.airflow.run("rollback_cluster", f"{run.run_id}__rollback")


def is_upgraded(site: Site, before: dict[str, str]) -> None:
    """The cluster is on the new release: B active, no ban, every VM, and nothing done that must not be."""
    _is_well(site, "101", "12", before)


def is_back(site: Site, before: dict[str, str]) -> None:
    """The cluster is as it was before the upgrade: the old release, A active, no ban, every VM, and nothing done wrong."""
    _is_well(site, "100", "11", before)
    assert site.lab.run("daisy", "cat /var/lib/tecs-rollback/lock").stdout == ""


def _is_well(site: Site, release: str, active: str, before: dict[str, str]) -> None:
    truth = site.lab.state()
    assert truth["violations"] == []
    assert releases(site) == {release}
    assert truth["cluster"]["active"] == host(site, active)
    assert truth["cluster"]["constraints"] == []
    assert vms(site) == before

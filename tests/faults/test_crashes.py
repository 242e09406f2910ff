"""Every task of every scenario dies once, at its start, in the middle and at its end; each process of Airflow dies, too."""

from __future__ import annotations

import itertools
import json
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from console.airflow_api import Run
from console.errors import ApiError
from console.processes import members
from console.stack import HEALTHY_COMPONENTS
from include.runbook.scenarios import BATCH_OF
from tests.groups import case, in_groups
from tests.scenarios import CHANGING, UPGRADE, Site, asked_for, audit, ending_in, is_upgraded, vms

from .conftest import Count
from .figures import Figures

pytestmark = pytest.mark.faults


@dataclass(frozen=True)
class Scenario:
    """In which state its lab begins, and the ends of the addresses of the hosts that it reinstalls with the old release."""

    begins: str
    reinstalls: tuple[str, ...] = ()


SCENARIOS = {
    "rollback_compute": Scenario("C", ("21",)),
    "rollback_controller": Scenario("B", ("12",)),
    "rollback_cluster": Scenario("A", ("12", "21", "22")),
    UPGRADE: Scenario("good"),
}
MOMENTS = ("start", "middle", "end")
WHOSE = ("task", "worker")
PROCESSES = {"scheduler": "scheduler", "triggerer": "triggerer", "api-server": "api"}
PROGRAMS = tuple(PROCESSES)
EACH_TASKS = 5
"""After as many tasks that have ended, the next program of Airflow is killed."""


@dataclass(frozen=True)
class Case:
    """One run of a scenario: when its tasks die, and whose process it is."""

    dag: str
    moment: str
    whose: str

    @property
    def site(self) -> tuple[str, str]:
        """The site of this run."""
        return site_of(self.dag, self.moment, self.whose)


def site_of(dag: str, *words: str) -> tuple[str, str]:
    """The name of a site for the scenario, which ends in these words, and the state in which its lab begins."""
    scenario = "upgrade" if dag == UPGRADE else dag.partition("_")[2]
    return "-".join((scenario, *words)), SCENARIOS[dag].begins


CASES = [Case(dag, moment, whose) for dag in reversed(SCENARIOS) for moment, whose in itertools.product(MOMENTS, WHOSE)]
OUTAGES = [case(f"programs-{each.begins}", site_of(dag, "programs"), dag, id=dag) for dag, each in SCENARIOS.items()]


def finished_or_resumed(site: Site, run: Run, most: int) -> tuple[str, int]:
    """Let the run end, its failed tasks cleared as the operator's page says; how it ended, and how often that was."""
    for resumed in range(most + 1):
        if (state := site.finish(run)) == "success":
            return state, resumed
        site.airflow.clear_failed(run.dag_id, run.run_id)
        site.until(run, lambda now: not now.finished)
    return state, most


def counted(site: Site, injected: int, by_hand: int) -> Figures:
    """What the lab itself says of this run's end."""
    truth = site.lab.state()
    installs = sum(max(0, each["installed"] - 1) for each in truth["installs"].values())
    lost = sum(vm["status"] != "ACTIVE" for vm in truth["vms"])
    held = site.lab.run("daisy", "test ! -e /var/lib/tecs-rollback/lock").returncode
    at_once = sum(each["audit"] == "two installers at once" for each in truth["violations"])
    return Figures(injected, injected - by_hand, by_hand, lost, installs, held + at_once)


def is_as_it_must_be(site: Site, dag: str, before: dict[str, str]) -> None:
    """The scenario has come to its end, each host installed once, and nothing was done that must not be."""
    if dag == UPGRADE:
        is_upgraded(site, before)
    else:
        audit(site, ending_in(site, *SCENARIOS[dag].reinstalls))


@in_groups(
    [
        case(f"{each.moment}-{each.site[1]}", each.site, each, id=f"{each.dag}-{each.moment}-{each.whose}")
        for each in CASES
    ],
    "death",
)
def test_each_task_of_the_scenario_dies_once_and_the_run_comes_to_its_end(
    site: Site, orders: Path, death: Case, count: Count
) -> None:
    dag, folder, before = death.dag, orders / site.name, vms(site)
    folder.mkdir()
    (folder / "order.json").write_text(json.dumps({"moment": death.moment, "whose": death.whose}))
    known = {task.task_id for each in {dag, BATCH_OF.get(dag, dag)} for task in site.airflow.tasks(each)}

    run = site.start(dag, **asked_for(site, dag))
    ended, resumed = finished_or_resumed(site, run, most=len(known))
    assert ended == "success", site.story(run)

    died = {(mark.split(".", 1)[0], mark.split(".", 1)[1].rsplit(".", 2)[0]) for mark in marks(folder)}
    carried_out = {
        (one.dag_id, task.task_id)
        for one in [run, *site.batches(run)]
        for task in site.airflow.task_instances(one.dag_id, one.run_id)
        if task.state == "success" and (death.moment != "middle" or task.task_id in CHANGING)
    }
    assert carried_out <= died, f"never died: {sorted(carried_out - died)}"
    count(counted(site, len(marks(folder)), resumed))
    is_as_it_must_be(site, dag, before)


def marks(folder: Path) -> list[str]:
    """The deaths that were noted."""
    return [file.name for file in folder.iterdir() if file.name != "order.json"]


@in_groups(OUTAGES, "dag")
def test_airflows_programs_are_killed_in_turn_all_along_and_the_run_comes_to_its_end(
    site: Site, dag: str, count: Count
) -> None:
    before = vms(site)
    run = site.start(dag, **asked_for(site, dag))
    killed = 0
    ends = time.monotonic() + site.patience
    while not state(site, run).finished:
        assert time.monotonic() < ends, site.story(run)
        if ended_tasks(site, run) >= EACH_TASKS * (killed + 1):
            kill(site, PROGRAMS[killed % len(PROGRAMS)])
            killed += 1
        time.sleep(0.5)
    ended, resumed = finished_or_resumed(site, run, most=killed)
    assert ended == "success", site.story(run)
    assert killed >= len(PROGRAMS)
    count(counted(site, killed, resumed))
    is_as_it_must_be(site, dag, before)


def state(site: Site, run: Run) -> Run:
    """The run as it is now."""
    return site.airflow.run(run.dag_id, run.run_id)


def ended_tasks(site: Site, run: Run) -> int:
    """How many tasks of the run and its batches have ended."""
    return sum(task.end is not None for task in site.tasks(run))


def healthy(site: Site) -> bool:
    """Whether Airflow answers, and says of each of its programs that it lives."""
    try:
        return all(part.healthy for name, part in site.airflow.health().items() if name in HEALTHY_COMPONENTS)
    except ApiError:
        return False


def command(process: psutil.Process) -> str:
    """The process's title; empty when it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def kill(site: Site, program: str) -> None:
    """SIGKILL every process of one of Airflow's programs; the supervisor starts it again, and it must be up before more dies."""
    victims = [each for each in members(str(site.stack.state)) if PROCESSES[program] in command(each)]
    assert victims, f"no {program} is running"
    for each in victims:
        each.send_signal(signal.SIGKILL)
    ends = time.monotonic() + 120
    while site.stack.states()[program] != "RUNNING" or not healthy(site):
        assert time.monotonic() < ends, f"{program} does not come back"
        time.sleep(0.5)

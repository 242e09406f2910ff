"""Runs of one or several Airflow installations want a cluster at the same moment: the real scripts, in a real shell."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from include.runbook import lock
from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.cluster import Cluster
from include.runbook.step import UNNAMED, Run

from .conftest import Count
from .figures import Figures

EXAMPLE = Path(__file__).parents[2] / "include/clusters/example.yaml"
TRIALS = 1000
SAMPLE = 20
APART = 0.02
"""Seconds by which two runs begin apart at most: about as long as the script takes."""


@dataclass(frozen=True)
class Trial:
    """What two runs meet: a cluster that is free, that a dead run holds, or that its holder is just giving back.

    `over` says how many of the two are asked to take over, `killed` whether the first dies while it asks, `alike` whether
    they have one name, each in an Airflow of its own.
    """

    held: bool = False
    releasing: bool = False
    over: int = 0
    killed: bool = False
    alike: bool = False


KINDS = {
    "both find it free": Trial(),
    "one dies while it asks": Trial(killed=True),
    "a dead run holds it": Trial(held=True),
    "a dead run holds it and one takes over": Trial(held=True, over=1),
    "a dead run holds it and both take over": Trial(held=True, over=2),
    "one dies while it takes over": Trial(held=True, over=1, killed=True),
    "its holder gives it back": Trial(held=True, releasing=True),
    "both have one name, in two Airflows": Trial(alike=True),
    "both have one name and take over": Trial(held=True, over=2, alike=True),
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run whose Daisy host is a folder of this machine."""
    raw = yaml.safe_load(EXAMPLE.read_text())
    raw["daisy"]["root"] = str(tmp_path)
    cluster = Cluster.model_validate(raw)
    return Run(
        cluster, cluster.target_release, cluster.computes[:1], owner="rollback_compute/dead", dag="rollback_compute"
    )


def shell(script: str) -> subprocess.Popen[str]:
    """Begin a script as sshd does."""
    return subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def violated(trial: Trial, run: Run, chance: random.Random) -> str:
    """Carry out one trial on a free cluster; what was wrong about it, or nothing."""
    path = Path(lock.lock_path(run))
    if trial.held:
        assert subprocess.run(["sh", "-c", lock.take(run)], capture_output=True, check=False).returncode == 0
    pair = [
        replace(run, owner=f"rollback_compute/{n * (not trial.alike)}", airflow=f"http://{n}", take_over=n < trial.over)
        for n in range(2)
    ]
    begun = [shell(lock.release(run))] if trial.releasing else []
    takers = []
    for one in chance.sample(pair, 2):
        takers.append((one, shell(lock.take(one))))
        time.sleep(chance.uniform(0, APART))
    if trial.killed:
        next(process for one, process in takers if one == pair[0]).kill()
    answers = [(one, process.communicate()[0], process.returncode) for one, process in takers]
    for process in begun:
        process.communicate()
    holder = lock.read_holder(path.read_text()) if path.exists() else None
    return wrong(trial, pair, answers, named(holder) if holder else "nobody")


def named(each: Run | lock.Holder) -> str:
    """Return the name that no other run has."""
    return f"{each.owner} in {each.airflow}"


def wrong(trial: Trial, pair: Sequence[Run], answers: Sequence[tuple[Run, str, int]], owner: str) -> str:
    """Say what of a trial's end must not be: who was let in, who was refused with which words, who holds the cluster."""
    let_in = [one for one, _, status in answers if status == 0]
    names = [named(one) for one in let_in]
    refused = [text for _, text, status in answers if status == lock.HELD]
    if len(let_in) > max(1, trial.over):
        return f"let in: {names}"
    if trial.held and not trial.releasing and any(not one.take_over for one in let_in):
        return f"let in without being asked to take over: {names}"
    if not trial.killed and let_in and owner not in names:
        return f"let in: {names}, held by {owner}"
    if not trial.killed and not let_in and not (trial.held and not trial.over):
        return "nobody was let in"
    if not trial.releasing and not all("rollback_compute/" in text for text in refused):
        return f"refused without a name: {refused}"
    allowed = {named(one) for one in pair if not trial.held or trial.releasing or one.take_over}
    dead = {f"rollback_compute/dead in {UNNAMED}"} if trial.held and not trial.releasing else set()
    free = {"nobody"} if trial.releasing or (trial.killed and not trial.held) else set()
    return "" if owner in allowed | dead | free else f"held by {owner}"


def trials(run: Run, kind: str, times: int, count: Count) -> None:
    """Repeat a trial, each time on a free cluster, and count it."""
    chance = random.Random(f"{kind} {times}")
    problems = []
    for _ in range(times):
        problems += [problem] if (problem := violated(KINDS[kind], run, chance)) else []
        for file in Path(lock.lock_path(run)).parent.iterdir():
            file.unlink()
    count(Figures(times, times - len(problems), violations=len(problems)))
    assert problems == []


@pytest.mark.parametrize("kind", KINDS)
def test_of_two_runs_at_most_one_goes_on_and_only_one_that_may(run: Run, kind: str, count: Count) -> None:
    trials(run, kind, SAMPLE, count)


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_times_of_two_runs_at_most_one_goes_on(run: Run, kind: str, count: Count) -> None:
    trials(run, kind, TRIALS, count)

"""The tasks of a rehearsal's DAG: what they ask Airflow for, what they keep and tell, and how they end."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.rehearsal.errors import RehearsalError
from include.rehearsal.rehearsal import Rehearsal
from include.rehearsal.report import Outcome, Report, Stepped
from include.runbook.cluster import Cluster

DAGS = Path(__file__).parents[2] / "dags"
STEP = Stepped("A2_ban", "A2 Ban", "a", 0, Outcome.DONE, "banned", True, 0.1, 5.1, 0.5)
Execute = Callable[..., dict[str, Any]]


def report(*deviations: str) -> Report:
    return Report("example", "rollback_cluster", 200, "2026-06-01T03:00:00+00:00", 9, 60, (STEP,), deviations, (), ())


@pytest.fixture
def execute(cluster: Cluster) -> Execute:
    from tecs.rehearsal import Rehearse

    def run(task: Any = None, **conf: Any) -> dict[str, Any]:
        context = {
            "params": {"cluster": "example", "scenario": "A", "pace": 200},
            "dag_run": SimpleNamespace(conf=conf),
            "dag": SimpleNamespace(fileloc=str(DAGS / "rehearse_cluster.py")),
        }
        return dict((task or Rehearse(task_id="R1_rehearse")).execute(context))

    return run


def play(monkeypatch: pytest.MonkeyPatch, result: Report | RehearsalError) -> list[Rehearsal]:
    """Let rehearsals come to this; return those that were played."""
    played: list[Rehearsal] = []

    def this(self: Rehearsal, plan_of: Any, tell: Any) -> Report:
        played.append(self)
        tell(STEP)
        if isinstance(result, RehearsalError):
            raise result
        return result

    monkeypatch.setattr(Rehearsal, "play", this)
    return played


def test_what_is_asked_for_is_played_and_kept_beside_the_pages_of_runs(
    execute: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TECS_RECORDS", str(tmp_path / "records"))
    played = play(monkeypatch, report())
    with caplog.at_level(logging.INFO):
        summary = execute(scenario="B", pace=50)
    assert [(each.cluster.name, each.scenario, each.pace) for each in played] == [("example", "B", 50)]
    assert summary == {"verdict": "rollback_cluster on the twin of example went as planned", "deviations": []}
    (kept,) = (tmp_path / "records/example/rehearsal").glob("*.json")
    assert json.loads(kept.read_text())["passed"]
    assert "A2 Ban [a]" in caplog.text


def test_no_connection_is_asked_for(execute: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import BaseHook

    def refused(*_: Any) -> None:
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(BaseHook, "get_connection", refused)
    monkeypatch.delenv("TECS_RECORDS", raising=False)
    # The plan is made as a rehearsal makes it, too.
    plans: list[str] = []

    def this(self: Rehearsal, plan_of: Any, tell: Any) -> Report:
        from include.runbook.step import Run

        run = Run(self.cluster, "100", self.cluster.computes, dag="rollback_cluster")
        plans.append(plan_of(run).scenario)
        return report()

    monkeypatch.setattr(Rehearsal, "play", this)
    execute()
    assert plans == ["rollback_cluster"]


def test_a_folder_that_cannot_be_written_fails_no_rehearsal(
    execute: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TECS_RECORDS", str(tmp_path / "file"))
    play(monkeypatch, report())
    assert execute()["deviations"] == []
    assert "the report could not be kept" in caplog.text


def test_a_twin_that_does_not_start_fails_the_task_with_the_reason(
    execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    play(monkeypatch, RehearsalError("the twin of example does not start: no room"))
    with pytest.raises(AirflowFailException, match="does not start: no room"):
        execute()


def test_a_cluster_without_an_inventory_is_refused(execute: Execute) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="'nowhere' has no inventory"):
        execute(cluster="nowhere")


def test_a_task_that_is_killed_ends_its_rehearsal(execute: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    from tecs.rehearsal import Rehearse

    ended: list[str] = []
    monkeypatch.setattr(Rehearsal, "end", lambda self: ended.append(self.cluster.name))
    play(monkeypatch, report())
    task = Rehearse(task_id="R1_rehearse")
    task.on_kill()
    assert ended == []
    execute(task)
    task.on_kill()
    assert ended == ["example"]


def test_deviations_fail_the_second_task_by_name_and_not_endlessly(
    execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowFailException
    from tecs.rehearsal import TOLD, require_as_planned

    monkeypatch.delenv("TECS_RECORDS", raising=False)
    play(monkeypatch, report("A2 Ban [a] failed: " + "x" * 5000, *(f"deviation {n}" for n in range(30))))
    with pytest.raises(AirflowFailException) as failed:
        require_as_planned(execute())
    told = str(failed.value)
    assert told.startswith(
        "rollback_cluster on the twin of example deviates from its plan in 31 points:\n  - A2 Ban [a]"
    )
    assert f"{31 - TOLD} more, see the report" in told
    assert "what to do: " in told
    assert len(told) < 5000


def test_a_rehearsal_as_planned_passes() -> None:
    from tecs.rehearsal import require_as_planned

    require_as_planned({"verdict": "as planned", "deviations": []})

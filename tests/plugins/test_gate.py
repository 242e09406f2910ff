"""The gate at U3 in Airflow: what it decides from the tasks before it, and what the tasks after it do then."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from include.runbook.cluster import Inventories
from include.runbook.gate import Decision
from include.runbook.step import Run
from tests.dags.conftest import PROJECT

PASSED = {"result": "pass", "found": ["all is well"]}
FAILED = {"result": "fail", "found": ["nova-compute: down"], "computes_first": []}
OPEN = {"result": "inconclusive", "found": ["host-1: no answer"]}


class Task:
    """A task instance that knows what others have pushed, and how they stand."""

    def __init__(self, states: dict[str, str], pushed: dict[tuple[str, str], Any]) -> None:
        self.states, self.pushed, self.own = states, pushed, {}

    def get_task_states(self, *, dag_id: str, run_ids: list[str], task_ids: list[str]) -> dict[str, dict[str, str]]:
        return {run_ids[0]: {name: state for name, state in self.states.items() if name in task_ids}}

    def xcom_pull(self, *, task_ids: str, key: str = "return_value") -> Any:
        return self.pushed.get((task_ids, key))

    def xcom_push(self, *, key: str, value: Any) -> None:
        self.own[key] = value

    def get_dag(self, dag_id: str) -> SimpleNamespace:
        return SimpleNamespace(is_paused=self.pushed.get(("paused", dag_id), False))

    def get_dagrun_state(self, *, dag_id: str, run_id: str) -> str:
        if ("run", run_id) in self.pushed:
            return str(self.pushed["run", run_id])
        from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse

        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.GENERIC_ERROR))


def context(
    states: dict[str, str] | None = None, pushed: dict[tuple[str, str], Any] | None = None, **conf: Any
) -> dict[str, Any]:
    return {
        "ti": Task(states or {}, pushed or {}),
        "task": SimpleNamespace(dag_id="upgrade_cluster", upstream_task_ids=set(states or {})),
        "run_id": "night-1",
        "params": {},
        "dag_run": SimpleNamespace(
            dag_id="upgrade_cluster",
            run_id="night-1",
            run_type="manual",
            conf={"cluster": "example", **conf},
            triggering_user_name="li",
        ),
    }


@pytest.fixture
def gate() -> Any:
    """The module, importable only once Airflow's folders are set up."""
    import tecs.gate

    return tecs.gate


@pytest.fixture(autouse=True)
def inventories(monkeypatch: pytest.MonkeyPatch, gate: Any) -> None:
    monkeypatch.setenv("TECS_CLUSTERS", str(PROJECT / "include/clusters"))
    monkeypatch.setattr(gate, "cached_credentials", lambda: None)
    monkeypatch.setattr(gate, "out_of_service", nobody)


async def nobody(run: Run, credentials: object) -> tuple[str, ...]:
    return ()


def decided(gate: Any, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]) -> str:
    monkeypatch.setattr(gate, "get_current_context", lambda: given)
    return gate.gate()


@pytest.mark.parametrize(
    ("ended", "asked", "decision"),
    [
        (("success", PASSED, "success"), "automatic", "go_on"),
        (("skipped", None, "skipped"), "automatic", "go_on"),
        (("failed", FAILED, "upstream_failed"), "automatic", "roll_back"),
        (("failed", FAILED, "upstream_failed"), "ask", "ask"),
        (("failed", FAILED, "upstream_failed"), "report", "report"),
        (("failed", OPEN, "upstream_failed"), "automatic", "ask"),
        (("failed", None, "upstream_failed"), "automatic", "ask"),
        (("success", PASSED, "failed"), "automatic", "roll_back"),
        (("success", PASSED, "skipped"), "automatic", "go_on"),
    ],
)
def test_the_gate_decides_from_the_soak_and_the_vm(
    gate: Any, monkeypatch: pytest.MonkeyPatch, ended: tuple[str, Any, str], asked: str, decision: str
) -> None:
    soak, judged, vm = ended
    pushed = {(gate.SOAK, gate.JUDGED): judged}
    given = context({gate.SOAK: soak, gate.VM: vm}, pushed, on_failure=asked)
    assert decided(gate, monkeypatch, given) == decision


def test_computes_that_are_out_of_service_are_to_be_rolled_back_first(
    gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def one(run: Run, credentials: object) -> tuple[str, ...]:
        return ("host-10-43-203-102",)

    monkeypatch.setattr(gate, "out_of_service", one)
    for judged, first in ((FAILED, ["host-10-43-203-102"]), (PASSED, [])):
        ended = {gate.SOAK: "success" if judged is PASSED else "failed", gate.VM: "success"}
        given = context(ended, {(gate.SOAK, gate.JUDGED): judged}, on_failure="automatic")
        decided(gate, monkeypatch, given)
        assert given["ti"].own[gate.JUDGED]["computes_first"] == first


def test_nothing_is_decided_of_an_upgrade_that_never_came_to_its_soak(
    gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = context({gate.SOAK: "upstream_failed", gate.VM: "upstream_failed"}, on_failure="automatic")
    with pytest.raises(AirflowFailException, match="did not begin"):
        decided(gate, monkeypatch, given)


def test_an_answer_counts_for_more_than_what_was_decided(gate: Any) -> None:
    given = context(pushed={(gate.GATE, "return_value"): "ask", (gate.ASK, "return_value"): "go_on"})
    assert gate.decided(given) is Decision.GO_ON


@pytest.mark.parametrize("decision", ["go_on", "report"])
def test_nothing_is_rolled_back_where_that_was_not_decided(gate: Any, decision: str) -> None:
    given = context(pushed={(gate.GATE, "return_value"): decision})
    with pytest.raises(gate.AirflowSkipException):
        gate.RollBack(task_id="U3_roll_back").execute(given)


def test_the_rollback_is_started_once_with_what_the_upgrade_was_asked_for(gate: Any) -> None:
    from airflow.sdk.exceptions import DagRunTriggerException

    pushed: dict[tuple[str, str], Any] = {
        (gate.GATE, "return_value"): "roll_back",
        (gate.GATE, gate.JUDGED): FAILED | {"computes_first": ["host-10-43-203-102"]},
    }
    with pytest.raises(DagRunTriggerException) as started:
        gate.RollBack(task_id="U3_roll_back").execute(context(pushed=pushed, accept_newer_schema=True))
    told = started.value
    assert (told.trigger_dag_id, told.dag_run_id) == ("rollback_cluster", "night-1__rollback")
    target = Inventories(PROJECT / "include/clusters")["example"].target_release
    assert told.conf["target_release"] == target
    assert told.conf["accept_newer_schema"] is True
    assert told.conf["computes_first"] == ["host-10-43-203-102"]
    pushed["run", "night-1__rollback"] = "running"
    gate.RollBack(task_id="U3_roll_back").execute(context(pushed=pushed))


def test_a_rollback_that_is_paused_is_not_left_waiting_in_silence(gate: Any) -> None:
    from airflow.providers.standard.operators.trigger_dagrun import DagIsPaused

    pushed = {
        (gate.GATE, "return_value"): "roll_back",
        (gate.GATE, gate.JUDGED): FAILED,
        ("paused", "rollback_cluster"): True,
    }
    with pytest.raises(DagIsPaused):
        gate.RollBack(task_id="U3_roll_back").execute(context(pushed=pushed))


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        ("roll_back", "run night-1__rollback of rollback_cluster"),
        ("report", '"take_over": true'),
    ],
)
def test_an_upgrade_whose_release_is_not_good_ends_there_and_says_what_follows(
    gate: Any, monkeypatch: pytest.MonkeyPatch, decision: str, told: str
) -> None:
    pushed = {(gate.GATE, "return_value"): decision, (gate.GATE, gate.JUDGED): FAILED}
    monkeypatch.setattr(gate, "get_current_context", lambda: context(pushed=pushed))
    with pytest.raises(AirflowFailException, match="nova-compute: down") as ended:
        gate.go_on()
    assert told in str(ended.value)


def test_an_upgrade_whose_release_is_good_goes_on(gate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed = {(gate.GATE, "return_value"): "go_on"}
    monkeypatch.setattr(gate, "get_current_context", lambda: context(pushed=pushed))
    gate.go_on()


def test_a_b_that_could_not_be_upgraded_is_offered_scenario_b(gate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    states = {"A5.7_verify_pacemaker_on_b": "upstream_failed", "U1_forbid_switchover": "success"}
    given = context(states)
    given["task"].upstream_task_ids = {"A5.7_verify_pacemaker_on_b"}
    monkeypatch.setattr(gate, "get_current_context", lambda: given)
    with pytest.raises(
        AirflowFailException, match=r'rollback_controller with \{"cluster": "example", "take_over": true'
    ):
        gate.b_upgraded()


def test_nothing_is_offered_where_b_was_not_touched(gate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    states = {"A5.7_verify_pacemaker_on_b": "upstream_failed", "U1_forbid_switchover": "upstream_failed"}
    given = context(states)
    given["task"].upstream_task_ids = {"A5.7_verify_pacemaker_on_b"}
    monkeypatch.setattr(gate, "get_current_context", lambda: given)
    with pytest.raises(AirflowFailException, match="B is as it was"):
        gate.b_upgraded()


def test_nobody_is_asked_where_all_is_decided(gate: Any) -> None:
    given = context(pushed={(gate.GATE, "return_value"): "go_on"})
    with pytest.raises(gate.AirflowSkipException, match="already decided"):
        gate.AskWhatFollows(task_id=gate.ASK).execute(given)


@pytest.fixture
def recorded(gate: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is written to the run's record."""
    events: list[dict[str, Any]] = []
    monkeypatch.setattr(gate, "append", lambda run, new, log: events.extend(new))
    return events


@pytest.mark.parametrize("silence", ["roll_back", "report"])
def test_silence_means_what_was_said_when_it_was_asked_and_is_recorded(
    gate: Any, recorded: list[dict[str, Any]], silence: str
) -> None:
    given = context(pushed={(gate.ASK, "silence"): silence})
    task = gate.AskWhatFollows(task_id=gate.ASK)
    assert task.execute_complete(given, {"error": "timeout", "error_type": "timeout"}) == silence
    assert [(event["by"], event["id"]) for event in recorded] == [("nobody", "U3")]


def test_an_answer_is_taken_and_recorded_with_who_gave_it(gate: Any, recorded: list[dict[str, Any]]) -> None:
    event = {
        "chosen_options": ["Stop here: B goes on serving"],
        "params_input": {},
        "responded_at": datetime(2026, 6, 1, 2, 0, tzinfo=UTC),
        "responded_by_user": {"id": "1", "name": "wang"},
    }
    assert gate.AskWhatFollows(task_id=gate.ASK).execute_complete(context(), event) == "report"
    (told,) = recorded
    assert (told["by"], told["found"]) == (
        "wang",
        "wang answered at 2026-06-01T02:00:00+00:00: Stop here: B goes on serving",
    )

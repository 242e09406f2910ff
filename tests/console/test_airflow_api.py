"""The REST client: what it sends, how it reads answers, and what it says when it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from console.airflow_api import Airflow, TaskInstance
from console.errors import ApiError

RUN = {"dag_id": "d", "dag_run_id": "r", "state": "queued", "start_date": None, "end_date": None}
FAILED = TaskInstance("t", -1, None, "failed", None, None, 2, None)


def airflow(answer: Callable[[httpx.Request], httpx.Response]) -> Airflow:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/auth/token":
            return httpx.Response(201, json={"access_token": "ticket"})
        return answer(request)

    return Airflow("http://127.0.0.1:1", "admin", "secret", httpx.MockTransport(handle))


def test_every_request_carries_the_token_of_the_login() -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(200, json=RUN)

    airflow(answer).run("d", "r")
    assert seen == ["Bearer ticket"]


def test_a_token_that_has_run_out_is_renewed_once() -> None:
    answers = [httpx.Response(200, json=RUN), httpx.Response(401, json={"detail": "expired"})]
    answers += [httpx.Response(200, json=RUN | {"state": "running"})]
    client = airflow(lambda request: answers.pop(0))
    client.run("d", "r")
    assert client.run("d", "r").state == "running"


def test_a_trigger_names_the_run_and_its_conf() -> None:
    sent = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append((request.method, request.url.path, json.loads(request.content)))
        return httpx.Response(200, json=RUN)

    airflow(answer).trigger("d", "r", {"cluster": "lab"})
    body = {"logical_date": None, "dag_run_id": "r", "conf": {"cluster": "lab"}}
    assert sent == [("POST", "/api/v2/dags/d/dagRuns", body)]


def test_all_pages_of_task_instances_are_read() -> None:
    def entry(number: int) -> dict[str, object]:
        return {
            "task_id": "t",
            "map_index": number,
            "rendered_map_index": f"host-{number}",
            "state": "success",
            "start_date": "2026-01-01T00:00:00Z",
            "end_date": "2026-01-01T00:00:02.5Z",
            "try_number": 1,
            "note": None,
        }

    def answer(request: httpx.Request) -> httpx.Response:
        offset = int(request.url.params["offset"])
        page = [entry(number) for number in range(offset, min(offset + 100, 230))]
        return httpx.Response(200, json={"task_instances": page, "total_entries": 230})

    found = airflow(answer).task_instances("d", "r")
    assert [task.map_index for task in found] == list(range(230))
    assert found[229].host == "host-229"


def test_tasks_stand_after_those_they_depend_on() -> None:
    tasks = [
        {"task_id": "last", "task_display_name": "E Last", "downstream_task_ids": []},
        {"task_id": "first", "task_display_name": "A First", "downstream_task_ids": ["middle", "last"]},
        {"task_id": "middle", "task_display_name": None, "downstream_task_ids": ["last"]},
    ]
    found = airflow(lambda request: httpx.Response(200, json={"tasks": tasks})).tasks("d")
    assert [(task.task_id, task.title) for task in found] == [
        ("first", "A First"),
        ("middle", "middle"),
        ("last", "E Last"),
    ]
    assert found[2].after == {"first", "middle"}


def test_only_runs_triggered_by_the_parent_are_its_children_oldest_first() -> None:
    ids = ["p__batch-002", "p__batch-001", "p2__batch-001", "p"]
    runs = {"dag_runs": [RUN | {"dag_run_id": run_id} for run_id in ids]}
    found = airflow(lambda request: httpx.Response(200, json=runs)).child_runs("d", "p")
    assert [run.run_id for run in found] == ["p__batch-001", "p__batch-002"]


def test_a_failure_is_told_by_its_last_exception() -> None:
    detail = [{"exc_type": "GoalNotReached", "exc_value": "A1 on host-1: not reached\nwhat to do: look"}]
    log = {"content": [{"event": "noise"}, {"event": "Task failed", "error_detail": detail}, {"event": "more noise"}]}
    found = airflow(lambda request: httpx.Response(200, json=log)).failure("d", "r", FAILED)
    assert found == ["A1 on host-1: not reached", "what to do: look"]


def test_a_failure_without_an_exception_is_told_by_the_end_of_its_log() -> None:
    log = {"content": [{"event": "::group::Pre"}, *({"event": f"line {number}"} for number in range(30))]}
    found = airflow(lambda request: httpx.Response(200, json=log)).failure("d", "r", FAILED, lines=2)
    assert found == ["line 28", "line 29"]


def test_clearing_runs_again_only_what_failed() -> None:
    sent = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append((request.url.path, json.loads(request.content)))
        return httpx.Response(200, json={})

    airflow(answer).clear_failed("d", "r")
    assert sent == [("/api/v2/dags/d/dagRuns/r/clear", {"dry_run": False, "only_failed": True})]


@pytest.mark.parametrize(
    ("status", "detail", "words"),
    [
        (404, "The DagRun was not found", "404: The DagRun was not found"),
        (422, [{"msg": "Field required"}, {"msg": "too long"}], "422: Field required; too long"),
        (500, {"reason": "Unique constraint violation", "message": "see the log"}, "500: Unique constraint violation"),
    ],
)
def test_a_refusal_is_one_sentence_with_airflow_s_reason(status: int, detail: object, words: str) -> None:
    with pytest.raises(ApiError, match=words) as refusal:
        airflow(lambda request: httpx.Response(status, json={"detail": detail})).run("d", "r")
    assert refusal.value.status == status


def test_a_used_run_id_is_named() -> None:
    with pytest.raises(ApiError, match="d already has a run r: choose another run id"):
        airflow(lambda request: httpx.Response(409, json={"detail": {"reason": "unique"}})).trigger("d", "r", {})


def test_an_airflow_that_is_not_there_is_said_to_be_so() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    with pytest.raises(ApiError, match=r"did not answer GET .*health: connection refused"):
        airflow(answer).health()

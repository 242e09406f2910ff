"""A small client of Airflow's REST API: what the demonstration needs of it, with errors told in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from graphlib import TopologicalSorter
from typing import Any

import httpx

from console.errors import ApiError

PAGE = 100
"""Airflow returns at most this many entries a page."""

ANSWERED_WITHIN = 30.0
"""Seconds in which Airflow answers a request."""

FINISHED_RUN = frozenset({"success", "failed"})


@dataclass(frozen=True)
class Run:
    """One run of a DAG, as Airflow tells it."""

    dag_id: str
    run_id: str
    state: str
    start: datetime | None
    end: datetime | None

    @property
    def finished(self) -> bool:
        return self.state in FINISHED_RUN


@dataclass(frozen=True)
class TaskInstance:
    """One task of a run, or one of its mapped copies; ``state`` is None until Airflow looks at it."""

    task_id: str
    map_index: int
    host: str | None
    state: str | None
    start: datetime | None
    end: datetime | None
    try_number: int
    note: str | None


@dataclass(frozen=True)
class Task:
    """A task of a DAG before any run: its display name, and the tasks that it directly comes after."""

    task_id: str
    title: str
    after: frozenset[str]


@dataclass(frozen=True)
class ComponentHealth:
    """What Airflow knows of one of its components; ``heartbeat`` is None for those without one."""

    healthy: bool
    heartbeat: datetime | None


@dataclass(frozen=True)
class Dag:
    """A DAG that Airflow has read: its file, relative to the DAG folder, and when it was last read."""

    dag_id: str
    file: str
    read_at: datetime


@dataclass(frozen=True)
class ImportProblem:
    """A DAG file that Airflow could not read, when it tried, and why."""

    file: str
    read_at: datetime
    message: str


class Airflow:
    """A session with one Airflow, logged in as one user. Close it, or use it in a ``with`` block."""

    def __init__(self, url: str, user: str, password: str, transport: httpx.BaseTransport | None = None) -> None:
        # trust_env: a proxy meant for the internet must not be asked for an address on this machine
        self._http = httpx.Client(base_url=url, trust_env=False, transport=transport)
        self._user = user
        self._password = password
        self._token: str | None = None

    def __enter__(self) -> Airflow:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def health(self) -> dict[str, ComponentHealth]:
        """Each component's health by name (``scheduler``, ``dag_processor`` ...); needs no login."""
        answer = self._send("GET", "/api/v2/monitor/health", login=False)
        return {name: _component_health(name, part) for name, part in answer.items() if isinstance(part, Mapping)}

    def warm_up(self, within: float) -> None:
        """The execution API, which tasks call, has built its models: only its first answer takes seconds, or `within` of them
        where the machine is busy."""
        self._send("GET", "/execution/health/ping", login=False, timeout=within)

    def dags(self) -> list[Dag]:
        """Every DAG that Airflow has read and not since found gone."""
        return [
            Dag(entry["dag_id"], entry["relative_fileloc"] or "", read_at)
            for entry in self._pages("/api/v2/dags", "dags")
            if (read_at := _time(entry["last_parsed_time"])) is not None
        ]

    def import_problems(self) -> list[ImportProblem]:
        """The DAG files that could not be read when Airflow last tried."""
        return [
            ImportProblem(entry["filename"] or "", read_at, entry["stack_trace"] or "")
            for entry in self._pages("/api/v2/importErrors", "import_errors")
            if (read_at := _time(entry["timestamp"])) is not None
        ]

    def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> Run:
        """A new run of the DAG exists under this id. Raises ApiError for a used id (409) or a wrong conf (400)."""
        body = {"logical_date": None, "dag_run_id": run_id, "conf": dict(conf)}
        try:
            return _run(self._send("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body))
        except ApiError as error:
            if error.status == 409:
                raise ApiError(f"{dag_id} already has a run {run_id}: choose another run id.", 409) from error
            raise

    def run(self, dag_id: str, run_id: str) -> Run:
        """The run as it is now."""
        return _run(self._send("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}"))

    def child_runs(self, dag_id: str, parent_run_id: str) -> list[Run]:
        """The runs of ``dag_id`` that this parent triggered, oldest first: their ids begin with ``<parent>__``."""
        query = {"order_by": "-run_after", "limit": str(PAGE)}
        newest = self._send("GET", f"/api/v2/dags/{dag_id}/dagRuns", params=query)["dag_runs"]
        runs = [_run(entry) for entry in newest if entry["dag_run_id"].startswith(f"{parent_run_id}__")]
        return runs[::-1]

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """Every task instance of the run, mapped ones once per copy."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        return [_task_instance(entry) for entry in self._pages(path, "task_instances")]

    def tasks(self, dag_id: str) -> list[Task]:
        """The DAG's tasks, each after those that it depends on."""
        tasks = self._send("GET", f"/api/v2/dags/{dag_id}/tasks")["tasks"]
        upstream: dict[str, set[str]] = {task["task_id"]: set() for task in tasks}
        for task in tasks:
            for follower in task["downstream_task_ids"]:
                upstream[follower].add(task["task_id"])
        titles = {task["task_id"]: task["task_display_name"] or task["task_id"] for task in tasks}
        order = TopologicalSorter(upstream).static_order()
        return [Task(task_id, titles[task_id], frozenset(upstream[task_id])) for task_id in order]

    def failure(self, dag_id: str, run_id: str, task: TaskInstance, lines: int = 12) -> list[str]:
        """Why the task's latest try failed: its last exception's message, else the last lines of its log."""
        if task.try_number < 1:
            return []
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task.task_id}/logs/{task.try_number}"
        answer = self._send("GET", path, params={"map_index": str(task.map_index), "full_content": "true"})
        entries = [entry if isinstance(entry, Mapping) else {"event": entry} for entry in answer["content"]]
        for entry in reversed(entries):
            if entry.get("error_detail"):
                return str(entry["error_detail"][-1]["exc_value"]).splitlines()
        return [line for entry in entries for line in str(entry["event"]).splitlines() if "::" not in line[:2]][-lines:]

    def clear_failed(self, dag_id: str, run_id: str) -> None:
        """The run's failed tasks, and those that waited for them, will run again; finished ones stay as they are."""
        body = {"dry_run": False, "only_failed": True}
        self._send("POST", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/clear", json=body)

    def clear_task(self, dag_id: str, run_id: str, task_id: str) -> None:
        """The task and what follows it will run again, whatever has become of them."""
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": [task_id], "include_downstream": True}
        whole = {"only_failed": False, "reset_dag_runs": True}
        self._send("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", json=body | whole)

    def _pages(self, path: str, key: str) -> Iterator[Any]:
        offset = 0
        while True:
            answer = self._send("GET", path, params={"limit": str(PAGE), "offset": str(offset)})
            yield from answer[key]
            offset += PAGE
            if offset >= answer["total_entries"]:
                return

    def _send(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        login: bool = True,
        timeout: float = ANSWERED_WITHIN,
    ) -> Any:
        headers = {"Authorization": f"Bearer {self._logged_in()}"} if login else {}
        try:
            answer = self._http.request(method, path, json=json, params=params, headers=headers, timeout=timeout)
        except httpx.HTTPError as error:
            raise ApiError(f"Airflow at {self._http.base_url} did not answer {method} {path}: {error}") from error
        if answer.status_code == 401 and login and self._token is not None:
            # a token lives for a day; a stack left running longer needs a new one
            self._token = None
            return self._send(method, path, json=json, params=params)
        if answer.is_error:
            raise ApiError(_refusal(method, path, answer), answer.status_code)
        return answer.json()

    def _logged_in(self) -> str:
        if self._token is None:
            credentials = {"username": self._user, "password": self._password}
            self._token = str(self._send("POST", "/auth/token", json=credentials, login=False)["access_token"])
        return self._token


def _component_health(name: str, part: Mapping[str, Any]) -> ComponentHealth:
    return ComponentHealth(part.get("status") == "healthy", _time(part.get(f"latest_{name}_heartbeat")))


def _refusal(method: str, path: str, answer: httpx.Response) -> str:
    try:
        detail = answer.json().get("detail", answer.text)
    except (ValueError, AttributeError):
        detail = answer.text
    if isinstance(detail, list):
        said = (entry.get("msg", entry) if isinstance(entry, Mapping) else entry for entry in detail)
        detail = "; ".join(str(words) for words in said)
    elif isinstance(detail, Mapping):
        detail = detail.get("reason") or detail.get("message") or str(dict(detail))
    return f"Airflow refused {method} {path} with {answer.status_code}: {str(detail).strip()[:2000]}"


def _run(entry: Mapping[str, Any]) -> Run:
    return Run(
        dag_id=entry["dag_id"],
        run_id=entry["dag_run_id"],
        state=entry["state"],
        start=_time(entry["start_date"]),
        end=_time(entry["end_date"]),
    )


def _task_instance(entry: Mapping[str, Any]) -> TaskInstance:
    return TaskInstance(
        task_id=entry["task_id"],
        map_index=entry["map_index"],
        # until a copy has begun its label is only its number
        host=label if (label := entry["rendered_map_index"]) != str(entry["map_index"]) else None,
        state=entry["state"],
        start=_time(entry["start_date"]),
        end=_time(entry["end_date"]),
        try_number=entry["try_number"],
        note=entry["note"],
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None

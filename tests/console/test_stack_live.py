"""A whole Airflow is started, runs a DAG through its REST API, is used again, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from console.airflow_api import Airflow
from console.processes import members
from console.stack import AIRFLOW_PROGRAMS, Stack, free_port

pytestmark = pytest.mark.slow

DAG = """
from airflow.sdk import DAG, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

with DAG("scratch", schedule=None):

    @task(task_display_name="A1 Be already true")
    def skipped():
        raise AirflowSkipException

    @task(task_display_name="A2 Act on each host", map_index_template="{{ host }}", trigger_rule="none_failed")
    def acted(host):
        get_current_context()["host"] = host

    @task(task_display_name="A3 Go wrong")
    def failed():
        raise ValueError("the goal is not reached")

    skipped() >> acted.expand(host=["host-1", "host-2"]) >> failed()
"""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    # deep enough that a Unix socket in the state folder would have too long a name
    state = tmp_path / ("deep" * 12) / "state"
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "scratch.py").write_text(DAG)
    state.mkdir(parents=True)
    made = Stack(state, dags)
    yield made
    made.down()


def ended(airflow: Airflow, dag_id: str, run_id: str) -> str:
    deadline = time.monotonic() + 60
    while not (run := airflow.run(dag_id, run_id)).finished:
        assert time.monotonic() < deadline, f"{run_id} is still {run.state}"
        time.sleep(0.2)
    return run.state


def beyond_loopback(processes: list[psutil.Process]) -> list[object]:
    listening = [
        connection.laddr
        for process in processes
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening, "not even the API server listens"
    return [address for address in listening if address.ip != "127.0.0.1"]


def test_a_stack_runs_a_dag_and_leaves_nothing_behind(stack: Stack) -> None:
    running = stack.up(port=free_port(0))
    with running.airflow() as airflow:
        airflow.trigger("scratch", "first", {})
        assert ended(airflow, "scratch", "first") == "failed"
        tasks = {(task.task_id, task.map_index): task for task in airflow.task_instances("scratch", "first")}
        assert tasks["skipped", -1].state == "skipped"
        assert [tasks["acted", number].host for number in (0, 1)] == ["host-1", "host-2"]
        assert airflow.failure("scratch", "first", tasks["failed", -1]) == ["the goal is not reached"]
        assert [task.title for task in airflow.tasks("scratch")][-1] == "A3 Go wrong"
        airflow.clear_failed("scratch", "first")
        assert ended(airflow, "scratch", "first") == "failed"

    own = members(str(stack.state))
    assert beyond_loopback(own) == []
    assert set(stack.states().values()) == {"RUNNING"}

    # a live stack is used again, with its port and its processes
    assert stack.up(port=free_port(0)) == running
    assert {process.pid for process in own} & {process.pid for process in members(str(stack.state))}

    # after a kill -9 of the supervisor, its programs are orphans; they are found and ended all the same
    (supervisor,) = [process for process in own if "supervisor.supervisord" in process.cmdline()]
    os.kill(supervisor.pid, signal.SIGKILL)
    assert len(members(str(stack.state))) >= len(AIRFLOW_PROGRAMS)
    stack.down()
    assert members(str(stack.state)) == []
    assert not [process for process in psutil.process_iter(["cmdline"]) if _mentions(process, stack.state)]
    stack.down()


def _mentions(process: psutil.Process, state: Path) -> bool:
    return any(str(state) in word for word in process.info["cmdline"] or ())

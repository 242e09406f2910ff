"""The parts of the stack that need no Airflow: ports, files, programs, settings and remembered processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from console.airflow_settings import PROJECT, Place, Secrets, airflow_environment
from console.database import forget_dead_server
from console.errors import StackError
from console.processes import MEMBER_VARIABLE, ProcessRecord, end, members
from console.stack import LabRequest, Stack, airflow_programs, dag_files, free_port, lab_program, write_private
from console.supervision import Program, Supervisor

SECRETS = Secrets("password", "jwt", "fernet")


def sleeper(**environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "import sys, time; print('up', flush=True); time.sleep(60)"]
    process = subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


def test_a_free_port_is_taken_as_wanted() -> None:
    wanted = free_port(0)
    assert free_port(wanted) == wanted


def test_another_port_is_chosen_where_the_wanted_one_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert free_port(taken.getsockname()[1]) != taken.getsockname()[1]


def test_only_files_that_airflow_takes_for_dags_are_waited_for(tmp_path: Path) -> None:
    (tmp_path / "scenario.py").write_text("from airflow.sdk import DAG\n")
    (tmp_path / "words.py").write_text("WORDS = 1\n")
    assert dag_files(tmp_path) == [tmp_path / "scenario.py"]


def test_a_private_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old")
    write_private(file, "new")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o600)


def test_nothing_of_the_stack_listens_beyond_the_loopback(tmp_path: Path) -> None:
    settings = airflow_environment(Place(tmp_path, tmp_path, 8080, "postgresql://", None), SECRETS)
    assert settings["AIRFLOW__API__HOST"] == "127.0.0.1"
    for name in ("scheduler", "triggerer"):
        (program,) = [program for program in airflow_programs() if program.name == name]
        assert "--skip-serve-logs" in program.command


def test_without_a_lab_airflow_looks_connections_up_where_its_operator_put_them(tmp_path: Path) -> None:
    settings = airflow_environment(Place(tmp_path, tmp_path, 8080, "postgresql://", None), SECRETS)
    assert "AIRFLOW__SECRETS__BACKEND" not in settings
    assert "TECS_CLUSTERS" not in settings


def test_with_a_lab_its_clusters_and_connections_are_known(tmp_path: Path) -> None:
    settings = airflow_environment(Place(tmp_path, tmp_path, 8080, "postgresql://", tmp_path / "lab"), SECRETS)
    connections = json.loads(settings["AIRFLOW__SECRETS__BACKEND_KWARGS"])["connections_file_path"]
    assert connections == str(tmp_path / "lab" / "connections.json")
    assert settings["TECS_CLUSTERS"] == str(tmp_path / "lab" / "clusters")


def test_the_lab_lives_at_its_inventory_s_pace_unless_told_otherwise(tmp_path: Path) -> None:
    inventory = PROJECT / "include" / "clusters" / "lab.yaml"
    assert "--pace" not in lab_program(tmp_path, LabRequest(inventory, "A")).command
    assert lab_program(tmp_path, LabRequest(inventory, "A", 50)).command[-2:] == ("--pace", "50")


def test_a_lab_that_ends_is_not_started_again_in_its_starting_state(tmp_path: Path) -> None:
    assert not lab_program(tmp_path, LabRequest(tmp_path, "A")).restarts


def test_a_percent_sign_in_a_path_does_not_break_the_supervisor_s_configuration(tmp_path: Path) -> None:
    odd = tmp_path / "100% mine"
    Supervisor(odd, odd / "s", odd).configure([Program("api-server", ("python", "-m", "airflow"))])
    text = (odd / "supervisord.conf").read_text()
    assert "100%% mine" in text
    assert 'command="python" "-m" "airflow"' in text


def test_a_recorded_process_is_found_until_it_ends() -> None:
    process = sleeper()
    record = ProcessRecord.of(process.pid)
    assert record is not None
    assert record.process() is not None
    process.kill()
    process.wait()
    assert record.process() is None


def test_another_process_with_the_recorded_pid_is_not_taken_for_it() -> None:
    assert ProcessRecord(os.getpid(), started=1.0).process() is None


def test_only_the_processes_of_this_stack_are_its_members(tmp_path: Path) -> None:
    mine = sleeper(**{MEMBER_VARIABLE: str(tmp_path)})
    other = sleeper(**{MEMBER_VARIABLE: str(tmp_path / "other")})
    try:
        assert [process.pid for process in members(str(tmp_path))] == [mine.pid]
        assert end(members(str(tmp_path)), patience=5) == []
        assert mine.poll() is not None
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_mark_of_a_postgresql_that_died_is_removed(tmp_path: Path) -> None:
    mark = tmp_path / "postmaster.pid"
    mark.write_text(f"{os.getpid()}\n{tmp_path}\n")
    forget_dead_server(tmp_path)
    assert not mark.exists()


def test_ending_a_stack_that_never_ran_does_nothing(tmp_path: Path) -> None:
    Stack(tmp_path / "never").down()
    assert not (tmp_path / "never").exists()


def test_a_stack_that_does_not_run_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"No stack is running in .*make up"):
        Stack(tmp_path).running()

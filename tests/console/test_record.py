"""The command that writes a run's page by hand: which record it takes, what it writes, what it says."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from console import record as command
from console.airflow_settings import PROJECT
from console.errors import ConsoleError
from include.runbook.cluster import Cluster, load_cluster
from include.runbook.custody import quote_name
from include.runbook.errors import HostUnreachable
from include.runbook.reach import CredentialsOf
from include.runbook.record import Record, read
from include.runbook.step import Run
from tests.unit.record_runs import LOCKED, OWNER, at, began, failed

CLUSTER = load_cluster(PROJECT / "include" / "clusters" / "lab.yaml")
RUN = Run(CLUSTER, "100", ())


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the records on the Daisy host; each is the same run."""
    names = [quote_name(OWNER)]

    async def listed(cluster: Cluster, credentials_of: CredentialsOf) -> tuple[str, ...]:
        return tuple(names)

    async def fetched(run: Run, credentials_of: CredentialsOf) -> Record:
        assert run.owner in names
        events = [began({}), *failed(1, 2, "A2_ban_float_ip_on_b", "host-11")]
        return read(events, run.owner, run.cluster.name, LOCKED, at(9))

    monkeypatch.setattr(command, "records_on_daisy", listed)
    monkeypatch.setattr(command, "read_from_daisy", fetched)
    return names


def nobody(connection_id: str) -> object:
    raise AssertionError(connection_id)


def written(asked: str, folder: Path) -> Path:
    return command.keep_record(RUN, asked, folder, nobody)  # type: ignore[arg-type]


@pytest.mark.parametrize("asked", ["run-1", "rollback_cluster/run-1", "rollback_cluster_run-1"])
def test_a_run_is_found_by_its_id_and_written_while_it_goes_on(records: list[str], tmp_path: Path, asked: str) -> None:
    page = written(asked, tmp_path)
    assert page == tmp_path / CLUSTER.name / "rollback_cluster_run-1.html"
    assert "GOES ON, WITH FAILURES" in page.read_text()
    told = json.loads(page.with_suffix(".json").read_text())
    assert told["owner"] == OWNER
    assert datetime.fromisoformat(told["now"]) == at(9)


def test_a_run_that_is_not_there_is_said_with_those_that_are(records: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConsoleError, match=r"no record of 'run-7'.*\n  rollback_cluster_run-1"):
        written("run-7", tmp_path)


def test_a_run_that_may_be_several_is_asked_about(records: list[str], tmp_path: Path) -> None:
    records.append("rollback_compute_run-1")
    with pytest.raises(ConsoleError, match="say which, with its DAG"):
        written("run-1", tmp_path)
    assert written("rollback_cluster/run-1", tmp_path).exists()


def test_a_daisy_host_out_of_reach_is_said(records: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(cluster: Cluster, credentials_of: CredentialsOf) -> tuple[str, ...]:
        raise HostUnreachable("daisy", "refused")

    monkeypatch.setattr(command, "records_on_daisy", lost)
    with pytest.raises(ConsoleError, match="daisy cannot be reached: refused"):
        written("run-1", tmp_path)

"""What a rehearsal tells: which steps it calls deviations, how it reads, and where it is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from include.rehearsal import kept
from include.rehearsal.rehearsal import end_deviations, violations_in
from include.rehearsal.report import (
    Outcome,
    Report,
    Stepped,
    as_json,
    deviations_in,
    late_steps,
    report_text,
)
from include.runbook.cluster import Cluster
from include.runbook.step import Run

DONE = Stepped("A2_ban", "A2 Ban the float IP", "a", 0, Outcome.DONE, "banned", True, 0.1, 5.1, 0.5)
REPORT = Report("example", "rollback_cluster", 200, "2026-06-01T03:00:00+00:00", 10, 60, (DONE,), (), (), ("paths: x",))


def test_a_step_that_acted_and_one_that_may_rest_are_as_planned() -> None:
    resting = replace(DONE, outcome=Outcome.ALREADY_TRUE, acts=False)
    assert list(deviations_in([DONE, resting])) == []


def test_a_step_that_rests_although_it_should_act_is_a_deviation() -> None:
    (told,) = deviations_in([replace(DONE, outcome=Outcome.ALREADY_TRUE, batch=2)])
    assert told == "A2 Ban the float IP [a], batch 2 was expected to act and was already true: banned"


def test_a_failure_is_told_whole_and_what_never_began_in_one_line() -> None:
    failed = replace(DONE, outcome=Outcome.FAILED, found="no\nwhat to do: look")
    idle = [replace(DONE, title=f"A3 Step {n}", host="", outcome=Outcome.NOT_BEGUN) for n in range(3)]
    assert list(deviations_in([failed, *idle])) == [
        "A2 Ban the float IP [a] failed: no\nwhat to do: look",
        "3 steps did not begin after that, the first of them: A3 Step 0",
    ]


def test_a_late_step_is_worth_knowing_and_no_deviation() -> None:
    late = replace(DONE, seconds=6.0)
    assert list(deviations_in([late])) == []
    assert list(late_steps([DONE, late])) == ["A2 Ban the float IP [a] took 6.0 s; expected 0.1 s, its SLA is 5.1 s"]


def test_the_text_has_the_table_what_deviates_and_the_verdict_last() -> None:
    late = replace(DONE, seconds=6.0)
    text = report_text(replace(REPORT, steps=(DONE, late), deviations=("one\ntwo",)))
    assert "    0.1 s      0.5 s  done          A2 Ban the float IP [a]" in text
    assert "LATE A2 Ban the float IP [a]" in text
    assert "Deviations:\n  - one\n    two\n" in text
    assert "Not played as the inventory says:\n  - paths: x\n" in text
    assert text.endswith("rollback_cluster on the twin of example deviates from its plan in 1 point\n")
    assert report_text(REPORT).endswith("rollback_cluster on the twin of example went as planned\n")


def test_the_json_has_the_verdict_and_no_secret() -> None:
    told = json.loads(as_json(replace(REPORT, deviations=("admin_password=s3cret",))))
    assert (told["passed"], told["steps"][0]["outcome"]) == (False, "done")
    assert "s3cret" not in json.dumps(told)


def test_reports_are_kept_by_cluster_the_newest_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "KEPT", 2)
    for day in (1, 2, 3):
        address = kept.keep(replace(REPORT, begun=f"2026-06-0{day}T03:00:00+00:00"), tmp_path)
    there = tmp_path / "example/rehearsal"
    assert address == str(there / "20260603T030000Z-rollback_cluster.txt")
    assert sorted(file.name for file in there.iterdir()) == [
        f"2026060{day}T030000Z-rollback_cluster.{ending}" for day in (2, 3) for ending in ("json", "txt")
    ]


# ---- the end state -------------------------------------------------------------------------------------------------


@pytest.fixture
def run(cluster: Cluster) -> Run:
    return Run(cluster, "100", cluster.computes, dag="rollback_cluster")


def truth(run: Run, **changes: Any) -> dict[str, Any]:
    """What the twin says of itself when everything is as it should be after scenario A."""
    roles = {run.cluster.daisy.name: "daisy"} | {compute.name: "compute" for compute in run.cluster.computes}
    a = run.cluster.controllers.a.name
    return {
        "hosts": {
            host.name: {
                "role": roles.get(host.name, "controller"),
                "release": None if host == run.cluster.daisy else "100",
                "complete": True,
                "scheduling": True,
            }
            for host in run.cluster.hosts
        },
        "cluster": {"active": a, "constraints": [], "maintenance": False},
        "vms": [{"id": "1", "name": "vm-1", "status": "ACTIVE"}],
        "installs": {
            host.name: {"installed": int(host.name not in (a, run.cluster.daisy.name))} for host in run.cluster.hosts
        },
        "violations": [],
    } | changes


def test_an_end_as_promised_deviates_in_nothing(run: Run) -> None:
    assert list(end_deviations(truth(run), truth(run), run)) == []


@pytest.mark.parametrize(
    ("part", "changes", "told"),
    [
        (
            "hosts",
            {"host-10-43-203-101": {"release": "101"}},
            "host-10-43-203-101 has release 101; expected release 100",
        ),
        ("hosts", {"host-10-43-203-92": {"complete": False}}, "host-10-43-203-92 has release 100, not complete"),
        ("hosts", {"host-10-43-203-102": {"scheduling": False}}, "nothing is scheduled to host-10-43-203-102"),
        ("installs", {"host-10-43-203-103": {"installed": 2}}, "host-10-43-203-103 was installed 2 times; expected 1"),
        ("installs", {"host-10-43-203-91": {"installed": 1}}, "host-10-43-203-91 was installed 1 times; expected 0"),
    ],
)
def test_a_host_in_another_state_is_named(part: str, changes: dict[str, Any], told: str, run: Run) -> None:
    after = truth(run)
    for name, change in changes.items():
        after[part][name] |= change
    (deviation,) = end_deviations(truth(run), after, run)
    assert told in deviation


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"active": "host-10-43-203-92"}, "host-10-43-203-92 is active; expected host-10-43-203-91"),
        ({"constraints": [{"id": "cli-ban-x"}]}, "constraints cli-ban-x; expected none"),
        ({"maintenance": True}, "maintenance is True; it was False"),
    ],
)
def test_a_pair_in_another_state_is_told(changes: dict[str, Any], told: str, run: Run) -> None:
    after = truth(run)
    after["cluster"] |= changes
    assert list(end_deviations(truth(run), after, run)) == [f"at the end: {told}"]


def test_a_vm_that_is_lost_or_left_is_told(run: Run) -> None:
    after = truth(run, vms=[{"id": "2", "name": "probe", "status": "ACTIVE"}])
    assert list(end_deviations(truth(run), after, run)) == [
        "at the end: VM vm-1 is not active",
        "at the end: 1 VMs are there that were not there before",
    ]


def test_scenario_c_leaves_the_ban_that_it_found(run: Run, cluster: Cluster) -> None:
    chosen = replace(run, dag="rollback_compute", computes=cluster.computes[:1])
    banned = truth(run)
    banned["cluster"]["constraints"] = [{"id": "cli-ban-x"}]
    for name, times in banned["installs"].items():
        times["installed"] = int(name == cluster.computes[0].name)
    assert list(end_deviations(banned, banned, chosen)) == []


def test_what_the_twin_has_seen_and_never_should_is_told(run: Run) -> None:
    seen = truth(run, violations=[{"audit": "uninstalled under VMs", "host": "h", "detail": "vm-1"}])
    assert list(violations_in(seen)) == ["uninstalled under VMs on h: vm-1"]

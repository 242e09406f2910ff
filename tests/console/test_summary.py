"""The verdict at the end of a demonstration rests on the live state alone."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from console.airflow_settings import PROJECT
from console.errors import ConsoleError
from console.summary import Expected, Times, credentials_from, shortcomings, summary
from include.runbook.cluster import load_cluster
from include.runbook.survey import Survey
from include.runbook.vms import Vm

CLUSTER = load_cluster(PROJECT / "include" / "clusters" / "lab.yaml")
A, B = CLUSTER.controllers.a.name, CLUSTER.controllers.b.name
FIRST, SECOND = (compute.name for compute in CLUSTER.computes)
EXPECTED = Expected("100", (A, B, FIRST, SECOND), ban_may_stay=False)
BEFORE = Survey(
    releases={A: "100", B: "101", FIRST: "101", SECOND: "101"},
    active=B,
    online=(A, B),
    constraints=("cli-ban-lb_float_ip-on-a",),
    maintenance=False,
    vms={"1": Vm("vm-1", FIRST, "ACTIVE"), "2": Vm("vm-2", SECOND, "ACTIVE")},
    services={FIRST: True, SECOND: True},
)
AFTER = replace(
    BEFORE,
    releases=dict.fromkeys((A, B, FIRST, SECOND), "100"),
    active=A,
    constraints=(),
    vms={"1": Vm("vm-1", SECOND, "ACTIVE"), "2": Vm("vm-2", SECOND, "ACTIVE")},
)


def test_a_cluster_that_is_right_has_no_shortcomings() -> None:
    assert shortcomings(BEFORE, AFTER, CLUSTER, EXPECTED) == ()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"releases": {**AFTER.releases, SECOND: "101"}}, f"{SECOND} is on 101, not on 100"),
        ({"releases": {**AFTER.releases, B: None}}, f"{B} is on no release, not on 100"),
        ({"active": B}, f"{B} is active, not {A}"),
        ({"active": None}, f"no controller is active, not {A}"),
        ({"constraints": ("cli-ban-lb_float_ip-on-b",)}, "the constraint cli-ban-lb_float_ip-on-b is still there"),
        ({"maintenance": True}, "Pacemaker is in maintenance mode"),
        ({"vms": {"1": Vm("vm-1", FIRST, "ACTIVE")}}, "the VM vm-2 is lost"),
        ({"vms": {**AFTER.vms, "2": Vm("vm-2", "nowhere", "ERROR")}}, "the VM vm-2 is on no known host"),
        ({"services": {FIRST: True}}, f"nova-compute is not up on {SECOND}"),
        ({"problems": ("host-9: no answer",)}, "host-9: no answer"),
    ],
)
def test_each_thing_that_is_wrong_is_named(wrong: dict[str, object], told: str) -> None:
    assert shortcomings(BEFORE, replace(AFTER, **wrong), CLUSTER, EXPECTED) == (told,)


def test_a_ban_that_was_there_before_may_stay_in_scenario_c_and_no_other() -> None:
    expected = replace(EXPECTED, ban_may_stay=True)
    assert shortcomings(BEFORE, replace(AFTER, constraints=BEFORE.constraints), CLUSTER, expected) == ()
    assert len(shortcomings(BEFORE, replace(AFTER, constraints=("cli-ban-new",)), CLUSTER, expected)) == 1


def test_the_page_shows_before_and_after_the_times_and_the_verdict() -> None:
    out = StringIO()
    Console(file=out, width=140).print(summary(BEFORE, AFTER, CLUSTER, Times(130, 105, 20), ()))
    page = out.getvalue()
    assert "active (took over)" in page
    assert "2:10 at pace 20; planned for the steps alone: 1:45 (35:00 in real time)" in page
    assert "25:02 (1,502 s)" in page
    assert "The live state is proven right" in page


def test_the_page_names_what_is_wanting() -> None:
    out = StringIO()
    Console(file=out, width=140).print(summary(BEFORE, AFTER, CLUSTER, Times(1, 1, 1), ("vm-2 is lost",)))
    assert "NOT proven right:\n  vm-2 is lost" in out.getvalue()


def test_credentials_come_from_the_file_that_airflow_reads(tmp_path: Path) -> None:
    file = tmp_path / "connections.json"
    extra = {"key_file": "/k", "host_key": "ssh-ed25519 AAAA"}
    file.write_text(json.dumps({"tecs_lab": {"conn_type": "ssh", "login": "root", "extra": json.dumps(extra)}}))
    found = credentials_from(file)("tecs_lab")
    assert (found.username, found.key_file, found.host_key) == ("root", "/k", "ssh-ed25519 AAAA")
    with pytest.raises(ConsoleError, match="has no connection other"):
        credentials_from(file)("other")

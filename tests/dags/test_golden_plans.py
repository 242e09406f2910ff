"""The printed plan is the contract: a changed command, order or time shows here as text.

After a change that is meant, write the files anew with `UPDATE_GOLDEN=1 make test` and read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from include.runbook.cluster import Inventories
from include.runbook.plan import plan_text
from include.runbook.request import read_request
from include.runbook.scenarios import OF_COMPUTES

from .conftest import PROJECT, SCENARIOS

GOLDEN = Path(__file__).with_name("golden")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_plan_of_the_example_site_is_as_agreed(scenario: str, bag: object) -> None:
    from tecs.plans import plan_of  # importable only once Airflow's folders are set up

    dag = bag.dags[scenario]  # type: ignore[attr-defined]
    by_computes = scenario in OF_COMPUTES
    conf = {"cluster": "example"} | ({"computes": ["host-10-43-203-106"]} if by_computes else {})
    clusters = Inventories(PROJECT / "include/clusters")
    run = read_request(conf, clusters, owner="dag/run", user="operator", dag=scenario, computes_asked=by_computes)
    text = plan_text(plan_of(dag, run), commands=scenario != "rollback_controller")
    golden = GOLDEN / f"{scenario}-example.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()

"""Whatever is sent to a trigger form, Airflow or the product refuses it in words, or it is a run of a known cluster."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.cluster import Inventories
from include.runbook.errors import RequestRefused
from include.runbook.request import batches, read_request
from include.runbook.scenarios import OF_COMPUTES, UPGRADES
from tests.unit.hostile import replaced, values, words

from .conftest import PROJECT, SCENARIOS

LONGEST = 25_000
"""Characters of a refusal: a huge value is not told whole."""

SOUND: dict[str, Any] = {
    "cluster": "example",
    "target_release": None,
    "vm_policy": {"host-10-43-203-101": "accept_outage"},
    "return_vms": True,
    "take_over": False,
    "accept_newer_schema": True,
    "computes": ["host-10-43-203-101", "host-10-43-203-102"],
    "computes_first": ["host-10-43-203-103"],
    "parent": {"dag_id": "rollback_cluster", "run_id": "r", "user": "u", "failures_allowed": 1},
    "on_failure": "ask",
    "window_end": "2026-06-01T06:00:00+08:00",
}
"""A word for each field of every form, none of which is refused."""


@st.composite
def requests(draw: st.DrawFn, fields: list[str]) -> dict[str, Any]:
    """A sound request for a form with these fields, one to three parts of it replaced by anything."""
    conf = {name: copy.deepcopy(SOUND[name]) for name in fields}
    for name in draw(st.lists(st.sampled_from(fields), max_size=3, unique=True)):
        conf[name] = replaced(draw, conf[name])
    if draw(st.integers(0, 3)) == 0:
        conf[draw(words)] = draw(values)
    return conf


def sent(dag: Any, conf: dict[str, Any]) -> dict[str, Any]:
    """What Airflow makes of a request: the form's fields with the defaults; raises ParamValidationError, a 400 by the API."""
    from airflow.sdk.definitions.param import ParamsDict

    form = ParamsDict({name: copy.copy(dag.params.get_param(name)) for name in dag.params})
    form.update(conf)
    return form.validate()


def read(dag: Any, asked: dict[str, Any]) -> Any:
    """What the product makes of what Airflow let through."""
    known = Inventories(PROJECT / "include/clusters")
    chosen = dag.dag_id in OF_COMPUTES
    return read_request(asked, known, owner=f"{dag.dag_id}/r", user="u", dag=dag.dag_id, computes_asked=chosen)


@pytest.fixture(params=SCENARIOS)
def dag(bag: Any, request: pytest.FixtureRequest) -> Any:
    """A scenario with a trigger form."""
    return bag.dags[request.param]


def test_a_sound_request_is_a_run_of_its_cluster(dag: Any) -> None:
    run = read(dag, sent(dag, {name: copy.deepcopy(SOUND[name]) for name in dag.params}))
    assert (run.cluster.name, run.target) == ("example", "101" if dag.dag_id in UPGRADES else "100")


def test_anything_at_all_that_is_sent_to_a_form_is_refused_in_words_or_is_a_run_of_a_known_cluster(dag: Any) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    @given(requests(sorted(dag.params)))
    def holds(conf: dict[str, Any]) -> None:
        try:
            asked = sent(dag, conf)
        except ParamValidationError as refused:
            assert str(refused)
            return
        try:
            run = read(dag, asked)
        except RequestRefused as refused:
            told = str(refused)
            assert told.strip()
            assert "Traceback" not in told
            assert len(told) < LONGEST
            return
        assert run.target in run.cluster.releases
        assert set(run.computes) <= set(run.cluster.computes)
        # Every compute of the run is in one batch, whatever order was asked for.
        assert sorted(c.name for batch in batches(run) for c in batch) == sorted(c.name for c in run.computes)

    holds()

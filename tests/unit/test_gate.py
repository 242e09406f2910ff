"""The gate at U3: what follows from a judgement, how long a person is waited for, and what a rollback is started with."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from include.runbook.cluster import Cluster
from include.runbook.errors import RequestRefused
from include.runbook.gate import (
    Decision,
    advice_for_all,
    advice_for_b,
    advice_for_computes,
    decide,
    patience,
    rollback_conf,
)
from include.runbook.request import read_request
from include.runbook.soak import Result
from include.runbook.step import OnFailure, Run, VmPolicy

NOW = datetime(2026, 6, 1, 2, 0, tzinfo=UTC)


@pytest.fixture
def upgrade(run: Run) -> Run:
    cluster = run.cluster
    return replace(
        run, target="101", computes=cluster.computes, owner="upgrade_cluster/night-1", dag="upgrade_cluster", user="li"
    )


@pytest.mark.parametrize("policy", list(OnFailure))
def test_a_good_release_is_taken_on_whatever_the_policy(policy: OnFailure) -> None:
    assert decide(Result.PASS, policy) is Decision.GO_ON


def test_a_bad_release_is_dealt_with_as_the_policy_says() -> None:
    policies = (OnFailure.AUTOMATIC, OnFailure.ASK, OnFailure.REPORT)
    assert [decide(Result.FAIL, policy) for policy in policies] == [Decision.ROLL_BACK, Decision.ASK, Decision.REPORT]


@pytest.mark.parametrize("policy", list(OnFailure))
def test_what_cannot_be_told_is_asked(policy: OnFailure) -> None:
    assert decide(Result.INCONCLUSIVE, policy) is Decision.ASK


def test_a_person_is_waited_for_until_a_rollback_would_not_fit_in_the_window_any_more(upgrade: Run) -> None:
    windowed = replace(upgrade, window_end=NOW + timedelta(hours=1))
    waits = patience(windowed, 1200, NOW)
    assert waits.seconds == 3600 - 1200 * upgrade.cluster.tolerance
    assert waits.silence is Decision.ROLL_BACK


def test_without_a_window_silence_changes_nothing(upgrade: Run) -> None:
    waits = patience(upgrade, 1200, NOW)
    assert (waits.seconds, waits.silence) == (upgrade.cluster.drain.answer_limit, Decision.REPORT)


def test_where_it_is_too_late_for_the_window_silence_changes_nothing(upgrade: Run) -> None:
    late = replace(upgrade, window_end=NOW + timedelta(minutes=10))
    waits = patience(late, 1200, NOW)
    assert waits.silence is Decision.REPORT
    assert "too late" in waits.told


def test_the_rollback_is_asked_for_what_the_upgrade_was_and_its_request_is_understood(upgrade: Run) -> None:
    first = upgrade.computes[0].name
    asked = replace(upgrade, vm_policy={first: VmPolicy.NODE_FAULTY}, accept_newer_schema=True, return_vms=True)
    clusters = {upgrade.cluster.name: upgrade.cluster}
    back = read_request(
        rollback_conf(asked, [first]), clusters, owner="o", user="u", dag="rollback_cluster", computes_asked=False
    )
    assert back.target == upgrade.cluster.target_release
    assert back.policy_for(upgrade.computes[0]) is VmPolicy.NODE_FAULTY
    assert back.accept_newer_schema
    assert back.return_vms
    assert back.computes_first == upgrade.computes[:1]
    assert not back.take_over


def test_every_offer_names_the_scenario_with_all_that_it_needs(upgrade: Run) -> None:
    assert 'rollback_cluster with {"accept_newer_schema": false, "cluster"' in advice_for_all(upgrade)
    assert f'rollback_controller with {{"cluster": "{upgrade.cluster.name}", "take_over": true' in advice_for_b(upgrade)
    told = advice_for_computes(upgrade, [upgrade.computes[0].name])
    assert (
        f'rollback_compute with {{"cluster": "{upgrade.cluster.name}", "computes": ["{upgrade.computes[0].name}"]'
        in told
    )
    assert "upgrade_cluster/night-1 keeps the cluster locked" in told


def _asked(cluster: Cluster, **conf: object) -> Run:
    asked = {"cluster": cluster.name, **conf}
    return read_request(
        asked, {cluster.name: cluster}, owner="o", user="u", dag="upgrade_cluster", computes_asked=False
    )


def test_an_upgrade_goes_to_the_only_other_release_where_none_is_named(cluster: Cluster) -> None:
    assert _asked(cluster).target == "101"
    assert _asked(cluster, on_failure="automatic").on_failure is OnFailure.AUTOMATIC


def test_an_upgrade_to_the_release_to_return_to_is_refused(cluster: Cluster) -> None:
    with pytest.raises(RequestRefused, match="is the release to return to"):
        _asked(cluster, target_release=cluster.target_release)


@pytest.mark.parametrize(
    ("conf", "told"),
    [({"on_failure": "perhaps"}, "on_failure: 'perhaps'"), ({"window_end": "dawn"}, "window_end: 'dawn'")],
)
def test_what_the_gate_cannot_understand_is_refused_by_name(
    cluster: Cluster, conf: dict[str, object], told: str
) -> None:
    with pytest.raises(RequestRefused, match=told):
        _asked(cluster, **conf)


def test_a_window_without_a_zone_is_taken_for_utc(cluster: Cluster) -> None:
    end = _asked(cluster, window_end="2026-06-01T06:00:00").window_end
    assert end == datetime(2026, 6, 1, 6, 0, tzinfo=UTC)

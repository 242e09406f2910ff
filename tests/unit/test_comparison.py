"""The cluster before a run and after it: what counts as lost, what is merely told, and who may accept a loss."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from include.runbook.cluster import Cluster
from include.runbook.comparison import Comparison, Expected, compare, expected_of
from include.runbook.consent import Consent
from include.runbook.record import Seen
from include.runbook.step import Run, VmPolicy
from include.runbook.survey import Survey
from include.runbook.vms import Vm, hosts_by_name

A, B, FIRST, SECOND = "a", "b", "c-1", "c-2"
WEB, DNS = Vm("web", FIRST, "ACTIVE"), Vm("dns", SECOND, "ACTIVE")
BEFORE = Seen(
    at=datetime(2026, 6, 1, tzinfo=UTC),
    releases={A: "100", B: "101", FIRST: "101", SECOND: "101"},
    active=B,
    constraints=("cli-ban-a",),
    maintenance=True,
    vms={"1": WEB, "2": DNS},
    vms_in_all=2,
    services={FIRST: True, SECOND: False},
    back_ends={B: ("lvm", "KS3200_IPSAN-1")},
)
AFTER = Survey(
    releases=dict.fromkeys((A, B, FIRST, SECOND), "100"),
    active=A,
    online=(A, B),
    constraints=(),
    maintenance=False,
    vms={"1": replace(WEB, host=SECOND), "2": DNS},
    services={FIRST: True, SECOND: True},
    back_ends={B: ("lvm", "KS3200_IPSAN-1")},
)
WHOLE = Expected("100", frozenset({A, B, FIRST, SECOND}))


def test_a_whole_rollback_loses_nothing_and_what_it_changed_is_told() -> None:
    assert compare(BEFORE, AFTER, WHOLE) == Comparison(
        lost=(),
        changed=(
            "b had release 101 and has 100",
            "c-1 had release 101 and has 100",
            "c-2 had release 101 and has 100",
            "nova-compute on c-2 was down and is up",
            "VM web (1) was on c-1 and is on c-2",
            "b was active and a is",
            "the constraint cli-ban-a was there and is gone",
            "the cluster was in maintenance and is managed",
        ),
    )


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ({"vms": {"2": DNS}}, "VM web (1) was on c-1 and is gone"),
        (
            {"vms": {"1": replace(WEB, status="ERROR"), "2": DNS}},
            "VM web (1) was ACTIVE on c-1 and is in error state on c-1",
        ),
        ({"services": {FIRST: False, SECOND: False}}, "nova-compute on c-1 was up and is down"),
        ({"services": {SECOND: False}}, "nova-compute on c-1 was up and is gone"),
        ({"releases": {**AFTER.releases, A: "101"}}, "a had release 100 and has 101, which is not of this run"),
        ({"back_ends": {B: ("lvm",)}}, "the cinder back end KS3200_IPSAN-1 was enabled on b and is not"),
        ({"back_ends": {}}, "the cinder back end lvm was enabled on b and is not"),
    ],
)
def test_what_is_lost_is_told_apart(now: dict[str, object], told: str) -> None:
    assert told in compare(BEFORE, replace(AFTER, **now), WHOLE).lost  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "accepted", [{"outage_of": frozenset({"1"})}, {"outage_on": frozenset({FIRST})}], ids=["by id", "by compute"]
)
@pytest.mark.parametrize("left", [{}, {"1": replace(WEB, status="ERROR")}], ids=["gone", "in error"])
def test_a_loss_that_was_accepted_is_told_and_fails_nothing(
    accepted: dict[str, frozenset[str]], left: dict[str, Vm]
) -> None:
    found = compare(BEFORE, replace(AFTER, vms={**left, "2": DNS}), replace(WHOLE, **accepted))  # type: ignore[arg-type]
    assert found.lost == ()
    assert any("VM web (1)" in line and line.endswith("its outage was accepted") for line in found.changed)


def test_an_accepted_outage_covers_no_other_vm() -> None:
    found = compare(BEFORE, replace(AFTER, vms={}), replace(WHOLE, outage_of=frozenset({"1"})))
    assert found.lost == ("VM dns (2) was on c-2 and is gone",)


def test_a_vm_that_was_in_error_before_is_no_loss_of_the_run() -> None:
    broken = replace(WEB, status="ERROR")
    found = compare(replace(BEFORE, vms={"1": broken, "2": DNS}), replace(AFTER, vms={"1": broken, "2": DNS}), WHOLE)
    assert found.lost == ()


def test_a_vm_that_its_owner_may_have_stopped_and_a_new_one_are_told() -> None:
    now = {"1": replace(WEB, status="SHUTOFF"), "2": DNS, "3": Vm("new", FIRST, "ACTIVE")}
    found = compare(BEFORE, replace(AFTER, vms=now), WHOLE)
    assert found.lost == ()
    assert {"VM web (1) was ACTIVE and is SHUTOFF", "VM new (3) is new, on c-1"} <= set(found.changed)


def test_a_compute_that_the_run_goes_on_without_is_not_lost_twice() -> None:
    """The run's last task names it; the proof must not keep the rest of the cluster locked because of it."""
    now = replace(
        AFTER, releases={**AFTER.releases, FIRST: None}, services={FIRST: False, SECOND: True}, vms=BEFORE.vms
    )
    without = Expected("100", frozenset({A, B, SECOND}), given_up=frozenset({FIRST}))
    assert compare(BEFORE, now, without).lost == ()
    assert compare(BEFORE, now, replace(without, given_up=frozenset())).lost == (
        "c-1 had release 101 and has none, which is not of this run",
        "nova-compute on c-1 was up and is down",
    )


def test_a_rollback_of_computes_leaves_the_pair_as_it_was() -> None:
    as_found = replace(WHOLE, pair_as_found=True)
    assert compare(BEFORE, AFTER, as_found).lost == (
        "b was active and a is",
        "the constraint cli-ban-a was there and is gone",
        "the cluster was in maintenance and is managed",
    )
    same = replace(AFTER, active=B, constraints=BEFORE.constraints, maintenance=True)
    assert compare(BEFORE, same, as_found).lost == ()


def test_what_was_not_known_before_is_told_and_nothing_is_made_of_it() -> None:
    blind = Seen(
        BEFORE.at, releases={A: "100", B: "not read"}, active=A, problems=("openstack: HTTP 500",), vms_in_all=3
    )
    found = compare(blind, replace(AFTER, services={}, back_ends={}), WHOLE)
    assert found == Comparison(
        (),
        (
            "found before the run: openstack: HTTP 500",
            "of 3 VMs before the run 3 are not recorded and cannot be compared",
        ),
    )


def test_a_host_that_cannot_be_read_now_is_not_compared() -> None:
    """It keeps the cluster from being proven by itself."""
    now = replace(AFTER, releases={A: "100", FIRST: "100", SECOND: "100"}, unread={B: "no answer"}, back_ends={})
    assert compare(BEFORE, now, WHOLE).lost == ()


def test_what_a_run_may_have_changed_is_read_off_the_run(cluster: Cluster) -> None:
    first, second = cluster.computes[0].name, cluster.computes[1].name
    pair = {cluster.controllers.a.name, cluster.controllers.b.name}
    policy = {second: VmPolicy.NODE_FAULTY}
    run = Run(cluster, "100", cluster.computes[:2], policy, dag="rollback_cluster")
    at = "2026-06-01T00:00:00+00:00"
    given = {
        first: Consent(first, VmPolicy.ACCEPT_OUTAGE, "li", at, ("1",)),
        second: Consent(second, VmPolicy.MIGRATE_ACROSS_RELEASES, "li", at, ("2",)),
    }
    assert expected_of(run, (*pair, second), given) == Expected(
        "100",
        frozenset({*pair, second}),
        given_up=frozenset({first}),
        outage_on=frozenset({second}),
        outage_of=frozenset({"1"}),
    )
    assert expected_of(replace(run, dag="rollback_controller"), pair, {}).given_up == frozenset()
    assert expected_of(replace(run, dag="rollback_compute"), (first, second), {}).pair_as_found


def test_two_vms_of_one_name_are_told_apart_and_one_that_was_renamed_is_the_same() -> None:
    before = {"1": WEB, "2": replace(DNS, name="web"), "3": Vm("old", FIRST, "ACTIVE")}
    after = {"1": WEB, "3": Vm("renamed", SECOND, "ACTIVE")}
    assert hosts_by_name(before, after) == [
        {"web (1)": FIRST, "web (2)": SECOND, "old": FIRST},
        {"web (1)": FIRST, "old": SECOND},
    ]


def test_an_upgrade_may_change_the_release_of_every_node_and_who_is_active(cluster: Cluster) -> None:
    names = tuple(node.name for node in cluster.nodes)
    run = Run(cluster, "101", cluster.computes, dag="upgrade_cluster")
    before = replace(BEFORE, releases=dict.fromkeys(names, "100"), active=names[0], constraints=(), back_ends={})
    after = replace(AFTER, releases=dict.fromkeys(names, "101"), active=names[1], back_ends={})
    assert compare(before, after, expected_of(run, names, {})).lost == ()

    less = expected_of(run, names[:-1], {})
    assert less.given_up == frozenset(names[-1:])
    stayed = replace(after, releases={**after.releases, names[0]: "100"})
    assert compare(before, stayed, expected_of(run, names, {})).lost == (), (
        "that it is still to be done is told elsewhere"
    )


def test_an_upgrade_of_computes_leaves_the_pair_as_it_was(cluster: Cluster) -> None:
    chosen = cluster.computes[:1]
    expected = expected_of(Run(cluster, "101", chosen, dag="upgrade_compute"), [chosen[0].name], {})
    assert expected.pair_as_found

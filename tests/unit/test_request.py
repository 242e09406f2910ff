"""What an operator may ask for, and how everything else is refused before a host is touched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from include.runbook.cluster import Cluster
from include.runbook.errors import RequestRefused
from include.runbook.request import batches, canary_of, read_request
from include.runbook.step import Run, VmPolicy

HOSTILE = ("$(reboot)", "a;reboot", "a b", "a\nb", "`id`", "a'b", 'a"b', "a|b", "a&b", "../a", "-rf", "*", "")


def ask(cluster: Cluster, /, *, computes_asked: bool = False, **conf: Any) -> Run:
    conf.setdefault("cluster", cluster.name)
    return read_request(
        conf, {cluster.name: cluster}, owner="dag/run", user="op", dag="d", computes_asked=computes_asked
    )


def refused(cluster: Cluster, /, **asked: Any) -> str:
    with pytest.raises(RequestRefused) as refusal:
        ask(cluster, **asked)
    assert "nothing has been touched" in str(refusal.value)
    return str(refusal.value)


def test_what_is_left_out_is_taken_from_the_inventory(cluster: Cluster) -> None:
    run = ask(cluster)
    assert (run.target, run.computes, run.vm_policy) == (cluster.target_release, cluster.computes, VmPolicy.MIGRATE)
    assert (run.owner, run.user, run.take_over, run.batch) == ("dag/run", "op", False, False)


def test_the_computes_are_taken_in_the_order_in_which_they_are_named(cluster: Cluster) -> None:
    names = [cluster.computes[2].name, cluster.computes[0].name]
    assert [c.name for c in ask(cluster, computes_asked=True, computes=names).computes] == names


def test_an_unknown_cluster_is_refused_and_the_known_are_named(cluster: Cluster) -> None:
    assert f"cluster: 'nowhere' has no inventory; expected one of {cluster.name}" in refused(cluster, cluster="nowhere")


def test_an_unknown_release_is_refused_and_the_known_are_named(cluster: Cluster) -> None:
    assert "target_release: '99' is not a release of example; expected one of 100, 101" in refused(
        cluster, target_release="99"
    )


@pytest.mark.parametrize("release", [100, ["100"], {"100": 1}])
def test_a_release_that_is_no_text_is_refused(cluster: Cluster, release: object) -> None:
    assert "is not a release of example" in refused(cluster, target_release=release)


@pytest.mark.parametrize("policy", ["outage", None, ["migrate"], 1])
def test_an_unknown_policy_is_refused_and_the_known_are_named(cluster: Cluster, policy: object) -> None:
    told = refused(cluster, vm_policy=policy)
    assert (
        f"vm_policy: {policy!r} is not a policy; expected one of migrate, accept_outage, node_faulty, migrate_across_releases"
        in told
    )


def test_each_compute_may_have_an_answer_of_its_own_and_who_has_none_is_asked(cluster: Cluster) -> None:
    first, second = cluster.computes[:2]
    run = ask(cluster, vm_policy={first.name: "accept_outage"})
    assert (run.policy_for(first), run.policy_for(second)) == (VmPolicy.ACCEPT_OUTAGE, VmPolicy.MIGRATE)
    assert ask(cluster, vm_policy="node_faulty").policy_for(second) is VmPolicy.NODE_FAULTY


def test_an_answer_for_a_stranger_or_that_is_no_answer_is_refused_by_name(cluster: Cluster) -> None:
    told = refused(cluster, vm_policy={"host-9": "accept_outage", cluster.computes[0].name: "hope"})
    assert "vm_policy: 'host-9' is not a compute of cluster example" in told
    assert f"vm_policy of '{cluster.computes[0].name}': 'hope' is not a policy" in told


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_bringing_vms_back_must_be_said_plainly(cluster: Cluster, value: object) -> None:
    assert "return_vms" in refused(cluster, return_vms=value)


def test_a_compute_that_is_not_in_the_cluster_is_refused_and_the_known_are_named(cluster: Cluster) -> None:
    told = refused(cluster, computes_asked=True, computes=["host-9"])
    assert "'host-9' is not a compute of cluster example; choose one of: host-10-43-203-101" in told


def test_a_controller_is_not_a_compute(cluster: Cluster) -> None:
    assert "is not a compute" in refused(cluster, computes_asked=True, computes=[cluster.controllers.a.name])


@pytest.mark.parametrize("names", [[], None])
def test_computes_must_be_named(cluster: Cluster, names: object) -> None:
    assert "computes: none given" in refused(cluster, computes_asked=True, computes=names)


def test_computes_are_named_in_a_list(cluster: Cluster) -> None:
    assert "is no list" in refused(cluster, computes_asked=True, computes="host-10-43-203-101")


def test_a_compute_named_twice_is_refused(cluster: Cluster) -> None:
    name = cluster.computes[0].name
    assert "names a compute twice" in refused(cluster, computes_asked=True, computes=[name, name])


@pytest.mark.parametrize("text", HOSTILE)
def test_a_shell_metacharacter_is_refused_in_every_parameter(cluster: Cluster, text: str) -> None:
    assert "has no inventory" in refused(cluster, cluster=text)
    assert "is not a policy" in refused(cluster, vm_policy=text)
    assert "is not a compute" in refused(cluster, computes_asked=True, computes=[text])
    if text:
        assert "is not a release" in refused(cluster, target_release=text)


def test_an_unknown_parameter_is_refused_by_name(cluster: Cluster) -> None:
    assert "unknown parameter 'vmpolicy'" in refused(cluster, vmpolicy="migrate")


@pytest.mark.parametrize("value", ["yes", "false", 1, None])
def test_taking_over_must_be_said_plainly(cluster: Cluster, value: object) -> None:
    assert "take_over" in refused(cluster, take_over=value)


def test_every_problem_is_told_at_once(cluster: Cluster) -> None:
    told = refused(cluster, computes_asked=True, computes=["x"], target_release="1", vm_policy="?", hurry=True)
    assert told.count("  - ") == 4


@pytest.mark.parametrize(
    ("size", "canary", "sizes"),
    [(4, 0, [4, 2]), (4, 1, [1, 4, 1]), (2, 2, [2, 2, 2]), (6, 1, [6]), (1, 1, [1] * 6), (1, 2, [1] * 6)],
)
def test_batches_hold_every_compute_once_in_order_the_canary_first(
    cluster: Cluster, size: int, canary: int, sizes: list[int]
) -> None:
    run = replace(ask(cluster), cluster=cluster.model_copy(update={"batch_size": size, "canary": canary}))
    parts = batches(run)
    assert [len(part) for part in parts] == sizes
    assert tuple(compute for part in parts for compute in part) == cluster.computes


def test_computes_that_are_to_go_first_go_before_the_canary(cluster: Cluster) -> None:
    clusters = {cluster.name: cluster.model_copy(update={"batch_size": 2, "canary": 1})}
    names = [compute.name for compute in cluster.computes]
    asked = {"cluster": cluster.name, "computes_first": [names[2]]}
    run = read_request(asked, clusters, owner="o", user="u", dag="rollback_cluster", computes_asked=False)
    parts = [[compute.name for compute in part] for part in batches(run)]
    assert parts[:3] == [[names[2]], [names[0]], [names[1], names[3]]]
    assert canary_of(run) == 1
    assert sorted(name for part in parts for name in part) == sorted(names)


@pytest.mark.parametrize("named", ["host-1", 3, ["nobody"], {"a": 1}])
def test_computes_that_are_to_go_first_are_those_of_the_cluster(cluster: Cluster, named: object) -> None:
    with pytest.raises(RequestRefused, match="computes_first"):
        read_request(
            {"cluster": cluster.name, "computes_first": named},
            {cluster.name: cluster},
            owner="o",
            user="u",
            dag="rollback_cluster",
            computes_asked=False,
        )


def test_of_chosen_computes_none_goes_first(cluster: Cluster) -> None:
    assert "computes_first" in refused(
        cluster, computes_asked=True, computes=[cluster.computes[1].name], computes_first=[cluster.computes[0].name]
    )


@pytest.mark.parametrize(("budget", "allowed"), [(0, 0), (2, 2), ("50%", 3), ("5%", 0), ("33%", 1)])
def test_of_all_computes_so_many_may_fail(cluster: Cluster, budget: int | str, allowed: int) -> None:
    clusters = {cluster.name: cluster.model_copy(update={"failure_budget": budget})}
    run = read_request(
        {"cluster": cluster.name}, clusters, owner="o", user="u", dag="rollback_cluster", computes_asked=False
    )
    assert run.failures_allowed == allowed


def test_of_a_batch_as_many_may_fail_as_its_run_has_left(cluster: Cluster) -> None:
    assert ask(cluster, parent={"run_id": "r", "failures_allowed": 2}).failures_allowed == 2

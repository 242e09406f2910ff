"""Judgements of live state: pure, from what programs printed to whether a goal holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from include.runbook import goals
from include.runbook.cluster import Cluster
from include.runbook.errors import FactUnreadable
from include.runbook.shell import Output
from include.runbook.step import Goal, Read, Run, Verdict, all_of, any_of

from .site import A, B, ban, fail_count, failed_action, preference, resource_xml, status_xml

DATA = Path(__file__).with_name("data")


def said(text: str, status: int | None = 0, stderr: str = "") -> Output:
    return Output(status, text, stderr)


def constraints(*each: str) -> Output:
    return said(f"<constraints>{''.join(each)}</constraints>")


def judged(goal: Goal, *outputs: Output) -> Verdict:
    return goal.judge(outputs)


# ---- releases --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "release"),
    [
        (said("100"), "100"),
        (said("101\n"), "101"),
        (said("package openstack-nova-common is not installed\n", 1), None),
        (said("", 1), None),
    ],
)
def test_a_probe_tells_the_release_or_that_there_is_none(cluster: Cluster, output: Output, release: str | None) -> None:
    assert goals.release_of(cluster, cluster.computes[0], output) == release


@pytest.mark.parametrize(
    "output",
    [
        said("", 127, "sh: rpm: not found"),
        said("", 126, "sh: rpm: Permission denied"),
        said("", 1, "error: cannot open Packages database in /var/lib/rpm"),
        said("package openstack-nova-common is not installed", 1, "error: db5 error(-30969)"),
        said("", 0, "sh: rpm: not found"),
        said("", None),
        said("102"),
        said("(none)"),
    ],
    ids=["no rpm", "not executable", "no database", "broken database", "broken pipe", "cut off", "unknown", "garbage"],
)
def test_a_broken_probe_is_unreadable_and_never_a_clean_host(cluster: Cluster, output: Output) -> None:
    with pytest.raises(FactUnreadable, match=cluster.computes[0].name):
        goals.not_installed(cluster, cluster.computes[0]).judge([output])


def test_a_probes_locale_is_fixed(cluster: Cluster) -> None:
    assert goals.release_probe(cluster, cluster.computes[0]).command.startswith("LC_ALL=C; export LC_ALL; rpm -q")


def test_a_host_is_back_when_it_has_the_target_release_and_no_reinstallation_or_upgrade_is_unproven(run: Run) -> None:
    goal = goals.returned(run, run.computes[0])
    assert judged(goal, said("100"), said("", 0), said("", 0)).met
    assert not judged(goal, said("101"), said("", 0), said("", 0)).met
    assert judged(goal, said("100"), said(f"{run.computes[0].name}0\n"), said("", 0)).met, "it is another host's note"
    half = judged(goal, said("100"), said(f"{run.computes[0].name}0\n{run.computes[0].name}\n"), said("", 0))
    assert not half.met
    assert "its reinstallation has begun and is not proven" in half.found
    unknown = judged(goal, said("100"), said("", 2), said("", 0))
    assert not unknown.met
    assert "whether its reinstallation has begun cannot be read" in unknown.found
    between = judged(goal, said("100"), said("", 0), said("", 1))
    assert not between.met
    assert "its upgrade has begun and has not ended well (as /" in between.found


def test_of_all_computes_together_the_daisy_host_is_asked_once(run: Run) -> None:
    """What one host is asked goes one by one: two hundred readings of it would take longer than all that they are for."""
    together = all_of(*(goals.returned(run, compute) for compute in run.cluster.computes))
    assert len(run.cluster.computes) > 1
    assert len({read for read in together.reads if read.host == run.cluster.daisy}) == 1


# ---- the HA pair -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", ["crm_mon-1.1.xml", "crm_mon-2.1.xml"])
def test_the_active_controller_is_read_from_both_generations(cluster: Cluster, generation: str) -> None:
    xml = said((DATA / generation).read_text())
    goal = goals.float_ip_on(cluster, cluster.controllers.a)
    assert judged(goal, xml, said("host_10_43_203_91\n")).met
    assert not judged(goal, xml, said("host_10_43_203_92\n")).met


@pytest.mark.parametrize("active", [None, B])
def test_a_controller_without_the_float_ip_is_not_active(cluster: Cluster, active: str | None) -> None:
    verdict = judged(goals.float_ip_on(cluster, cluster.controllers.a), said(status_xml(active=active)), said(A))
    assert not verdict.met
    assert (active or "no node") in verdict.found


def test_a_float_ip_on_both_nodes_is_on_neither(cluster: Cluster) -> None:
    twice = status_xml(active=A, more=resource_xml("lb_float_ip", B))
    assert not judged(goals.float_ip_on(cluster, cluster.controllers.a), said(twice), said(A)).met


def test_a_host_that_pacemaker_does_not_know_is_unreadable(cluster: Cluster) -> None:
    with pytest.raises(FactUnreadable):
        judged(goals.float_ip_on(cluster, cluster.controllers.a), said(status_xml()), said("", 1, "crm_node: no"))


@pytest.mark.parametrize(
    ("constraint", "free"),
    [(ban(A), False), (ban(B), True), (preference(B), False), (preference(A), True), (ban(A, "mongodb"), True)],
)
def test_a_is_kept_off_by_its_own_ban_and_by_a_preference_for_its_peer(
    cluster: Cluster, constraint: str, free: bool
) -> None:
    goal = goals.not_banned_from(cluster, cluster.controllers.a)
    assert judged(goal, constraints(constraint), said(A)).met is free


@pytest.mark.parametrize(
    ("found", "banned"),
    [
        ((ban(B),), True),
        ((), False),
        ((ban(A),), False),
        ((ban("a_node_of_the_past"),), False),
        ((ban(A), ban(B)), False),
        ((ban(B), preference(A)), False),
        ((ban(B), ban(A, "mongodb")), True),
        ((ban(B).replace("-INFINITY", "-500"),), False),
        ((ban(B).replace("cli-ban", "by-hand"),), False),
    ],
    ids=["B", "none", "A", "a stranger", "both", "and a preference", "and another's", "weak", "foreign"],
)
def test_b_counts_as_banned_only_by_the_one_ban_that_keeps_it_off(
    cluster: Cluster, found: tuple[str, ...], banned: bool
) -> None:
    goal = goals.only_peer_banned(cluster, cluster.controllers.a)
    assert judged(goal, constraints(*found), said(A), said(status_xml())).met is banned


def test_a_ban_that_ends_by_itself_does_not_count_as_keeping_b_off(cluster: Cluster) -> None:
    """`pcs resource ban ... lifetime=PT1H` stays in the configuration when it has expired, and B may take over."""
    rule = f'''<rsc_location id="cli-ban-lb_float_ip-on-{B}" rsc="lb_float_ip"><rule id="r" score="-INFINITY">
        <expression id="e" attribute="#uname" operation="eq" value="{B}" type="string"/>
        <date_expression id="d" operation="lt" end="2016-06-01 11:00:00Z"/></rule></rsc_location>'''
    goal = goals.only_peer_banned(cluster, cluster.controllers.a)
    assert not judged(goal, constraints(rule), said(A), said(status_xml())).met


def test_bans_and_preferences_are_named_where_there_should_be_none(cluster: Cluster) -> None:
    goal = goals.unconstrained(cluster, cluster.controllers.a)
    assert judged(goal, constraints()).met
    verdict = judged(goal, said((DATA / "cib-constraints.xml").read_text()))
    assert not verdict.met
    assert "cli-ban-lb_float_ip-on-host_10_43_203_92, cli-prefer-lb_float_ip" in verdict.found


def test_a_constraint_of_someone_else_is_not_ours_to_clear(cluster: Cluster) -> None:
    foreign = '<rsc_location id="location-lb" rsc="lb_float_ip" node="pcmk_a" score="50"/>'
    assert judged(goals.unconstrained(cluster, cluster.controllers.a), constraints(foreign)).met


@pytest.mark.parametrize(
    ("name", "value", "managed"),
    [
        ("maintenance-mode", "true", False),
        ("maintenance-mode", "TRUE", False),
        ("maintenance-mode", "false", True),
        ("unmanaged", "true", False),
        ("unmanaged", "1", False),
        ("unmanaged", "false", True),
        ("dc-deadtime", "1", True),
    ],
)
def test_maintenance_is_seen_in_both_spellings(cluster: Cluster, name: str, value: str, managed: bool) -> None:
    pair = f'<nvpair id="y" name="{name}" value="{value}"/>'
    config = f'<crm_config><cluster_property_set id="x">{pair}</cluster_property_set></crm_config>'
    verdict = judged(goals.managed(cluster.controllers.a), said(config))
    assert verdict.met is managed
    assert managed or name in verdict.found


def test_no_answer_about_maintenance_is_unreadable(cluster: Cluster) -> None:
    with pytest.raises(FactUnreadable):
        judged(goals.managed(cluster.controllers.a), said("", 102, "cibadmin: Connection refused"))


@pytest.mark.parametrize(
    ("xml", "wanting"),
    [
        (status_xml(online=(A,)), f"offline: {B}"),
        (status_xml(failed=True), "not started: lb_float_ip"),
        (status_xml(more=resource_xml("db_fs", None)), "not started: db_fs"),
        (status_xml().replace('pending="false"', 'pending="true"'), "offline"),
        (
            status_xml().replace("haproxy", "lb_float_ip").partition("<resources>")[0] + "<resources/></crm_mon>",
            "no resource",
        ),
    ],
    ids=["a node away", "failed", "stopped", "still joining", "no resources"],
)
def test_a_cluster_that_is_not_wholly_up_says_what_is_wanting(cluster: Cluster, xml: str, wanting: str) -> None:
    verdict = judged(goals.all_started(cluster.controllers.a), said(xml))
    assert not verdict.met
    assert wanting in verdict.found


def test_a_cluster_with_every_node_and_resource_is_wholly_up(cluster: Cluster) -> None:
    assert judged(goals.all_started(cluster.controllers.a), said(status_xml())).met


@pytest.mark.parametrize(
    ("xml", "met"),
    [
        (status_xml(), True),
        (status_xml(more=resource_xml("db_fs", None)), True),
        (status_xml(more=resource_xml("db_fs", None), troubles=failed_action("db_fs_start_0", B)), True),
        (status_xml(more=resource_xml("db_fs", A), troubles=failed_action("db_fs_monitor_5000", A)), True),
        (status_xml(more=resource_xml("db_fs", None), troubles=failed_action("db_fs_start_0", A)), False),
        (status_xml(more=resource_xml("db_fs", None), troubles=fail_count("db_fs", A, "INFINITY")), False),
        (status_xml(more=resource_xml("db_fs", A, failed=True)), False),
    ],
    ids=[
        "all runs",
        "stopped without a failure",
        "failed on the peer",
        "failed once, runs again",
        "could not be started",
        "failed too often",
        "failed",
    ],
)
def test_what_a_host_could_not_run_is_told_and_what_its_peer_could_not_is_not(
    cluster: Cluster, xml: str, met: bool
) -> None:
    verdict = judged(goals.nothing_fails_on(cluster.controllers.a), said(xml), said(A))
    assert verdict.met is met
    assert met or "could not run db_fs" in verdict.found


# ---- the cloud -------------------------------------------------------------------------------------------------------


def test_a_failed_list_of_services_is_never_an_empty_one(cluster: Cluster) -> None:
    with pytest.raises(FactUnreadable):
        goals.services_in(cluster.controllers.a, "list", said("[]", 1))


# ---- goals of goals --------------------------------------------------------------------------------------------------


def answering(cluster: Cluster, command: str, met: bool) -> Goal:
    return Goal(command, (Read(cluster.daisy, command),), lambda outputs: Verdict(met, outputs[0].stdout))


def test_all_of_tells_only_what_is_wanting(cluster: Cluster) -> None:
    both = all_of(answering(cluster, "one", True), answering(cluster, "two", False))
    assert judged(both, said("1"), said("2")) == Verdict(False, "2")


def test_any_of_tells_what_is_true(cluster: Cluster) -> None:
    either = any_of(answering(cluster, "one", False), answering(cluster, "two", True))
    assert judged(either, said("1"), said("2")) == Verdict(True, "2")


def test_the_same_read_is_sent_once_for_several_goals(cluster: Cluster) -> None:
    same = answering(cluster, "one", True)
    assert len(all_of(same, replace(same, sentence="again"), any_of(same)).reads) == 1

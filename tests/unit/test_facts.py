"""Parsers: what they read from each generation's output, and that they refuse what they cannot read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.runbook import facts
from include.runbook.errors import FactUnreadable
from include.runbook.facts import ComputeService, Constraint, FailCount, FailedAction, Node, Resource, Server

A, B = "host_10_43_203_91", "host_10_43_203_92"
SOURCE = "host-a: crm_mon -1: x"
DATA = Path(__file__).with_name("data")


def _data(name: str) -> str:
    return (DATA / name).read_text(encoding="utf-8")


# ---- Pacemaker -------------------------------------------------------------------------------------------------------


def test_the_status_of_pacemaker_1_1_is_read() -> None:
    status = facts.parse_cluster_status(_data("crm_mon-1.1.xml"), source=SOURCE)
    assert status.nodes == (
        Node(A, online=True, standby=False, maintenance=False, pending=False),
        Node(B, online=True, standby=True, maintenance=False, pending=True),
    )
    float_ip = Resource(
        "lb_float_ip", "ocf::heartbeat:IPaddr2", "Started", active=True, failed=False, managed=True, nodes=(A,)
    )
    assert status.resources[0] == float_ip
    assert [resource.id for resource in status.resources] == ["lb_float_ip", "db_fs", "lb", "lb", "mongodb"]
    assert [resource.id for resource in status.resources if resource.failed] == ["db_fs"]
    assert [str(action) for action in status.failed_actions] == [f"db_fs_monitor_20000 failed on {A} (not running)"]
    assert not status.maintenance


def test_the_status_of_the_last_pacemaker_1_1_is_read() -> None:
    status = facts.parse_cluster_status(_data("crm_mon-1.1.20.xml"), source=SOURCE)
    assert [(node.name, node.online) for node in status.nodes] == [(A, True), (B, False)]
    assert [(resource.id, resource.active, resource.nodes) for resource in status.resources] == [
        ("lb", True, (A,)),
        ("lb", False, ()),
        ("lb_float_ip", True, (A,)),
    ]
    assert status.located("lb_float_ip") == (A,)
    assert not status.maintenance


def test_the_status_of_pacemaker_2_is_read() -> None:
    status = facts.parse_cluster_status(_data("crm_mon-2.1.xml"), source=SOURCE)
    assert [(node.name, node.online) for node in status.nodes] == [(A, True), (B, False)]
    assert [(resource.id, resource.role, resource.managed, resource.nodes) for resource in status.resources] == [
        ("lb_float_ip", "Started", False, (A,)),
        ("db_fs", "Stopped", False, ()),
        ("lb", "Started", False, (A,)),
        ("lb", "Stopped", False, ()),
    ]
    assert status.maintenance


def test_failed_actions_and_fail_counts_are_read() -> None:
    status = facts.parse_cluster_status(_data("crm_mon-1.1.xml"), source=SOURCE)
    assert status.failed_actions == (FailedAction("db_fs_monitor_20000", A, "not running"),)
    assert status.fail_counts == ()
    history = '<resource_history id="lb_float_ip" orphan="false" migration-threshold="1000000"'
    counted = _data("crm_mon-2.1.xml").replace(history, f'{history} fail-count="INFINITY"')
    assert facts.parse_cluster_status(counted, source=SOURCE).fail_counts == (
        FailCount("lb_float_ip", A, facts.INFINITY, facts.INFINITY),
    )


@pytest.mark.parametrize(
    ("count", "threshold", "keeps_off"),
    [(2, 3, False), (3, 3, True), (facts.INFINITY, facts.INFINITY, True), (5, 0, False)],
)
def test_a_resource_is_kept_off_a_node_from_its_threshold_on(count: int, threshold: int, keeps_off: bool) -> None:
    assert FailCount("db", A, count, threshold).keeps_off is keeps_off


@pytest.mark.parametrize("name", ["crm_mon-1.1.xml", "crm_mon-2.1.xml"])
def test_a_resource_is_blocked_only_where_pacemaker_says_so(name: str) -> None:
    assert not any(each.blocked for each in facts.parse_cluster_status(_data(name), source=SOURCE).resources)
    blocked = _data("crm_mon-2.1.xml").replace('blocked="false"', 'blocked="true"', 1)
    found = facts.parse_cluster_status(blocked.replace('blocked="0"', 'blocked="1"'), source=SOURCE)
    assert [each.id for each in found.resources if each.blocked] == ["lb_float_ip"]


def test_a_stopped_cluster_of_pacemaker_2_is_refused_with_its_status() -> None:
    with pytest.raises(FactUnreadable, match="status 102: Not connected"):
        facts.parse_cluster_status(_data("crm_mon-2.1-stopped.xml"), source=SOURCE)


def test_a_node_that_is_still_joining_is_not_online() -> None:
    assert facts.parse_cluster_status(_data("crm_mon-1.1.xml"), source=SOURCE).online == (A,)


def test_a_resource_is_located_where_it_is_active() -> None:
    status = facts.parse_cluster_status(_data("crm_mon-1.1.xml"), source=SOURCE)
    assert status.located("lb_float_ip") == (A,)
    assert status.located("lb") == (A,)
    assert status.located("nothing") == ()


def test_a_float_ip_on_both_nodes_is_seen_on_both() -> None:
    twice = _data("crm_mon-2.1.xml").replace(
        f'<node name="{A}" id="1" cached="true"/>',
        f'<node name="{A}" id="1" cached="true"/><node name="{B}" id="2" cached="true"/>',
    )
    assert facts.parse_cluster_status(twice, source=SOURCE).located("lb_float_ip") == (A, B)


@pytest.mark.parametrize(
    ("answer", "change", "maintenance"),
    [
        ("crm_mon-1.1.xml", ("", ""), False),
        ("crm_mon-1.1.xml", ('managed="true"', 'managed="false"'), True),
        ("crm_mon-1.1.20.xml", ('maintenance-mode="false"', 'maintenance-mode="true"'), True),
        ("crm_mon-1.1.20.xml", (' maintenance-mode="false"', ""), False),
        ("crm_mon-2.1.xml", ('maintenance-mode="true"', 'maintenance-mode="false"'), True),
    ],
)
def test_maintenance_is_seen_with_and_without_the_option(
    answer: str, change: tuple[str, str], maintenance: bool
) -> None:
    text = _data(answer).replace(*change)
    assert facts.parse_cluster_status(text, source=SOURCE).maintenance is maintenance


def test_constraints_are_read_by_node_and_by_rule() -> None:
    assert facts.parse_constraints(_data("cib-constraints.xml"), source=SOURCE) == (
        Constraint(f"cli-ban-lb_float_ip-on-{B}", "lb_float_ip", B, -facts.INFINITY),
        Constraint("cli-prefer-lb_float_ip", "lb_float_ip", A, facts.INFINITY),
        Constraint(f"cli-ban-mongodb-on-{A}", "mongodb", A, -facts.INFINITY, expires=True),
        Constraint("cli-prefer-glance_fs", "glance_fs", B, facts.INFINITY, expires=True),
        Constraint(f"location-db_fs-{A}-50", "db_fs", A, 50),
        Constraint("location-ping", "db_fs", None, -facts.INFINITY),
    )


def test_no_constraints_are_read_as_none() -> None:
    assert facts.parse_constraints("<constraints/>\n", source=SOURCE) == ()


@pytest.mark.parametrize(
    ("constraint", "ban", "preference", "cli"),
    [
        (Constraint("cli-ban-x-on-a", "x", "a", -facts.INFINITY), True, False, True),
        (Constraint("cli-prefer-x", "x", "a", facts.INFINITY), False, True, True),
        (Constraint("location-x", "x", "a", -100), False, False, False),
        (Constraint("location-x", "x", "a", 100), False, True, False),
    ],
)
def test_a_ban_forbids_and_a_preference_draws(constraint: Constraint, ban: bool, preference: bool, cli: bool) -> None:
    assert (constraint.is_ban, constraint.is_preference, constraint.is_cli) == (ban, preference, cli)


def test_properties_are_read_and_those_of_pcs_win() -> None:
    assert facts.parse_cluster_properties(_data("cib-crm_config.xml"), source=SOURCE) == {
        "have-watchdog": "false",
        "maintenance-mode": "false",
        "unmanaged": "true",
        "dc-deadtime": "2s",
    }


@pytest.mark.parametrize(
    ("properties", "by"),
    [
        ({}, None),
        ({"maintenance-mode": "false", "unmanaged": "false"}, None),
        ({"maintenance-mode": "true", "unmanaged": "true"}, "maintenance-mode"),
        ({"maintenance-mode": "Yes"}, "maintenance-mode"),
        ({"maintenance-mode": "false", "unmanaged": "1"}, "unmanaged"),
    ],
)
def test_what_keeps_the_cluster_unmanaged_is_named(properties: dict[str, str], by: str | None) -> None:
    assert facts.maintenance_by(properties) == by


# ---- the cloud -------------------------------------------------------------------------------------------------------


def test_vms_of_an_old_client_are_read() -> None:
    assert facts.parse_servers(_data("server-list-old.json"), source=SOURCE) == (
        Server("6b4c0a52-0f3e-4d0b-8a4e-0c7a2b6d1e01", "vm-1", "ACTIVE", "host-10-43-203-101", "Running"),
        Server("6b4c0a52-0f3e-4d0b-8a4e-0c7a2b6d1e02", "vm-2", "ERROR", None, "NOSTATE"),
    )


def test_one_vm_of_a_new_client_is_read() -> None:
    assert facts.parse_servers(_data("server-show-new.json"), source=SOURCE) == (
        Server("6b4c0a52-0f3e-4d0b-8a4e-0c7a2b6d1e01", "vm-1", "ACTIVE", "host-10-43-203-101", "Running"),
    )


def test_an_empty_list_of_vms_is_none() -> None:
    assert facts.parse_servers("[]\n", source=SOURCE) == ()


def test_compute_services_are_read() -> None:
    assert facts.parse_compute_services(_data("compute-service-list.json"), source=SOURCE) == (
        ComputeService("host-10-43-203-101", "nova-compute", enabled=True, up=True, disabled_reason=""),
        ComputeService("host-10-43-203-102", "nova-compute", enabled=False, up=False, disabled_reason="rolled back"),
    )


# ---- releases --------------------------------------------------------------------------------------------------------

RELEASES = {"100": "100.el7", "101": "101"}


@pytest.mark.parametrize(
    ("printed", "release"),
    [
        ("100.el7", "100"),
        (" 101\n", "101"),
        ("", None),
        ("\n", None),
        ("package openstack-nova-common is not installed\n", None),
    ],
)
def test_a_release_is_what_the_probe_prints_for_it(printed: str, release: str | None) -> None:
    assert facts.parse_release(printed, RELEASES, source=SOURCE) == release


@pytest.mark.parametrize("printed", ["100", "101.el7", "102", "100.el7101", "bash: rpm: command not found"])
def test_an_unknown_release_is_refused_with_those_that_are_known(printed: str) -> None:
    with pytest.raises(FactUnreadable, match=r"expected one of: '100\.el7' \(release 100\), '101' \(release 101\)"):
        facts.parse_release(printed, RELEASES, source=SOURCE)


# ---- what cannot be read ---------------------------------------------------------------------------------------------

_STATUS = "<crm_mon><nodes>{nodes}</nodes><resources>{resources}</resources></crm_mon>"
_NODE = '<node name="a" online="true"/>'

UNREADABLE: dict[str, tuple[Callable[..., object], str, str]] = {
    "nothing": (facts.parse_cluster_status, "", "nothing was printed"),
    "words": (facts.parse_cluster_status, "Connection to cluster failed: Connection refused", "no complete XML"),
    "a status that is cut off": (facts.parse_cluster_status, "<crm_mon><nodes>", "no complete XML"),
    "another document": (facts.parse_cluster_status, "<cib/>", "expected <crm_mon> or <pacemaker-result>"),
    "a failure in XML": (
        facts.parse_cluster_status,
        '<pacemaker-result><status code="102" message="Not connected"/></pacemaker-result>',
        "status 102: Not connected",
    ),
    "a status without resources": (
        facts.parse_cluster_status,
        f"<crm_mon><nodes>{_NODE}</nodes></crm_mon>",
        "without <resources>",
    ),
    "a cluster without nodes": (facts.parse_cluster_status, _STATUS.format(nodes="", resources=""), "without nodes"),
    "a node that is neither online nor not": (
        facts.parse_cluster_status,
        _STATUS.format(nodes='<node name="a" online="perhaps"/>', resources=""),
        "'online' of <node> is 'perhaps'",
    ),
    "a resource without a role": (
        facts.parse_cluster_status,
        _STATUS.format(nodes=_NODE, resources='<resource id="x" resource_agent="y"/>'),
        "XML of <resource> without 'role'",
    ),
    "entities": (
        facts.parse_cluster_status,
        '<!DOCTYPE x [<!ENTITY a "aaaa">]><crm_mon>&a;</crm_mon>',
        "document type or entities",
    ),
    "constraints with entities": (facts.parse_constraints, "<!DOCTYPE constraints><constraints/>", "document type"),
    "no constraints element": (facts.parse_constraints, "<crm_config/>", "expected <constraints>"),
    "a score in words": (
        facts.parse_constraints,
        '<constraints><rsc_location id="x" rsc="y" node="z" score="much"/></constraints>',
        "score 'much'",
    ),
    "no properties element": (facts.parse_cluster_properties, "<constraints/>", "expected <crm_config>"),
    "no JSON": (facts.parse_servers, "Missing value auth-url", "no complete JSON"),
    "JSON that is cut off": (facts.parse_servers, '[{"ID": "1"', "no complete JSON"),
    "JSON nested without end": (facts.parse_servers, "[" * 100_000, "no complete JSON"),
    "JSON of something else": (facts.parse_servers, "[1, 2]", "no list of objects"),
    "a VM without a host column": (
        facts.parse_servers,
        '[{"ID": "1", "Name": "a", "Status": "ACTIVE"}]',
        "no column 'Host'; there are: ID, Name, Status",
    ),
    "a VM without a status": (
        facts.parse_servers,
        '[{"ID": "1", "Name": "a", "Status": null, "Host": "h"}]',
        "column 'Status' is None",
    ),
    "a service that is neither up nor down": (
        facts.parse_compute_services,
        '[{"Host": "h", "Binary": "nova-compute", "Status": "enabled", "State": "XXX"}]',
        "expected up or down",
    ),
}


@pytest.mark.parametrize(("parse", "text", "told"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_answer_that_cannot_be_read_is_refused(parse: Callable[..., object], text: str, told: str) -> None:
    with pytest.raises(FactUnreadable) as refused:
        parse(text, source=SOURCE)
    assert told in str(refused.value)
    assert str(refused.value).startswith("the answer of host-a to 'crm_mon -1: x' cannot be read: ")


PARSERS = [
    facts.parse_cluster_status,
    facts.parse_constraints,
    facts.parse_cluster_properties,
    facts.parse_servers,
    facts.parse_compute_services,
]


@settings(max_examples=100, deadline=None, database=None)
@given(st.sampled_from(PARSERS), st.sampled_from(sorted(DATA.iterdir())), st.integers(0, 4000), st.text(max_size=3))
def test_a_damaged_answer_is_read_or_refused_but_never_crashes(
    parse: Callable[..., object], path: Path, cut: int, inserted: str
) -> None:
    text = path.read_text(encoding="utf-8")
    for damaged in (text[:cut], text[:cut] + inserted + text[cut:]):
        try:
            parse(damaged, source=SOURCE)
        except FactUnreadable as refused:
            assert refused.host == "host-a"

"""A cluster read from Daisy's API over real HTTP, from a Daisy that is whole, odd or hostile."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from include.lab.daisy_api import FOREIGN_CLUSTER_ID, FOREIGN_HOST, DaisyApi, Spoilt, node_id
from include.lab.world import World
from include.runbook import daisy_api
from include.runbook.daisy_site import read_site
from include.runbook.site_draft import SourceUnusable, Unknown
from tests.unit.daisy_sites import lab_world

A, OVS, DVS = "host-127-1-0-11", "host-127-1-0-21", "host-127-1-0-23"
ROLES = "/v1/roles/detail"
Answer = dict[str, Any]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return lab_world(tmp_path)


@pytest.fixture
def api(world: World) -> Iterator[DaisyApi]:
    with DaisyApi(world) as serving:
        yield serving


@pytest.fixture
def cluster(world: World) -> str:
    return f"/v1/clusters/{world.cluster_id}"


def node(host: str) -> str:
    return f"/v1/nodes/{node_id(host)}"


def networks_of(answer: Answer) -> list[Answer]:
    return [network for interface in answer["host"]["interfaces"] for network in interface["assigned_networks"]]


def changed(what: str, **values: Any) -> Callable[[Answer], None]:
    return lambda answer: answer[what].update(values)


def without(what: str, key: str) -> Callable[[Answer], None]:
    return lambda answer: answer[what].pop(key)


# ---- what is read ------------------------------------------------------------------------------------------------------


def test_the_lab_s_cluster_is_read_as_it_is(api: DaisyApi, world: World) -> None:
    site = read_site(api.url, world.cluster_id)
    assert [(host.name, host.address) for host in site.controllers] == [
        ("host-127-1-0-11", "127.1.0.11"),
        ("host-127-1-0-12", "127.1.0.12"),
    ]
    assert [(host.name, host.address, host.network) for host in site.computes] == [
        ("host-127-1-0-21", "127.1.0.21", "ovs"),
        ("host-127-1-0-22", "127.1.0.22", "ovs"),
        ("host-127-1-0-23", "127.1.0.23", "dvs"),
    ]
    assert site.virtual_ips == ("127.1.0.100", "127.1.0.101")
    assert (site.storage, site.storage_network, site.cinder_management_ip) == ("share", "STORAGE", "127.1.0.100")
    assert (site.cluster_id, site.use_dns) == (world.cluster_id, False)


@pytest.mark.parametrize("page", [1, 2, 3, 100])
def test_every_page_of_a_list_is_read(world: World, page: int) -> None:
    with DaisyApi(world, page) as api:
        site = read_site(api.url, world.cluster_id)
        asked = [request for request in api.requests if request.startswith(ROLES)]
    assert site.virtual_ips == ("127.1.0.100", "127.1.0.101")
    assert sum("marker=" in request for request in asked) == -(-4 // page)


def test_a_list_that_ignores_the_marker_is_read_once(api: DaisyApi, world: World) -> None:
    api.spoilt[ROLES] = Spoilt(body=json.dumps(api.answers[ROLES]).encode())
    assert read_site(api.url, world.cluster_id).virtual_ips == ("127.1.0.100", "127.1.0.101")


def test_a_list_without_end_is_given_up(api: DaisyApi, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def another(answer: Answer) -> None:
        answer["roles"] = [{"id": str(len(api.requests)), "name": "COMPUTER", "cluster_id": world.cluster_id}]
        api.answers[ROLES]["roles"].append(answer["roles"][0])

    api.edits[ROLES] = another
    monkeypatch.setattr(daisy_api, "MOST_PAGES", 5)
    with pytest.raises(SourceUnusable, match="no end after 5 pages"):
        read_site(api.url, world.cluster_id)


def test_what_belongs_to_another_cluster_is_passed_over(world: World) -> None:
    with DaisyApi(world, page=100) as api:
        told = [
            httpx.get(f"{api.url}{path}").text for path in ("/v1/nodes?cluster_id=x", ROLES, "/v1/service_disk/list")
        ]
        site = read_site(api.url, world.cluster_id)
    assert FOREIGN_HOST in told[0]  # so the quirk was there to be met
    assert "127.9.9.100" in told[1]
    assert "local" in told[2]
    assert "127.9.9" not in repr(site)
    assert FOREIGN_HOST not in repr(site)
    assert site.storage == "share"


def test_the_only_cluster_needs_no_id(api: DaisyApi, world: World) -> None:
    api.answers["/v1/clusters"]["clusters"].pop()
    assert read_site(api.url, None).cluster_id == world.cluster_id


def test_several_clusters_are_told_by_id_and_name(api: DaisyApi, world: World) -> None:
    with pytest.raises(SourceUnusable, match="has 2 clusters; choose one with CLUSTER_ID=") as refused:
        read_site(api.url, None)
    assert f"{world.cluster_id} (lab)" in refused.value.message
    assert f"{FOREIGN_CLUSTER_ID} (other)" in refused.value.message


def test_use_dns_is_read(api: DaisyApi, world: World, cluster: str) -> None:
    api.edits[cluster] = changed("cluster", use_dns=1)
    assert read_site(api.url, world.cluster_id).use_dns is True


def test_daisy_s_address_is_the_api_s_unless_that_is_on_loopback(api: DaisyApi, world: World) -> None:
    assert isinstance(read_site(api.url, world.cluster_id).daisy_address, Unknown)


@pytest.mark.parametrize(
    ("switches", "expected"),
    [(["DVS"], "dvs"), (["ovs,sriov(macvtap)"], "ovs"), (["sriov(direct)"], None), ([], None), (["ovs", "dvs"], None)],
)
def test_a_compute_s_network_mode_comes_from_its_switches(
    api: DaisyApi, world: World, switches: list[str], expected: str | None
) -> None:
    def with_switches(answer: Answer) -> None:
        for network in networks_of(answer):
            network.pop("vswitch_type")
        # at the interface this time, where it may stand too
        for interface, switch in zip(answer["host"]["interfaces"], switches, strict=False):
            interface["vswitch_type"] = switch

    api.edits[node(OVS)] = with_switches
    network = read_site(api.url, world.cluster_id).computes[0].network
    assert (None if isinstance(network, Unknown) else network) == expected


@pytest.mark.parametrize(
    ("locations", "expected"),
    [
        (["share", "share"], "share"),
        (["local", "local"], "local"),
        (["share_cluster", "share_cluster"], "share_cluster"),
        (["share", "share_cluster"], "share_cluster"),
        (["share", "local"], None),
        (["elsewhere"], None),
        ([], None),
    ],
)
def test_the_storage_mode_comes_from_the_service_disks(
    api: DaisyApi, world: World, locations: list[str], expected: str | None
) -> None:
    role_id = node_id("role CONTROLLER_HA")
    api.answers["/v1/service_disk/list"]["disk_meta"] = [
        {"id": str(number), "service": "db", "disk_location": location, "role_id": role_id}
        for number, location in enumerate(locations)
    ]
    storage = read_site(api.url, world.cluster_id).storage
    assert (None if isinstance(storage, Unknown) else storage) == expected


def test_a_storage_network_of_its_own_addresses_leaves_the_host_s_name_alone(api: DaisyApi, world: World) -> None:
    for compute in world.computes:
        api.edits[node(compute.name)] = lambda answer: networks_of(answer)[1].update(ip="127.2.0.9")
    assert read_site(api.url, world.cluster_id).storage_network is None


def test_a_storage_network_that_one_compute_lacks_is_unknown(api: DaisyApi, world: World) -> None:
    api.edits[node(OVS)] = lambda answer: networks_of(answer)[1].update(name="OTHER")
    assert isinstance(read_site(api.url, world.cluster_id).storage_network, Unknown)


def test_cinder_s_address_is_unknown_where_the_roles_differ(api: DaisyApi, world: World) -> None:
    api.answers[ROLES]["roles"][0]["vip"] = "127.1.0.102"
    site = read_site(api.url, world.cluster_id)
    assert isinstance(site.cinder_management_ip, Unknown)
    assert "127.1.0.100, 127.1.0.102" in site.cinder_management_ip.how
    assert site.virtual_ips == ("127.1.0.100", "127.1.0.102", "127.1.0.101")


@pytest.mark.parametrize("networks", [[], [{"name": "MANAGEMENT", "ip": ip} for ip in ("127.1.0.1", "127.1.0.2")]])
def test_a_host_without_one_management_address_has_an_unknown_one(
    api: DaisyApi, world: World, networks: list[Answer]
) -> None:
    api.edits[node(A)] = lambda answer: answer["host"].update(interfaces=[{"assigned_networks": networks}])
    assert isinstance(read_site(api.url, world.cluster_id).controllers[0].address, Unknown)


def test_a_node_of_no_role_here_is_left_out_and_told(api: DaisyApi, world: World) -> None:
    api.edits[node(OVS)] = without("host", "role")
    site = read_site(api.url, world.cluster_id)
    assert [compute.name for compute in site.computes] == ["host-127-1-0-22", DVS]
    assert f"node {OVS} is left out; it is no controller and no compute (its roles: none)." in site.remarks


# ---- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        (
            Spoilt(headers={"Content-Type": "text/html"}, body=b"<html>log in</html>"),
            r"\('text/html', 19 bytes\) is not JSON",
        ),
        (Spoilt(body=b'{"cluster": '), "is not JSON"),
        (Spoilt(body=b"[" * 200_000), "is not JSON"),
        (Spoilt(body=b"\xff\xfe\xfa"), "is not JSON"),
        (Spoilt(500, body=b'{"error": {"code": 500}}'), "answered with 500"),
        (Spoilt(404, body=b"{}"), r"not found \(404\); check the address and CLUSTER_ID"),
        (
            Spoilt(302, headers={"Location": "http://127.0.0.1:1/"}),
            "redirected to http://127.0.0.1:1/, which is not followed",
        ),
        (Spoilt(302, headers={"Location": "http://daisy/\x1b[31m"}), "check the address"),
        (Spoilt(headers={"Content-Encoding": "gzip"}, body=b"x"), "compressed"),
        (Spoilt(headers={"Content-Length": "999"}, body=b"{}"), "check the address"),
        (Spoilt(body=b"[]"), "found a list; expected an object"),
        (Spoilt(body=b"{}"), "no key 'cluster'"),
        (Spoilt(body=b'{"cluster": null}'), "cluster: found null; expected an object"),
    ],
)
def test_an_answer_that_is_none_is_refused_in_one_line(
    api: DaisyApi, world: World, cluster: str, spoilt: Spoilt, told: str
) -> None:
    api.spoilt[cluster] = spoilt
    with pytest.raises(SourceUnusable, match=told) as refused:
        read_site(api.url, world.cluster_id)
    assert "/v1/clusters/" in refused.value.message
    assert refused.value.message.isprintable()


def test_an_answer_that_never_comes_is_not_waited_for(
    api: DaisyApi, world: World, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daisy_api, "LONGEST_ANSWER", 0.3)
    api.spoilt[cluster] = Spoilt(delay=1)
    with pytest.raises(SourceUnusable, match=r"no answer within 0\.1 s"):
        read_site(api.url, world.cluster_id)


def test_an_answer_that_comes_in_drops_is_given_up(
    api: DaisyApi, world: World, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daisy_api, "LONGEST_ANSWER", 0.6)
    api.spoilt[cluster] = Spoilt(pieces=(b" ",) * 40, delay=0.05)
    with pytest.raises(SourceUnusable, match=r"no whole answer within 0\.6 s"):
        read_site(api.url, world.cluster_id)


def test_an_answer_that_is_too_large_is_not_read_to_its_end(
    api: DaisyApi, world: World, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daisy_api, "LARGEST_ANSWER", 100_000)
    api.spoilt[cluster] = Spoilt(body=b" " * 1_000_000)
    with pytest.raises(SourceUnusable, match="larger than 100,000 bytes"):
        read_site(api.url, world.cluster_id)


def test_a_daisy_that_is_not_there_is_told(world: World) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, and nobody listens
        with pytest.raises(SourceUnusable, match="check the address, and that Daisy's API runs there"):
            read_site(f"http://127.0.0.1:{unused.getsockname()[1]}", world.cluster_id)


def test_a_proxy_of_the_environment_is_not_asked(api: DaisyApi, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert read_site(api.url, world.cluster_id).storage == "share"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "daisy",
        "ftp://daisy",
        "http://",
        "http://daisy/v1",
        "http://daisy:99999",
        "http://daisy?x=1",
        "http://d\x1b[0m/",
    ],
)
def test_an_address_that_is_none_is_refused_before_anybody_is_asked(url: str) -> None:
    with pytest.raises(SourceUnusable, match=r"^FROM=.*expected one such as http://10\.43\.203\.10:19292") as refused:
        read_site(url, None)
    assert refused.value.message.isprintable()


def test_a_host_s_name_that_dns_cannot_hold_is_told() -> None:
    with pytest.raises(SourceUnusable, match="check the address"):
        read_site(f"http://{'a' * 70}.invalid", None)


def test_a_login_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(SourceUnusable, match="holds a login") as refused:
        read_site("http://admin:secret@daisy:19292", None)
    assert "secret" not in refused.value.message


@pytest.mark.parametrize("cluster_id", ["1", "../nodes", "f3e0fd0c-512b-43b6-a078-f9c41c0daa8a/x"])
def test_a_cluster_id_that_is_no_uuid_is_refused_before_anybody_is_asked(api: DaisyApi, cluster_id: str) -> None:
    with pytest.raises(SourceUnusable, match=r"^CLUSTER_ID: .*expected a UUID"):
        read_site(api.url, cluster_id)
    assert api.requests == []


@pytest.mark.parametrize(
    ("path", "edit", "told"),
    [
        (node(A), changed("host", name="a; reboot"), f"node {node_id(A)}, name: 'a; reboot' is not valid"),
        (node(A), changed("host", name="a\n  b: c"), "name: .*is not valid"),
        (node(A), changed("host", name=None), "name: Input should be a valid string"),
        (node(A), changed("host", cluster="other"), "it says that it belongs to other"),
        (node(A), changed("host", role="CONTROLLER_HA"), "role: found text; expected a list"),
        (node(A), changed("host", role=["CONTROLLER_HA", "COMPUTER"]), "controller and compute at once"),
        (node(A), changed("host", role=["COMPUTER"]), r"found 1 controllers \(host-127-1-0-12\); expected two"),
        (node(OVS), changed("host", role=["CONTROLLER_LB"]), "found 3 controllers"),
        (node(A), without("host", "interfaces"), f"node {A}: no key 'interfaces'"),
        (node(A), changed("host", interfaces=[{"name": "eth0"}]), "no key 'assigned_networks'"),
        (node(A), lambda answer: networks_of(answer)[0].update(ip="127.1"), "'127.1' is not an IP address"),
        (ROLES, lambda answer: answer.update(roles={}), "roles: found an object; expected a list"),
        (ROLES, lambda answer: [role.pop("cluster_id") for role in answer["roles"]], "no key 'cluster_id'"),
        (ROLES, lambda answer: [role.update(name="COMPUTER") for role in answer["roles"]], "has no role CONTROLLER_HA"),
        (
            ROLES,
            lambda answer: [role.update(vip="lb-vip") for role in answer["roles"]],
            "'lb-vip' is not an IP address",
        ),
        ("/v1/service_disk/list", lambda answer: answer.update(disk_meta=[7]), "found a number; expected an object"),
    ],
)
def test_a_site_that_cannot_be_right_is_refused_by_name(
    api: DaisyApi, world: World, path: str, edit: Callable[[Answer], None], told: str
) -> None:
    api.edits[path] = edit
    with pytest.raises(SourceUnusable, match=told):
        read_site(api.url, world.cluster_id)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (without("cluster", "nodes"), "Daisy has no node in this cluster"),
        (changed("cluster", nodes=["../clusters"]), "cluster, nodes: .*expected a UUID"),
        (changed("cluster", nodes="all"), "cluster, nodes: found text; expected a list"),
        (changed("cluster", use_dns="maybe"), "cluster, use_dns: found maybe; expected 0 or 1"),
        (changed("cluster", id=FOREIGN_CLUSTER_ID), f"found {FOREIGN_CLUSTER_ID}; expected .*, which was asked for"),
    ],
)
def test_a_cluster_that_cannot_be_right_is_refused_by_name(
    api: DaisyApi, world: World, cluster: str, edit: Callable[[Answer], None], told: str
) -> None:
    api.edits[cluster] = edit
    with pytest.raises(SourceUnusable, match=told):
        read_site(api.url, world.cluster_id)

"""A cluster read from the files that Daisy wrote for its installer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from include.lab.daisy_api import DaisyApi
from include.runbook import daisy_site
from include.runbook.site_draft import SiteDraft, SourceUnusable, Unknown
from include.runbook.tecs_site import read_site
from tests.unit.daisy_sites import lab_world, write_files

HEAD = "[general]\nCLUSTER_ID = f3e0fd0c-512b-43b6-a078-f9c41c0daa8a\n"
PAIR = "CONFIG_HA_HOSTS = 10.0.0.1,10.0.0.2\nCONFIG_COMPUTE_HOSTS = 10.0.0.3\n"
OVS = {"hosts": {"10.0.0.3": {"physnet1": {"vswitch_type": "ovs"}}}}


def read(folder: Path, conf: str | bytes, mappings: object = OVS, hosts: str | None = None) -> SiteDraft:
    (folder / "tecs.conf").write_bytes(conf if isinstance(conf, bytes) else conf.encode())
    (folder / "mappings.json").write_text(mappings if isinstance(mappings, str) else json.dumps(mappings))
    if hosts is None:
        return read_site(folder / "tecs.conf", folder / "mappings.json", None)
    (folder / "hosts").write_text(hosts)
    return read_site(folder / "tecs.conf", folder / "mappings.json", folder / "hosts")


@pytest.mark.parametrize("use_dns", [False, True])
def test_files_and_api_tell_of_the_same_site(tmp_path: Path, use_dns: bool) -> None:
    world = lab_world(tmp_path, use_dns=use_dns)
    with DaisyApi(world) as api:
        told = daisy_site.read_site(api.url, world.cluster_id)
    files = read_site(*write_files(world, tmp_path))
    same = ("cluster_id", "controllers", "computes", "virtual_ips", "use_dns", "cinder_management_ip", "daisy_address")
    assert {key: getattr(files, key) for key in same} == {key: getattr(told, key) for key in same}
    # the files are silent on these, so they are not guessed
    assert isinstance(files.storage, Unknown)
    assert isinstance(files.storage_network, Unknown)


def test_without_a_hosts_file_names_are_unknown_and_addresses_are_not(tmp_path: Path) -> None:
    conf, mappings, _ = write_files(lab_world(tmp_path), tmp_path)
    site = read_site(conf, mappings, None)
    assert [(host.address, getattr(host.name, "hint", None)) for host in (*site.controllers, *site.computes)] == [
        (f"127.1.0.{last}", f"127.1.0.{last}") for last in (11, 12, 21, 22, 23)
    ]


def test_without_a_hosts_file_a_cluster_with_use_dns_has_unknown_addresses(tmp_path: Path) -> None:
    conf, mappings, _ = write_files(lab_world(tmp_path, use_dns=True), tmp_path)
    site = read_site(conf, mappings, None)
    assert site.use_dns
    assert site.controllers[0].name == "host-127-1-0-11"
    assert all(isinstance(host.address, Unknown) for host in (*site.controllers, *site.computes))


@pytest.mark.parametrize("form", ["{}={}", "{} = {}", "{} = '{}'", "{} =  {}  "])
def test_every_form_of_an_answer_is_read(tmp_path: Path, form: str) -> None:
    answers = {"CLUSTER_ID": "f3e0fd0c-512b-43b6-a078-f9c41c0daa8a", "CONFIG_HA_HOSTS": "10.0.0.1, 10.0.0.2"}
    lines = [form.format(key, value) for key, value in (answers | {"CONFIG_COMPUTE_HOSTS": "10.0.0.3"}).items()]
    site = read(tmp_path, "\n".join(["[general]", *lines]).encode() + "\n# 高可用\n".encode("gb2312"))
    assert [host.address for host in (*site.controllers, *site.computes)] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


def test_virtual_ips_are_what_the_host_keys_name_beside_the_nodes(tmp_path: Path) -> None:
    keys = "CONFIG_KEYSTONE_HOST = 10.0.0.8\nCONFIG_HA_HOST = 10.0.0.1\nCONFIG_LB_HOST = 10.0.0.9\nCONFIG_PUBLIC_IP = 10.1.0.9\n"
    assert read(tmp_path, HEAD + PAIR + keys).virtual_ips == ("10.0.0.9", "10.1.0.9", "10.0.0.8")


def test_virtual_ips_that_stand_there_by_name_are_found_in_the_hosts_file(tmp_path: Path) -> None:
    conf = HEAD + PAIR + "CONFIG_LB_HOST = lb-vip\nCONFIG_CINDER_API_HOST = ha-vip\n"
    site = read(tmp_path, conf, hosts="10.0.0.9 lb-vip\n10.0.0.8 ha-vip\n")
    assert (site.virtual_ips, site.cinder_management_ip) == (("10.0.0.9", "10.0.0.8"), "10.0.0.8")


def test_virtual_ips_that_nobody_resolves_are_unknown_by_name(tmp_path: Path) -> None:
    site = read(tmp_path, HEAD + PAIR + "CONFIG_LB_HOST = lb-vip\n")
    assert isinstance(site.virtual_ips, Unknown)
    assert "lb-vip" in site.virtual_ips.how
    assert isinstance(site.cinder_management_ip, Unknown)


@pytest.mark.parametrize(
    ("dvs_type", "switch", "expected"),
    [
        ("{'ovdk':[], 'ovs_agent_patch':[]}", "dvs", "dvs"),
        ("{'ovdk':[u'10.0.0.3'], 'ovs_agent_patch':[]}", "dvs", "dvs"),
        ("{'ovdk':['10.0.0.3'], 'ovs_agent_patch':[]}", None, "dvs"),
        ("{'ovdk':[], 'ovs_agent_patch':['10.0.0.3']}", None, "ovs"),
        ("{'ovdk':['10.0.0.3'], 'ovs_agent_patch':[]}", "ovs", None),
        ("", None, None),
    ],
)
def test_the_network_mode_comes_from_both_files_and_is_unknown_where_they_differ(
    tmp_path: Path, dvs_type: str, switch: str | None, expected: str | None
) -> None:
    hosts = {"10.0.0.3": {"physnet1": {"vswitch_type": switch}}} if switch else {}
    site = read(tmp_path, f"{HEAD}{PAIR}CONFIG_DVS_TYPE={dvs_type}\n", {"hosts": hosts})
    network = site.computes[0].network
    assert (None if isinstance(network, Unknown) else network) == expected


@pytest.mark.parametrize(
    "hosts",
    ["10.0.0.3 compute\n10.0.0.3 compute.STORAGE compute.example.org", "10.0.0.3 compute # c3\n\n::1 localhost"],
)
def test_a_host_s_own_name_is_told_from_those_of_its_networks(tmp_path: Path, hosts: str) -> None:
    assert read(tmp_path, HEAD + PAIR, hosts=hosts).computes[0].name == "compute"


@pytest.mark.parametrize("hosts", ["10.0.0.3 one two", "10.0.0.3 # one", "10.0.0.33 one"])
def test_a_host_of_no_single_name_stays_unknown(tmp_path: Path, hosts: str) -> None:
    assert isinstance(read(tmp_path, HEAD + PAIR, hosts=hosts).computes[0].name, Unknown)


def test_a_host_that_is_neither_controller_nor_compute_is_told(tmp_path: Path) -> None:
    site = read(tmp_path, HEAD + PAIR + "CONFIG_SWIFT_HOSTS = 10.0.0.1,10.0.0.77\n")
    assert len(site.remarks) == 1
    assert site.remarks[0].startswith("10.0.0.77 is left out")


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ("", r"tecs\.conf: no CONFIG_HA_HOSTS in a section \[general\]"),
        (PAIR, r"no CONFIG_HA_HOSTS in a section \[general\]"),
        ("[general]\n" + PAIR, "CLUSTER_ID: Input should be a valid string"),
        ("[general]\nCLUSTER_ID=../x\n" + PAIR, "CLUSTER_ID: '../x' is not valid; expected a UUID"),
        (HEAD + "CONFIG_HA_HOSTS = 10.0.0.1\uff0c10.0.0.2\n", "CONFIG_HA_HOSTS: .* holds a full-width comma"),
        (HEAD + "CONFIG_HA_HOSTS = 10.0.0.1,b\n", "by name and by address"),
        (HEAD + "CONFIG_HA_HOSTS = 10.0.0.1\n", r"found 1 controllers \(\?10\.0\.0\.1\); expected two"),
        (HEAD + "CONFIG_HA_HOSTS = a,$(reboot)\n", r"CONFIG_HA_HOSTS: '\$\(reboot\)' is not valid"),
        (HEAD + PAIR + "CONFIG_COMPUTE_HOSTS = 10.0.0.1\n", r"10\.0\.0\.1 is controller and compute at once"),
        (HEAD + PAIR + "CONFIG_DVS_TYPE = __import__('os')\n", "CONFIG_DVS_TYPE: cannot be read"),
        (HEAD + PAIR + "CONFIG_DVS_TYPE = {'ovdk': 7}\n", "CONFIG_DVS_TYPE: is something else"),
    ],
)
def test_a_tecs_conf_that_cannot_be_right_is_refused_by_key(tmp_path: Path, conf: str, told: str) -> None:
    with pytest.raises(SourceUnusable, match=told):
        read(tmp_path, conf)


@pytest.mark.parametrize(
    ("mappings", "told"),
    [
        ("", "not JSON"),
        ("[" * 200_000, "not JSON"),
        ("[]", "not built like"),
        ({}, "not built like"),
        ({"hosts": []}, "not built like"),
        ({"hosts": {"10.0.0.3": {"physnet1": {}}}}, "not built like"),
    ],
)
def test_mappings_that_are_none_are_refused(tmp_path: Path, mappings: object, told: str) -> None:
    with pytest.raises(SourceUnusable, match=rf"mappings\.json: is {told}"):
        read(tmp_path, HEAD + PAIR, mappings)


def test_a_file_that_cannot_be_read_is_told_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(SourceUnusable, match=f"{tmp_path}/none: cannot be read: No such file"):
        read_site(tmp_path / "none", tmp_path / "none", None)
    with pytest.raises(SourceUnusable, match="cannot be read: Is a directory"):
        read_site(tmp_path, tmp_path, None)

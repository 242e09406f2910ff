"""The inventory of a twin: the site's own, with nothing in it that leads to the site."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from include.lab.topology import read_site
from include.rehearsal.errors import RehearsalError
from include.rehearsal.twin_hosts import require_loopback
from include.rehearsal.twin_inventory import twin_inventory
from include.runbook.cluster import Cluster

EXAMPLE = Path(__file__).parents[2] / "include/clusters/example.yaml"


def site(**changes: Any) -> Cluster:
    return Cluster.model_validate(yaml.safe_load(EXAMPLE.read_text()) | changes)


def twin_of(cluster: Cluster) -> Cluster:
    return Cluster.model_validate(twin_inventory(cluster, "127.99", 200).values)


def test_names_sizes_and_settings_are_the_sites() -> None:
    cluster = site(
        batch_size=3, canary=2, failure_budget="5%", storage="local", replicated={"db": "r_db"}, use_dns=True
    )
    twin = twin_of(cluster)
    kept = ("name", "batch_size", "canary", "failure_budget", "storage", "replicated", "use_dns", "drain", "tolerance")
    assert {key: getattr(twin, key) for key in kept} == {key: getattr(cluster, key) for key in kept}
    assert [host.name for host in twin.hosts] == [host.name for host in cluster.hosts]
    assert [compute.network for compute in twin.computes] == [compute.network for compute in cluster.computes]
    assert twin.releases["100"].schemas == cluster.releases["100"].schemas
    assert twin.pace == 200


def test_an_address_that_two_keys_share_is_shared_on_the_twin_too() -> None:
    twin = twin_of(site())
    assert twin.cinder_management_ip == twin.virtual_ips[0]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"ssh": {"connection": "tecs_site", "port": 2200}},
        {"cinder_management_ip": "10.43.203.200"},
        {"virtual_ips": ["2001:db8::90"]},
        {"notify": [{"by": "smtp", "connection": "mail_of_site", "to": ["noc@example.org"]}]},
        {"paths": {"staging": "/home/elsewhere"}, "probes": {"release": "ssh root@10.43.203.101 rpm"}},
        {"databases": {"client": "mysql --host 10.43.203.90 --password=secret"}},
    ],
    ids=lambda change: next(iter(change), "example"),
)
def test_nothing_of_the_twins_inventory_leads_to_the_site(change: dict[str, Any]) -> None:
    raw = yaml.safe_load(EXAMPLE.read_text())
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwvJbq0hmkSx1ZkkcFvPMqXoWPV1gyTcp/3pnqM5yVH"
    raw["computes"][0] |= {"connection": "tecs_own", "port": 2022, "host_key": key}
    cluster = site(computes=raw["computes"], **change)
    values = twin_inventory(cluster, "127.99", 200).values
    text = json.dumps(values)
    addresses = {host.address for host in cluster.hosts} | set(cluster.virtual_ips) | {cluster.cinder_management_ip}
    strange = {host.connection for host in cluster.hosts} | {notify.connection for notify in cluster.notify} | {key}
    assert {each for each in addresses | strange if each in text} == set()
    require_loopback(twin_of(cluster))
    assert len(read_site(dict(values)).hosts) == len(cluster.hosts)


@given(computes=st.integers(1, 600))
def test_every_host_of_a_site_of_any_size_has_a_loopback_address_of_its_own(computes: int) -> None:
    raw = [{"name": f"c-{n}", "address": f"10.{n // 200}.1.{n % 200 + 1}"} for n in range(computes)]
    twin = twin_of(site(computes=raw))
    assert len({host.address for host in twin.hosts} | set(twin.virtual_ips)) == computes + 3 + 2


def test_a_controller_that_is_the_daisy_host_gets_a_host_of_its_own_and_that_is_said() -> None:
    raw = yaml.safe_load(EXAMPLE.read_text())
    raw["controllers"]["a"]["address"] = raw["daisy"]["address"]
    made = twin_inventory(Cluster.model_validate(raw), "127.99", 200)
    twin = Cluster.model_validate(made.values)
    assert twin.daisy.address != twin.controllers.a.address
    assert "daisy.address: Daisy is a host of its own, beside A" in made.not_played


def test_what_is_not_played_is_said_key_by_key() -> None:
    raw = yaml.safe_load(EXAMPLE.read_text())
    raw["daisy"]["container"] = {"name": "daisy", "installer": "inside"}
    raw["releases"]["100"]["reports"] = "1.0.el7"
    raw |= {"paths": {"staging": "/s"}, "probes": {"release": "x"}, "databases": {"client": "y"}}
    raw |= {"carry_over": {"unlisted_differences": "refuse"}}
    told = twin_inventory(Cluster.model_validate(raw), "127.99", 200).not_played
    assert [line.partition(":")[0] for line in told] == [
        "releases",
        "addresses, ssh, host_key",
        "daisy.container.installer",
        "releases.100.reports",
        "paths",
        "probes",
        "databases",
        "carry_over.unlisted_differences",
    ]


def test_a_host_that_is_not_on_the_loopback_is_refused_before_anything_is_opened() -> None:
    with pytest.raises(RehearsalError, match=r"connects to no host but its twin's: 10\.43\.203\.10, "):
        require_loopback(site())

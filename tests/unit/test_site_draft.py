"""The drafted inventory: refused at each key that is unknown, and right once these are filled in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from include.runbook.cluster import load_cluster
from include.runbook.errors import InventoryError
from include.runbook.inventory_text import read_inventory
from include.runbook.site_draft import DraftCompute, DraftHost, SiteDraft, Unknown, draft_text

KNOWN = SiteDraft(
    source="a test",
    cluster_id="f3e0fd0c-512b-43b6-a078-f9c41c0daa8a",
    daisy_address="10.0.0.10",
    controllers=(DraftHost("c1", "10.0.0.1"), DraftHost("c2", "10.0.0.2")),
    computes=(DraftCompute("n1", "10.0.0.3", "ovs"), DraftCompute("n2", "fd00::", "dvs")),
    virtual_ips=("10.0.0.9",),
    use_dns=False,
    storage="share",
    storage_network=None,
    cinder_management_ip="10.0.0.9",
)
NOT_KNOWN = replace(
    KNOWN,
    daisy_address=Unknown("d"),
    controllers=(DraftHost(Unknown("n", "10.0.0.1"), "10.0.0.1"), DraftHost("c2", Unknown("a", "c2"))),
    computes=(
        DraftCompute(Unknown("n", "10.0.0.3"), "10.0.0.3", "ovs"),
        DraftCompute("n2", Unknown("a", "n2"), Unknown("m", "n2")),
    ),
    virtual_ips=Unknown("v"),
    storage=Unknown("s"),
    storage_network=Unknown("sn"),
    cinder_management_ip=Unknown("c"),
)
ALWAYS = {
    "controllers.a",
    "controllers.b",
    "controllers.?a",
    "controllers.?b",
    "target_release",
    *(f"releases.?{which}{key}" for which in ("old", "new") for key in ("", ".bin", ".sha256")),
}


def refused_keys(folder: Path, text: str) -> set[str]:
    (folder / "site1.yaml").write_text(text)
    with pytest.raises(InventoryError) as refused:
        load_cluster(folder / "site1.yaml")
    return {line.split(": ")[1] for line in str(refused.value).splitlines()}


def completed(text: str) -> str:
    """Fill in what no source knows, as a person would."""
    for mark, answer in {
        "'?a'": "a",
        "'?b'": "b",
        "'?old'": '"100"',
        "'?new'": '"101"',
        "bin: '?'": "bin: /home/tecs.bin",
        "sha256: '?'": f"sha256: {'ab' * 32}",
    }.items():
        assert mark in text
        text = text.replace(mark, answer)
    return text


def test_a_completed_draft_is_the_inventory_of_the_site(tmp_path: Path) -> None:
    (tmp_path / "site1.yaml").write_text(completed(draft_text("site1", KNOWN)))
    cluster = load_cluster(tmp_path / "site1.yaml")
    assert [(host.name, host.address) for host in cluster.hosts] == [
        ("daisy", "10.0.0.10"),
        ("c1", "10.0.0.1"),
        ("c2", "10.0.0.2"),
        ("n1", "10.0.0.3"),
        ("n2", "fd00::"),
    ]
    assert [compute.network for compute in cluster.computes] == ["ovs", "dvs"]
    assert cluster.daisy.cluster_id == KNOWN.cluster_id
    assert (cluster.virtual_ips, cluster.use_dns, cluster.storage) == (("10.0.0.9",), False, "share")
    assert (cluster.storage_network, cluster.cinder_management_ip) == (None, "10.0.0.9")
    assert (cluster.ssh.connection, cluster.target_release) == ("tecs_site1", "100")


def test_what_no_source_knows_is_refused_by_key(tmp_path: Path) -> None:
    assert refused_keys(tmp_path, draft_text("site1", KNOWN)) == ALWAYS


def test_every_unknown_value_is_refused_by_key(tmp_path: Path) -> None:
    text = draft_text("site1", NOT_KNOWN)
    assert refused_keys(tmp_path, text) == ALWAYS | {
        "daisy.address",
        "computes[0].name",
        "computes[1].address",
        "computes[1].network",
        "virtual_ips",
        "storage",
        "storage_network",
        "cinder_management_ip",
    }
    # a controller's own keys come up once it is decided which of the two it is
    decided = text.replace("'?a'", "a").replace("'?b'", "b")
    assert {"controllers.a.name", "controllers.b.address"} <= refused_keys(tmp_path, decided)


def test_every_unknown_value_is_marked_at_its_key_with_what_to_do() -> None:
    lines = draft_text("site1", NOT_KNOWN).splitlines()
    for key, how in {"address": "d", "virtual_ips": "v", "storage": "s", "storage_network": "sn"}.items():
        at = next(number for number, line in enumerate(lines) if line.strip().startswith(f"{key}:"))
        assert lines[at - 1].strip() == f"# UNKNOWN: {how}"
    marked = {line.split("# UNKNOWN: ")[1] for line in lines if line.endswith("; see above")}
    assert marked == {"name; see above", "address; see above", "address, network; see above"}
    for sentence in ("name, n", "address, a", "network, m"):
        assert f"# To fill in where it is marked UNKNOWN: {sentence}" in lines


@pytest.mark.parametrize("name", ["null", "1e3", "yes", "0123", "2016-01-01", "on"])
def test_a_name_that_yaml_takes_for_something_else_stays_a_name(tmp_path: Path, name: str) -> None:
    site = replace(KNOWN, computes=(DraftCompute(name, "10.0.0.3", "ovs"),))
    (tmp_path / f"{name}.yaml").write_text(completed(draft_text(name, site)))
    cluster = load_cluster(tmp_path / f"{name}.yaml")
    assert (cluster.name, cluster.title, cluster.computes[0].name) == (name, name, name)


@pytest.mark.parametrize("end_of_line", ["\n", "\r", "\x85", "\u2028", "\u2029", "\x0b"])
def test_nothing_that_a_source_tells_becomes_a_line_of_its_own(end_of_line: str) -> None:
    evil = f"x{end_of_line}name: evil"
    site = replace(KNOWN, source=evil, remarks=(evil,), storage=Unknown(evil))
    read = read_inventory(draft_text("site1", site))
    assert read.problems == []
    assert read.values["name"] == "site1"

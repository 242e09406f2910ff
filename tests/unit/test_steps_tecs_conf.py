"""A4.3, A4.4 and A5.1: the installer's files, fetched and edited on real files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from include.runbook.errors import CommandFailed, RunbookError
from include.runbook.perform import perform
from include.runbook.step import Run, kind

from .site import Site

TEMPLATE = (
    "[general]\nCLUSTER_ID = x\nCONFIG_HA_HOSTS = 10.43.203.91,10.43.203.92\n"
    "EXCLUDE_SERVERS =\nCONFIG_NEUTRON_ML2_JSON_PATH = \nCONFIG_REPO = http://x\n"
)
COMMENT = "# \u9ad8\u53ef\u7528".encode("gb2312") + b"\r\n"


def do(name: str, run: Run, site: Site) -> bool:
    return perform(kind(name).make(run, run.cluster.daisy), site, run, print).acted


@pytest.fixture
def fetched(run: Run, site: Site) -> Path:
    """Daisy's own files, and the answer file where the installer is run."""
    folder = f"{run.cluster.paths.tecs_data}/{run.cluster.daisy.cluster_id}"
    site.write(run.cluster.daisy, f"{folder}/tecs.conf", COMMENT + TEMPLATE.encode())
    site.write(run.cluster.daisy, f"{folder}/mappings.json", '{"hosts": {}}')
    assert do("fetch_tecs_conf", run, site)
    assert do("fetch_mappings", run, site)
    return Path(run.cluster.daisy.path(f"{run.cluster.paths.tecs_install}/tecs.conf"))


def value(conf: Path, key: str) -> str:
    return next(
        each.partition("=")[2].strip()
        for each in conf.read_bytes().decode("latin-1").splitlines()
        if each.startswith(key)
    )


def test_the_files_are_daisys_byte_by_byte(run: Run, site: Site, fetched: Path) -> None:
    assert fetched.read_bytes() == COMMENT + TEMPLATE.encode()
    assert fetched.with_name("mappings.json").read_text() == '{"hosts": {}}'


def test_what_was_fetched_is_not_fetched_again(run: Run, site: Site, fetched: Path) -> None:
    assert not do("fetch_tecs_conf", run, site)
    assert not do("fetch_mappings", run, site)


def test_the_answer_file_leaves_out_everyone_but_the_computes_of_the_batch(run: Run, site: Site, fetched: Path) -> None:
    assert do("edit_tecs_conf_for_computes", run, site)
    others = [node.address for node in run.cluster.nodes if node not in run.computes]
    assert value(fetched, "EXCLUDE_SERVERS") == ",".join(others)
    assert value(fetched, "CONFIG_NEUTRON_ML2_JSON_PATH") == str(fetched.with_name("mappings.json"))
    assert run.computes[0].address not in fetched.read_bytes().decode("latin-1")


def test_nothing_else_of_the_answer_file_changes(run: Run, site: Site, fetched: Path) -> None:
    do("edit_tecs_conf_for_computes", run, site)
    ours = (b"EXCLUDE_SERVERS", b"CONFIG_NEUTRON_ML2_JSON_PATH")
    kept = [each for each in fetched.read_bytes().splitlines(True) if not each.startswith(ours)]
    before = [each for each in (COMMENT + TEMPLATE.encode()).splitlines(True) if not each.startswith(ours)]
    assert kept == before


def test_an_edited_answer_file_is_neither_fetched_nor_edited_again(run: Run, site: Site, fetched: Path) -> None:
    do("edit_tecs_conf_for_computes", run, site)
    assert not do("fetch_tecs_conf", run, site)
    assert not do("edit_tecs_conf_for_computes", run, site)


def test_host_names_stand_in_it_where_the_cluster_uses_a_name_server(run: Run, site: Site, fetched: Path) -> None:
    named = replace(run, cluster=run.cluster.model_copy(update={"use_dns": True}))
    assert do("edit_tecs_conf_for_computes", named, site)
    assert value(fetched, "EXCLUDE_SERVERS").startswith("host-10-43-203-91,host-10-43-203-92,host-10-43-203-102")


def test_bs_round_leaves_out_a_and_every_compute(run: Run, site: Site, fetched: Path) -> None:
    do("edit_tecs_conf_for_computes", run, site)
    assert do("edit_tecs_conf_for_b", run, site)
    excluded = value(fetched, "EXCLUDE_SERVERS").split(",")
    assert run.cluster.controllers.b.address not in excluded
    assert len(excluded) == len(run.cluster.nodes) - 1


def test_the_next_batch_leaves_out_the_last_one(run: Run, site: Site, fetched: Path) -> None:
    do("edit_tecs_conf_for_computes", run, site)
    following = replace(run, computes=run.cluster.computes[1:3])
    assert do("edit_tecs_conf_for_computes", following, site)
    assert run.computes[0].address in value(fetched, "EXCLUDE_SERVERS").split(",")


def test_a_changed_key_of_daisys_is_fetched_anew(run: Run, site: Site, fetched: Path) -> None:
    do("edit_tecs_conf_for_computes", run, site)
    folder = f"{run.cluster.paths.tecs_data}/{run.cluster.daisy.cluster_id}"
    site.write(run.cluster.daisy, f"{folder}/tecs.conf", TEMPLATE.replace("http://x", "http://y"))
    assert do("fetch_tecs_conf", run, site)
    assert value(fetched, "CONFIG_REPO") == "http://y"


def test_a_round_that_is_over_is_not_gone_through_again(run: Run, site: Site, fetched: Path) -> None:
    """Otherwise the next round's answer file would be taken back to an earlier one."""
    site.install(run.computes[0], "100")
    fetched.write_text("[general]\nEXCLUDE_SERVERS = those of another round\n")
    for name in ("fetch_tecs_conf", "fetch_mappings", "edit_tecs_conf_for_computes"):
        assert not do(name, run, site)


def test_a_round_whose_installation_is_not_proven_is_gone_through(run: Run, site: Site, fetched: Path) -> None:
    site.install(run.computes[0], "100")
    site.note_reinstallation(run.computes[0])
    assert do("edit_tecs_conf_for_computes", run, site)


def test_missing_data_of_daisy_is_told_with_the_path(run: Run, site: Site) -> None:
    with pytest.raises(CommandFailed, match=r"tecs\.conf") as failed:
        do("fetch_tecs_conf", run, site)
    assert "paths.tecs_data, daisy.cluster_id and daisy.container" in failed.value.advice


def test_a_host_that_the_inventory_does_not_know_is_never_handed_to_the_installer(
    run: Run, site: Site, fetched: Path
) -> None:
    """Whatever stands in CONFIG_*_HOSTS and not in EXCLUDE_SERVERS is installed, with its VMs running."""
    every = ",".join([*(node.address for node in run.cluster.nodes), "10.43.203.199"])
    fetched.write_text(TEMPLATE + f"CONFIG_COMPUTE_HOSTS = {every}\n")
    with pytest.raises(RunbookError, match=r"10\.43\.203\.199"):
        do("edit_tecs_conf_for_computes", run, site)

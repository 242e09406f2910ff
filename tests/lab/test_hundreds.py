"""Two hundred computes through Airflow: those that fail cost nobody else anything, and are done when they are mended."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from console.stack import LabRequest, Stack, free_port
from include.lab.client import LabClient
from include.lab.topology import make_inventory
from tests.loopback import free_network
from tests.scenarios import Site

from .test_many import said

pytestmark = pytest.mark.nightly
COMPUTES, BATCH = 200, 25
PATIENCE = 3 * 3600


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A lab of its own, on which two percent of the computes may fail, and its own Airflow."""
    inventory = make_inventory("hundreds", free_network(), COMPUTES, batch_size=BATCH) | {"failure_budget": "2%"}
    with tempfile.TemporaryDirectory(prefix="tecs-hundreds-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        file = folder / "hundreds.yaml"
        file.write_text(yaml.safe_dump(inventory, sort_keys=False))
        stack = Stack(folder / "stack")
        try:
            with stack.up(LabRequest(file, "A", 200), free_port(0)).airflow() as airflow:
                yield Site("hundreds", LabClient(folder / "stack" / "lab"), airflow, stack, PATIENCE)
        finally:
            stack.down()


def installed(site: Site) -> dict[str, int]:
    """How often each host was installed."""
    return {name: count["installed"] for name, count in site.lab.state()["installs"].items()}


def test_three_that_fail_in_three_ways_are_named_at_the_end_and_done_by_themselves_afterwards(site: Site) -> None:
    computes = [name for name, host in site.lab.state()["hosts"].items() if host["role"] == "compute"]
    assert len(computes) == COMPUTES
    silent, kept, stuck = computes[40], computes[90], computes[150]
    site.lab.fault({"host": silent, "do": "down"})
    for name, what in ((kept, "uninstall_compute"), (stuck, "restart_compute_services")):
        site.lab.fault({"ssh": {"host": name, "match": rf"# \S+ {what} on "}, "do": "exit", "status": 1})

    run = site.start("rollback_cluster")
    assert site.finish(run) == "failed"
    assert {task for task in site.failures(run) if task.startswith("E")} == {"E3_name_failures"}
    told = said(site, run, "E3_name_failures")
    assert f"3 of {COMPUTES} computes are not on release 100: {silent}, {kept}, {stuck}" in told
    b = next(name for name in site.lab.state()["hosts"] if name.endswith("-0-12"))
    once = {name: int(name in computes or name == b) for name in installed(site)}
    assert installed(site) == once | {silent: 0, kept: 0}

    site.lab.fault({"host": silent, "do": "up"})
    again = site.start("rollback_compute", computes=[silent, kept, stuck])
    assert site.finish(again) == "success", site.story(again)
    assert installed(site) == once
    truth = site.lab.state()
    assert truth["violations"] == []
    assert {host["release"] for host in truth["hosts"].values() if host["role"] != "daisy"} == {"100"}

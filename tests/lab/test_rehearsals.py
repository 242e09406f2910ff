"""A rehearsal through Airflow: it leaves the cluster alone, and its twin is gone when it is over or a person has ended it."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.scenarios import Site

from .conftest import on
from .test_faults import change


def twins_of(name: str) -> list[str]:
    """The processes that serve a twin of this cluster."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if "include.lab" in words and any("/tecs-rehearsals-" in w and w.endswith(f"/{name}.yaml") for w in words):
                found.append(entry.name)
    return found


@on("validated")
def test_a_rehearsal_leaves_the_cluster_alone_and_its_twin_ends_with_it_however_it_ends(site: Site) -> None:
    before = site.journal()
    run = site.start("rehearse_cluster", scenario="C")
    assert site.finish(run) == "success", site.story(run)
    (kept,) = (site.stack.state / "records" / site.name / "rehearsal").glob("*.json")
    assert json.loads(kept.read_text())["passed"]
    assert twins_of(site.name) == []

    slow = site.start("rehearse_cluster", scenario="C", pace=1)
    site.until(slow, lambda now: bool(twins_of(site.name)))
    change(site, f"/api/v2/dags/rehearse_cluster/dagRuns/{slow.run_id}", {"state": "failed"})
    ends = time.monotonic() + site.patience
    while twins_of(site.name):
        assert time.monotonic() < ends, "the twin outlives its rehearsal"
        time.sleep(0.5)
    assert site.journal() == before

"""An installer that misbehaves: what it did is found on the node, whatever it says, and no node is installed twice."""

from __future__ import annotations

import pytest

from tests.groups import case, in_groups
from tests.scenarios import Site, audit, first_compute

from .conftest import Count
from .test_crashes import counted, finished_or_resumed

pytestmark = pytest.mark.faults

MISBEHAVIOUR = {
    "hang": True,
    "password_prompt": True,
    "fail_exit_0": True,
    "succeed_exit_1": False,
    "half_install": True,
    "garbage": False,
}
"""What the installer does, and whether the step has to fail for it."""


@in_groups(
    [
        case("installer", (f"installer-{fault.replace('_', '-')}", "C"), fault, fails, id=fault)
        for fault, fails in MISBEHAVIOUR.items()
    ],
    "fault",
    "fails",
)
def test_what_the_installer_did_is_found_on_the_node_and_the_run_is_resumed(
    site: Site, fault: str, fails: bool, count: Count
) -> None:
    compute = first_compute(site)
    site.lab.fault({"installer": fault})
    run = site.start("rollback_compute", computes=[compute])
    first = site.finish(run)
    assert (first == "failed") is fails, site.story(run)
    ended, resumed = finished_or_resumed(site, run, most=3)
    assert ended == "success", site.story(run)
    assert site.lab.state()["faults"] == []
    count(counted(site, 1, min(resumed, 1)))
    audit(site, (compute,))

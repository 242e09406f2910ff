"""A validation on the embedded lab, through Airflow: nothing wanting on a good cluster, and each seeded problem by name."""

from __future__ import annotations

import json

from console.airflow_api import Run
from tests.scenarios import Site

from .conftest import on


def result(site: Site, run: Run) -> dict[str, str]:
    """What the validation of this run has kept: check -> result and what was found."""
    kept = site.lab.run("daisy", "cat /var/lib/tecs-rollback/validation/*.json").stdout
    mine = next(each for each in map(json.loads, kept.splitlines()) if each["run_id"] == run.run_id)
    return {finding["check"]: f"{finding['result']}: {finding['found']}" for finding in mine["findings"]}


def host(site: Site, number: str) -> str:
    return next(name for name in site.lab.state()["hosts"] if name.endswith(f"-{number}"))


@on("validated")
def test_a_good_cluster_wants_nothing_and_each_of_ten_problems_is_found_by_name(site: Site) -> None:
    run = site.start("validate_cluster")
    assert site.finish(run) == "success", site.story(run)
    assert {found for found in result(site, run).values() if not found.startswith("ok")} == set()

    a, b, first, second = (host(site, number) for number in ("11", "12", "21", "22"))
    node = site.lab.run(b, "crm_node -n").stdout.strip()
    site.lab.fault({"bin": "corrupt"})
    site.lab.fault({"schema": "nova", "versions": ["320"]})
    site.lab.run(a, f"pcs resource ban lb_float_ip {node}")
    site.lab.run(a, "pcs property set maintenance-mode=true")
    site.lab.run(first, "systemctl stop openstack-nova-compute")
    site.lab.run(second, "rm /etc/nova/nova.conf")
    site.lab.run(b, "rm /home/tecs_install/storage_auto_config/base/cinder.json")
    site.lab.run("daisy", "rm /var/lib/daisy/tecs/*/mappings.json")
    site.lab.run(
        "daisy", f"mkdir -p /var/lib/tecs-rollback/reinstalling; touch /var/lib/tecs-rollback/reinstalling/{first}"
    )
    site.lab.fault({"host": second, "do": "down"})

    run = site.start("validate_cluster")
    assert site.finish(run) == "failed"
    wanting = {check: found for check, found in result(site, run).items() if not found.startswith("ok")}
    told = "\n".join(f"{check}: {found}" for check, found in wanting.items())
    for seeded in (
        "is corrupt",
        "nova at 320, the release knows up to 319",
        f"cli-ban-lb_float_ip-on-{node}",
        "maintenance-mode is set",
        f"down: {first}",
        f"{second} cannot be reached",
        "R9 /etc/nova/nova.conf is there on " + second,
        "base/cinder.json is there on " + b,
        "mappings.json",
        f"begun and not proven: {first}",
    ):
        assert seeded in told, f"{seeded} is not told:\n{told}"
    message = site.failures(run)["V2_require_readiness"]
    assert "could not be rolled back now" in message
    assert "nova at 320" in message

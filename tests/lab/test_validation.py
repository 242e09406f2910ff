"""A validation on the embedded lab, through Airflow: nothing wanting on a good cluster, and each seeded problem by name."""

from __future__ import annotations

from tests.scenarios import Site, host, validated

from .conftest import on


@on("validated")
def test_a_good_cluster_wants_nothing_and_each_of_ten_problems_is_found_by_name(site: Site) -> None:
    run = site.start("validate_cluster")
    assert site.finish(run) == "success", site.story(run)
    assert {found for found in validated(site, run).values() if not found.startswith("ok")} == set()

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
    wanting = {check: found for check, found in validated(site, run).items() if not found.startswith("ok")}
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

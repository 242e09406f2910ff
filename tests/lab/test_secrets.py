"""Secrets are planted wherever a site has its own; a run fails, is resumed, and has written none of them anywhere."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from console.airflow_api import Run
from tests.canaries import Canaries, ProcessLists, plant_on_hosts
from tests.receivers import WebServer
from tests.scenarios import Site, first_compute, record

from .conftest import on
from .test_faults import resume

SITES_OWN = re.compile(
    r"/(nova(_\w+)?\.conf|cinder\.conf|tecs\.conf(\.before-\w+)?|keystonerc_admin|var/log/nova/canaries\.log)$"
)
"""A host's own files, which hold its secrets by right, and what the product saves of them."""

AIRFLOWS_OWN = ("secrets.json", "airflow/passwords.json")
"""Files of the embedded stack that keep its secrets."""


@on("canaries")
def test_no_secret_is_in_anything_that_a_run_writes_or_lets_be_seen(
    site: Site, canaries: Canaries, told: WebServer, folder: Path
) -> None:
    compute, hosts = first_compute(site), site.lab.state_dir / "hosts"
    plant_on_hosts(canaries, hosts)
    printed = (
        f"option --password={canaries['a password that a failed step prints']} refused\n"
        f"mysql://nova:{canaries['a database password that a failed step prints']}@127.0.0.1/nova"
    )
    site.lab.fault(
        {"ssh": {"match": r"# A4\.7 repair_nova_conf on "}, "do": "exit", "status": 1, "stderr": printed, "count": 1}
    )
    with ProcessLists() as lists:
        run = site.start("rollback_compute", computes=[compute])
        assert site.finish(run) == "failed"
        assert "***" in site.failures(run)["A4.7_repair_nova_conf"]
        resume(site, run)
        assert site.finish(run) == "success", site.story(run)

    assert run.run_id in page_of(site, run).read_text()
    told.until(lambda posted: (posted["cluster"], posted["event"]) == (site.name, "done"))
    connection = json.loads((folder / "connections.json").read_text())[f"tecs-{site.name}"]
    key = {"the key of the SSH connection": connection["extra"]["private_key"].splitlines()[2]}
    airflows = json.loads((site.stack.state / AIRFLOWS_OWN[0]).read_text())
    wanted = Canaries(canaries.planted | key | airflows)
    posted = [each for _, each in told.posts if each["cluster"] == site.name]
    # What is searched is there: failure, evidence, record, page, notices, and scripts in the lists of processes.
    assert {event["outcome"] for event in record(site, run)} >= {"failed", "done"}
    assert list(hosts.glob("daisy/var/lib/tecs-rollback/evidence/*/*.gz"))
    assert {each["event"] for each in posted} >= {"start", "failed", "done"}
    assert any(b"repair_nova_conf" in line for line in lists.seen)

    leaks = [f"argv {line!r}: {name}" for line in lists.seen for name in wanted.found_in(line)]
    leaks += [f"notice {each}: {name}" for each in posted for name in wanted.found_in(json.dumps(each).encode())]
    database = site.stack.environment()["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    leaks += [f"table {table}: {name}" for table, name in wanted.in_database(database)]
    own = {site.stack.state / name for name in AIRFLOWS_OWN}
    for file, name in wanted.in_files(site.stack.state):
        leaks += [f"{file}: {name}"] if file not in own and "postgres" not in file.parts else []
    for file, name in wanted.in_files(hosts):
        leaks += [] if SITES_OWN.search(str(file)) else [f"{file}: {name}"]
    assert not leaks, "\n".join(leaks)
    saved = list(hosts.glob("daisy/var/lib/tecs-rollback/saved/**/*.conf"))
    assert saved
    assert [file for file in [*own, *saved] if file.stat().st_mode & 0o077] == []


def page_of(site: Site, run: Run) -> Path:
    """Wait for the page that is written when a run has ended well."""
    ends = time.monotonic() + 30
    while True:
        for page in (site.stack.state / "records" / site.name).glob(f"*{run.run_id}.html"):
            if "SUCCEEDED" in page.read_text():
                return page
        assert time.monotonic() < ends, "no page tells of a success"
        time.sleep(0.2)

"""The commands of docs/api.md, as they stand there, against a real Airflow on the embedded lab."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from console.airflow_api import Run
from tests.receivers import WebServer
from tests.scenarios import Site, first_compute

from .conftest import on
from .test_drains import OUTAGE, STOP, pending, question, vms_on
from .test_faults import change

PAGE = (Path(__file__).parents[2] / "docs/api.md").read_text()
WHAT_IS_GIVEN = "What the commands take as given"

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def commands(heading: str) -> str:
    """The shell text below this heading of the page."""
    section = next(part for part in PAGE.split("\n## ") if part.startswith(f"{heading}\n"))
    (block,) = re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)
    return str(block)


def begun(site: Site, heading: str, key: str, **given: str) -> subprocess.Popen[str]:
    """Start the commands of a section, logged in as its page says."""
    running = site.stack.running()
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "TMPDIR": str(site.lab.state_dir),
        "no_proxy": "*",
        "AIRFLOW": running.url,
        "TECS_USER": running.user,
        "TECS_PASSWORD": running.password,
        "CLUSTER": site.name,
        "COMPUTE": first_compute(site),
        "KEY": key,
    }
    assert set(re.findall(r"\b([A-Z_]+)=", commands(WHAT_IS_GIVEN))) <= environment.keys()
    text = f"set -eu\n{commands('Log in')}\n{commands(heading)}"
    return subprocess.Popen(
        ["sh", "-c", text], env=environment | given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def said(process: subprocess.Popen[str]) -> str:
    """What the commands have printed; fails if one of them did."""
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output


def do(site: Site, heading: str, key: str, **given: str) -> str:
    return said(begun(site, heading, key, **given))


def status(output: str) -> str:
    return output.rpartition("HTTP ")[2].strip()


def answer_to_the_end(site: Site, run: Run, answer: str) -> str:
    """Answer whenever the run asks, and return how it has ended: a task answered as it begins to wait may ask again."""
    ends = time.monotonic() + site.patience
    while not (now := site.airflow.run(run.dag_id, run.run_id)).finished:
        assert time.monotonic() < ends, site.story(run)
        if pending(site, run):
            assert status(do(site, "Give the answer", run.run_id, ANSWER=answer)) == "200"
        time.sleep(3)
    return now.state


@on("api")
def test_a_run_is_started_once_asked_about_resumed_and_watched_to_its_end(site: Site, told: WebServer) -> None:
    compute = first_compute(site)
    stays, _ = vms_on(site, compute)
    site.lab.fault({"vm": stays, "do": "pin"})
    assert status(do(site, "Start scenario C", "change-1")) == "200"
    assert status(do(site, "Start scenario C", "change-1")) == "409"
    run = site.airflow.run("rollback_compute", "change-1")

    question(site, run)
    asked = do(site, "Answer a question", "change-1")
    assert stays in asked
    assert STOP in asked
    assert answer_to_the_end(site, run, STOP) == "failed"
    assert do(site, "Watch", "change-1").startswith("failed")
    assert '"task_id":"A4.2_consent"' in do(site, "Watch", "change-1")

    assert status(do(site, "Resume", "change-1")) == "200"
    site.until(run, lambda now: not now.finished)
    assert answer_to_the_end(site, run, OUTAGE) == "success", site.story(run)
    assert do(site, "Watch", "change-1").startswith("success")
    assert status(do(site, "Start scenario C", "change-1")) == "409", "a key that was used stays used"
    assert site.lab.state()["installs"][compute]["installed"] == 1

    told.until(lambda posted: (posted["run_id"], posted["event"]) == ("change-1", "done"))
    heard = [posted for _, posted in told.posts if posted["run_id"] == "change-1"]
    events = [posted["event"] for posted in heard]
    assert (events[0], events[-1]) == ("start", "done")
    assert {"decision", "failed"} < set(events)
    assert any("does not accept" in posted["found"] for posted in heard if posted["event"] == "failed")
    link = f"{site.stack.running().url}/dags/rollback_compute/runs/change-1"
    assert {posted["link"] for posted in heard} == {link}


@on("api")
def test_of_requests_with_one_key_that_come_at_the_same_time_one_starts_the_run(site: Site) -> None:
    at_once = [begun(site, "Start scenario B", "change-2") for _ in range(4)]
    assert sorted(status(said(process)) for process in at_once) == ["200", "409", "409", "409"]
    assert status(do(site, "Cancel", "change-2")) == "200"
    assert site.airflow.run("rollback_controller", "change-2").state == "failed"
    assert status(do(site, "Start scenario A", "change-2")) == "200", "each DAG has keys of its own"
    change(site, "/api/v2/dags/rollback_cluster/dagRuns/change-2", {"state": "failed"})


@on("api")
def test_a_request_that_cannot_be_carried_out_is_refused_with_the_reason(site: Site) -> None:
    refused = do(site, "What is refused at once", "change-3")
    assert status(refused) == "400"
    assert "no-such-cluster" in refused

    run = site.airflow.trigger("rollback_compute", "change-3", {"cluster": site.name, "computes": ["b"], "comptes": []})
    assert site.finish(run) == "failed"
    reason = do(site, "What the first task refuses", "change-3")
    assert "unknown parameter 'comptes'" in reason
    assert "'b' is not a compute" in reason

    password = begun(site, "Watch", "change-3", TECS_PASSWORD="wrong")
    errors = password.communicate(timeout=60)[1]
    assert "401" in errors

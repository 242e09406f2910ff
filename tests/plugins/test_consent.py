"""A person is asked about the VMs that stay on a compute; a drain that does not go on gives its computes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.runbook import consent, custody
from include.runbook.notice import Event, Notice
from include.runbook.perform import judge
from include.runbook.step import Run, VmPolicy
from include.runbook.steps.vms import drained_or_accepted
from tests.unit.site import Site

from .conftest import FakeHosts, context

FIRST = "host-10-43-203-101"
AT = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def reached(site: Site, sessions: object, operator: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The operators reach the site, this run holds its lock, and questions are kept in `said`."""
    import tecs.consent

    monkeypatch.setattr(tecs.consent, "SshHosts", lambda cluster, log: FakeHosts(site, lambda host, script: None))
    operator("take_lock").execute(context())
    stays(site)


def stays(
    site: Site, *ids: str, status: str = "disabled", reason: str = "tecs-rollback rollback_compute/run-1"
) -> None:
    """Say which VMs are in error state on the first compute, and how it is scheduled."""
    service = {"Binary": "nova-compute", "Host": FIRST, "Status": status, "State": "up", "Disabled Reason": reason}
    vms = [{"ID": id, "Name": f"vm-{id}", "Status": "ERROR", "Host": FIRST} for id in ids]
    site.cloud(servers=vms, services=[service])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The questions that Airflow was told to put."""
    put: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **detail: put.append(detail)
    )
    return put


class Asking:
    """One task that asks, with what Airflow keeps for it between its two halves."""

    def __init__(self) -> None:
        from tecs.consent import AskConsent

        self.task = AskConsent(task_id="A4.2_consent", host=FIRST)
        self.xcom: dict[str, Any] = {}

    def context(self, **conf: Any) -> dict[str, Any]:
        made = context(**conf)
        made["ti"].id, made["ti"].map_index = "ti-1", 0
        made["ti"].xcom_push = lambda key, value: self.xcom.update({key: value})
        made["ti"].xcom_pull = lambda key, map_indexes: self.xcom.get(key)
        made["task_instance"] = made["ti"]
        return made

    def ask(self, **conf: Any) -> None:
        self.task.execute(self.context(**conf))

    def answer(self, option: str, **conf: Any) -> None:
        event = {"chosen_options": [option], "params_input": {}, "responded_at": AT}
        self.task.execute_complete(self.context(**conf), event | {"responded_by_user": {"id": "1", "name": "someone"}})


def run_now(site: Site) -> Run:
    cluster = site.cluster
    return Run(cluster, "100", cluster.computes[:1], owner="rollback_compute/run-1", dag="rollback_compute")


def may_be_taken_down(site: Site) -> bool:
    run = run_now(site)
    return judge(drained_or_accepted(run, run.computes[0], run.computes), site).met


def test_nobody_is_asked_where_no_vm_stays() -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    with pytest.raises(AirflowSkipException, match=f"no VM stays on {FIRST}"):
        Asking().ask()


@pytest.mark.parametrize("release", ["100", None], ids=["back", "taken down"])
def test_nobody_is_asked_about_a_compute_that_is_not_to_be_taken_down(site: Site, release: str | None) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    stays(site, "9")
    site.install(site.cluster.computes[0], release)
    with pytest.raises(AirflowSkipException, match=f"no VM stays on {FIRST}"):
        Asking().ask()


@pytest.mark.parametrize("policy", ["accept_outage", {FIRST: "node_faulty"}, {FIRST: "migrate_across_releases"}])
def test_nobody_is_asked_where_the_run_brings_the_answer(site: Site, policy: Any) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    stays(site, "9")
    with pytest.raises(AirflowSkipException, match="operator has answered"):
        Asking().ask(vm_policy=policy)


def test_an_answer_for_another_compute_is_none_for_this_one(site: Site, asked: list[dict[str, Any]]) -> None:
    from airflow.sdk.exceptions import TaskAwaitingInput

    stays(site, "9")
    with pytest.raises(TaskAwaitingInput):
        Asking().ask(vm_policy={"host-10-43-203-102": "accept_outage"})
    assert len(asked) == 1


def test_the_question_names_each_vm_with_its_reason_and_waits_as_long_as_the_inventory_says(
    site: Site, asked: list[dict[str, Any]]
) -> None:
    from airflow.sdk.exceptions import TaskAwaitingInput

    stays(site, "9")
    with pytest.raises(TaskAwaitingInput) as waiting:
        Asking().ask()
    assert asked[0]["subject"] == f"1 VMs stay on {FIRST} of example"
    assert "- **vm-9** (9, ERROR): it is in error state" in asked[0]["body"]
    assert asked[0]["defaults"] is None, "no answer is no consent"
    assert waiting.value.timeout is not None
    assert waiting.value.timeout.total_seconds() == site.cluster.drain.answer_limit


def test_that_a_person_is_waited_for_is_told_once_the_question_can_be_answered(
    site: Site, asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tecs.telling
    from airflow.sdk.exceptions import TaskAwaitingInput

    told: list[Notice] = []

    def keep(notice: Notice, channels: object, log: object) -> None:
        assert len(asked) == 1
        told.append(notice)

    monkeypatch.setattr(tecs.telling, "send", keep)
    stays(site, "9")
    with pytest.raises(TaskAwaitingInput):
        Asking().ask()
    assert [notice.event for notice in told] == [Event.DECISION]
    assert told[0].found == f"{asked[0]['subject']}\n\n{asked[0]['body']}"
    assert "within 60 minutes" in told[0].advice


@pytest.mark.parametrize(
    ("told", "questions"),
    [
        (None, 0),
        ("it is shut off: nothing of it can be moved alive", 0),
        ("Nova refused to move it: no", 1),
    ],
    ids=["came later", "became active", "refused"],
)
def test_a_vm_that_can_be_tried_is_not_asked_about_and_one_that_nova_refused_is(
    site: Site, asked: list[dict[str, Any]], told: str | None, questions: int
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput

    stays(site, "9")
    (site.says / "servers.json").write_text((site.says / "servers.json").read_text().replace("ERROR", "ACTIVE"))
    if told:
        path = f"{site.cluster.paths.state}/consent/rollback_compute_run-1/stays"
        site.write(site.cluster.daisy, path, f"stays 9 on {FIRST}: vm-9: {told}\n")
    with pytest.raises(TaskAwaitingInput if questions else AirflowSkipException):
        Asking().ask()
    assert len(asked) == questions


@pytest.mark.parametrize(
    ("letter", "policy", "taken_down"),
    [
        ("a", VmPolicy.NODE_FAULTY, True),
        ("b", VmPolicy.ACCEPT_OUTAGE, True),
        ("c", VmPolicy.MIGRATE_ACROSS_RELEASES, False),
    ],
)
def test_the_answer_is_noted_where_it_counts_and_in_the_record(
    site: Site, asked: list[dict[str, Any]], letter: str, policy: VmPolicy, taken_down: bool
) -> None:
    from airflow.sdk.exceptions import TaskAwaitingInput
    from tecs.consent import ANSWERS

    stays(site, "9")
    asking = Asking()
    with pytest.raises(TaskAwaitingInput):
        asking.ask()
    assert not may_be_taken_down(site)
    chosen = next(option for option in asked[0]["options"] if option.startswith(f"({letter})"))
    assert ANSWERS[chosen] is policy
    asking.answer(chosen)
    assert may_be_taken_down(site) is taken_down
    event = custody.read_record(Path(custody.record_path(run_now(site))).read_text())[-1]
    assert (event["step"], event["host"]) == ("consent", FIRST)
    assert event["found"] == f"someone answered at 2026-11-22T10:00:00+00:00: {chosen}. VMs that stay: vm-9 (9, ERROR)"


def test_an_answer_stands_until_the_next_drain_though_airflow_has_lost_the_task(
    site: Site, asked: list[dict[str, Any]]
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput

    stays(site, "9")
    asking = Asking()
    with pytest.raises(TaskAwaitingInput):
        asking.ask()
    asking.answer(asked[0]["options"][2])
    with pytest.raises(AirflowSkipException, match="someone has answered migrate_across_releases"):
        Asking().ask()
    path = f"{site.cluster.paths.state}/consent/rollback_compute_run-1/stays"
    site.write(site.cluster.daisy, path, f"stays 9 on {FIRST}: vm-9: it is in error state\n")
    with pytest.raises(TaskAwaitingInput):
        Asking().ask()


def test_an_answer_covers_the_vms_that_were_asked_about_and_no_other(site: Site, asked: list[dict[str, Any]]) -> None:
    from airflow.sdk.exceptions import TaskAwaitingInput

    stays(site, "9")
    asking = Asking()
    with pytest.raises(TaskAwaitingInput):
        asking.ask()
    stays(site, "9", "10")
    asking.answer(asked[0]["options"][1])
    assert not may_be_taken_down(site)


def test_no_consent_fails_the_task_and_is_recorded(site: Site) -> None:
    from airflow.sdk.exceptions import AirflowFailException
    from tecs.consent import STOP

    stays(site, "9")
    with pytest.raises(AirflowFailException, match=r"someone does not accept .*: vm-9 .*nothing is uninstalled"):
        Asking().answer(STOP)
    assert not may_be_taken_down(site)
    assert STOP in Path(custody.record_path(run_now(site))).read_text()


def test_no_answer_in_time_ends_on_the_safe_side_and_is_not_tried_again() -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="nobody has answered in time"):
        Asking().task.execute_complete(Asking().context(), {"error": "late", "error_type": "timeout"})


def test_an_answer_counts_only_for_the_run_that_holds_the_lock(site: Site) -> None:
    from airflow.sdk.exceptions import AirflowFailException
    from tecs.consent import ANSWERS

    stays(site, "9")
    (Path(site.cluster.daisy.path(site.cluster.paths.state)) / "lock").unlink()
    with pytest.raises(AirflowFailException, match="start the scenario anew"):
        Asking().answer(next(iter(ANSWERS)))
    assert not Path(consent.consent_folder(run_now(site))).exists()


# ---- the gate --------------------------------------------------------------------------------------------------------


def gate(ready: Sequence[str] | None = None, **states: str) -> None:
    """Carry the gate out after tasks that ended so, of which one has named the computes that are ready."""
    from tecs.consent import GoOnOrGiveBack

    task = GoOnOrGiveBack(task_id="gate", step="give_back_computes", ready=ready, ssh_conn_id=None)
    made = context() | {
        "run_id": "run-1",
        "task": SimpleNamespace(upstream_task_ids=set(states), dag_id="rollback_compute"),
    }
    made["ti"].get_task_states = lambda dag_id, run_ids, task_ids: {run_ids[0]: {t: states[t] for t in task_ids}}
    task.execute(made)


def scheduled(site: Site) -> tuple[str, str | None]:
    service = site.seen("services")[0]
    return service["Status"], service["Disabled Reason"]


def test_a_run_in_which_all_is_well_goes_on(site: Site) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    with pytest.raises(AirflowSkipException, match="the computes are free to be taken down"):
        gate([FIRST], A4_computes="success", drain="skipped")
    assert scheduled(site)[0] == "disabled"


def test_a_compute_that_is_not_ready_is_given_back_while_the_others_go_on(site: Site) -> None:
    gate([], A4_computes="success", drain="success")
    assert scheduled(site) == ("enabled", None)


def test_a_drain_that_failed_gives_its_computes_back_and_says_so(site: Site) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=f"since drain failed: the scheduler may use {FIRST} as before"):
        gate(A4_computes="success", drain="failed")
    assert scheduled(site) == ("enabled", None)


def test_what_someone_else_has_disabled_stays_disabled(site: Site) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    stays(site, reason="memory")
    with pytest.raises(AirflowFailException):
        gate(A4_computes="success", drain="upstream_failed")
    assert scheduled(site) == ("disabled", "memory")


@pytest.mark.parametrize("release", ["100", None], ids=["back", "taken down"])
def test_a_compute_without_its_bad_release_is_not_given_back(site: Site, release: str | None) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    site.install(site.cluster.computes[0], release)
    with pytest.raises(AirflowFailException, match="every compute has been taken down already"):
        gate(A4_computes="success", drain="failed")
    assert scheduled(site)[0] == "disabled"


def test_a_compute_that_cannot_be_read_is_left_as_it_is_and_named(site: Site) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    site.program("rpm", "exit 127")
    with pytest.raises(AirflowFailException, match=f"the state of {FIRST} is not known"):
        gate(A4_computes="success", drain="failed")
    assert scheduled(site)[0] == "disabled"


def test_a_run_that_never_began_has_nothing_to_give_back(site: Site) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="no compute has been touched"):
        gate(A4_computes="upstream_failed", drain="upstream_failed")
    with pytest.raises(AirflowFailException, match="since named failed: no compute has been touched"):
        gate(A4_computes="upstream_failed", named="failed")
    assert scheduled(site)[0] == "disabled"

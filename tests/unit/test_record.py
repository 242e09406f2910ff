"""What the events of a run tell: tries and how they ended, batches, resumptions, decisions; and what is left open."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import Any

import pytest

from include.runbook import record_events
from include.runbook.custody import Custody, kept, quote_name, read_record
from include.runbook.lock import Holder
from include.runbook.opened import Opened, opened
from include.runbook.plan import Plan, Stage
from include.runbook.record import Record, Result, State, read, visible
from include.runbook.step import Run, VmPolicy, kind
from include.runbook.survey import Survey
from include.runbook.vms import Vm

from .record_runs import (
    FIRST,
    FREE,
    LOCKED,
    OWNER,
    SECOND,
    THIRD,
    A,
    B,
    acting,
    at,
    began,
    done,
    ended,
    event,
    failed,
    record,
    step,
    survey,
)

BATCH = "run-1__batch-001"


def results(of: Record) -> list[tuple[str, Result]]:
    return [(attempt.step, attempt.result) for attempt in of.attempts]


# ---- tries -----------------------------------------------------------------------------------------------------------


def test_a_step_is_its_script_and_how_it_ended() -> None:
    (attempt,) = record(began({}), *step(1, 4, "A2_ban_float_ip_on_b", A, output="ok")).attempts
    assert (attempt.result, attempt.command, attempt.output, attempt.on) == (
        Result.DONE,
        "do ban_float_ip_on_b",
        "ok",
        A,
    )
    assert (attempt.begun, attempt.seconds(at(9))) == (at(1), 3.0)


def test_a_script_without_an_end_goes_on_and_is_late_by_now() -> None:
    (attempt,) = record(began({}), acting(1, "A5.3_install_b", A, sla=10.0), now=20).attempts
    assert attempt.result is Result.RUNNING
    assert attempt.seconds(at(20)) == 19
    assert attempt.late(at(20))
    assert not attempt.late(at(10))


def test_a_script_without_an_end_was_cut_off_where_the_run_has_ended() -> None:
    of = record(began({}), acting(1, "A5.3_install_b", A), ended(9, "failed"))
    assert of.whole is not None
    assert of.whole.state is State.FAILED
    assert [(a.result, a.ended) for a in of.attempts] == [(Result.INTERRUPTED, at(9))]


def test_a_script_without_an_end_was_cut_off_where_it_was_sent_again() -> None:
    of = record(began({}), acting(1, "A5.3_install_b", A), *step(5, 9, "A5.3_install_b", A))
    assert [a.result for a in of.attempts] == [Result.INTERRUPTED, Result.DONE]
    assert of.wanting == ()


def test_a_failure_counts_until_the_step_has_succeeded() -> None:
    broken = (began({}), *failed(1, 2, "A2_ban_float_ip_on_b", A))
    assert [a.step for a in record(*broken).wanting] == ["ban_float_ip_on_b"]
    assert record(*broken, *step(5, 6, "A2_ban_float_ip_on_b", A)).wanting == ()


def test_a_decision_that_failed_counts_until_the_run_is_resumed() -> None:
    """Of a decision only failures are recorded; whoever resumes a run clears them."""
    decision = event(5, id="E1", step="prove", host="", event="failed", outcome="failed", found="not proven")
    before = (began({}), *step(1, 2, "A2_ban_float_ip_on_b", A), decision, ended(6, "failed"))
    assert [a.step for a in record(*before).wanting] == ["prove"]
    assert record(*before, done(50, "E2_release_lock", "daisy", 1), ended(51, "success"), kept=FREE).wanting == ()
    again = {**decision, "time": at(60).isoformat()}
    assert [a.begun for a in record(*before, *step(50, 51, "A5.8_clear_ban", A), again).wanting] == [at(60)]
    side_by_side = record(began({}), decision, *step(7, 8, "A2_ban_float_ip_on_b", A), ended(9, "failed"))
    assert [a.step for a in side_by_side.wanting] == ["prove"]
    of_batch = record(
        began({}),
        {**decision, "run_id": BATCH},
        ended(6, "failed", BATCH),
        *step(7, 8, "A4.5_uninstall_compute", SECOND, "run-1__batch-002"),
    )
    assert [a.run_id for a in of_batch.wanting] == [BATCH], "the next batch is no resumption"


def test_a_run_that_was_resumed_goes_on() -> None:
    before = (began({}), *failed(1, 2, "A2_ban_float_ip_on_b", A), ended(3, "failed"))
    of = record(*before, *step(50, 51, "A2_ban_float_ip_on_b", A))
    assert of.whole is not None
    assert (of.whole.state, of.whole.ended) == (State.RUNNING, None)


def test_a_word_that_comes_late_does_not_resume_a_run() -> None:
    of = record(began({}), ended(3, "failed"), *failed(1, 4, "A2_ban_float_ip_on_b", A)[1:])
    assert of.whole is not None
    assert of.whole.state is State.FAILED


def test_batches_belong_to_the_run_and_end_with_it() -> None:
    of = record(
        began({}),
        began({}, 5, BATCH, computes=[FIRST]),
        acting(6, "A4.5_uninstall_compute", FIRST, BATCH),
        ended(9, "failed"),
    )
    assert [(part.run_id, part.batch, part.state) for part in of.parts] == [
        ("run-1", False, State.FAILED),
        (BATCH, True, State.FAILED),
    ]
    assert results(of) == [("uninstall_compute", Result.INTERRUPTED)]


def test_a_run_whose_beginning_was_not_recorded_is_told_of_all_the_same() -> None:
    of = record(*step(1, 2, "A2_ban_float_ip_on_b", A), ended(3, "failed"))
    assert of.whole is not None
    assert (of.whole.begun, of.whole.state, len(of.whole.attempts)) == (at(1), State.FAILED, 1)


def test_the_owner_is_known_by_the_name_of_the_records_file() -> None:
    """Who reads a record by hand knows that name only; the lock names the run itself."""
    assert read([began({})], quote_name(OWNER), "test", LOCKED, at(1)).owner == OWNER
    assert read([began({}, dag="../x")], quote_name(OWNER), "test", LOCKED, at(1)).owner == quote_name(OWNER)


def test_a_run_that_left_no_record_has_no_part() -> None:
    assert record().whole is None


# ---- decisions, surveys, settings ------------------------------------------------------------------------------------


def test_decisions_name_who_and_when() -> None:
    answer = event(
        9,
        event_id=1,
        id="A4.2",
        step="consent",
        host=FIRST,
        outcome="done",
        found="yes",
        by="wang",
        at="2026-06-01T22:00:09",
    )
    asked = {"take_over": True, "accept_newer_schema": True, "vm_policy": {FIRST: "node_faulty", SECOND: "node_faulty"}}
    told = [(decision.by, decision.what) for decision in record(began({}, **asked), answer).decisions]
    assert told == [
        ("li", "start rollback_cluster to release 100"),
        ("li", "take the lock over from whichever run holds it"),
        ("li", "go back although the databases are newer than the old release knows"),
        ("li", f"VMs that do not leave: node_faulty ({FIRST}, {SECOND})"),
        ("wang", f"{FIRST}: yes"),
    ]
    assert results(record(began({}), answer)) == []


def test_the_answer_at_the_gate_of_an_upgrade_is_a_decision_and_no_step() -> None:
    of = record(began({}), record_events.answered("run-1", "example", "wang", "wang answered: Stop here"))
    assert ("wang", "example: wang answered: Stop here") in [(each.by, each.what) for each in of.decisions]
    assert results(of) == []


def test_the_first_survey_is_before_and_the_last_is_after() -> None:
    vms = event(2, event="vms", when="before", vms={"1": {"name": "vm-1", "host": FIRST, "status": "ACTIVE"}})
    of = record(
        began({}),
        survey(1, "before"),
        vms,
        survey(5, "before", active="later"),
        survey(8, "after", active="first"),
        survey(9, "after", active=A, unread={SECOND: "no answer"}),
    )
    assert of.before is not None
    assert of.after is not None
    assert (of.before.active, dict(of.before.vms)) == (B, {"1": Vm("vm-1", FIRST, "ACTIVE")})
    assert of.after.active == A
    assert (of.after.releases[SECOND], of.after.problems) == ("not read", ("no answer",))


def test_settings_are_those_of_the_last_comparison() -> None:
    row = {
        "section": "DEFAULT",
        "key": "my_ip",
        "rule": "unlisted",
        "before": ["1"],
        "fresh": [],
        "after": [],
        "changed": True,
    }
    compared = event(1, step="compare_nova_settings", host=FIRST, outcome="compared", settings=[row, "no row", {}])
    (setting,) = record(began({}), compared).settings[FIRST]
    assert setting.told == "DEFAULT/my_ip was [1], is absent"


# ---- what is written is what is read ---------------------------------------------------------------------------------


def test_what_a_run_records_of_its_beginning_is_read_back(run: Run) -> None:
    first = run.computes[0].name
    run = replace(run, owner=OWNER, dag="rollback_cluster", user="li", vm_policy={first: VmPolicy.NODE_FAULTY})
    stage = Stage("A2_ban_float_ip_on_b", "A2 Ban", frozenset(), kind("ban_float_ip_on_b"))
    vms = {f"id-{n}": Vm(f"vm-{n}", first, "ACTIVE") for n in range(450)}
    ends = {"a": ("lvm", "array")}
    seen = Survey({first: "101"}, "a", ("a",), (), True, vms, {first: True}, problems=("one",), back_ends=ends)
    events = [
        record_events.begun(Plan("rollback_cluster", run, (stage,)), "run-1"),
        *record_events.surveyed(seen, "run-1", "before"),
        record_events.failed("run-1", "E1", "prove", "", "not proven"),
        record_events.ended("run-1", "failed", "task_failure"),
    ]
    of = record(*read_record("\n".join(json.dumps(kept(each)) for each in events)))
    assert of.whole is not None
    assert of.before is not None
    assert [planned.title for planned in of.whole.plan] == ["A2 Ban"]
    assert (of.whole.user, of.whole.state, of.whole.computes) == ("li", State.FAILED, (first,))
    assert (of.before.vms, of.before.back_ends) == (vms, ends)
    assert (len(of.before.vms), of.before.maintenance, of.before.problems) == (450, True, ("one",))
    assert [(a.step, a.found) for a in of.wanting] == [("prove", "not proven")]
    assert any("node_faulty" in decision.what for decision in of.decisions)


# ---- what hosts may write --------------------------------------------------------------------------------------------

HOSTILE: list[Any] = [None, True, -1, 1e308, float("nan"), "x", [], [[]], {}, {"a": {"b": []}}, "\ud800", ["\x1b[2J"]]


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_no_value_of_an_event_is_believed(value: Any) -> None:
    good = [
        began({"A2_x": (0, 1)}, vm_policy={}),
        *step(1, 2, "A2_x", A),
        survey(1, "before"),
        event(1, event="vms", when="before", vms={}),
        event(1, step="compare_nova_settings", host=A, settings=[]),
        ended(3, "failed"),
    ]
    for whole in good:
        for key in whole:
            json.dumps(visible(str(record(*good, {**whole, key: value}))), ensure_ascii=False).encode()


@pytest.mark.parametrize("time", ["", "0001-01-01T00:00:00", "9999-12-31T23:59:59+00:00", "now"])
def test_a_time_that_is_none_is_that_of_the_reading(time: str) -> None:
    (attempt,) = record({**done(1, "A2_x", A, 1e8), "time": time}).attempts
    assert attempt.ended == at(1000)


def test_a_line_that_is_no_event_is_counted_and_left_out() -> None:
    lines = "\n".join(['{"a": ', "[1]", "null", "[" * 100_000, "\x1b]0;owned\x07", json.dumps(began({}))])
    of = record(*read_record(lines))
    assert of.unreadable == 5
    assert of.whole is not None


def test_what_is_kept_of_an_event_is_without_secrets_escapes_and_end() -> None:
    told = kept(
        {
            "found": "\x1b[31mOS_PASSWORD=hunter2",
            "deep": [{"x": "token=hunter2"}],
            "command": "y" * 10**6,
            "lone": "\ud800",
        }
    )
    text = json.dumps(told, ensure_ascii=False)
    assert "hunter2" not in text
    assert "\x1b" not in told["found"]
    assert len(text.encode()) < 10_000
    big = kept({"step": "a", "list": ["z" * 5000] * 100})
    assert (big["step"], big["shortened"]) == ("a", True)
    quotes = kept(dict.fromkeys(("command", "output", "found"), "'" * 10**5))
    assert len(shlex.quote(json.dumps(quotes))) < 60_000


def test_text_does_not_run_backwards_or_hide() -> None:
    assert visible("a\u202etxt\u200b\x9b31m\ufeff") == "a\ufffdtxt\ufffd\ufffd31m\ufffd"


# ---- what is open ----------------------------------------------------------------------------------------------------


def told(of: Record) -> list[tuple[str, bool]]:
    return [(each.what, each.sure) for each in opened(of) if each.open]


def closed(of: Record) -> list[Opened]:
    return [each for each in opened(of) if not each.open]


def test_the_lock_is_open_as_long_as_the_daisy_host_says_so() -> None:
    taken = (began({}), *step(1, 2, "S3_take_lock", "daisy"))
    assert told(record(*taken)) == [("The cluster is locked by this run", True)]
    assert told(record(*taken, kept=FREE)) == []
    assert "resumed" in opened(record(*taken, ended(5, "failed")))[0].todo
    other = Custody(Holder("rollback_cluster/run-2", "http://a", "rollback_cluster", "wang", "2026"))
    assert "locked by another run: run rollback_cluster/run-2" in told(record(*taken, kept=other))[0][0]


def test_a_note_of_an_installation_is_told_with_its_host() -> None:
    noted = Custody(LOCKED.holder, {}, frozenset({B}))
    of = record(began({}), acting(5, "A5.3_install_b", "daisy"), kept=noted)
    what = f"An installation of {B} was begun and is not proven"
    assert next(each.since for each in opened(of) if each.what == what) == at(5)


def test_the_ban_is_open_until_it_is_cleared() -> None:
    banned = (began({}), *step(1, 2, "A2_ban_float_ip_on_b", A))
    assert told(record(*banned, kept=FREE)) == [(f"B ({B}) is banned from the float IP", True)]
    cleared = record(*banned, *step(5, 6, "A5.8_clear_ban", A), kept=FREE)
    assert told(cleared) == []
    assert [each.until for each in closed(cleared)] == [at(6)]


def test_a_ban_of_which_nobody_knows_how_it_ended_may_be_open() -> None:
    of = record(began({}), acting(1, "A2_ban_float_ip_on_b", A), ended(2, "failed"), kept=FREE)
    assert told(of) == [(f"B ({B}) is banned from the float IP", False)]


def test_a_clear_that_failed_closes_nothing() -> None:
    of = record(began({}), *step(1, 2, "A2_ban_float_ip_on_b", A), *failed(5, 6, "A5.8_clear_ban", A), kept=FREE)
    assert len(told(of)) == 1


def test_a_ban_that_was_set_again_is_open_again() -> None:
    of = record(
        began({}),
        *step(1, 2, "A2_ban_float_ip_on_b", A),
        *step(5, 6, "A5.8_clear_ban", A),
        *step(8, 9, "A2_ban_float_ip_on_b", A),
        kept=FREE,
    )
    assert len(told(of)) == 1


def test_b_is_out_of_the_cluster_from_its_uninstallation_until_it_is_verified() -> None:
    down = (began({}), acting(1, "A5.2_uninstall_b", B))
    assert told(record(*down, kept=FREE)) == [(f"B ({B}) is taken out of the cluster: A serves alone", False)]
    assert told(record(*down, *step(5, 6, "A5.7_verify_pacemaker_on_b", A), kept=FREE)) == []


def test_each_compute_is_open_until_it_is_enabled_or_given_back() -> None:
    three = [FIRST, SECOND, THIRD]
    drained = (
        began({}),
        began({}, 1, BATCH, computes=three),
        *step(2, 3, "A4.2_drain_computes", A, BATCH, computes=three),
    )
    assert told(record(*drained, kept=FREE)) == [(f"The scheduler may not use {', '.join(three)}", True)]
    of = record(
        *drained,
        *step(4, 5, "A4.2_give_back_computes", A, BATCH, computes=[THIRD]),
        *step(6, 7, "A4.5_uninstall_compute", FIRST, BATCH),
        *failed(6, 7, "A4.5_uninstall_compute", SECOND, BATCH),
        *step(8, 9, "A4.9_enable_scheduling", FIRST, BATCH),
        kept=FREE,
    )
    assert told(of) == [(f"{SECOND} is out of service: uninstalled", False)]
    assert {each.what for each in closed(of)} == {
        f"The scheduler may not use {THIRD}",
        f"{FIRST} is out of service: uninstalled",
    }


def test_a_drain_that_was_not_needed_has_disabled_nothing() -> None:
    of = record(began({}), done(3, "A4.2_drain_computes", A, 1, outcome="already true", computes=[FIRST]), kept=FREE)
    assert opened(of) == ()


def test_maintenance_that_was_left_is_open_until_it_is_put_back() -> None:
    found = "found unmanaged (maintenance-mode=true), which is put back at the end of the run (E1)"
    left = (
        began({}),
        *step(1, 2, "S6_note_cluster_mode", "daisy", found=found),
        *step(3, 4, "A1_leave_maintenance_to_switch", A),
    )
    what = "Maintenance was left; the cluster was found unmanaged (maintenance-mode=true)"
    assert told(record(*left, kept=FREE)) == [(what, True)]
    assert told(record(*left, *step(5, 6, "E1_restore_cluster_mode", "daisy"), kept=FREE)) == []


def test_a_switchover_that_broke_off_is_told() -> None:
    of = record(began({}), *failed(1, 2, "A6.1_switch_over_and_back", A), kept=FREE)
    assert told(of) == [("The switchover there and back broke off: B may be active", False)]

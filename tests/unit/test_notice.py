"""What a notice says, and how it crosses from one process to another."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from include.runbook.notice import HEAD, TAIL, Event, Notice

NOTICE = Notice(
    Event.FAILED, "site1", "rollback_cluster", "run-7", "A1: host-11 is down", "start it", "http://airflow/x"
)


def test_the_text_says_cluster_scenario_run_what_happened_what_to_do_and_where_to_look() -> None:
    assert NOTICE.text.splitlines() == [
        "cluster: site1",
        "scenario: rollback_cluster",
        "run: run-7",
        "",
        "A1: host-11 is down",
        "what to do: start it",
        "",
        "the run in Airflow: http://airflow/x",
    ]


def test_where_nobody_knows_airflows_address_there_is_no_link_and_without_advice_none_is_announced() -> None:
    assert replace(NOTICE, advice="", link="").text.splitlines()[-1] == "A1: host-11 is down"


@pytest.mark.parametrize("event", Event)
def test_every_event_has_a_line_of_its_own(event: Event) -> None:
    lines = {replace(NOTICE, event=each).subject for each in Event}
    assert len(lines) == len(Event)
    assert replace(NOTICE, event=event).subject.startswith("[TECS site1] rollback_cluster ")


def test_of_a_long_text_the_beginning_and_the_end_are_kept() -> None:
    long = "first line\n" + "x" * 9000 + "\nwhat to do: the last line"
    told = replace(NOTICE, found=long).values["found"]
    assert len(told) <= HEAD + TAIL + len("\n[...]\n")
    assert told.startswith("first line")
    assert told.endswith("what to do: the last line")


def test_it_can_be_taken_apart_and_put_together_again() -> None:
    assert Notice.of(asdict(NOTICE)) == NOTICE

"""The page of a run, word for word, and what it must never do: run, fetch, believe or grow without end."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from include.runbook.custody import Custody
from include.runbook.record import Record
from include.runbook.record_page import as_json, page
from include.runbook.timeline import picture

from .record_runs import (
    FIRST,
    FREE,
    LOCKED,
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

GOLDEN = Path(__file__).parent / "data" / "record_page.html"
BATCH = "run-1__batch-001"
RELEASED = step(1, 2, "E2_release_lock", "daisy")
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\" ' </pre></svg></title>{{ 7*7 }}\x1b[31m\u202e"


def stopped() -> Record:
    """A scenario A run whose second batch was never begun: B's uninstallation was late, its installation failed."""
    answer = event(
        40, id="A4.2", step="consent", host=FIRST, outcome="done", by="wang", at=at(40).isoformat(), found="(b)"
    )
    plan = {
        "S3_take_lock": (0.0, 1.0),
        "A2_ban_float_ip_on_b": (1.0, 3.0),
        "A4_computes_in_batches": (3.0, 63.0),
        "A5.2_uninstall_b": (63.0, 83.0),
        "A5.3_install_b": (83.0, 143.0),
        "A5.8_clear_ban": (143.0, 145.0),
    }
    return record(
        began(plan),
        survey(0, "before"),
        *step(0, 1, "S3_take_lock", "daisy"),
        *step(1, 3, "A2_ban_float_ip_on_b", A),
        began({"A4.5_uninstall_compute": (0.0, 50.0)}, 4, BATCH, computes=[FIRST]),
        answer,
        *step(5, 60, "A4.5_uninstall_compute", FIRST, BATCH),
        done(62, "A4.9_enable_scheduling", FIRST, 1, BATCH),
        ended(63, "success", BATCH),
        *step(64, 104, "A5.2_uninstall_b", B, sla=35.0),
        *failed(104, 124, "A5.3_install_b", "daisy", output="no space left on /var"),
        ended(125, "failed"),
        kept=Custody(LOCKED.holder, {}, frozenset({B})),
    )


def test_the_page_of_a_run_that_stopped_half_way() -> None:
    """Golden: the page without its style sheet, so that it can be read."""
    text = re.sub(r"<style>.*?</style>", "<style>...</style>", page(stopped()), flags=re.S)
    assert text == GOLDEN.read_text()


class Tags(HTMLParser):
    """Every tag with its attributes, and what stands outside of tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


HARMLESS = {
    *("html", "head", "meta", "title", "style", "body", "header", "section", "h1", "h2", "h3", "p", "b", "i", "span"),
    *("dl", "dt", "dd", "table", "tr", "th", "td", "details", "summary", "pre", "svg", "g", "text", "rect", "line"),
}


def hostile() -> Record:
    """Every text that a host, a person or a file may have chosen is an attack."""
    row = {
        "section": EVIL,
        "key": EVIL,
        "rule": EVIL,
        "before": [EVIL],
        "fresh": [EVIL],
        "after": [EVIL],
        "changed": True,
    }
    plan = {f"A2_{EVIL}": (0.0, 1.0), "A4_computes_in_batches": (1.0, 2.0)}
    return record(
        began(plan, title=EVIL, user=EVIL, a=EVIL, b=EVIL, target=EVIL, vm_policy={EVIL: EVIL}),
        began({}, 0, f"{EVIL}__batch-1", computes=[EVIL]),
        survey(0, "before", releases={EVIL: EVIL}, active=EVIL, constraints=[EVIL], services={EVIL: False}),
        event(0, event="vms", when="before", vms={EVIL: {"name": EVIL, "host": EVIL, "status": EVIL}}),
        survey(9, "after", problems=[EVIL], unread={EVIL: EVIL}),
        event(1, id="A4.2", step="consent", host=EVIL, outcome="done", by=EVIL, at=EVIL, found=EVIL),
        event(1, step="compare_nova_settings", host=EVIL, outcome="compared", settings=[row]),
        *failed(1, 90, f"A2_{EVIL}", EVIL, found=EVIL, output=EVIL),
        acting(3, "A5.3_install_b", EVIL, command=EVIL, on=EVIL),
        ended(100, EVIL),
        kept=Custody(None, {}, frozenset({EVIL})),
    )


def test_nothing_that_a_host_says_becomes_part_of_the_page() -> None:
    text = page(hostile())
    found = Tags(text)
    assert {tag for tag, _ in found.tags} <= HARMLESS
    names = {name for _, attributes in found.tags for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("src", "href", "style", "action")}
    assert "{{ 7*7 }}" in found.text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_the_page_fetches_nothing_and_forbids_it() -> None:
    text = page(stopped())
    metas = [attributes.get("content") or "" for tag, attributes in Tags(text).tags if tag == "meta"]
    assert "default-src 'none'; style-src 'unsafe-inline'" in metas
    assert not re.search(r"https?://|url\(|@import|javascript:", text)


def test_the_json_is_json_and_tells_what_is_open() -> None:
    told = json.loads(as_json(stopped()))
    assert {each["what"] for each in told["opened"] if not each["until"]} == {
        "The cluster is locked by this run",
        f"An installation of {B} was begun and is not proven",
        f"B ({B}) is taken out of the cluster: A serves alone",
        f"B ({B}) is banned from the float IP",
    }
    attempts = [attempt for part in told["parts"] for attempt in part["attempts"]]
    assert [a["output"] for a in attempts if a["result"] == "failed"] == ["no space left on /var"]
    json.loads(as_json(hostile()))


@pytest.mark.parametrize(
    ("of", "told"),
    [
        (record(), "REFUSED"),
        (record(began({}), ended(1, "failed")), "REFUSED"),
        (record(began({}), acting(1, "A5.3_install_b", A), now=9), "GOES ON</b>: A5.3 install_b"),
        (record(began({}), *failed(1, 2, "A2_x", A)), "GOES ON, WITH FAILURES"),
        (record(began({}), *failed(1, 2, "A2_x", A), ended(3, "failed")), "FAILED</b>: A2 x (host-11)"),
        (record(began({}), acting(1, "A2_x", A), ended(3, "failed")), "STOPPED</b>: A2 x (host-11)"),
        (record(began({}), *step(1, 2, "A2_x", A), ended(3, "failed")), "Airflow ended the run"),
        (record(began({}), *RELEASED, ended(3, "success"), kept=FREE), "SUCCEEDED</b>: test is back on release 100"),
        (record(began({}), *RELEASED, ended(3, "success")), "NOT PROVEN"),
        (record(began({}), ended(3, "success"), kept=FREE), "NOT PROVEN"),
        (
            record(began({}), *failed(1, 2, "A2_x", A), ended(3, "success")),
            "NOT PROVEN</b>: Airflow calls the run a success; A2 x",
        ),
    ],
    ids=[
        "no record",
        "not begun",
        "runs",
        "runs on",
        "failed",
        "stopped",
        "ended",
        "success",
        "held",
        "unreleased",
        "skipped",
    ],
)
def test_the_headline_says_how_it_stands(of: Record, told: str) -> None:
    assert told in page(of).partition("</h1>")[0].partition("<h1>")[2]


def test_a_run_that_a_person_has_ended_is_resumed_in_another_way() -> None:
    """Airflow has skipped what had not begun; after Clear, Only failed, that would never be done."""
    cut = (began({}), acting(1, "A2_x", A))
    by_hand = ended(3, "failed") | {"why": "Dag Run's state was manually set to `failed`."}
    assert "Do not clear Only failed" in page(record(*cut, by_hand))
    assert "clear the failed task with Downstream" in page(record(*cut, ended(3, "failed")))
    assert "Do not clear Only failed" in page(record(*cut, by_hand, *failed(5, 6, "A2_x", A), ended(7, "success")))


def test_the_first_cause_is_named_not_what_followed_from_it() -> None:
    of = record(
        began({}),
        acting(0, "A5.1_fetch_tecs_conf_for_b", "daisy"),
        *failed(1, 2, "A4.5_uninstall_compute", FIRST, BATCH),
        event(
            3,
            id="A4",
            step="computes_in_batches",
            host=FIRST,
            event="failed",
            outcome="failed",
            found="the batch failed",
        ),
        ended(4, "failed"),
    )
    assert "<b>FAILED</b>: A4.5 uninstall_compute (host-21)" in page(of)


def test_a_long_pause_is_cut_out_of_the_picture() -> None:
    plan = {"A2_x": (0.0, 10.0)}
    of = record(
        began(plan), *failed(0, 10, "A2_x", A), ended(11, "failed"), *step(30_000, 30_010, "A2_x", A), now=30_020
    )
    assert of.whole is not None
    drawn = picture(of, of.whole)
    assert [label for _, label in drawn.breaks] == ["nothing ran for 8:19:50"]
    (row,) = drawn.rows
    assert row.note == "0:20 of 0:10 LATE"
    assert {bar.kind: bar.width > 200 for bar in row.bars} == {"plan": True, "failed": True, "done": True}
    assert all(bar.x + bar.width <= drawn.notes for bar in row.bars)


def test_two_hundred_computes_make_a_page_that_opens_and_a_picture_that_fits() -> None:
    hosts = [f"host-{n}" for n in range(200)]
    plan = {f"A4.{n}_step_{n}": (n, n + 1.0) for n in range(12)}
    events = [
        each
        for n, task in enumerate(plan)
        for host in hosts
        for each in step(n, n + 1, task, host, BATCH, output="line\n" * 500, found="it is so " * 100)
    ]
    of = record(began({}), began(plan, 0, BATCH, computes=hosts), *events, kept=FREE)
    text = page(of)
    assert len(text) < 4_000_000
    assert "180 more are in the JSON beside this page" in text
    batch = of.parts[1]
    assert sum(len(row.bars) for row in picture(of, batch).rows) <= 24

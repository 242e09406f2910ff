"""Whatever a host prints, it is read or refused in the project's own words, and nothing of it reaches a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from include.runbook import (
    cinder_archive,
    custody,
    facts,
    job,
    lock,
    nova_settings,
    record,
    record_reading,
    schemas,
    validation_results,
)
from include.runbook import survey as surveys
from include.runbook.cinder_backends import read_back_ends
from include.runbook.cluster import Cluster
from include.runbook.consent import consents, consents_in, left_in, listing
from include.runbook.drbd import parse_state
from include.runbook.errors import FactUnreadable, RunbookError
from include.runbook.perform import signed
from include.runbook.plan import make_steps
from include.runbook.reach import Sweep
from include.runbook.shell import Output
from include.runbook.step import KINDS, Goal, Read, Run, Step, Verdict
from include.runbook.steps.vms import reasons_in
from include.runbook.validation import checks

from .hostile import outputs, printed

EXAMPLE = Path(__file__).parents[2] / "include/clusters/example.yaml"
UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@cache
def cluster() -> Cluster:
    raw = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    raw |= {"storage": "share_cluster", "replicated": {"db": "db", "glance": "glance"}}
    return Cluster.model_validate(raw)


@cache
def run() -> Run:
    site = cluster()
    return Run(site, site.target_release, site.computes[:2], owner="rollback_cluster/run-1", dag="rollback_cluster")


@cache
def steps() -> tuple[Step, ...]:
    return tuple(step for kind in KINDS.values() for step in make_steps(kind, run())[:1])


@cache
def goals() -> tuple[Goal, ...]:
    of_steps = (goal for step in steps() for goal in (step.goal, step.proven_by, *step.requires))
    return (*of_steps, *(check.goal for check in checks(run())))


def survives(read: Callable[[], object]) -> None:
    """Read, or be refused: by a message without anything that a terminal obeys, and that a file can hold."""
    try:
        found = read()
    except RunbookError as refused:
        said = str(refused)
        assert len(said) < 21_000
    else:
        said = found.found if isinstance(found, Verdict) else ""
    assert UNSEEN.search(said) is None
    said.encode()


def test_there_are_goals_to_be_asked() -> None:
    assert len(goals()) > 60
    assert {step.kind.name for step in steps()} == set(KINDS)
    assert all(signed(step).startswith("# ") for step in steps())


@given(st.data())
def test_every_goal_is_judged_or_refused(data: st.DataObject) -> None:
    answers = data.draw(st.lists(outputs, min_size=3, max_size=3))
    for goal in goals():
        given_to_it = [answers[index % len(answers)] for index, _ in enumerate(goal.reads)]
        survives(lambda goal=goal, given_to_it=given_to_it: goal.judge(given_to_it))  # type: ignore[misc]


@given(st.lists(outputs, min_size=5, max_size=5))
def test_a_survey_is_made_of_whatever_was_answered(answers: list[Output]) -> None:
    asked = surveys.questions(cluster())
    swept = Sweep({read: answers[index % len(answers)] for index, read in enumerate(asked.reads)})
    found = surveys.surveyed(asked, swept)
    for said in (*found.problems, *found.unread.values(), found.not_started):
        assert UNSEEN.search(said) is None
    surveys.wanting(found, cluster(), run().target, tuple(found.releases))


READ = Read(cluster().daisy, "a command")
OF_OUTPUT: dict[str, Callable[[Output], object]] = {
    "look at a job": lambda output: job.read_look(output, 0),
    "age of a job": job.read_age,
    "times of a job": job.read_times,
    "custody": lambda output: custody.read(output, cluster()),
    "custody with marks": lambda output: custody.read(
        Output(output.status, f"{output.stdout}==tecs-rollback==" * 3), cluster()
    ),
    "lock": lambda output: lock.refuse_if_held(run(), Output(lock.HELD, output.stdout)),
    "back ends": lambda output: str(read_back_ends("host", "command", output)),
    "vms": lambda output: [str(vm) for vm in left_in(listing(cluster(), cluster().computes), output)],
    "consents": lambda output: consents_in(consents(run()), output),
    "reasons": reasons_in,
    "checksums": cinder_archive.read_sums,
    "replication": lambda output: parse_state(output, source="host: command"),
    "last validation": lambda output: validation_results.read(output, cluster().daisy),
    "size of a record": lambda output: record_reading._size(READ, output),
    "piece of a record": lambda output: record_reading._piece(READ, output),
}
OF_TEXT: dict[str, Callable[[str], object]] = {
    "status": lambda text: facts.parse_cluster_status(text, source="host: crm_mon"),
    "constraints": lambda text: facts.parse_constraints(text, source="host: cibadmin"),
    "properties": lambda text: facts.unmanaging(facts.parse_cluster_properties(text, source="host: cibadmin")),
    "servers": lambda text: facts.parse_servers(text, source="host: openstack"),
    "services": lambda text: facts.parse_compute_services(text, source="host: openstack"),
    "release": lambda text: facts.parse_release(text, cluster().release_reports, source="host: rpm"),
    "schemas": lambda text: schemas.not_known(
        schemas.parse_schemas(text, source="host: mysql"), cluster().release(run().target).schemas
    ),
    "record": lambda text: custody.read_record(text),
}


@pytest.mark.parametrize("parser", OF_OUTPUT)
@given(outputs)
def test_every_answer_is_read_or_refused(parser: str, output: Output) -> None:
    survives(lambda: OF_OUTPUT[parser](output))


@pytest.mark.parametrize("parser", OF_TEXT)
@given(printed)
def test_every_text_is_read_or_refused(parser: str, text: str) -> None:
    survives(lambda: OF_TEXT[parser](text))


@given(printed)
def test_a_record_is_read_whatever_stands_in_it(text: str) -> None:
    kept = custody.Custody(None)
    read = record.read(custody.read_record(text), run().owner, cluster().name, kept, datetime.now(UTC))
    assert read.cluster == cluster().name


@given(outputs)
def test_what_an_action_printed_is_explained_or_passed_over(output: Output) -> None:
    explaining = [step.explain for step in steps() if step.explain is not None]
    assert explaining
    for explain in explaining:
        survives(lambda explain=explain: explain(output))  # type: ignore[misc]


LEFT = '[{"id": "1", "name": %s, "status": "ACTIVE", "host": "h", "reason": "", "vcpus": 1, "ram": %s}]'
SETTING = '{"section": "s", "key": "k", "rule": "fresh", "before": [1], "fresh": [], "after": [], "changed": true}'


@pytest.mark.parametrize(
    ("parser", "answer"),
    [
        ("look at a job", f"running no\n-- {'9' * 5000}\n"),
        ("back ends", '{"enabled": "lvm", "sections": {}}'),
        ("back ends", '{"enabled": ["x"], "sections": {"x": {"driver": 7, "files": []}}}'),
        ("back ends", "[" * 20_000),
        ("vms", LEFT % ('["vm"]', "1")),
        ("vms", LEFT % ('"vm"', "1" + "0" * 400)),
        ("vms", "[" * 20_000),
        ("consents", '{"compute": ["c"], "answer": "migrate", "by": "x", "at": "now", "vms": []}'),
        ("last validation", '{"findings": ' + "[" * 20_000),
        ("size of a record", "\N{SUPERSCRIPT TWO}"),
        ("size of a record", "9" * 5000),
        ("piece of a record", "\N{SUPERSCRIPT TWO}"),
    ],
)
def test_what_once_was_a_traceback_is_refused(parser: str, answer: str) -> None:
    with pytest.raises(FactUnreadable):
        OF_OUTPUT[parser](Output(0, answer))


def test_a_number_that_only_looks_like_one_is_no_version() -> None:
    live = schemas.parse_schemas("nova migrate_version \N{SUPERSCRIPT TWO}", source="host: mysql")
    assert schemas.not_known(live, {"nova": 319}) == ("nova at \N{SUPERSCRIPT TWO}, expected a number of at most 319",)


@pytest.mark.parametrize("printed", ["inf", "nan", "1e999", "9" * 5000, "1.5 x", ""])
def test_a_time_that_no_clock_shows_is_not_counted(printed: str) -> None:
    assert job.read_age(Output(0, printed)) == 0.0
    assert job.read_times(Output(0, f"{printed} {printed}")) == 0.0


def test_a_list_of_checksums_that_is_none_says_nothing() -> None:
    assert cinder_archive.read_sums(Output(0, "abc  etc/cinder/cinder.conf\ngarbled\n")) == {}


def test_a_comparison_that_is_none_is_refused() -> None:
    for line in (SETTING, "{}", "[" * 20_000, "7"):
        with pytest.raises(ValueError, match="."):
            nova_settings.read_settings(line)


def test_a_reason_that_names_no_vm_is_passed_over() -> None:
    assert reasons_in(Output(0, "stays: host: it is paused\nstays 1 vm: host: it is paused")) == {"1": "it is paused"}


def test_no_message_holds_what_a_terminal_obeys_or_is_without_end() -> None:
    hostile = "a\x1b[2Jb\u202ec\x00" + "x" * 1_000_000
    for said in (str(RunbookError(hostile)), Verdict(False, hostile).found):
        assert said.startswith("ab\N{REPLACEMENT CHARACTER}cx")
        assert len(said) < 21_000

"""What hosts, files and people may send that nobody expects: made by hypothesis, the same in every run of the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from include.runbook.shell import Output

DATA = Path(__file__).with_name("data")

PAYLOADS = (
    "$(touch CANARY)",
    "`touch CANARY`",
    "'; touch CANARY; '",
    '"; touch CANARY; "',
    "a\ntouch CANARY\n",
    "a; touch CANARY; ",
    "| touch CANARY |",
    "& touch CANARY &",
    "\\'; touch CANARY; \\'",
    "${x:-$(touch CANARY)}",
    "END_OF_PROGRAM\ntouch CANARY\n",
    "'$(touch CANARY)'",
    "%s%n$(touch CANARY)",
    "-rf *; touch CANARY",
)
"""Texts that leave a file CANARY where a shell takes any part of them for anything but a text."""

ESCAPES = ("\x1b[2J\x1b[31m", "\x1b]0;title\x07", "\x9b31m", "\u202ebackwards", "\x00", "\r\n\r", "\u2028", "\x7f")

HUGE = "9" * 5000
NUMBERS = (HUGE, f"-{HUGE}", "1e999", "NaN", "Infinity", "-0", "²", "٣", "0x10", " 7 ", "1_000", "18446744073709551616")

LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    "<!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;'>]><crm_mon>&c;</crm_mon>"
)
DEEP = ("[" * 20_000, '{"a":' * 20_000, "<a>" * 5_000, "[" * 5000 + "]" * 5000)

SOUND = tuple(path.read_text(encoding="utf-8") for path in sorted(DATA.iterdir()) if path.suffix in (".xml", ".json"))
"""Answers of real programs, to be damaged."""

PROSE = (
    "",
    "\n",
    "no cluster",
    "host-10-43-203-91",
    "Password:",
    "package openstack-nova-common is not installed",
    "100",
    "nova migrate_version 319\nneutron alembic_version 4ffceebfcdc\n",
    "resource db\nrole 0 Primary/Secondary\ncstate 0 Connected\ndstate 0 UpToDate/UpToDate\nget-gi 0 A:B:C:D:1:1:1:1:0:0\n",
    "running no\n-- 3\nabc",
    "1700000000.123",
    '{"enabled": ["lvm"], "sections": {"lvm": {"driver": "x.LVMVolumeDriver", "files": []}}}',
    '[{"id": "1", "name": "vm", "status": "ACTIVE", "host": "host-10-43-203-101", "reason": "", "vcpus": 1, "ram": 1}]',
    '{"host-10-43-203-102": {"vcpus": 4, "ram": 4096}}',
    '{"compute": "c", "answer": "migrate", "by": "x", "at": "now", "vms": ["1"]}',
    '{"findings": [{"check": "R1", "result": "ok"}]}',
    '{"section": "DEFAULT", "key": "k", "rule": "restore", "before": [], "fresh": [], "after": ["x"], "changed": true}',
    "stays 1 vm: host-10-43-203-101: it is paused",
)

words = st.one_of(st.sampled_from(PAYLOADS + ESCAPES + NUMBERS), st.text(max_size=12))

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=8,
)
"""Anything that JSON or YAML can say."""


@st.composite
def damaged(draw: st.DrawFn, sound: tuple[str, ...]) -> str:
    """A sound text in which a part is cut out, doubled or replaced."""
    text = draw(st.sampled_from(sound))
    first = draw(st.integers(0, len(text)))
    last = draw(st.integers(first, min(len(text), first + 40)))
    return text[:first] + draw(st.one_of(st.just(""), words, st.just(text[first:last] * 2))) + text[last:]


@st.composite
def rows(draw: st.DrawFn) -> str:
    """A JSON answer that is sound but for one value."""
    sound = draw(st.sampled_from([text for text in SOUND + PROSE if text[:1] in ("[", "{")]))
    found = json.loads(sound)
    return json.dumps(replaced(draw, found))


def replaced(draw: st.DrawFn, value: Any) -> Any:
    """Return the value with one part of it, wherever it lies, replaced by anything."""
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        if draw(st.integers(0, 9)) == 0:
            return {name: part for name, part in value.items() if name != key}
        return value | {key: replaced(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        index = draw(st.integers(0, len(value) - 1))
        if draw(st.integers(0, 9)) == 0:
            return [*value, value[index]]
        return [*value[:index], replaced(draw, value[index]), *value[index + 1 :]]
    return draw(values)


printed = st.one_of(
    st.binary(max_size=60).map(lambda data: data.decode("utf-8", "replace")),
    st.sampled_from((*PROSE, *SOUND, LAUGHS, *DEEP, *NUMBERS)),
    damaged(SOUND),
    damaged(PROSE),
    rows(),
    values.map(json.dumps),
    words,
)
"""What a host's program may print, decoded as every answer is."""

outputs = st.builds(
    Output, st.one_of(st.just(0), st.sampled_from((1, 2, 75, 255))), printed, st.one_of(st.just(""), words)
)

"""The table of settings, and what is told of the ones that differ."""

from __future__ import annotations

import json

import pytest

from include.runbook.nova_settings import DVS, OVS, Setting, completed, differences_told, program_rules


def setting(rule: str, changed: bool, **values: tuple[str, ...]) -> Setting:
    files = {"before": (), "fresh": (), "after": ()} | values
    return Setting("libvirt", "key", rule, **files, changed=changed)  # type: ignore[arg-type]


def test_a_row_that_names_its_key_comes_before_every_row_with_a_star() -> None:
    table = completed(
        {"*/*": "restore", "s/a*": "fresh", "s/set": "fresh"}, {"s/secret": "restore", "*/*secret*": "fresh"}
    )
    patterns = [f"{row['section']}/{row['key']}" for row in json.loads(program_rules(table, {}))]
    assert patterns == ["s/set", "s/secret", "*/*", "s/a*", "*/*secret*"]


@pytest.mark.parametrize("table", [OVS, DVS])
def test_every_value_that_a_built_in_table_sets_is_computed(table: dict[str, str]) -> None:
    computed = {"compute_manager": "a.Manager", "vncserver_proxyclient_address": "host.STORAGE"}
    rows = json.loads(program_rules(table, computed))  # type: ignore[arg-type]
    assert {row["key"]: row["values"] for row in rows if row["rule"] == "set"} == {k: [v] for k, v in computed.items()}


@pytest.mark.parametrize(
    ("rule", "changed", "unexplained"),
    [
        ("unlisted", True, True),
        ("restore", True, True),
        ("fresh", True, False),
        ("set", True, False),
        ("unlisted", False, False),
        ("restore", False, False),
    ],
)
def test_a_difference_is_explained_only_by_a_row_that_asks_for_one(rule: str, changed: bool, unexplained: bool) -> None:
    assert setting(rule, changed).unexplained is unexplained


def test_each_unexplained_difference_is_told_with_both_values() -> None:
    lost = setting("unlisted", True, before=("1", "2"), fresh=("3",), after=("3",))
    new = setting("restore", True, fresh=("4",), after=("4",))
    told = differences_told([lost, setting("fresh", True, before=("5",)), new])
    assert told == (
        "WARNING: 2 settings differ from before, and carry_over does not say why: "
        "libvirt/key was [1, 2], is [3]; libvirt/key was absent, is [4]"
    )
    assert differences_told([setting("fresh", True)]) == "every setting is as before, or as carry_over says"

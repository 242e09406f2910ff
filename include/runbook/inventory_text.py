"""Read an inventory file as plain values, remembering the line of every key.

LibYAML reads it: every task of every run reads all inventories, and PyYAML's own parser takes ten times as long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

KeyPath = tuple[str | int, ...]

DEEPEST = 20
"""Levels of values within values: an inventory has five."""


@dataclass
class InventoryText:
    """The values of one YAML document and where each stands. `problems` pairs a line with what is wrong there."""

    values: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)

    def line_of(self, path: KeyPath) -> int:
        """Return the 1-based line of the key, or of the nearest key around it when it is not written at all."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_inventory(text: str) -> InventoryText:
    """Parse the text; what YAML cannot read, repeated keys and aliases end up in `problems`, never in an exception."""
    read = InventoryText()
    try:
        # An alias can point at its own parent; without aliases the walk below always ends.
        depth = 0
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.AliasEvent):
                told = f"alias '*{event.anchor}' is not supported; expected the values themselves"
                read.problems.append((line, told))
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                # What comes after it is not read: the deeper it lies, the longer PyYAML takes for it.
                read.problems.append((line, f"lies more than {DEEPEST} levels deep; no key of an inventory does"))
                break
        if not read.problems:
            _read_document(yaml.CSafeLoader(text), read)
    except yaml.YAMLError as refused:
        read.problems.append(_yaml_problem(refused))
    return read


def _read_document(loader: yaml.CSafeLoader, read: InventoryText) -> None:
    try:
        root = loader.get_single_node()
        if root is not None:
            read.values = _value(loader, root, (), read)
    finally:
        loader.dispose()


def _value(loader: yaml.CSafeLoader, node: yaml.Node, path: KeyPath, read: InventoryText) -> Any:
    read.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, item, (*path, index), read) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node, path, read)
    try:
        return loader.construct_object(node)
    except (ValueError, LookupError, AttributeError):  # what PyYAML raises for 2016-99-99, !!bool x, !!timestamp x
        told = f"{str(node.value)[:80]!r} is no {node.tag.rpartition(':')[2]}"
        read.problems.append((node.start_mark.line + 1, f"{dotted(path)}: {told}"))
        return None


def _mapping(loader: yaml.CSafeLoader, node: yaml.MappingNode, path: KeyPath, read: InventoryText) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            read.problems.append((line, f"{dotted(path)}: a key is not plain text"))
            continue
        # A key is taken as it is written: release 1.10 must not become the number 1.1.
        name = str(key.value)
        here = (*path, name)
        if name in values:
            told = f"the key stands here again; it is already on line {read.lines[here]}"
            read.problems.append((line, f"{dotted(here)}: {told}"))
            continue
        read.lines[here] = line
        values[name] = _value(loader, value, here, read)
    return values


def _yaml_problem(refused: yaml.YAMLError) -> tuple[int, str]:
    if isinstance(refused, yaml.MarkedYAMLError) and refused.problem_mark is not None:
        return refused.problem_mark.line + 1, f"not readable as YAML: {refused.problem}"
    return 1, f"not readable as YAML: {' '.join(str(refused).split())}"


def dotted(path: KeyPath) -> str:
    """Write a key path as people do: computes[1].address."""
    written = ""
    for part in path:
        written += f"[{part}]" if isinstance(part, int) else f".{_key(part)}" if written else _key(part)
    return written or "the file"


def _key(written: str) -> str:
    """Return a key as it is told: one that is no word could be taken for something else, and have no end."""
    return written if re.fullmatch(r"[\w/*:+? -]{1,80}|\w[\w.-]{0,80}", written) else repr(written[:80])

"""Cinder's back ends of a controller: which there are, what they need, and how two lists of them differ. Pure."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

from include.runbook.errors import FactUnreadable
from include.runbook.list_backends import CEPH
from include.runbook.shell import Output


@dataclass(frozen=True)
class BackEnds:
    """What `list_backends.py` printed of a cinder.conf: drivers and named files are those of its sections."""

    enabled: tuple[str, ...]
    drivers: Mapping[str, str]
    files: Mapping[str, tuple[str, ...]]

    def driver(self, name: str) -> str:
        """The driver's class of a back end, or that there is no section for it."""
        return self.drivers.get(name, "no section")

    def is_ceph(self, name: str) -> bool:
        """True for a back end whose settings are carried over by key, since nothing else brings them back."""
        return self.driver(name).endswith(CEPH)

    @property
    def arrays(self) -> tuple[str, ...]:
        """The enabled back ends that come from base/cinder.json only: neither LVM nor Ceph."""
        return tuple(name for name in self.enabled if not self.is_ceph(name) and "LVM" not in self.driver(name))

    def __str__(self) -> str:
        """Every enabled back end with its driver's class."""
        shown = (f"{name} ({self.driver(name).rsplit('.', 1)[-1]})" for name in self.enabled)
        return ", ".join(shown) or "no back end is enabled"


def read_back_ends(host: str, command: str, output: Output) -> BackEnds:
    """Read what `list_backends.py back-ends` printed; raise FactUnreadable for anything else."""
    if output.ok:
        try:
            read = json.loads(output.stdout)
            sections = read["sections"]
            return BackEnds(
                _texts(read["enabled"]),
                {name: _texts([keys["driver"]])[0] for name, keys in sections.items()},
                {name: _texts(keys["files"]) for name, keys in sections.items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as unexpected:
            raise FactUnreadable(host, command, output.tail or "nothing") from unexpected
    raise FactUnreadable(host, command, output.tail or f"exit status {output.status}")


def _texts(found: object) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise TypeError("a list of texts is something else")
    return tuple(found)


def missing(before: BackEnds, now: BackEnds, *, only: Sequence[str] | None = None, enabled: bool = True) -> list[str]:
    """Return what is wanting of the back ends `only` (default: all that were enabled), as words for an operator.

    With `enabled` false it is enough that the section is there, with the driver that it had.
    """
    return list(_wanting(before, now, before.enabled if only is None else only, enabled))


def _wanting(before: BackEnds, now: BackEnds, names: Sequence[str], enabled: bool) -> Iterator[str]:
    for name in names:
        was, is_now = before.driver(name), now.driver(name)
        if name in before.drivers and name not in now.drivers:
            yield f"back end {name} ({was}) is missing: it has no section in cinder.conf"
        elif was != is_now:
            yield f"back end {name} has the driver {is_now}; expected {was}"
        elif enabled and name not in now.enabled:
            yield f"back end {name} ({was}) is missing: it is not enabled"


def surplus(before: BackEnds, now: BackEnds) -> list[str]:
    """Return the back ends that are enabled and were not, as words for an operator."""
    return [
        f"back end {name} ({now.driver(name)}) was not enabled" for name in now.enabled if name not in before.enabled
    ]


def missing_files(of: BackEnds, names: Sequence[str], files: Container[str]) -> list[str]:
    """Return the files that the sections of these back ends name and that are not among `files`, as words."""
    named = [(name, path) for name in names for path in of.files.get(name, ())]
    return [f"{path}, which back end {name} names, is missing" for name, path in named if path not in files]

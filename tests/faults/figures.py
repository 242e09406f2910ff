"""The figures of an injection of faults: what was injected, what came of it, and what must never be otherwise than 0."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

COLUMNS = ("injected", "survived", "converged", "lost", "double", "violations")
TITLES = ("faults injected", "survived", "converged after resume", "data lost", "double installs", "lock violations")
NEVER = ("lost", "double", "violations")


@dataclass(frozen=True)
class Figures:
    """What one test counted. `survived`: without a person; `converged`: the rest, after failed tasks were cleared."""

    injected: int
    survived: int
    converged: int = 0
    lost: int = 0
    double: int = 0
    violations: int = 0

    def __add__(self, other: Figures) -> Figures:
        return Figures(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @property
    def sound(self) -> bool:
        """Whether something was injected, all of it was come over, and nothing happened that must not."""
        over = self.survived + self.converged
        return 0 < self.injected == over and not any(getattr(self, name) for name in NEVER)


class Ledger:
    """The figures of a session, by the test that entered them."""

    def __init__(self) -> None:
        self.entries: dict[str, Figures] = {}

    def enter(self, test: str, figures: Figures) -> None:
        """What a test counted stands in the table; it may count more than once."""
        self.entries[test] = self.entries[test] + figures if test in self.entries else figures

    def unsound(self, passed: Iterable[str]) -> list[str]:
        """Return what is wrong: figures that must not be, and tests that passed and entered none."""
        wrong = [f"{test}: {figures}" for test, figures in self.entries.items() if not figures.sound]
        return wrong + [f"{test}: passed, and entered no figures" for test in passed if test not in self.entries]

    def table(self) -> list[str]:
        """Return the table, a line for each test and one for all."""
        total = sum(self.entries.values(), Figures(0, 0))
        rows = [*self.entries.items(), ("all", total)]
        widths = [len(title) for title in TITLES]
        lines = ["  ".join([*TITLES, "by"])]
        for name, figures in rows:
            numbers = [
                str(getattr(figures, column)).rjust(width) for column, width in zip(COLUMNS, widths, strict=True)
            ]
            lines.append("  ".join([*numbers, name]))
        return lines

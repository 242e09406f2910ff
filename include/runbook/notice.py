"""A notice: what somebody who does not look at the screen is told of a run, in words that need no other source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

HEAD, TAIL = 1400, 600
"""Characters that are kept of a long text: what was found stands at its beginning, what to do about it at its end."""


class Event(StrEnum):
    """What of a run somebody may want to hear of."""

    START = "start"
    DECISION = "decision"
    LATE = "late"
    FAILED = "failed"
    DONE = "done"


HEADLINES = {
    Event.START: "has begun",
    Event.DECISION: "waits for a decision",
    Event.LATE: "is late",
    Event.FAILED: "has a failure",
    Event.DONE: "is done",
}


@dataclass(frozen=True)
class Notice:
    """What has happened in which run, what to do about it, and where to look; `link` is empty where nobody knows it."""

    event: Event
    cluster: str
    scenario: str
    run_id: str
    found: str
    advice: str = ""
    link: str = ""

    @classmethod
    def of(cls, parts: Mapping[str, str]) -> Notice:
        """Return the notice that `asdict` has taken apart to cross a border between processes."""
        return cls(**{**parts, "event": Event(parts["event"])})  # type: ignore[arg-type]  # all others are texts

    @property
    def subject(self) -> str:
        """One line that says which cluster it is about and whether somebody must get up."""
        return f"[TECS {self.cluster}] {self.scenario} {HEADLINES[self.event]}"

    @property
    def text(self) -> str:
        """The whole of it as plain text."""
        parts = [f"cluster: {self.cluster}", f"scenario: {self.scenario}", f"run: {self.run_id}", "", self._found]
        if self.advice:
            parts.append(f"what to do: {self.advice}")
        if self.link:
            parts += ["", f"the run in Airflow: {self.link}"]
        return "\n".join(parts)

    @property
    def values(self) -> dict[str, str]:
        """The parts by themselves, for a program that reads them; `text` and `subject` among them."""
        return asdict(self) | {"found": self._found, "subject": self.subject, "text": f"{self.subject}\n{self.text}"}

    @property
    def _found(self) -> str:
        if len(self.found) <= HEAD + TAIL:
            return self.found
        return f"{self.found[:HEAD]}\n[...]\n{self.found[-TAIL:]}"

"""Text that a POSIX shell on a host runs: quoting, headers, and what came back."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

TAIL_LINES = 12
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Output:
    """What one command left: its exit status (None: the connection ended first), and its decoded output."""

    status: int | None
    stdout: str = ""
    stderr: str = ""

    @property
    def ok(self) -> bool:
        """True when the command ended with exit status 0."""
        return self.status == 0

    @property
    def tail(self) -> str:
        """The last lines of both streams, safe to print on a terminal."""
        return last_lines(self.stdout + ("\n" if self.stdout and self.stderr else "") + self.stderr)


def quote(value: str) -> str:
    """Return `value` as one word of a POSIX shell."""
    return shlex.quote(value)


def printable(text: str) -> str:
    """Return `text` without terminal escapes and control characters, so that output can neither hide nor paint."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def last_lines(text: str, count: int = TAIL_LINES) -> str:
    """Return the last `count` non-empty lines of `text`, printable."""
    lines = [line.rstrip() for line in printable(text).splitlines() if line.strip()]
    return "\n".join(line[:400] for line in lines[-count:])


def lines(*parts: str) -> str:
    """Join the parts of a script, one per line, without empty ones."""
    return "\n".join(part for part in parts if part)

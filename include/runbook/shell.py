"""Text that a POSIX shell on a host runs: quoting, headers, and what came back."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from include.runbook.redaction import masked

TAIL_LINES = 12
TEXT_LIMIT = 6000
"""Characters of one text that are shown or kept: a step's script and the end of its output are shorter than that."""

_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
_DECEPTIVE = re.compile(r"[\x80-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""What a text can hide or turn around with, and halves of characters, which no file and no message can hold."""


AT_ONCE = 16
"""Commands that a host runs side by side, of which each asks another host."""

CUT = "more was printed than is kept; this is not its end"
"""What is said of an output that was cut."""


@dataclass(frozen=True)
class Output:
    """What one command left: its exit status (None: the connection ended first), and its decoded output.

    `cut`: it printed more than is kept, so that only the beginning stands here.
    """

    status: int | None
    stdout: str = ""
    stderr: str = ""
    cut: bool = False

    @property
    def ok(self) -> bool:
        """True when the command ended with exit status 0."""
        return self.status == 0

    @property
    def tail(self) -> str:
        """The last lines of both streams, safe to print on a terminal."""
        told = last_lines(self.stdout + ("\n" if self.stdout and self.stderr else "") + self.stderr)
        return f"{told}\n[{CUT}]" if self.cut else told


def quote(value: str) -> str:
    """Return `value` as one word of a POSIX shell."""
    return shlex.quote(value)


def side_by_side(commands: Iterable[str]) -> str:
    """Return the script that runs the commands, AT_ONCE of them at a time, and goes on when all have ended.

    `$failed` is then the exit status of one that failed, or 0.
    """
    awaited = 'for job in $jobs; do wait "$job" || failed=$?; done; jobs='
    begun = [f'{command} & jobs="$jobs $!"' for command in commands]
    groups = [begun[first : first + AT_ONCE] for first in range(0, len(begun), AT_ONCE)]
    return "\n".join(["failed=0 jobs=", *(line for group in groups for line in (*group, awaited))])


def printable(text: str) -> str:
    """Return `text` without terminal escapes and control characters, so that output can neither hide nor paint.

    Characters that cannot be seen or that turn the text around are shown as U+FFFD.
    """
    plain = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _DECEPTIVE.sub("\N{REPLACEMENT CHARACTER}", plain)


def shortened(text: str, most: int = TEXT_LIMIT) -> str:
    """Return the text, or its beginning and its end where it is longer than `most` characters."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


def last_lines(text: str, count: int = TAIL_LINES) -> str:
    """Return the last `count` non-empty lines of `text`, printable and without secrets."""
    lines = [line.rstrip() for line in masked(printable(text)).splitlines() if line.strip()]
    return "\n".join(line[:400] for line in lines[-count:])


def lines(*parts: str) -> str:
    """Join the parts of a script, one per line, without empty ones."""
    return "\n".join(part for part in parts if part)

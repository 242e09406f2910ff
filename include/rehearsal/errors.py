"""What keeps a rehearsal from being played to its end."""

from __future__ import annotations


class RehearsalError(Exception):
    """The rehearsal could not be played; the message is what the operator reads."""


class RehearsalEnded(RehearsalError):
    """Somebody has ended the rehearsal while it went on."""

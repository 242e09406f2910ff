"""What goes wrong at the console, told in a sentence that says what to do next."""

from __future__ import annotations


class ConsoleError(Exception):
    """A command of the console could not do its work; the message is what the operator reads."""


class StackError(ConsoleError):
    """The embedded stack did not start, or did not end."""


class ApiError(ConsoleError):
    """Airflow's REST API refused a request or did not answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status

"""How a failure reaches an operator: one message, what to read about it, and a retry only where the connection was lost."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from include.runbook.errors import ConnectionLost, HostUnreachable, RunbookError
from include.runbook.shell import printable

RETRIED = (ConnectionLost, HostUnreachable)

DOCS = "TECS_DOCS"
"""The environment variable that says where the pages of docs/ can be read, such as https://git.example.org/tecs/docs."""


class Failure(StrEnum):
    """Why a task fails that is no step; each is a heading of docs/operations.md, as each of the runbook's errors is."""

    RUN_GIVEN_UP = "run given up"
    COMPUTES_NOT_BACK = "computes not back"
    NOT_BEGUN = "not begun"
    NOT_PROVEN = "cluster not proven back"
    NOBODY_NAMED = "nobody named"
    BATCH_NOT_STARTED = "batch not started"
    BATCH_STOPPED = "batch stopped"
    NOT_READY = "cluster not ready"
    OUTAGE_REFUSED = "outage refused"
    NOT_ANSWERED = "not answered"
    ANSWER_NOT_TAKEN = "answer not taken"
    B_NOT_UPGRADED = "b not upgraded"
    COMPUTES_NOT_UPGRADED = "computes not upgraded"
    RELEASE_NOT_GOOD = "release not good"
    RELEASE_NOT_TAKEN_ON = "release not taken on"
    NOT_REHEARSED = "not rehearsed"
    OTHERWISE_THAN_PLANNED = "otherwise than planned"


@contextmanager
def reported(log: logging.Logger) -> Iterator[None]:
    """Turn the runbook's errors into Airflow's: a lost connection is retried, everything else fails at once."""
    try:
        yield
    except RunbookError as error:
        told = f"{error}\n{pointer(heading_of(type(error)))}"
        for line in told.splitlines():
            log.error(line)
        if isinstance(error, RETRIED):
            raise AirflowException(told) from None
        raise AirflowFailException(told) from None


def failed(why: Failure, told: str) -> AirflowFailException:
    """Return the end of a task that is no step, with what to read about it."""
    return AirflowFailException(f"{printable(told)}\n{pointer(why)}")


def heading_of(error: type[RunbookError]) -> str:
    """Return the heading under which docs/operations.md speaks of a kind of error: its name, in words."""
    return re.sub("(?<=[a-z])(?=[A-Z])", " ", error.__name__).lower()


def pointer(heading: str) -> str:
    """Return the line that says where to read on; an address, which Airflow's UI makes a link, where TECS_DOCS is set."""
    return f"read on: {(os.environ.get(DOCS) or 'docs').rstrip('/')}/operations.md#{heading.replace(' ', '-')}"

"""How a failure reaches an operator: one message, and a retry only where the connection was lost."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from include.runbook.errors import ConnectionLost, HostUnreachable, RunbookError

RETRIED = (ConnectionLost, HostUnreachable)


@contextmanager
def reported(log: logging.Logger) -> Iterator[None]:
    """Turn the runbook's errors into Airflow's: a lost connection is retried, everything else fails at once."""
    try:
        yield
    except RunbookError as error:
        for line in str(error).splitlines():
            log.error(line)
        if isinstance(error, RETRIED):
            raise AirflowException(str(error)) from None
        raise AirflowFailException(str(error)) from None

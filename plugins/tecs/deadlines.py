"""What happens when a run does not end inside its window."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


def report_missed_deadline(dag_id: str, window: str, **_: object) -> None:
    """Say that a run of the scenario has not ended within its window. Nothing is stopped: half a rollback is worse."""
    log.error("a run of %s has not ended within its window of %s; it goes on", dag_id, window)

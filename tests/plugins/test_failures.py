"""Which failures are tried again: only a lost connection. Everything else would do harm or fail alike."""

from __future__ import annotations

import logging

import pytest

from include.runbook import errors

LOST = [errors.ConnectionLost("step", "host", "command", "reason"), errors.HostUnreachable("host", "refused")]
FINAL = [
    errors.CommandFailed("step", "host", "command", 1, "tail", "advice"),
    errors.GoalNotReached("step", "host", "goal", "found", "advice"),
    errors.PreconditionFailed("step", "host", "expected", "found", "advice"),
    errors.LimitExceeded("step", "host", 60, "tail", "advice"),
    errors.JobLost("step", "host", "job", "tail", "advice"),
    errors.PasswordPrompt("step", "host", "tail"),
    errors.LockHeld("cluster", "owner", "since", "advice"),
    errors.FactUnreadable("host", "command", "found"),
    errors.RootDenied("host", "login", "reason"),
    errors.HostKeyMissing("host", "10.0.0.1", 22),
    errors.HostKeyMismatch("host", "expected", "found"),
    errors.RequestRefused("refused"),
    errors.InventoryError("wrong"),
    errors.TooManyFailures(2, 1, "tally"),
    errors.ComputesUntouched(3, "tally"),
]


def raised(error: errors.RunbookError) -> BaseException:
    from tecs.failures import reported

    with pytest.raises(Exception) as told, reported(logging.getLogger("tests.plugins")):
        raise error
    return told.value


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_a_lost_connection_is_tried_again(error: errors.RunbookError) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    assert not isinstance(raised(error), AirflowFailException)


@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
def test_every_other_failure_is_final(error: errors.RunbookError) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    assert isinstance(raised(error), AirflowFailException)


def test_every_kind_of_failure_is_one_of_the_two() -> None:
    kinds = {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.RunbookError)}
    assert {type(error) for error in LOST + FINAL} == kinds - {errors.RunbookError}


def test_a_failure_is_told_line_by_line_in_the_tasks_log(caplog: pytest.LogCaptureFixture) -> None:
    raised(FINAL[0])
    assert caplog.messages[:-1] == str(FINAL[0]).splitlines()
    assert caplog.messages[-1] == "read on: docs/operations.md#command-failed"


def test_a_mistake_of_the_program_is_not_hidden() -> None:
    from tecs.failures import reported

    with pytest.raises(ZeroDivisionError), reported(logging.getLogger("tests.plugins")):
        _ = 1 / 0

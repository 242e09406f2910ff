"""Sends a notice by Airflow's own notifiers: in a bounded time, and without ever failing the task that has it to send."""

from __future__ import annotations

import contextvars
import html
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from airflow.sdk import BaseHook
from airflow.sdk.log import mask_secret, redact

from include.runbook.cluster import Notify
from include.runbook.notice import Notice

LIMIT = 10.0
"""Seconds that a task waits for its notices in all: half of what Airflow leaves a process whose task has ended."""


_SILENT = logging.Logger("a hook whose failures are told here", logging.CRITICAL + 1)


@dataclass(frozen=True)
class Notifier:
    """One of Airflow's notifiers: the package that it comes with, where it lies there, and what it is made with."""

    package: str
    module: str
    name: str
    arguments: Callable[[Notify, Notice], dict[str, Any]]


def _mail(notify: Notify, notice: Notice) -> dict[str, Any]:
    return {
        "smtp_conn_id": notify.connection,
        "to": list(notify.to),
        "subject": notice.subject,
        "html_content": f"<pre>{html.escape(notice.text)}</pre>",
    }


def _post(notify: Notify, notice: Notice) -> dict[str, Any]:
    return {"http_conn_id": notify.connection, "json": notice.values, "extra_options": {"timeout": LIMIT}}


def _chat(notify: Notify, notice: Notice) -> dict[str, Any]:
    # Escaped, a name cannot become a mention of everybody.
    text = html.escape(notice.values["text"], quote=False)
    return {"slack_webhook_conn_id": notify.connection, "text": text, "timeout": int(LIMIT)}


NOTIFIERS = {
    "smtp": Notifier(
        "apache-airflow-providers-smtp", "airflow.providers.smtp.notifications.smtp", "SmtpNotifier", _mail
    ),
    "http": Notifier(
        "apache-airflow-providers-http", "airflow.providers.http.notifications.http", "HttpNotifier", _post
    ),
    "slack": Notifier(
        "apache-airflow-providers-slack",
        "airflow.providers.slack.notifications.slack_webhook",
        "SlackWebhookNotifier",
        _chat,
    ),
}


def send(notice: Notice, channels: Sequence[Notify], log: Any) -> None:
    """Everybody who wants this notice has it, or the log says who has not and why. Takes LIMIT at most, and never raises.

    The channels are tried side by side; what is still on its way after LIMIT is left to itself.
    """
    attempts = [_Attempt(notice, channel) for channel in channels if notice.event in channel.events]
    for attempt in attempts:
        attempt.start()
    ends = time.monotonic() + LIMIT
    for attempt in attempts:
        attempt.join(max(0.0, ends - time.monotonic()))
        channel = f"{attempt.notify.by} ({attempt.notify.connection})"
        problem = f"no answer within {LIMIT:g} s" if attempt.is_alive() else attempt.problem
        if problem:
            log.warning("the notice '%s' was NOT sent by %s: %s", notice.event.value, channel, problem)
        else:
            log.info("the notice '%s' was sent by %s", notice.event.value, channel)


def problem_with(notify: Notify) -> str:
    """Return what keeps this channel's notifier from being used here; empty where nothing does."""
    wanted = NOTIFIERS[notify.by]
    try:
        import_module(wanted.module)
    except ImportError as missing:
        return f"it needs the package {wanted.package}, which is not installed with this Airflow ({missing})"
    return ""


class _Attempt(threading.Thread):
    """Sends one notice by one channel, in a thread of its own that nobody has to wait for."""

    def __init__(self, notice: Notice, notify: Notify) -> None:
        super().__init__(name=f"notice by {notify.connection}", daemon=True)
        self.notice, self.notify = notice, notify
        self.problem = ""
        # The triggerer tells whose log a line belongs to by the context, which a new thread would not have.
        self._context = contextvars.copy_context()

    def run(self) -> None:
        self._context.run(self._send)

    def _send(self) -> None:
        try:
            self.problem = problem_with(self.notify)
            if not self.problem:
                _hide(self.notify.connection)
                wanted = NOTIFIERS[self.notify.by]
                made = getattr(import_module(wanted.module), wanted.name)
                notifier = made(**wanted.arguments(self.notify, _without_secrets(self.notice)))
                # Hooks log the whole address when it cannot be reached, and not every process masks what they log.
                notifier.hook._log = _SILENT
                # Not called as a whole: that would take what hosts have said for a template of Jinja's.
                notifier.notify({})
        except Exception as error:  # whatever a mail server or a library may come up with
            self.problem = str(redact(f"{type(error).__name__}: {error}"))


def _hide(connection_id: str) -> None:
    """Mask the path of the connection's address, too: incoming webhooks carry their secret there."""
    path = urlsplit(BaseHook.get_connection(connection_id).host or "").path
    if path.strip("/"):
        mask_secret(path.strip("/"))


def _without_secrets(notice: Notice) -> Notice:
    return replace(notice, found=str(redact(notice.found)), advice=str(redact(notice.advice)))

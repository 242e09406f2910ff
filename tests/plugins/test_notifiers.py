"""Notices sent by Airflow's notifiers to servers on the loopback; what cannot be sent is said, and holds nobody up."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from include.runbook.cluster import Notify
from include.runbook.notice import Event, Notice
from tests.receivers import MailServer, WebServer, serving

MAIL = Notify(by="smtp", connection="tecs_mail", to=("noc@example.org", "oncall@example.org"))
HOOK = Notify(by="http", connection="tecs_hook")
CHAT = Notify(by="slack", connection="tecs_chat")
PATH = "services/T000/B000/hidden-in-the-path"
LOG = logging.getLogger("tests.plugins.notices")

NOTICE = Notice(
    Event.FAILED,
    "example",
    "rollback_compute",
    "run-1",
    "A4.6 Install the old release\ngoal not reached on host-1: <b>{{ 7 * 7 }}</b>",
    "mend it",
    "http://airflow.example.org/dags/rollback_compute/runs/run-1",
)


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    """A mail server, and Airflow's connection to it."""
    server = MailServer()
    extra = {"from_email": "tecs@example.org", "disable_ssl": True, "disable_tls": True, "retry_limit": 0}
    given = {"conn_type": "smtp", "host": "127.0.0.1", "port": server.port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_TECS_MAIL", json.dumps(given))
    with serving(server):
        yield server


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """A web server, and Airflow's connection to it, whose address ends in a secret as those of incoming webhooks do."""
    server = WebServer()
    given = {"conn_type": "http", "host": f"http://127.0.0.1:{server.port}/{PATH}", "password": "hidden-as-a-password"}
    monkeypatch.setenv("AIRFLOW_CONN_TECS_HOOK", json.dumps(given))
    with serving(server):
        yield server


class Told(logging.Handler):
    """Keeps what goes into the task's log."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(autouse=True)
def told() -> Iterator[Told]:
    import tecs.notifiers  # noqa: F401  Airflow settles the loggers when it is first imported

    told = Told()
    LOG.setLevel(logging.INFO)
    LOG.addHandler(told)
    yield told
    LOG.removeHandler(told)


def send(*channels: Notify, notice: Notice = NOTICE) -> None:
    from tecs.notifiers import send as sent

    sent(notice, channels, LOG)


def test_a_mail_says_all_of_it_to_everybody_who_is_named(mail: MailServer, told: Told) -> None:
    send(MAIL)
    (one,) = mail.mails
    assert (one["From"], one["To"]) == ("tecs@example.org", "noc@example.org, oncall@example.org")
    assert one["Subject"] == "[TECS example] rollback_compute has a failure"
    body = one.get_body()
    assert body is not None
    text = str(body.get_content())
    for part in ("cluster: example", "run: run-1", "on host-1", "what to do: mend it", NOTICE.link):
        assert part in text
    assert told.lines == ["the notice 'failed' was sent by smtp (tecs_mail)"]


def test_what_a_host_has_said_is_neither_markup_nor_a_template(mail: MailServer, hook: WebServer) -> None:
    send(MAIL, HOOK)
    body = mail.mails[0].get_body()
    assert body is not None
    assert "&lt;b&gt;{{ 7 * 7 }}&lt;/b&gt;" in str(body.get_content())
    assert "<b>{{ 7 * 7 }}</b>" in hook.posts[0][1]["found"]


def test_a_webhook_gets_the_text_and_its_parts(hook: WebServer) -> None:
    send(HOOK)
    ((path, posted),) = hook.posts
    assert path == f"/{PATH}"
    assert {name: posted[name] for name in ("event", "cluster", "scenario", "run_id", "link")} == {
        "event": "failed",
        "cluster": "example",
        "scenario": "rollback_compute",
        "run_id": "run-1",
        "link": NOTICE.link,
    }
    assert posted["text"].startswith("[TECS example] rollback_compute has a failure\ncluster: example")


def test_only_wanted_events_are_sent(mail: MailServer, hook: WebServer) -> None:
    send(MAIL.model_copy(update={"events": (Event.START, Event.DONE)}), HOOK)
    assert (len(mail.mails), len(hook.posts)) == (0, 1)


def test_one_channel_that_fails_does_not_keep_another_from_being_told(
    mail: MailServer, hook: WebServer, told: Told
) -> None:
    hook.status = 500
    send(HOOK, MAIL)
    assert len(mail.mails) == 1
    failed, sent = told.lines
    assert failed.startswith("the notice 'failed' was NOT sent by http (tecs_hook): ")
    assert "500" in failed
    assert sent == "the notice 'failed' was sent by smtp (tecs_mail)"


def test_a_server_that_is_not_there_is_said_without_any_secret(hook: WebServer, told: Told) -> None:
    hook.shutdown()
    hook.server_close()
    send(HOOK)
    (line,) = told.lines
    assert "NOT sent by http (tecs_hook): ConnectionError" in line
    assert "Connection refused" in line
    assert "hidden" not in line


def test_airflows_own_hook_does_not_log_the_address_either(hook: WebServer, capfd: pytest.CaptureFixture[str]) -> None:
    """The process that tells of a missed deadline writes what hooks log as it is."""
    hook.shutdown()
    hook.server_close()
    with structlog.testing.capture_logs() as logged:
        send(HOOK)
    assert PATH not in str(logged)
    told = capfd.readouterr()
    assert PATH not in told.out + told.err


def test_a_connection_that_is_not_there_is_named(told: Told) -> None:
    send(Notify(by="http", connection="nowhere"))
    assert "NOT sent by http (nowhere)" in told.lines[0]
    assert "`nowhere` isn't defined" in told.lines[0]


def test_a_server_that_hangs_holds_the_task_up_for_a_bounded_time_only(
    mail: MailServer, hook: WebServer, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tecs.notifiers

    monkeypatch.setattr(tecs.notifiers, "LIMIT", 3.0)
    mail.hangs.set()
    begun = time.monotonic()
    send(MAIL, MAIL, HOOK)
    assert time.monotonic() - begun < 2 * 3.0
    assert told.lines == [
        "the notice 'failed' was NOT sent by smtp (tecs_mail): no answer within 3 s",
        "the notice 'failed' was NOT sent by smtp (tecs_mail): no answer within 3 s",
        "the notice 'failed' was sent by http (tecs_hook)",
    ]
    mail.let_go.set()


def test_the_limit_is_shorter_than_what_airflow_leaves_a_process_whose_task_has_ended() -> None:
    from airflow.sdk.configuration import conf
    from tecs.notifiers import LIMIT

    assert conf.getfloat("core", "task_success_overtime") > LIMIT


def test_a_notifier_whose_package_is_not_installed_is_named_with_its_package(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "airflow.providers.slack.notifications.slack_webhook", None)
    send(CHAT)
    assert "NOT sent by slack (tecs_chat): it needs the package apache-airflow-providers-slack" in told.lines[0]


def test_secrets_that_airflow_knows_do_not_leave_with_a_notice(hook: WebServer) -> None:
    from airflow.sdk.log import mask_secret

    mask_secret("a-password-of-the-site")
    send(HOOK, notice=Notice(Event.FAILED, "example", "dag", "run", "login with a-password-of-the-site failed"))
    assert hook.posts[0][1]["found"] == "login with *** failed"


@pytest.mark.parametrize("by", ["smtp", "http"])
def test_what_the_requirements_bring_can_be_used(by: Any) -> None:
    from tecs.notifiers import problem_with

    assert problem_with(Notify(by=by, connection="any")) == ""

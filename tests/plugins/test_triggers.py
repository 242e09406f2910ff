"""The trigger that watches a job, against a real SSH server on which a real job runs."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from include.runbook import job
from include.runbook.cluster import Notify
from include.runbook.notice import Event, Notice
from include.runbook.shell import Output
from tests.unit.ssh_hosts import CLIENT_KEY, SshHosts, line, ssh_hosts

ADDRESS = "127.77.2.21"


@pytest.fixture
def servers() -> Iterator[SshHosts]:
    with ssh_hosts() as hosts:
        yield hosts


@pytest.fixture
def key(servers: SshHosts) -> asyncssh.SSHKey:
    return servers.start(ADDRESS)


@pytest.fixture(autouse=True)
def connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's connection logs in with the key of these tests."""
    import tecs.triggers
    from airflow.sdk import Connection

    async def stored(conn_id: str) -> Connection:
        extra = {"private_key": CLIENT_KEY.export_private_key().decode()}
        return Connection(conn_id=conn_id, conn_type="ssh", login="root", extra=json.dumps(extra))

    monkeypatch.setattr(tecs.triggers, "get_async_connection", stored)
    monkeypatch.setattr(tecs.triggers.JobTrigger, "log", logging.getLogger("tests.plugins"))


class Told(logging.Handler):
    """Keeps what goes into the task's log, and nothing of what asyncssh logs."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture(autouse=True)
def told() -> Iterator[Told]:
    told, log = Told(), logging.getLogger("tests.plugins")
    log.setLevel(logging.INFO)
    log.addHandler(told)
    yield told
    log.removeHandler(told)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[str]:
    path = job.job_folder(str(tmp_path), "watched")
    yield path
    sh(job.stop(path, "end of test"))


def sh(script: str) -> Output:
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30, check=False)
    return Output(done.returncode, done.stdout, done.stderr)


def look(folder: str) -> job.Look:
    return job.read_look(sh(job.look(folder, 0)), 0)


def watch(servers: SshHosts, key: asyncssh.SSHKey, folder: str, **other: Any) -> Any:
    from tecs.triggers import JobTrigger

    host = {"name": "c1", "address": ADDRESS, "connection": "site", "port": servers.port}
    arguments: dict[str, Any] = {"begun": time.time(), "sla": 60.0, "label": "A4.6 install", "host_key": line(key)}
    return JobTrigger(host=host, folder=folder, **arguments | other)


def event(trigger: Any) -> dict[str, Any]:
    """Watch until the trigger fires, and return what it says."""

    async def first() -> dict[str, Any]:
        async for fired in trigger.run():
            return dict(fired.payload)
        raise AssertionError("the trigger ended without an event")

    return asyncio.run(asyncio.wait_for(first(), 30))


def test_it_fires_when_the_job_has_ended_and_has_told_all_of_its_output(
    servers: SshHosts, key: asyncssh.SSHKey, folder: str, told: Told
) -> None:
    sh(job.start(folder, "for n in 1 2 3; do echo line $n; sleep 0.3; done; exit 4", 60))
    trigger = watch(servers, key, folder)
    assert event(trigger) == {"begun": trigger.begun, "warned": False}
    assert told.messages == ["line 1", "line 2", "line 3"]
    assert look(folder).state is job.State.FAILED


def test_output_is_streamed_while_the_job_runs(
    servers: SshHosts, key: asyncssh.SSHKey, folder: str, told: Told
) -> None:
    sh(job.start(folder, "echo first; sleep 2; echo last", 60))
    seen_early = []
    timer = threading.Timer(1.2, lambda: seen_early.extend(told.messages))
    timer.start()
    event(watch(servers, key, folder))
    assert seen_early == ["first"]
    assert told.messages == ["first", "last"]


def test_a_secret_that_the_job_prints_is_masked_though_it_comes_in_two_looks(
    servers: SshHosts, key: asyncssh.SSHKey, folder: str, told: Told
) -> None:
    sh(job.start(folder, "printf 'login: admin passw'; sleep 0.7; echo 'ord=hidden in the end'; sleep 0.7", 60))
    event(watch(servers, key, folder))
    assert told.messages == ["login: admin password=*** in the end"]


def test_output_that_is_no_utf_8_is_told_to_its_end(
    servers: SshHosts, key: asyncssh.SSHKey, folder: str, told: Told
) -> None:
    """The installer's templates are in GB2312: bytes must be counted where they are, not where they are shown."""
    sh(job.start(folder, r"printf '\260\262\327\260\260\262\327\260\n'; sleep 0.7; echo the end", 60))
    event(watch(servers, key, folder))
    assert told.messages[-1] == "the end"


def test_more_output_than_one_look_returns_is_told_to_its_end(
    servers: SshHosts, key: asyncssh.SSHKey, folder: str, told: Told
) -> None:
    sh(job.start(folder, "seq 1 30000; echo the end", 60))
    event(watch(servers, key, folder))
    assert told.messages[-1] == "the end"


def test_a_lost_connection_is_opened_again_and_nothing_is_told_twice(
    servers: SshHosts, key: asyncssh.SSHKey, folder: str, told: Told
) -> None:
    sh(job.start(folder, "echo before; sleep 2; echo after", 60))
    threading.Timer(0.8, servers.cut, [ADDRESS]).start()
    event(watch(servers, key, folder))
    assert [m for m in told.messages if "out of reach" not in m] == ["before", "after"]
    assert any("out of reach" in m and "its job goes on" in m for m in told.messages)
    assert look(folder).state is job.State.DONE


def test_a_host_that_stays_out_of_reach_is_handed_back(
    servers: SshHosts, key: asyncssh.SSHKey, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tecs.triggers

    monkeypatch.setattr(tecs.triggers, "PATIENCE", 1.0)
    servers.stop(ADDRESS)
    assert "c1 cannot be reached" in event(watch(servers, key, folder))["unreachable"]


def test_a_host_whose_looks_fail_though_it_answers_is_handed_back(
    servers: SshHosts, key: asyncssh.SSHKey, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that opens is no sign of life by itself: with each one the patience would begin anew, for ever."""
    import tecs.triggers

    monkeypatch.setattr(tecs.triggers, "PATIENCE", 1.0)
    monkeypatch.setattr(job, "look", lambda folder, offset: "echo cannot fork; exit 1")
    assert "cannot be read" in event(watch(servers, key, folder))["unreachable"]


def test_another_host_key_is_not_accepted(
    servers: SshHosts, key: asyncssh.SSHKey, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tecs.triggers

    monkeypatch.setattr(tecs.triggers, "PATIENCE", 1.0)
    other = asyncssh.generate_private_key("ssh-ed25519")
    assert "pinned is" in event(watch(servers, other, folder))["unreachable"]
    assert servers.sessions.get(ADDRESS) is None


def test_without_a_pinned_key_nothing_is_asked(
    servers: SshHosts, key: asyncssh.SSHKey, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tecs.triggers

    monkeypatch.setattr(tecs.triggers, "PATIENCE", 1.0)
    assert "no host key is pinned" in event(watch(servers, key, folder, host_key=None))["unreachable"]


@pytest.mark.parametrize(
    "prompt",
    [
        r"""printf "root@10.0.0.1's password: " """,
        r"""printf "root@10.0.0.1's pass"; sleep 1; printf "word: " """,
        r"""printf 'Password: ' >&2""",
    ],
    ids=["at once", "in two pieces", "in capitals, on stderr"],
)
def test_a_job_that_asks_for_a_password_is_ended_at_once(
    servers: SshHosts, key: asyncssh.SSHKey, folder: str, prompt: str
) -> None:
    sh(job.start(folder, f"{prompt}; sleep 60", 90))
    begun = time.monotonic()
    event(watch(servers, key, folder))
    assert time.monotonic() - begun < 20
    ended = look(folder)
    assert ended.state is job.State.STOPPED
    assert "password:" in ended.detail


def test_a_word_about_passwords_is_no_prompt(servers: SshHosts, key: asyncssh.SSHKey, folder: str) -> None:
    sh(job.start(folder, "echo 'Setting the password of the database'; sleep 0.5", 60))
    event(watch(servers, key, folder))
    assert look(folder).state is job.State.DONE


def test_a_late_job_is_warned_about_once_and_goes_on(
    servers: SshHosts, key: asyncssh.SSHKey, folder: str, told: Told
) -> None:
    sh(job.start(folder, "sleep 2", 60))
    event(watch(servers, key, folder, sla=0.3))
    assert [m for m in told.messages if "SLA" in m] == ["SLA crossed: A4.6 install takes longer than 0.3 s and goes on"]
    assert look(folder).state is job.State.DONE


def test_that_a_job_is_late_is_told_once_and_a_server_that_hangs_holds_nothing_up(
    servers: SshHosts, key: asyncssh.SSHKey, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tecs.triggers

    notices: list[Notice] = []
    let_go = threading.Event()

    def hang(notice: Notice, channels: Sequence[Notify], log: Any) -> None:
        assert [channel.connection for channel in channels] == ["tecs_hook"]
        notices.append(notice)
        let_go.wait(60)

    monkeypatch.setattr(tecs.triggers, "send", hang)
    late = Notice(Event.LATE, "site", "rollback_compute", "run-1", "SLA crossed")
    notify = [Notify(by="http", connection="tecs_hook").model_dump(mode="json")]
    sh(job.start(folder, "sleep 2", 60))
    begun = time.monotonic()
    assert event(watch(servers, key, folder, sla=0.3, late=asdict(late), notify=notify))["warned"] is True
    assert time.monotonic() - begun < 20
    assert notices == [late]
    let_go.set()


def test_a_cancelled_task_ends_its_job(servers: SshHosts, key: asyncssh.SSHKey, folder: str) -> None:
    sh(job.start(folder, "sleep 60", 90))
    trigger = watch(servers, key, folder)

    async def cancel_it() -> None:
        async def watching() -> None:
            async for _ in trigger.run():
                raise AssertionError("the job has ended by itself")

        task = asyncio.create_task(watching())
        await asyncio.sleep(0.7)
        task.cancel()
        await trigger.on_kill()

    asyncio.run(cancel_it())
    ended = look(folder)
    assert (ended.state, ended.detail) == (job.State.STOPPED, "cancelled in Airflow")


def test_a_job_that_is_gone_is_not_watched_for_ever(servers: SshHosts, key: asyncssh.SSHKey, folder: str) -> None:
    assert "unreachable" not in event(watch(servers, key, folder))

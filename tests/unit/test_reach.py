"""Reading over SSH: every key verified, bounded in time and size, and no host keeps another from being read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest
import yaml

from include.runbook import reach
from include.runbook.cluster import Cluster, Host
from include.runbook.custody import pins_path
from include.runbook.errors import FactUnreadable, HostKeyMismatch, HostKeyMissing, HostUnreachable, RootDenied
from include.runbook.goals import command_succeeds
from include.runbook.login_shell import Call
from include.runbook.reach import Credentials, Sweep, connect, sweep
from include.runbook.shell import CUT, Output
from include.runbook.step import Read

from .conftest import EXAMPLE
from .ssh_hosts import CLIENT_KEY, SshHosts, give_sudo, line, ssh_hosts

DAISY, A, C = "127.77.1.1", "127.77.1.11", "127.77.1.21"


@pytest.fixture
def servers() -> Iterator[SshHosts]:
    with ssh_hosts() as hosts:
        yield hosts


@pytest.fixture
def keys(servers: SshHosts) -> dict[str, asyncssh.SSHKey]:
    return {address: servers.start(address) for address in (DAISY, A, C)}


@pytest.fixture
def cluster(tmp_path: Path, servers: SshHosts, keys: dict[str, asyncssh.SSHKey]) -> Cluster:
    raw = yaml.safe_load(EXAMPLE.read_text())
    raw["ssh"]["port"] = servers.port
    raw["daisy"] |= {"address": DAISY, "root": str(tmp_path)}
    raw["controllers"]["a"] |= {"address": A, "host_key": line(keys[A])}
    raw["computes"] = [{"name": "c1", "address": C, "host_key": line(keys[C])}]
    return Cluster.model_validate(raw)


@pytest.fixture
def login(keys: dict[str, asyncssh.SSHKey]) -> Credentials:
    return Credentials("root", private_key=CLIENT_KEY.export_private_key().decode(), host_key=line(keys[DAISY]))


def swept(cluster: Cluster, login: Credentials, *reads: Read) -> Sweep:
    return asyncio.run(sweep(cluster, reads, lambda _: login))


def ask(host: Host, login: Credentials, key: str | None, script: str, timeout: float = 10) -> Output:
    async def asked() -> Output:
        async with await connect(host, login, key) as connection:
            return await reach.run(connection, host, script, timeout)

    return asyncio.run(asked())


def a_read(host: Host, command: str = "echo here; echo and >&2; exit 3") -> Read:
    return Read(host, command)


def test_a_host_that_allows_no_more_sessions_is_asked_again(
    cluster: Cluster, login: Credentials, keys: dict[str, asyncssh.SSHKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals, start = [asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "open failed")] * 3, reach._begin

    async def refusing(connection: asyncssh.SSHClientConnection, sent: Call) -> asyncssh.SSHClientProcess[bytes]:
        if refusals:
            raise refusals.pop()
        return await start(connection, sent)

    monkeypatch.setattr(reach, "_begin", refusing)
    monkeypatch.setattr(reach, "SESSION_PAUSES", (0.0, 0.0, 0.0))
    a = cluster.controllers.a
    assert ask(a, login, line(keys[A]), "echo here").stdout == "here\n"
    refusals += [asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "open failed")] * 4
    with pytest.raises(HostUnreachable, match=r"it allows no session: open failed(.|\n)*see MaxSessions"):
        ask(a, login, line(keys[A]), "echo here")


def test_an_answer_has_its_status_and_both_streams(cluster: Cluster, login: Credentials) -> None:
    read = a_read(cluster.controllers.a)
    assert swept(cluster, login, read).output(read) == Output(3, "here\n", "and\n")


def test_each_host_is_logged_in_to_once_for_all_its_reads(
    cluster: Cluster, login: Credentials, servers: SshHosts
) -> None:
    reads = [a_read(cluster.computes[0], f"echo {n}") for n in range(3)]
    answers = swept(cluster, login, *reads, reads[0])
    assert [answers.output(read).stdout for read in reads] == ["0\n", "1\n", "2\n"]
    assert servers.sessions[C] == 3, "a read that is asked for twice is sent once"


def test_another_key_than_the_pinned_is_refused(cluster: Cluster, login: Credentials, servers: SshHosts) -> None:
    servers.start(C)
    with pytest.raises(HostKeyMismatch, match="c1"):
        ask(cluster.computes[0], login, cluster.computes[0].host_key, "true")


def test_a_host_without_a_pinned_key_is_refused_with_advice(cluster: Cluster, login: Credentials) -> None:
    with pytest.raises(HostKeyMissing, match=f"ssh-keyscan -p {cluster.ssh.port} {C}"):
        ask(cluster.computes[0], login, None, "true")


def test_a_login_that_is_refused_is_told(cluster: Cluster) -> None:
    stranger = Credentials(
        "root", private_key=asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    )
    with pytest.raises(HostUnreachable, match="Permission denied"):
        ask(cluster.computes[0], stranger, cluster.computes[0].host_key, "true")


def test_a_login_that_is_not_root_reads_as_root(
    cluster: Cluster, login: Credentials, servers: SshHosts, tmp_path: Path
) -> None:
    host, operator = cluster.computes[0], replace(login, username="operator")
    give_sudo(servers, tmp_path, allowed=True)
    told = ask(host, operator, host.host_key, 'echo "it\'s $((6 * 7))" && exit 3')
    assert told == Output(3, "it's 42\n", "")


@pytest.mark.parametrize("name", ["root", "operator"])
def test_a_script_of_any_length_is_run(
    cluster: Cluster, login: Credentials, servers: SshHosts, tmp_path: Path, name: str
) -> None:
    host = cluster.computes[0]
    give_sudo(servers, tmp_path, allowed=True)
    script = f"# {'0123456789' * 40_000}\necho whole; cat; exit 3"
    assert ask(host, replace(login, username=name), host.host_key, script) == Output(3, "whole\n", "")


def test_a_login_that_may_not_become_root_is_told(
    cluster: Cluster, login: Credentials, servers: SshHosts, tmp_path: Path
) -> None:
    host, operator = cluster.computes[0], replace(login, username="operator")
    give_sudo(servers, tmp_path, allowed=False)
    with pytest.raises(RootDenied, match=r"operator cannot become root on c1\n.*\n *sudo: a password is required"):
        ask(host, operator, host.host_key, "true")


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in repr(Credentials("root", private_key="hunter2", passphrase="hunter2", password="hunter2"))


def test_a_command_that_does_not_end_is_not_waited_for(cluster: Cluster, login: Credentials) -> None:
    with pytest.raises(FactUnreadable, match="no end after"):
        ask(cluster.computes[0], login, cluster.computes[0].host_key, "sleep 5", timeout=0.3)


def test_endless_output_does_not_fill_memory(
    cluster: Cluster, login: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "OUTPUT_LIMIT", 1000)
    answer = ask(cluster.computes[0], login, cluster.computes[0].host_key, "yes | head -c 300000; echo end >&2")
    assert (len(answer.stdout), answer.status, answer.stderr, answer.cut) == (1000, 0, "end\n", True)
    assert CUT in answer.tail


def test_nothing_is_decided_from_the_beginning_of_an_answer(
    cluster: Cluster, login: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "OUTPUT_LIMIT", 1000)
    read = Read(cluster.computes[0], "yes | head -c 1001")
    swept = asyncio.run(sweep(cluster, [read], lambda _: login))
    with pytest.raises(FactUnreadable, match=CUT):
        swept.output(read)


def test_an_answer_that_just_fits_is_whole(
    cluster: Cluster, login: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "OUTPUT_LIMIT", 1000)
    answer = ask(cluster.computes[0], login, cluster.computes[0].host_key, "yes | head -c 1000")
    assert (len(answer.stdout), answer.cut) == (1000, False)


def test_bytes_that_are_no_text_do_not_stop_a_reading(cluster: Cluster, login: Credentials) -> None:
    assert ask(cluster.computes[0], login, cluster.computes[0].host_key, r"printf 'a\377b'").stdout == "a\ufffdb"


def test_a_host_that_is_down_keeps_no_other_from_being_read(
    cluster: Cluster, login: Credentials, servers: SshHosts
) -> None:
    servers.stop(C)
    there, away = a_read(cluster.controllers.a), a_read(cluster.computes[0])
    answers = swept(cluster, login, there, away)
    assert answers.output(there).status == 3
    with pytest.raises(HostUnreachable, match="c1"):
        answers.output(away)


def test_a_goal_about_a_host_that_is_down_does_not_hold(
    cluster: Cluster, login: Credentials, servers: SshHosts
) -> None:
    servers.stop(C)
    goal = command_succeeds("c1 is there", cluster.computes[0], "true")
    verdict = swept(cluster, login, *goal.reads).judge(goal)
    assert not verdict.met
    assert "c1 cannot be reached" in verdict.found


def test_a_pin_of_a_reinstallation_is_newer_than_the_inventory(
    cluster: Cluster, login: Credentials, servers: SshHosts
) -> None:
    new = servers.start(C)
    pins = Path(pins_path(cluster))
    pins.parent.mkdir(parents=True)
    pins.write_text(f"[{C}]:{servers.port} {line(new)}\n")
    read = a_read(cluster.computes[0])
    assert swept(cluster, login, read).output(read).status == 3


def test_without_the_daisy_host_nothing_is_read(cluster: Cluster, login: Credentials, servers: SshHosts) -> None:
    servers.stop(DAISY)
    reads: Sequence[Read] = [a_read(cluster.controllers.a)]
    with pytest.raises(HostUnreachable, match="daisy"):
        swept(cluster, login, *reads)
    assert servers.sessions.get(A) is None

"""known_hosts is kept true by real ssh-keygen and ssh-keyscan, against SSH servers on loopback."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
import yaml

from include.runbook import host_keys
from include.runbook.cluster import Cluster
from include.runbook.custody import pins_path, reinstalling_path
from include.runbook.shell import Output
from include.runbook.step import Run, kind

from .conftest import EXAMPLE, LocalShell
from .ssh_hosts import SshHosts, line, ssh_hosts

A, B, C, VIRTUAL = "127.77.0.11", "127.77.0.12", "127.77.0.21", "127.77.0.100"
STALE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAeGbr4Bq0b1Jm3lAOrJVV8l2Cw8Uf0dR7Yy0m0mXw1q"


@pytest.fixture
def servers() -> Iterator[SshHosts]:
    with ssh_hosts() as hosts:
        yield hosts


@pytest.fixture
def keys(servers: SshHosts) -> dict[str, asyncssh.SSHKey]:
    """The keys that A, B, one compute and the virtual IP show. A is active, so the last is A's."""
    shown = {address: servers.start(address) for address in (A, B, C)}
    return shown | {VIRTUAL: servers.start(VIRTUAL, shown[A])}


@pytest.fixture
def cluster(tmp_path: Path, servers: SshHosts, keys: dict[str, asyncssh.SSHKey]) -> Cluster:
    raw = yaml.safe_load(EXAMPLE.read_text())
    raw |= {"virtual_ips": [VIRTUAL], "ssh": raw["ssh"] | {"port": servers.port}, "pace": 100}
    raw["daisy"] |= {"root": str(tmp_path / "daisy")}
    raw["controllers"]["a"] |= {"address": A, "host_key": line(keys[A])}
    raw["controllers"]["b"] |= {"address": B, "host_key": line(keys[B])}
    raw["computes"] = [{"name": "c1", "address": C, "host_key": line(keys[C])}]
    return Cluster.model_validate(raw)


@pytest.fixture
def known(cluster: Cluster) -> Path:
    file = Path(cluster.daisy.path(cluster.paths.known_hosts))
    file.parent.mkdir(parents=True)
    return file


@pytest.fixture
def pinned(cluster: Cluster, run: Run, shell: LocalShell) -> Path:
    """The product's own known_hosts, as the step that pins the nodes' keys writes it."""
    assert send(shell, cluster, kind("pin_host_keys").make(run, cluster.daisy).action).ok
    return Path(pins_path(cluster))


def send(shell: LocalShell, cluster: Cluster, script: str) -> Output:
    return shell.run(cluster.daisy, script, 60)


def renew(shell: LocalShell, cluster: Cluster) -> Output:
    return send(shell, cluster, host_keys.renew_entries(cluster, cluster.computes))


def true(shell: LocalShell, cluster: Cluster) -> Output:
    return send(shell, cluster, host_keys.entries_true(cluster, cluster.computes))


def names(cluster: Cluster) -> list[str]:
    """Return every name under which the compute and the virtual IP can stand in known_hosts."""
    return [f"[{name}]:{cluster.ssh.port}" for name in (C, "c1", VIRTUAL)]


def hashed(file: Path) -> None:
    subprocess.run(["ssh-keygen", "-H", "-f", str(file)], check=True, capture_output=True)
    file.with_name(file.name + ".old").unlink()


@pytest.mark.usefixtures("pinned")
@pytest.mark.parametrize("form", ["plain", "hashed"])
def test_stale_entries_are_replaced_by_the_pinned_keys(
    cluster: Cluster, shell: LocalShell, known: Path, keys: dict[str, asyncssh.SSHKey], form: str
) -> None:
    known.write_text("".join(f"{name} {STALE}\n" for name in names(cluster)))
    if form == "hashed":
        hashed(known)
    found = true(shell, cluster)
    assert (found.status, found.stdout.count("a stale entry")) == (1, 3)
    renewed = renew(shell, cluster)
    assert renewed.ok, renewed.tail
    assert true(shell, cluster).stdout == "every entry is the pinned key\n"
    here, name, virtual = names(cluster)
    expected = [f"{here} {line(keys[C])}", f"{name} {line(keys[C])}", f"{virtual} {line(keys[A])}"]
    assert known.read_text().splitlines() == expected


def test_missing_entries_are_told_apart_from_stale_ones(cluster: Cluster, shell: LocalShell, pinned: Path) -> None:
    assert true(shell, cluster).stdout.splitlines() == [f"{name}: no entry" for name in names(cluster)]


def test_a_missing_known_hosts_is_made(cluster: Cluster, shell: LocalShell, pinned: Path) -> None:
    assert renew(shell, cluster).ok
    assert true(shell, cluster).ok


@pytest.mark.parametrize("ending", ["\n", ""], ids=["ended", "without an end"])
def test_entries_of_other_hosts_stay_as_they_are(
    cluster: Cluster, shell: LocalShell, known: Path, pinned: Path, ending: str
) -> None:
    others = f"# a comment\n{A} {STALE} by hand\n\nelsewhere.example,10.9.9.9  {STALE}"
    known.write_text(f"{names(cluster)[0]} {STALE}\n{others}{ending}")
    assert renew(shell, cluster).ok
    assert known.read_text().startswith(others + "\n")
    assert true(shell, cluster).ok


def test_entries_of_other_hosts_stay_as_they_are_where_nothing_is_stale(
    cluster: Cluster, shell: LocalShell, known: Path, pinned: Path
) -> None:
    others = f"elsewhere.example {STALE}"
    known.write_text(others)
    assert renew(shell, cluster).ok
    assert known.read_text().startswith(others + "\n")


def test_a_second_entry_beside_the_right_one_is_stale(
    cluster: Cluster, shell: LocalShell, known: Path, pinned: Path
) -> None:
    renew(shell, cluster)
    with known.open("a") as file:
        file.write(f"{names(cluster)[0]} {STALE}\n")
    assert true(shell, cluster).stdout == f"{names(cluster)[0]}: a stale entry\n"


def test_a_host_that_shows_another_key_than_the_pinned_is_refused_and_nothing_of_it_accepted(
    cluster: Cluster, shell: LocalShell, known: Path, pinned: Path, servers: SshHosts
) -> None:
    servers.start(C)
    before = f"{names(cluster)[0]} {STALE}\n"
    known.write_text(before)
    refused = renew(shell, cluster)
    assert not refused.ok
    assert f"{C} shows another host key than the one pinned" in refused.stderr
    assert known.read_text() == before


def test_a_virtual_ip_that_does_not_show_the_active_controllers_key_is_refused(
    cluster: Cluster, shell: LocalShell, pinned: Path, servers: SshHosts, keys: dict[str, asyncssh.SSHKey]
) -> None:
    servers.start(VIRTUAL, keys[B])
    refused = renew(shell, cluster)
    assert not refused.ok
    assert f"{VIRTUAL} shows another host key" in refused.stderr


def test_a_host_that_does_not_answer_is_named(
    cluster: Cluster, shell: LocalShell, pinned: Path, servers: SshHosts
) -> None:
    servers.stop(C)
    refused = renew(shell, cluster)
    assert (refused.status, refused.stderr) == (1, f"{C} shows no SSH host key on port {cluster.ssh.port}\n")


def repin(shell: LocalShell, cluster: Cluster) -> Output:
    return send(shell, cluster, host_keys.repin_reinstalled(cluster, cluster.computes))


def note_reinstallation(cluster: Cluster) -> None:
    note = Path(reinstalling_path(cluster, cluster.computes[0]))
    note.parent.mkdir(parents=True)
    note.touch()


@pytest.mark.usefixtures("known")
def test_a_reinstalled_host_is_pinned_anew_and_both_fingerprints_are_told(
    cluster: Cluster, shell: LocalShell, pinned: Path, servers: SshHosts, keys: dict[str, asyncssh.SSHKey]
) -> None:
    renew(shell, cluster)
    others = [each for each in pinned.read_text().splitlines() if C not in each]
    note_reinstallation(cluster)
    new = servers.start(C)
    told = repin(shell, cluster)
    assert told.ok, told.tail
    assert keys[C].get_fingerprint() in told.stdout
    assert new.get_fingerprint() in told.stdout
    assert [each for each in pinned.read_text().splitlines() if C not in each] == others
    assert f"[{C}]:{servers.port} {line(new)}" in pinned.read_text().splitlines()
    assert true(shell, cluster).ok


def test_a_host_is_pinned_anew_only_while_its_reinstallation_is_noted(
    cluster: Cluster, shell: LocalShell, pinned: Path, servers: SshHosts
) -> None:
    before = pinned.read_text()
    servers.start(C)
    assert repin(shell, cluster).ok
    assert pinned.read_text() == before


def test_a_reinstalled_host_that_kept_its_key_needs_no_new_pin(
    cluster: Cluster, shell: LocalShell, pinned: Path
) -> None:
    note_reinstallation(cluster)
    assert repin(shell, cluster) == Output(0, "", "")


def test_a_reinstalled_host_that_does_not_answer_is_named(
    cluster: Cluster, shell: LocalShell, pinned: Path, servers: SshHosts
) -> None:
    note_reinstallation(cluster)
    servers.stop(C)
    assert "after its installation" in repin(shell, cluster).stderr


def test_a_pin_that_a_reinstallation_made_is_newer_than_the_inventory(
    cluster: Cluster, run: Run, shell: LocalShell, pinned: Path
) -> None:
    step = kind("pin_host_keys").make(run, cluster.daisy)
    newer = pinned.read_text().replace(line_of(pinned, C), f"[{C}]:{cluster.ssh.port} {STALE}")
    pinned.write_text(newer)
    assert send(shell, cluster, step.goal.reads[0].command).ok
    assert send(shell, cluster, step.action).ok
    assert pinned.read_text() == newer


def test_a_pin_of_a_host_whose_address_ends_alike_is_not_taken_for_its_own(
    cluster: Cluster, run: Run, shell: LocalShell, tmp_path: Path
) -> None:
    plain = cluster.computes[0].model_copy(update={"port": 22, "address": "7.77.0.21"})
    other = cluster.model_copy(update={"computes": (plain,)})
    step = kind("pin_host_keys").make(Run(other, "100", other.computes), other.daisy)
    pins = Path(pins_path(other))
    pins.parent.mkdir(parents=True)
    pins.write_text(f"127.77.0.21 {STALE}\n")
    assert not send(shell, other, step.goal.reads[0].command).ok
    assert send(shell, other, step.action).ok
    assert f"7.77.0.21 {plain.host_key}" in pins.read_text().splitlines()


def line_of(file: Path, address: str) -> str:
    return next(each for each in file.read_text().splitlines() if address in each)

"""A cluster's twin: an embedded lab of the cluster's own inventory, alive for one rehearsal and gone after it.

Each twin has a loopback network of its own and a folder that is called after it. The folder's lock is held while the
rehearsal goes on: where it is free, the folder is what a rehearsal left that was killed, and is cleared with all that
still runs there before the next one begins.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from include.lab.client import LabClient
from include.lab.ending import end_processes_of
from include.lab.errors import LabError
from include.rehearsal.errors import RehearsalError
from include.rehearsal.twin_inventory import PORT, twin_inventory
from include.runbook.cluster import Cluster, load_cluster
from include.runbook.reach import Credentials

NETWORKS = tuple(f"127.{number}" for number in range(100, 116))
"""So many rehearsals may go on at the same time on one machine."""

CLAIM = "255.254"
"""The address in a network that whoever is going to use the network binds: no host of a twin has it."""

PROGRAMS = ("ssh", "ssh-keyscan", "ssh-keygen")
"""What the twin's hosts need of this machine besides a shell."""


@dataclass(frozen=True)
class Twin:
    """A twin that runs: its inventory, what of the site it does not play, and the lab itself."""

    cluster: Cluster
    not_played: tuple[str, ...]
    lab: LabClient

    def credentials_of(self, connection_id: str) -> Credentials:
        """Return how to log in to the twin's hosts; there is no other connection here."""
        known = json.loads((self.lab.state_dir / "connections.json").read_text())
        connection: dict[str, Any] = known[connection_id]
        return Credentials.of(connection["login"], None, connection["extra"])

    def hang_up(self) -> None:
        """Let the twin end soon: every session to it ends with it. Waits for nothing, so that a signal's handler may call it."""
        _signalled(self.lab.state_dir, signal.SIGTERM)


@contextmanager
def running_twin(cluster: Cluster, scenario: str, pace: float) -> Iterator[Twin]:
    """The cluster's twin runs, in the state in which the scenario finds it; at the block's end nothing of it is left."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise RehearsalError(f"the twin's hosts need {', '.join(missing)} on this machine; install OpenSSH's client")
    places = _places()
    _clear_what_was_left(places)
    with _free_network(places) as place:
        wanted = twin_inventory(cluster, place.name, pace)
        inventory = place / f"{cluster.name}.yaml"
        inventory.write_text(yaml.safe_dump(dict(wanted.values), sort_keys=False))
        try:
            lab = LabClient.start(inventory, place / "lab", "--scenario", scenario)
        except LabError as error:
            raise RehearsalError(f"the twin of {cluster.name} does not start: {error}") from error
        try:
            yield Twin(load_cluster(lab.inventory), wanted.not_played, lab)
        finally:
            with suppress(subprocess.TimeoutExpired):  # what does not end in time is killed with what else runs there
                lab.stop()


def _places() -> Path:
    """Return the folder of all twins of this user on this machine; nobody else may write there."""
    places = Path(tempfile.gettempdir()) / f"tecs-rehearsals-{os.getuid()}"
    places.mkdir(mode=0o700, exist_ok=True)
    found = places.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or places.is_symlink():
        raise RehearsalError(f"{places} is not a folder of this user alone: remove it")
    return places


@contextmanager
def _free_network(places: Path) -> Iterator[Path]:
    """A folder that is called after a network on which nobody listens is ours until the block's end, and the network, too."""
    for network in NETWORKS:
        place = places / network
        with _locked(place) as ours, _claimed(network) as free:
            if ours and free:
                place.mkdir(exist_ok=True)
                try:
                    yield place
                finally:
                    _clear(place)
                return
    raise RehearsalError(f"{len(NETWORKS)} rehearsals go on here already: wait until one is over")


@contextmanager
def _locked(place: Path) -> Iterator[bool]:
    """Whether the place is ours: the lock is held until the block's end, or until this process dies."""
    with place.with_name(f"{place.name}.lock").open("a") as lock:
        yield _taken(lock)


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _clear_what_was_left(places: Path) -> None:
    for place in (each for each in places.iterdir() if each.is_dir()):
        with _locked(place) as ours:
            if ours:
                _clear(place)


def _clear(place: Path) -> None:
    """Nothing that was started at this place runs, and its folder is gone."""
    state = (place / "lab").resolve()
    _signalled(state, signal.SIGKILL)
    end_processes_of(state)
    shutil.rmtree(place)


def _signalled(state: Path, number: signal.Signals) -> None:
    """The processes that serve this state directory, or are about to, have the signal; they bear no mark of their hosts."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and _serves(entry, state):
            with suppress(ProcessLookupError):
                os.kill(int(entry.name), number)


def _serves(process: os.DirEntry[str], state: Path) -> bool:
    with suppress(OSError):
        words = Path(process, "cmdline").read_bytes().split(b"\0")
        return b"include.lab" in words and str(state).encode() in words
    return False


@contextmanager
def _claimed(network: str) -> Iterator[bool]:
    """Whether the network is ours until the block's end: one process of this machine, whoever's it is, can bind its claim.

    A folder's lock would not do: other users' rehearsals have other folders.
    """
    with socket.socket() as claim, socket.socket() as probe:
        # An address on which somebody has listened is free though its connections linger.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free = _bound(claim, f"{network}.{CLAIM}") and _bound(probe, f"{network}.0.1")
        probe.close()
        yield free


def _bound(to: socket.socket, address: str) -> bool:
    try:
        to.bind((address, PORT))
    except OSError:
        return False
    return True

"""The director: the foreground process that makes the lab, answers for it, and removes every trace of it at its end."""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

import yaml

from include.cluster_lab import traces
from include.cluster_lab.audits import FloatIpWatch
from include.cluster_lab.base_tree import base_tree
from include.cluster_lab.cloud_layer import layers
from include.cluster_lab.commands import run
from include.cluster_lab.flaws import FlawWatch
from include.cluster_lab.host import NETMASK
from include.cluster_lab.lab import Lab, Options, lay_programs
from include.cluster_lab.machine import require_able, require_root
from include.cluster_lab.reception import Reception
from include.cluster_lab.shared_disk import attach_disk
from include.cluster_lab.site import DAISY, GATEWAY, NAME, connection, inventory
from include.lab.errors import LabError

MARKER = ".cluster-lab"
STOPPED_WITHIN = 90.0
POLL = 0.1


class _Stop(BaseException):
    """SIGTERM or SIGINT has come: whatever is going on ends, and the traces are removed."""


def direct(options: Options) -> None:
    """Make the lab and serve it until SIGTERM or SIGINT; nothing of it is left on this machine at the end."""
    require_able(say)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    started = time.monotonic()
    try:
        with _only_director(options.state):
            _require_free_network()
            _prepare_state(options.state)
            base = base_tree(say)
            cloud_layers = layers(base, say) if options.with_cloud else ()
            try:
                _serve(options, base, cloud_layers, started)
            finally:
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, signal.SIG_IGN)
                (options.state / "ready.json").unlink(missing_ok=True)
                traces.remove_all(options.state)
    except _Stop:
        say("the lab has ended")


def remove_lab(state: Path) -> None:
    """No lab of this state directory runs, and nothing of one is left; another directory's lab is refused."""
    require_root()
    owner = _owner()
    if owner is None:
        return
    if owner != state:
        raise LabError(f"the lab on this machine belongs to {owner}; say --state {owner}")
    pid = int(traces.OWNER.read_text().splitlines()[1])
    if _is_director(pid):
        os.kill(pid, signal.SIGTERM)
    with _only_director(state, within=STOPPED_WITHIN):
        pass


def say(text: str) -> None:
    """Tell the person at the terminal what goes on."""
    print(text, file=sys.stderr, flush=True)


def _serve(options: Options, base: Path, cloud_layers: tuple[Path, ...], started: float) -> None:
    lay_programs(options.state)
    run(["ip", "link", "add", traces.BRIDGE, "type", "bridge"])
    run(["ip", "address", "add", f"{GATEWAY}/{NETMASK}", "dev", traces.BRIDGE])
    run(["ip", "link", "set", traces.BRIDGE, "up"])
    lab = Lab(options, base, cloud_layers, attach_disk(), say)
    reception = Reception(lab)
    watches = (FloatIpWatch((lab.a, lab.b), lab.journal), FlawWatch(lab))
    try:
        reception.open()
        lab.start()
        for watch in watches:
            watch.start()
        _write_for_the_product(lab)
        _announce(options, list(lab.hosts), time.monotonic() - started)
        threading.Event().wait()
    finally:
        for watch in watches:
            if watch.is_alive():
                watch.end()
        reception.close()


def _write_for_the_product(lab: Lab) -> None:
    """The inventory and the connection lie where the console and Airflow look for them."""
    state = lab.options.state
    (state / "clusters").mkdir()
    schemas = lab.cloud.schemas() if lab.cloud else None
    text = yaml.safe_dump(inventory(lab.host_keys, schemas), sort_keys=False)
    (state / "clusters" / f"{NAME}.yaml").write_text(text)
    login = connection(str(state / "id_ed25519"), lab.host_keys[DAISY.name])
    (state / "connections.json").write_text(json.dumps(login, indent=2) + "\n")


def _announce(options: Options, hosts: list[str], seconds: float) -> None:
    state = options.state
    ready = {
        "pid": os.getpid(),
        "name": NAME,
        "hosts": hosts,
        "scenario": options.scenario,
        "pace": options.pace,
        "transport": options.transport,
        "inventory": str(state / "clusters" / f"{NAME}.yaml"),
        "connections": str(state / "connections.json"),
        "key": str(state / "id_ed25519"),
    }
    temporary = state / "ready.json.new"
    temporary.write_text(json.dumps(ready, indent=2) + "\n")
    temporary.replace(state / "ready.json")
    print(
        f"Lab {NAME} is ready: {len(hosts)} hosts in {seconds:.0f} s, scenario {options.scenario}, "
        f"transport {options.transport}, state {state}",
        flush=True,
    )


@contextmanager
def _only_director(state: Path, within: float = 0) -> Iterator[None]:
    """This process is the machine's only director, and what a dead one left is gone. At the end /run is clean too.

    LabError when another one lives and does not end within so many seconds.
    """
    traces.LOCK.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with traces.LOCK.open("a") as lock:
        _take(lock, within)
        left_by = _owner()
        if left_by is not None:
            say(f"removing what the lab in {left_by} left behind")
            traces.remove_all(left_by)
        traces.RUN.mkdir(mode=0o700, exist_ok=True)
        traces.OWNER.write_text(f"{state}\n{os.getpid()}\n")
        try:
            yield
        finally:
            shutil.rmtree(traces.RUN)


def _take(lock: IO[str], within: float) -> None:
    deadline = time.monotonic() + within
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as held:
            if time.monotonic() > deadline:
                raise LabError(f"a cluster lab runs on this machine already, in {_owner()}; end it first") from held
        time.sleep(POLL)


def _owner() -> Path | None:
    """The state directory of the lab that runs or was left behind, if there is one."""
    try:
        return Path(traces.OWNER.read_text().splitlines()[0])
    except FileNotFoundError:
        return None


def _is_director(pid: int) -> bool:
    """Whether the process is a director: after a crash its number may be another's."""
    try:
        return b"include.cluster_lab" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _prepare_state(state: Path) -> None:
    """The state directory is empty and carries the lab's marker; another's directory is never wiped."""
    if state.exists() and any(state.iterdir()):
        if not (state / MARKER).exists():
            raise LabError(f"{state} is not empty and was not made by the lab; choose another --state directory")
        traces.remove_all(state)
        shutil.rmtree(state)
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    (state / MARKER).write_text("Made by the cluster lab, which wipes this directory when it starts.\n")


def _require_free_network() -> None:
    """No other interface of this machine is in the lab's network: its own traffic would go astray."""
    ours = ipaddress.ip_network(f"{GATEWAY}/{NETMASK}", strict=False)
    for route in json.loads(run(["ip", "--json", "-4", "route", "show", "table", "all"]).stdout):
        if route["dst"] == "default" or route.get("dev") == traces.BRIDGE:
            continue
        if ipaddress.ip_network(route["dst"], strict=False).overlaps(ours):
            raise LabError(
                f"the lab's network {ours} is in use here: route {route['dst']} on {route.get('dev', 'no interface')}"
            )


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _Stop

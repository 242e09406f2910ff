"""What the product keeps on the Daisy host about a cluster: the lock, pinned host keys, reinstallations under way, record.

It lies on the host that every run must reach anyway, so that workers on different machines agree without sharing a disk.

    lock            who may change the cluster                 known_hosts    keys that the nodes were proven to have
    reinstalling/   one file per node from the moment an installer is started until its result is proven
    saved/          files that a reinstallation would lose     record/        what each run did, one JSON line per event
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from include.runbook.cluster import Cluster, Host
from include.runbook.errors import ConnectionLost, FactUnreadable
from include.runbook.lock import Holder, read_holder
from include.runbook.redaction import masked
from include.runbook.shell import TEXT_LIMIT, Output, printable, quote, shortened
from include.runbook.step import Run

_MARK = "==tecs-rollback=="

WRITE_LIMIT = 60_000
"""Bytes that are appended at once: `cat` writes them in one go, and a shell takes them as one argument (128 KiB)."""


@dataclass(frozen=True)
class Custody:
    """One reading of the product's folder on the Daisy host."""

    holder: Holder | None
    pins: dict[str, str] = field(default_factory=dict)
    reinstalling: frozenset[str] = frozenset()

    def host_key(self, host: Host) -> str | None:
        """The key that the host must show: the newest pin, or the inventory's where no run has pinned another."""
        return self.pins.get(known_hosts_name(host), host.host_key)


def known_hosts_name(host: Host) -> str:
    """Return how OpenSSH writes the host's address in known_hosts."""
    return host.address if host.port == 22 else f"[{host.address}]:{host.port}"


def folder(cluster: Cluster) -> str:
    """Return the product's folder on the Daisy host."""
    return cluster.daisy.path(cluster.paths.state)


def pins_path(cluster: Cluster) -> str:
    """Return the path of the product's own known_hosts on the Daisy host."""
    return f"{folder(cluster)}/known_hosts"


def reinstalling_folder(cluster: Cluster) -> str:
    """Return the path of the folder with a file for each host whose reinstallation has begun and is not proven."""
    return f"{folder(cluster)}/reinstalling"


def reinstalling_path(cluster: Cluster, host: Host) -> str:
    """Return the path of the file that exists while the host's reinstallation is not proven."""
    return f"{reinstalling_folder(cluster)}/{host.name}"


def record_path(run: Run) -> str:
    """Return the path of the run's record on the Daisy host."""
    return f"{folder(run.cluster)}/record/{quote_name(run.owner)}.jsonl"


def quote_name(text: str) -> str:
    """Return `text` as a file name: everything but letters, digits and `_.-` becomes `_`."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "_" for c in text)


def read_script(cluster: Cluster) -> str:
    """Return the script that prints everything a step needs to know from the Daisy host, in one go."""
    d = quote(folder(cluster))
    return f"""\
cat {d}/lock 2>/dev/null; echo {_MARK}
cat {d}/known_hosts 2>/dev/null; echo {_MARK}
ls -1 {d}/reinstalling 2>/dev/null; echo {_MARK}
"""


def read(output: Output, cluster: Cluster) -> Custody:
    """Read what `read_script` printed."""
    if output.status is None:
        raise ConnectionLost("reading", cluster.daisy.name, f"cat {folder(cluster)}/lock", "no exit status came back")
    parts = output.stdout.split(_MARK)
    if len(parts) != 4:
        raise FactUnreadable(cluster.daisy.name, f"cat {folder(cluster)}/lock", output.tail or "nothing")
    pins = {}
    for line in parts[1].splitlines():
        words = line.split()
        if len(words) >= 3:
            pins.update(dict.fromkeys(words[0].split(","), f"{words[1]} {words[2]}"))
    return Custody(read_holder(parts[0]), pins, frozenset(parts[2].split()))


def record_script(run: Run, *events: Mapping[str, object], begin: bool = True) -> str:
    """Return the script that appends events to the run's record, in one write. They go through `kept`.

    Steps on many hosts write at the same time. One `cat` of a small file is one write, whatever the shell's printf does.
    Without `begin`, a run that has no record, because it ended before it touched anything, gets none.
    """
    path = quote(record_path(run))
    lines = "\n".join(json.dumps(kept(event), ensure_ascii=False, sort_keys=True) for event in events)
    first = f'mkdir -p "$(dirname {path})" || exit $?' if begin else f"test -e {path} || exit 0"
    return f"""\
{first}
umask 077
new=$(mktemp {path}.XXXXXX) || exit $?
trap 'rm -f "$new"' EXIT
printf '%s\\n' {quote(lines)} > "$new" && cat "$new" >> {path}"""


def record_scripts(run: Run, events: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """Yield the scripts that append many events, as few as one write and one argument of a shell allow."""
    packed: list[Mapping[str, object]] = []
    size = 0
    for event in events:
        more = _size(kept(event))
        if packed and size + more > WRITE_LIMIT:
            yield record_script(run, *packed)
            packed, size = [], 0
        packed.append(event)
        size += more
    if packed:
        yield record_script(run, *packed)


def kept(event: Mapping[str, object]) -> dict[str, Any]:
    """Return an event as it may lie in a record: without secrets, control characters and anything endless."""
    safe = {str(key): _kept(value, TEXT_LIMIT) for key, value in event.items()}
    if _size(safe) <= WRITE_LIMIT:
        return safe
    single = {key: value for key, value in safe.items() if not isinstance(value, (list, dict))}
    return {key: _kept(value, TEXT_LIMIT // 10) for key, value in single.items()} | {"shortened": True}


def _size(event: Mapping[str, object]) -> int:
    """How many bytes it is as a word of a shell, which is longer than what is written."""
    return len(quote(json.dumps(event, ensure_ascii=False)).encode())


def _kept(value: object, most: int) -> Any:
    if isinstance(value, str):
        return shortened(masked(printable(value)), most)
    if isinstance(value, Mapping):
        return {str(_kept(str(key), most)): _kept(each, most) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_kept(each, most) for each in value]
    return value


def read_record(text: str) -> tuple[dict[str, Any], ...]:
    """Read a run's record; a line that a crash has cut off is kept as unreadable."""
    return tuple(_event(line) for line in text.split("\n") if line.strip())


def _event(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        event = None
    return event if isinstance(event, dict) else {"event": "unreadable", "line": line[:200]}


def ssh_to(cluster: Cluster, host: Host) -> str:
    """Return the OpenSSH command with which the Daisy host reaches a node, its key verified against the pins."""
    options = [
        "-o BatchMode=yes",
        "-o StrictHostKeyChecking=yes",
        f"-o UserKnownHostsFile={quote(pins_path(cluster))}",
        "-o GlobalKnownHostsFile=/dev/null",
        "-o ConnectTimeout=20",
        f"-p {host.port}",
    ]
    if cluster.daisy.root:
        # OpenSSH looks for keys in the home that the machine's passwd names, which is not below this root.
        options.append(f"-i {quote(cluster.daisy.path('/root/.ssh/id_ed25519'))}")
    return f"ssh {' '.join(options)} root@{host.address}"

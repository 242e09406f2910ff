"""What the product keeps on the Daisy host about a cluster: the lock, pinned host keys, reinstallations under way, record.

It lies on the host that every run must reach anyway, so that workers on different machines agree without sharing a disk.

    lock            who may change the cluster                 known_hosts    keys that the nodes were proven to have
    reinstalling/   one file per node from the moment an installer is started until its result is proven
    saved/          files that a reinstallation would lose     record/        what each run did, one JSON line per event
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from include.runbook.cluster import Cluster, Host
from include.runbook.errors import ConnectionLost, FactUnreadable
from include.runbook.lock import Holder, read_holder
from include.runbook.shell import Output, quote
from include.runbook.step import Run

_MARK = "==tecs-rollback=="


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


def reinstalling_path(cluster: Cluster, host: Host) -> str:
    """Return the path of the file that exists while the host's reinstallation is not proven."""
    return f"{folder(cluster)}/reinstalling/{host.name}"


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


def record_script(run: Run, event: dict[str, object]) -> str:
    """Return the script that appends one event to the run's record, atomically for lines of this size."""
    path = quote(record_path(run))
    line = json.dumps(event, ensure_ascii=False, sort_keys=True)
    return f"mkdir -p \"$(dirname {path})\" && printf '%s\\n' {quote(line)} >> {path}"


def read_record(text: str) -> tuple[dict[str, Any], ...]:
    """Read a run's record; a line that a crash has cut off is kept as unreadable."""
    events = []
    for line in text.splitlines():
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            events.append({"event": "unreadable", "line": line[:200]})
    return tuple(events)


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

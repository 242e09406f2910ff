"""Restore points: what an upgrade has saved on the Daisy host, before it changed anything, for a rollback to come.

    restore/<release>/manifest.json     what is saved: of which host, where, how long, its checksum, when, of which release
    restore/<release>/<host>/           the files of a host                restore/<release>/cloud/   databases and placement

They are kept by the release that they lead back to. The manifest is believed only as far as the files bear it out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from include.runbook.cluster import Host
from include.runbook.custody import folder
from include.runbook.shell import Output, quote
from include.runbook.step import Read, Run

NOVA_CONF = "nova.conf"
"""What a compute's settings are called among its saved files."""

STORAGE = "storage.tar"
"""What B's cinder, multipath and Ceph settings are called among its saved files."""

MANIFEST = "manifest.json"

_MARK = "==files=="


@dataclass(frozen=True)
class Item:
    """One file of a restore point. `path` is below the release's folder, or absolute; `at` when it was saved.

    `release` is the release of the host then, and `installed_at` what its probe printed; empty for what no node has.
    """

    what: str
    host: str
    path: str
    size: int
    sha256: str
    at: datetime
    release: str
    installed_at: str


@dataclass(frozen=True)
class Points:
    """One reading of what is saved: the manifest's items, and the files as they really are: path -> checksum and size.

    `there` is False where nothing was ever saved; `flaw` says why the manifest cannot be read.
    """

    there: bool
    items: tuple[Item, ...]
    files: Mapping[str, tuple[str, int]]
    now: datetime
    flaw: str = ""

    def item(self, host: str, what: str) -> Item | None:
        """Return what is listed of a host under this name."""
        return next((item for item in self.items if (item.host, item.what) == (host, what)), None)

    def is_whole(self, item: Item) -> bool:
        """True when the file is there with the size and checksum that the manifest says."""
        return self.files.get(item.path) == (item.sha256, item.size)


def release_kept(run: Run) -> str:
    """Return the release that the run's restore points lead back to: a rollback's own target, or the inventory's."""
    return run.target if run.dag.startswith("rollback_") else run.cluster.target_release


def points_folder(run: Run) -> str:
    """Return the folder on the Daisy host of what is saved of the release."""
    return f"{folder(run.cluster)}/restore/{release_kept(run)}"


def point_path(run: Run, host: Host, what: str) -> str:
    """Return the path on the Daisy host of one thing that is saved of a node."""
    return f"{points_folder(run)}/{host.name}/{what}"


def reading(run: Run) -> Read:
    """Return the read of the manifest, of the checksum of every file that it may list, and of the Daisy host's time."""
    kept = release_kept(run)
    bin_name = run.cluster.releases[kept].bin.rsplit("/", 1)[-1]
    staged = run.cluster.daisy.path(f"{run.cluster.paths.staging}/{kept}/{bin_name}")
    return _reading(run, f"*/* {quote(staged)}")


def reading_of(run: Run, host: Host) -> Read:
    """Return the same read for one host's files only: those of the databases are long."""
    return _reading(run, f"{quote(host.name)}/*")


def _reading(run: Run, files: str) -> Read:
    return Read(
        run.cluster.daisy,
        f"""\
cd {quote(points_folder(run))} 2>/dev/null || exit 0
cat {MANIFEST} 2>/dev/null
echo {_MARK} "$(date +%s)"
for f in {files}; do
  test ! -f "$f" || printf '%s %s %s\\n' "$(sha256sum < "$f" | cut -c1-64)" "$(wc -c < "$f")" "$f"
done""",
    )


def read_points(output: Output) -> Points:
    """Read what `reading` printed. A manifest that cannot be read lists nothing, and the flaw says why."""
    text, _, rest = output.stdout.partition(_MARK)
    time, _, listed = rest.partition("\n")
    if re.fullmatch("[0-9]{1,11}", time.strip()) is None:
        return Points(False, (), {}, datetime.fromtimestamp(0, UTC), "" if output.ok else output.tail)
    now = datetime.fromtimestamp(int(time), UTC)
    files = {
        path: (checksum, int(size))
        for checksum, size, path in re.findall(r"(?m)^([0-9a-f]{64}) ([0-9]{1,18}) (.+)$", listed)
    }
    try:
        return Points(True, tuple(_item(row) for row in json.loads(text)["items"]), files, now)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return Points(True, (), files, now, f"{MANIFEST} is missing or cannot be read")


def _item(row: Mapping[str, Any]) -> Item:
    at = datetime.fromisoformat(str(row["at"]))
    texts = {key: str(row[key]) for key in ("what", "host", "path", "sha256", "release", "installed_at")}
    return Item(**texts, size=int(row["size"]), at=at if at.tzinfo else at.replace(tzinfo=UTC))


def saved_nova_conf(run: Run, compute: Host, points: Points) -> Item | None:
    """Return the compute's nova.conf of before the upgrade, where it was saved and is whole."""
    item = points.item(compute.name, NOVA_CONF)
    return item if item and item.release == release_kept(run) and points.is_whole(item) else None

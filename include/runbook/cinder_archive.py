"""What is kept of B's storage settings while B is reinstalled: which files, in one archive on the Daisy host.

An archive and not a folder: names of owners and modes survive in it on a host that does not know these owners. It holds
passwords and Ceph's keys: it is root's alone, and nothing of it is printed but names and checksums.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from include.runbook import list_backends
from include.runbook.cinder_backends import BackEnds, missing_files, read_back_ends
from include.runbook.cluster import Cluster
from include.runbook.custody import folder, reinstalling_path
from include.runbook.remote_python import program
from include.runbook.shell import Output, quote
from include.runbook.step import Goal, Read, Verdict

CINDER_CONF = "/etc/cinder/cinder.conf"
MULTIPATH_CONF = "/etc/multipath.conf"
CEPH_FILES = "/etc/ceph"

TAR = "tar -cf - --dereference --hard-dereference --no-recursion -T -"
"""Shell: writes an archive of the files that its input names: contents, never links."""

LISTING = Path(list_backends.__file__)
"""The program that lists a cinder.conf's back ends on a host."""


def archive(cluster: Cluster) -> str:
    """Return the path of the archive on the Daisy host."""
    return f"{folder(cluster)}/saved/{cluster.controllers.b.name}/storage.tar"


def archived_from(cluster: Cluster) -> str:
    """Return the path of the note on the Daisy host that says from which installation of B the archive is."""
    return f"{folder(cluster)}/saved/{cluster.controllers.b.name}/storage.installed_at"


def cinder_json(cluster: Cluster) -> str:
    """Return the absolute path of the settings that `cinder_conf` reads, before a host's root is put in front."""
    return re.sub("/+", "/", f"{cluster.paths.storage_auto_config}/base/cinder.json")


def list_files(cluster: Cluster) -> str:
    """Return the script that lists, below B's root, every file to be kept that there is.

    Besides the fixed places it follows cinder.conf to the files under /etc that it names: an array's settings may have
    any name there.
    """
    named = r"s|^[A-Za-z_]*[[:space:]]*[=:][[:space:]]*/\(etc/[A-Za-z0-9._/-]*\)[[:space:]]*$|\1|p"
    conf = CINDER_CONF.lstrip("/")
    return f"""\
cd {quote(cluster.controllers.b.root or "/")} || exit $?
for f in {quote(cinder_json(cluster).lstrip("/"))} {conf} etc/cinder/*.xml {MULTIPATH_CONF.lstrip("/")} \
etc/ceph/*.conf etc/ceph/*.keyring $(test ! -f {conf} || sed -n {quote(named)} {conf} | grep -vF ..); do
  test ! -f "$f" || printf '%s\\n' "$f"
done | tr -s / | sort -u"""


def pack(cluster: Cluster) -> str:
    """Return the script that writes the archive of the files to be kept to its standard output: contents, never links."""
    return f"{list_files(cluster)} | {TAR}"


def sums_on_b(cluster: Cluster) -> str:
    """Return the script that prints the checksums of the files to be kept as they lie on B now."""
    return f"{list_files(cluster)} | xargs -r -d '\\n' sha256sum"


def sums_in_archive(cluster: Cluster) -> str:
    """Return the script that prints the checksums of the files in the archive of B's settings."""
    return sums_in(archive(cluster))


def sums_in(path: str) -> str:
    """Return the script that prints the checksums of the files in an archive, without unpacking it to the disk."""
    one = 'printf "%s  %s\\n" "$(sha256sum | cut -c1-64)" "$TAR_FILENAME"'
    return f"tar -xf {quote(path)} --to-command={quote(one)}"


def sums_unpacked(directory: str) -> str:
    """Return the script that prints the checksums of the files below a directory."""
    return f"cd {quote(directory)} && find . -type f -printf '%P\\n' | sort | xargs -r -d '\\n' sha256sum"


def read_sums(output: Output) -> dict[str, str]:
    """Return absolute path -> checksum; nothing where the list did not come to its end, or is none."""
    pairs = [line.split(maxsplit=1) for line in output.stdout.splitlines() if line.strip()]
    if not output.ok or not all(len(pair) == 2 for pair in pairs):
        return {}
    return {f"/{path}": checksum for checksum, path in pairs}


# ---- is it saved? ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Saving:
    """One reading of what is saved of B and of what B has; `installed_at` is empty where no release is installed."""

    saved: dict[str, str]
    on_b: dict[str, str]
    saved_from: str
    installed_at: str
    reinstalling: bool
    listing: Output

    @property
    def same_installation(self) -> bool:
        """True when B has not been installed anew since."""
        return self.saved_from == self.installed_at


def _about_saving(sentence: str, cluster: Cluster, find: Callable[[_Saving], Verdict]) -> Goal:
    daisy, b = cluster.daisy, cluster.controllers.b
    conf = f"tar -xOf {quote(archive(cluster))} {CINDER_CONF.lstrip('/')}"

    def judge(outputs: Sequence[Output]) -> Verdict:
        saved, on_b, saved_from, installed_at, reinstalling, listing = outputs
        return find(
            _Saving(
                saved=read_sums(saved),
                on_b=read_sums(on_b),
                saved_from=saved_from.stdout.strip(),
                installed_at=installed_at.stdout.strip() if installed_at.ok else "",
                reinstalling=reinstalling.ok,
                listing=listing,
            )
        )

    reads = (
        Read(daisy, sums_in_archive(cluster)),
        Read(b, sums_on_b(cluster)),
        Read(daisy, f"cat {quote(archived_from(cluster))}"),
        Read(b, cluster.probes.installed_at),
        Read(daisy, f"test -e {quote(reinstalling_path(cluster, b))}"),
        # The program itself comes through standard input.
        Read(daisy, f"{conf} | {program(LISTING, 'back-ends', '/dev/fd/3')} 3<&0"),
    )
    return Goal(sentence, reads, judge)


def storage_settings_are_saved(cluster: Cluster) -> Goal:
    """What the archive holds is what must come back: B's files as they are now, or as they were before B was taken down."""
    b = cluster.controllers.b

    def find(now: _Saving) -> Verdict:
        if CINDER_CONF not in now.saved:
            return Verdict(False, f"no whole archive of {b.name}'s storage settings is on the Daisy host")
        back_ends = read_back_ends(cluster.daisy.name, f"{LISTING.name} back-ends", now.listing)
        if wanting := _lacking(cluster, now.saved, back_ends):
            return Verdict(False, f"the archive is not enough: {'; '.join(wanting)}")
        kept = f"{len(now.saved)} files are saved; back ends: {back_ends}"
        if now.reinstalling or not now.installed_at:
            state = "being reinstalled" if now.reinstalling else "not installed any more"
            return Verdict(True, f"{b.name} is {state}; {kept}")
        if not now.same_installation:
            return Verdict(False, f"what is saved is from another installation of {b.name}")
        # A file that has gone since is kept: `clean` may have begun.
        if differing := [path for path, checksum in now.on_b.items() if now.saved.get(path) != checksum]:
            return Verdict(False, f"changed on {b.name} since they were saved: {', '.join(differing)}")
        absent = [path for path in (cinder_json(cluster), MULTIPATH_CONF) if path not in now.saved]
        return Verdict(True, kept + (f"; {b.name} has no {' and no '.join(absent)}" if absent else ""))

    return _about_saving(f"the storage settings of {b.name} are saved on the Daisy host", cluster, find)


def may_be_saved(cluster: Cluster) -> Goal:
    """B is as it was before the rollback took it down: nothing else may take the place of what was saved."""
    b = cluster.controllers.b

    def find(now: _Saving) -> Verdict:
        if now.reinstalling:
            return Verdict(False, f"the reinstallation of {b.name} has begun: what lies there is the installer's")
        if not now.installed_at:
            return Verdict(False, f"{b.name} is not installed any more")
        gone = [path for path in now.saved if path not in now.on_b]
        if gone and now.same_installation:
            return Verdict(False, f"{', '.join(gone)} has gone from {b.name} since it was saved")
        return Verdict(True, f"{b.name} has not been touched")

    return _about_saving(f"{b.name} still has the settings with which it was in service", cluster, find)


def _lacking(cluster: Cluster, files: Mapping[str, str], back_ends: BackEnds) -> list[str]:
    """Return what the declared back ends need and is not among the files."""
    wanting = missing_files(back_ends, back_ends.enabled, files)
    source = cinder_json(cluster)
    if back_ends.arrays and source not in files:
        wanting.append(f"{source}, from which cinder_conf makes {', '.join(back_ends.arrays)}, is missing")
    return wanting

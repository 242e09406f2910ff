"""What this machine's own apt is set up with, so that a tree is built from the same sources in the same way."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from include.cluster_lab.commands import run
from include.lab.errors import LabError

TRANSPORT = re.compile(r"Acquire::(http|https|ftp|Retries|Check-|ForceIPv)", re.IGNORECASE)
"""The settings that say how packages are fetched; a tree keeps its own in everything else."""

FIELDS = "$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
ENVIRONMENT = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
CREDENTIALS = (Path("/etc/apt/auth.conf"), Path("/etc/apt/auth.conf.d"))


def debian_sources() -> tuple[str, str, list[str]]:
    """The suite to install, the mirror that has it, and lines for sources.list: Debian's own sources of this machine."""
    suite = _suite()
    lines: list[str] = []
    mirror = ""
    indexes = run(["apt-get", "indextargets", "--format", FIELDS, "Created-By: Packages"]).stdout
    for line in indexes.splitlines():
        origin, codename, uri, release, component = line.split("|")
        if origin == "Debian" and codename.startswith(suite):
            lines.append(f"deb {uri} {release} {component}")
            mirror = mirror or (uri if release == suite and component == "main" else "")
    if not mirror:
        raise LabError(
            f"apt on this machine has no source for Debian {suite} main; the cluster lab builds its hosts of it"
        )
    return suite, mirror, lines


@contextmanager
def passed_on() -> Iterator[list[str]]:
    """Options of systemd-nspawn by which apt in a tree fetches as apt on this machine does; nothing stays in the tree."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [line for line in run(["apt-config", "dump"]).stdout.splitlines() if TRANSPORT.match(line)]
        options = []
        if CERTIFICATES.exists():
            options.append(f"--bind-ro={CERTIFICATES}:/run/machine-ca.crt")
            settings.append('Acquire::https::CAInfo "/run/machine-ca.crt";')
        (Path(folder) / "apt.conf").write_text("\n".join(settings) + "\n")
        options += [f"--bind-ro={folder}/apt.conf:/run/machine-apt.conf", "--setenv=APT_CONFIG=/run/machine-apt.conf"]
        options += [f"--bind-ro={path}" for path in CREDENTIALS if path.exists()]
        options += [f"--setenv={name}={os.environ[name]}" for name in ENVIRONMENT if name in os.environ]
        yield options


def _suite() -> str:
    found = re.search(r"^VERSION_CODENAME=(\w+)$", Path("/etc/os-release").read_text(), re.MULTILINE)
    if found is None:
        raise LabError("/etc/os-release has no VERSION_CODENAME; the cluster lab needs Debian 12 or newer")
    return found[1]

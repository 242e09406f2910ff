"""root's known_hosts on the Daisy host at the start: hashed, and mostly out of date after an upgrade."""

from __future__ import annotations

import subprocess
from pathlib import Path

import asyncssh

from include.lab.keys import HostKeys, public_text
from include.lab.topology import Site, SiteHost
from include.lab.world import World

UNRELATED = "10.43.211.7"


def write_known_hosts(world: World, site: Site, keys: HostKeys) -> None:
    """A's entries are true; those of B, the computes and the virtual IPs are stale; one host is unrelated."""
    a, _ = site.controllers
    stale = public_text(asyncssh.generate_private_key("ssh-ed25519"))
    lines = []
    for host in site.hosts:
        key = public_text(keys.of(world.machines[host.name])) if host in (a, site.daisy) else stale
        lines += [f"{known_name(name, host.port)} {key}" for name in (host.address, host.name)]
    lines += [f"{known_name(address, site.virtual_port)} {stale}" for address in site.virtual_ips]
    lines.append(f"{UNRELATED} {public_text(asyncssh.generate_private_key('ssh-ed25519'))}")
    path = world.tree(site.daisy.name) / "root/.ssh/known_hosts"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    _hash(path)


def known_name(name: str, port: int) -> str:
    """How OpenSSH writes a host in known_hosts."""
    return name if port == 22 else f"[{name}]:{port}"


def own_key_path(world: World, daisy: SiteHost) -> Path:
    """Where Daisy's own key lies."""
    return world.tree(daisy.name) / "root/.ssh/id_ed25519"


def _hash(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-H", "-f", str(path)], check=True, capture_output=True)
    path.with_name(path.name + ".old").unlink()

"""What lies on the Daisy host: the cluster's data, the installers, and a known_hosts that is mostly out of date."""

from __future__ import annotations

import shutil
from pathlib import Path

from include.cluster_lab.commands import run
from include.cluster_lab.host import Host
from include.cluster_lab.keys import public_file
from include.cluster_lab.likeness import PLAYED
from include.cluster_lab.site import BIN_FOLDER, DAISY, FLOAT_IP, PUBLIC_IP, A
from include.lab.answer_file import mappings_json, tecs_conf
from include.lab.installer_bin import bin_bytes, bin_name
from include.lab.topology import BAD_RELEASE, GOOD_RELEASE
from include.lab.world import World

DATA = "var/lib/daisy/tecs"
FOLDERS = ("home/tecs_install", "var/log/daisy", "var/tmp/packstack", BIN_FOLDER.lstrip("/"))
UNRELATED = "10.43.211.7"


def lay_out_daisy(world: World, daisy: Host, own_key: Path, host_keys: dict[str, str], stale: str) -> None:
    """The Daisy host, which is off, can install the cluster; it knows A's SSH host key and a stale one of the others."""
    data = daisy.tree / DATA / world.cluster_id
    for folder in (data, *(daisy.tree / name for name in FOLDERS)):
        folder.mkdir(parents=True, exist_ok=True)
    (data / "tecs.conf").write_bytes(tecs_conf(world, f"/{DATA}//{world.cluster_id}/mappings.json"))
    (data / "mappings.json").write_bytes(mappings_json(world))
    for release in (GOOD_RELEASE, BAD_RELEASE):
        installer = daisy.tree / BIN_FOLDER.lstrip("/") / bin_name(release)
        installer.write_bytes(bin_bytes(release))
        installer.chmod(0o755)
    home = daisy.tree / "root/.ssh"
    shutil.copy(own_key, home / "id_ed25519")
    shutil.copy(public_file(own_key), home / "id_ed25519.pub")
    _write_known_hosts(home / "known_hosts", host_keys, stale)


def _write_known_hosts(path: Path, host_keys: dict[str, str], stale: str) -> None:
    lines = [f"{UNRELATED} {stale}", f"{FLOAT_IP} {stale}", f"{PUBLIC_IP} {stale}"]
    for host in PLAYED:
        key = host_keys[host.name] if host in (DAISY, A) else stale
        lines += [f"{host.address} {key}", f"{host.name} {key}"]
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    run(["ssh-keygen", "-H", "-f", str(path)])
    path.with_name("known_hosts.old").unlink()

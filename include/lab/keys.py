"""SSH keys of the lab, all throw-away: host keys by host and version, the operator's key and Daisy's own."""

from __future__ import annotations

from pathlib import Path

import asyncssh

from include.lab.world import Machine


class HostKeys:
    """Each host's key; a reinstalled host has a higher key version and therefore another key."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, int], asyncssh.SSHKey] = {}

    def of(self, machine: Machine) -> asyncssh.SSHKey:
        """The key that the host shows to new connections now."""
        wanted = (machine.name, machine.key_version)
        if wanted not in self._keys:
            self._keys[wanted] = asyncssh.generate_private_key("ssh-ed25519", comment=machine.name)
        return self._keys[wanted]


def public_text(key: asyncssh.SSHKey) -> str:
    """`ssh-ed25519 AAAA...`, without the comment."""
    return " ".join(key.export_public_key().decode().split()[:2])


def write_user_key(path: Path, comment: str) -> asyncssh.SSHKey:
    """Make a user's key pair at `path` and `path`.pub, readable by the owner only."""
    key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.write_bytes(key.export_private_key())
    path.with_name(path.name + ".pub").write_bytes(key.export_public_key())
    return key

"""SSH keys, all throw-away, made by ssh-keygen."""

from __future__ import annotations

from pathlib import Path

from include.cluster_lab.commands import run


def make_key(path: Path, comment: str) -> str:
    """Make an ed25519 key pair at `path` and `path`.pub; returns the public key without its comment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in (path, public_file(path)):
        old.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])
    return public_text(path)


def public_file(path: Path) -> Path:
    """Where the public key of the pair at `path` lies."""
    return path.with_name(path.name + ".pub")


def public_text(path: Path) -> str:
    """`ssh-ed25519 AAAA...` of the pair at `path`, without the comment."""
    return " ".join(public_file(path).read_text().split()[:2])

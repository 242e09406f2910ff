"""The tree that every host starts from: Debian with the packages of all roles, made once and cached.

A tree is named after a hash of the recipes that it is made by. It is built beside its place and renamed when it is
complete, so a tree that is there is whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from include.cluster_lab import cloud_tree, traces, tree_recipe
from include.cluster_lab.apt_settings import debian_sources, passed_on
from include.cluster_lab.machine import Say, install_programs
from include.lab.errors import LabError

CACHE = Path("/var/cache/tecs-cluster-lab")
LOG = CACHE / "build.log"


def base_tree(say: Say) -> Path:
    """The whole base tree, built first if this machine has none of this name. To be read only."""
    tree = CACHE / f"base-{_fingerprint()}"
    install_programs(say)
    with build_lock():
        if not tree.exists():
            started = time.monotonic()
            say(f"building the hosts' base tree {tree}: a few minutes, this once")
            _build(tree, say)
            say(f"the base tree is ready after {time.monotonic() - started:.0f} s")
    return tree


@contextlib.contextmanager
def build_lock() -> Iterator[None]:
    """Nobody else on this machine builds a tree meanwhile, nor uses the control group of what builds one."""
    CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fingerprint() -> str:
    recipes = (tree_recipe, cloud_tree)
    text = b"".join(Path(str(recipe.__file__)).read_bytes() for recipe in recipes)
    return hashlib.sha256(text).hexdigest()[:12]


def _build(tree: Path, say: Say) -> None:
    for leftover in CACHE.glob("building-*"):
        shutil.rmtree(leftover)
    building = Path(tempfile.mkdtemp(prefix="building-", dir=CACHE))
    building.chmod(0o755)
    suite, mirror, sources = debian_sources()
    with LOG.open("w") as log, passed_on() as settings:
        say(f"  Debian {suite} (log: {LOG})")
        _logged(["debootstrap", "--variant=minbase", "--include=ca-certificates", suite, str(building), mirror], log)
        (building / "etc/apt/sources.list").write_text("\n".join(sources) + "\n")
        say(f"  {len(_packages())} packages and what they depend on")
        _install_packages(building, settings, log)
        say("  preparing the tree")
        for recipe in (tree_recipe, cloud_tree):
            recipe.prepare(building, lambda argv: in_tree(building, argv, log))
    building.rename(tree)


def _packages() -> tuple[str, ...]:
    return (*tree_recipe.PACKAGES, *cloud_tree.PACKAGES)


def _install_packages(tree: Path, settings: Sequence[str], log: IO[str]) -> None:
    # Nothing starts while the tree is built.
    policy = tree / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    (tree / "etc/hosts").write_text("127.0.0.1 localhost base\n")
    preseed = tree / "var/tmp/preseed"
    preseed.write_text(cloud_tree.PRESEED)
    install = (
        "set -e; export DEBIAN_FRONTEND=noninteractive; debconf-set-selections /var/tmp/preseed; apt-get update; "
        'apt-get install --yes --no-install-recommends -o Dpkg::Options::=--force-unsafe-io "$@"; apt-get clean'
    )
    network = ["--resolv-conf=copy-host", *settings]
    in_tree(tree, ["sh", "-c", install, "install", *_packages()], log, network)
    preseed.unlink()
    policy.unlink()


def in_tree(tree: Path, argv: Sequence[str], log: IO[str], options: Sequence[str] = ("--private-network",)) -> None:
    """Run a program in the tree, with /proc and /dev but without a boot."""
    container = ["systemd-nspawn", "--quiet", f"--directory={tree}", "--hostname=base", "--register=no", "--keep-unit"]
    console = ["--as-pid2", "--console=pipe", "--timezone=off"]
    _logged([*container, *console, *options, "--", *argv], log)


def _logged(argv: Sequence[str], log: IO[str]) -> None:
    log.write(f"+ {' '.join(argv)}\n")
    log.flush()
    # A build is heavy and nobody waits for it at a prompt: whatever else runs here goes first.
    # nspawn makes control groups below its own and leaves them: without one of its own they would stay in the root.
    line = traces.in_group(traces.BUILDING, ["nice", *argv])
    try:
        done = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
    finally:
        traces.remove_group(traces.BUILDING)
    if done.returncode != 0:
        last = "\n".join(LOG.read_text(errors="replace").splitlines()[-15:])
        raise LabError(
            f"building the base tree: `{' '.join(argv[:4])} ...` ended with {done.returncode}; see {LOG}:\n{last}"
        )

"""lab-node-installer: what the installer on the Daisy host has done on a node, over SSH. Hidden; the lab's own.

Emulated: packages come (the release's rpm), and nothing runs yet. The rest of an installation is done by the director,
from outside, because it makes the node's tree anew.
"""

from __future__ import annotations

import subprocess
import sys

from include.cluster_lab.programs.director import Refused, ask
from include.cluster_lab.tree_recipe import rpm_path

PACKAGE = "openstack-nova-common"


def main(argv: list[str]) -> int:
    """Lay down the packages of a release."""
    match argv:
        case ["packages", release]:
            try:
                ask("packages", release=release, found=installed_release())
            except Refused as refusal:
                print(refusal, file=sys.stderr)
                return 1
            install(release)
            return 0
    print("usage: lab-node-installer packages RELEASE", file=sys.stderr)
    return 1


def installed_release() -> str:
    """The release that rpm tells; empty when the package is not there."""
    query = ["rpm", "--query", "--queryformat", "%{RELEASE}", PACKAGE]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def install(release: str) -> None:
    """The rpm of the release is installed, whichever release was there."""
    options = ["--upgrade", "--oldpackage", "--replacepkgs", "--nodeps", "--force-debian"]
    subprocess.run(["rpm", *options, rpm_path(release)], check=True)


def remove() -> None:
    """The package is not there any more."""
    subprocess.run(["rpm", "--erase", "--nodeps", "--force-debian", PACKAGE], check=True)

"""What an operator does on the cluster lab's hosts, as the runbook says: shared by the tests."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from include.cluster_lab.client import ClusterLabClient
from include.cluster_lab.site import BIN_FOLDER, DAISY, FLOAT_IP, HOSTS, PUBLIC_IP, A, B, SiteHost
from include.lab.installer_bin import bin_name
from include.lab.topology import GOOD_RELEASE
from tests.cluster.conftest import until

BIN = f"{BIN_FOLDER}/{bin_name(GOOD_RELEASE)}"
CONF = "/var/lib/daisy/tecs/*/tecs.conf"
OPENRC = ". /root/keystonerc_admin"
SERVICES = "openstack compute service list --service nova-compute --long -f json"
REACTS = 90.0
"""Seconds that a reaction of Nova may take on a busy machine."""


def run(lab: ClusterLabClient, host: SiteHost, command: str, stdin: str = "") -> str:
    """Run a command that must succeed; returns its standard output."""
    done = lab.run(host.name, command, stdin)
    assert done.returncode == 0, f"{host.name}: {command!r} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def client(lab: ClusterLabClient, command: str) -> Any:
    """What the `openstack` client on A prints as JSON."""
    return json.loads(run(lab, A, f"{OPENRC} && {command}"))


def await_service(lab: ClusterLabClient, host: SiteHost, state: str) -> None:
    """The cloud sees the nova-compute of the host up, or down."""
    until(
        lambda: {row["Host"]: row["State"] for row in client(lab, SERVICES)}[host.name] == state,
        f"nova-compute of {host.name} is {state}",
        REACTS,
    )


def active(lab: ClusterLabClient) -> str | None:
    """The controller that holds the float IP."""
    found: str | None = lab.state()["cluster"]["active"]
    return found


def shown_key(address: str) -> str:
    """The host key that whoever answers at the address shows."""
    line = ["ssh-keyscan", "-t", "ed25519", address]
    scanned = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    return " ".join(scanned.split()[1:3])


def pin_all_keys(lab: ClusterLabClient) -> None:
    """Daisy knows the present host key of every address."""
    for address in (*(host.address for host in HOSTS if host.role != "cloud"), FLOAT_IP, PUBLIC_IP):
        run(lab, DAISY, f"ssh-keygen -R {address}; ssh-keyscan -t ed25519 {address} >> /root/.ssh/known_hosts")


def leave_out_all_but(lab: ClusterLabClient, *installed: SiteHost) -> None:
    """The installer touches these nodes only."""
    others = [host for host in HOSTS if host.role in ("controller", "compute") and host not in installed]
    excluded = ",".join(host.address for host in others)
    run(lab, DAISY, f"sed -i 's/^EXCLUDE_SERVERS.*/EXCLUDE_SERVERS = {excluded}/' {CONF}")


def clean(lab: ClusterLabClient, host: SiteHost) -> None:
    """TECS is removed from the node."""
    installer = run(lab, DAISY, f"base64 {BIN}")
    run(lab, host, "base64 -d > /home/old.bin && chmod +x /home/old.bin", installer)
    run(lab, host, "/home/old.bin clean")


def install(lab: ClusterLabClient) -> str:
    """The old release's installer has run on Daisy, alone in its folder; returns what it printed."""
    folder = "/home/tecs_install/old"
    run(lab, DAISY, f"mkdir -p {folder} && cp {BIN} {folder}/")
    return run(lab, DAISY, f"{folder}/{bin_name(GOOD_RELEASE)} conf_file {CONF}")


def copy_from_a_to_b(lab: ClusterLabClient, *files: str) -> None:
    """B has A's files."""
    for file in files:
        run(lab, B, f"base64 -d > {file}", run(lab, A, f"base64 {file}"))


def nodes_online(lab: ClusterLabClient) -> list[str]:
    """The names of the controllers that Pacemaker has online."""
    found: list[str] = lab.state()["cluster"]["online"]
    return found


def reinstalled_b(lab: ClusterLabClient) -> None:
    """B is cleaned and installed again, while A is active."""
    assert active(lab) == A.name
    clean(lab, B)
    pin_all_keys(lab)
    leave_out_all_but(lab, B)
    assert "Installation completed successfully" in install(lab)

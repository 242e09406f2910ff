"""Loopback networks for labs: sessions of tests, their processes and rehearsals do not get in each other's way."""

from __future__ import annotations

import itertools
import os
import socket

from include.rehearsal.twin import CLAIM, NETWORKS
from include.rehearsal.twin_inventory import PORT

_numbers = itertools.count(os.getpid() * 16)
_claims: list[socket.socket] = []
"""Kept as long as this process lives: a lab may listen later, or again."""


def free_network() -> str:
    """Return the first two octets of a network that is this process's own, another at each call."""
    for _ in range(250):
        network = f"127.{2 + next(_numbers) % 250}"
        if network not in NETWORKS and _claimed(network):
            return network
    raise RuntimeError("every loopback network is in use")


def _claimed(network: str) -> bool:
    claim = socket.socket()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            claim.bind((f"{network}.{CLAIM}", PORT))
            probe.bind((f"{network}.0.1", PORT))
        except OSError:
            claim.close()
            return False
    _claims.append(claim)
    return True

"""Loopback networks for labs: two sessions of tests on one machine do not get in each other's way."""

from __future__ import annotations

import itertools
import os
import socket

_numbers = itertools.count(os.getpid() * 16)


def free_network() -> str:
    """Return the first two octets of a network on whose Daisy address nobody listens, another at each call."""
    for _ in range(250):
        network = f"127.{2 + next(_numbers) % 250}"
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((f"{network}.0.1", 2222))
            except OSError:
                continue
        return network
    raise RuntimeError("a lab listens on every loopback network")

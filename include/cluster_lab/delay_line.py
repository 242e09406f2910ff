"""A cable that is slow in one direction, as tc's netem makes one: not every kernel has netem, and each has taps."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import threading
import time
from collections import deque

from include.cluster_lab import commands
from include.lab.errors import LabError

TUN_DEVICE = "/dev/net/tun"
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
SOL_PACKET, PACKET_VNET_HDR = 263, 15
ETH_P_ALL = 3
"""As in linux/if_tun.h, if_packet.h and if_ether.h. By VNET_HDR both ends tell what of a frame's checksum is yet to be made."""

LONGEST_FRAME = 70_000
"""Bytes of what the kernel hands over in one piece, and leaves to the network card to cut up."""


class DelayLine(threading.Thread):
    """From its start to its end, what leaves a host by `cable` reaches `bridge` `seconds` later than it would.

    What goes to the host is passed on at once: a round trip takes `seconds` longer.
    """

    def __init__(self, cable: str, bridge: str, seconds: float) -> None:
        super().__init__(name=f"delay line of {cable}", daemon=True)
        self._seconds = seconds
        self._on_their_way: deque[tuple[float, bytes]] = deque()
        self._tap, tap = _open_tap()
        commands.run(["ip", "link", "set", tap, "up", "master", bridge])
        # With arp on, this machine itself would answer the host at this end of its cable, past the delay.
        commands.run(["ip", "link", "set", cable, "nomaster", "arp", "off"])
        self._cable = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._cable.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self._cable.bind((cable, ETH_P_ALL))
        self._over, self._end = os.pipe()

    def end(self) -> None:
        """Nothing is passed on any more; what was on its way is lost."""
        os.close(self._end)
        self.join()
        self._cable.close()
        os.close(self._over)
        os.close(self._tap)  # and the tap is gone

    def run(self) -> None:
        """Pass frames on until the end, or until the host has gone with its cable."""
        try:
            self._pass_on()
        except OSError as gone:
            if gone.errno != errno.ENETDOWN:
                raise

    def _pass_on(self) -> None:
        sources: list[int | socket.socket] = [self._over, self._tap, self._cable]
        while True:
            wait = max(0.0, self._on_their_way[0][0] - time.monotonic()) if self._on_their_way else None
            ready, _, _ = select.select(sources, [], [], wait)
            if self._over in ready:
                return
            if self._cable in ready:
                self._take()
            if self._tap in ready:
                self._cable.send(os.read(self._tap, LONGEST_FRAME))
            while self._on_their_way and self._on_their_way[0][0] <= time.monotonic():
                os.write(self._tap, self._on_their_way.popleft()[1])

    def _take(self) -> None:
        frame, (_, _, direction, *_) = self._cable.recvfrom(LONGEST_FRAME)
        if direction != socket.PACKET_OUTGOING:
            self._on_their_way.append((time.monotonic() + self._seconds, frame))


def _open_tap() -> tuple[int, str]:
    """A tap that is there as long as it is open, and the name that the kernel gave it; LabError where none can be had."""
    wanted = struct.pack("16sH22x", b"late%d", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
    try:
        tap = os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        return tap, fcntl.ioctl(tap, TUNSETIFF, wanted)[:16].rstrip(b"\0").decode()
    except OSError as refused:
        raise LabError(f"a slow cable needs a tap, which cannot be had here: {refused}") from refused

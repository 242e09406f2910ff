"""How a stand-in talks to the lab's director: one line of JSON there, one line back, over a socket of its host's own."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

SOCKET = "/run/tecs-lab/director.sock"


class Refused(Exception):
    """The director refused; the message says why."""


@dataclass(frozen=True)
class Line:
    """An open connection to the director. While an installer holds one, the director knows that it lives."""

    connection: socket.socket

    def close(self) -> None:
        """The director sees that this program is done."""
        self.connection.close()


def ask(do: str, **what: Any) -> dict[str, Any]:
    """Ask the director once; Refused when it says no."""
    line, answer = hold(do, **what)
    line.close()
    return answer


def hold(do: str, **what: Any) -> tuple[Line, dict[str, Any]]:
    """Ask the director and keep the connection; Refused when it says no."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(SOCKET)
    connection.sendall(json.dumps({"do": do, **what}).encode() + b"\n")
    with connection.makefile("rb") as lines:
        answer: dict[str, Any] = json.loads(lines.readline())
    if "refused" in answer:
        connection.close()
        raise Refused(answer["refused"])
    return Line(connection), answer

"""An SSH session while a fault is ordered for this host: the director says whether it is this one, and what happens.

A command that no fault concerns runs as it would have: by the login shell, with the same standard input. Of a shell
that reads its script from standard input (`sh -s`), the script is read first, so that faults can aim at it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import NoReturn

from include.cluster_lab.programs.director import ask
from include.lab.ssh_faults import HANG_SECONDS, reads_script


def main(_: list[str]) -> NoReturn:
    """Run the session that was asked for, disturbed if a fault says so."""
    command = os.environ["SSH_ORIGINAL_COMMAND"]
    script = sys.stdin.buffer.read() if reads_script(command) else None
    text = command + "\n" + (script or b"").decode(errors="replace")
    fault = ask("disturbance", text=text).get("fault") or {}
    match fault.get("do"):
        case "exit":
            sys.stderr.write(str(fault.get("stderr", "")))
            sys.exit(int(fault.get("status", 1)))
        case "drop_before":
            _drop()
        case "drop_after":
            if script is not None:
                _give_back(script)
            subprocess.run(_shell(command), check=False)
            _drop()
        case "hang":
            time.sleep(HANG_SECONDS)
        case "delay":
            time.sleep(float(fault.get("seconds", 1)))
    if script is not None:
        _give_back(script)
    os.execv(_shell(command)[0], _shell(command))


def _shell(command: str) -> list[str]:
    return [os.environ["SHELL"], "-c", command]


def _drop() -> NoReturn:
    """Our parent is the sshd of this connection, and of no other."""
    os.kill(os.getppid(), signal.SIGKILL)
    sys.exit(1)


def _give_back(script: bytes) -> None:
    """Standard input begins with the script again."""
    memory = os.memfd_create("script")
    with os.fdopen(os.dup(memory), "wb") as file:
        file.write(script)
    os.lseek(memory, 0, os.SEEK_SET)
    os.dup2(memory, 0)
    os.close(memory)

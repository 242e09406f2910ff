"""What a login's shell on a host is given so that a script runs there: as root, whoever logs in, and whatever its length."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from include.runbook.errors import RootDenied
from include.runbook.shell import Output, quote

ROOT = "root"

ARGUMENT_LIMIT = 100_000
"""Bytes of a command that sshd is given. Linux takes 128 KiB as one argument, and that is what a shell gets its command as."""

_DENIED = re.compile(r"^(?:.*\bsudo: .*|Sorry, user .*|\S+ is not in the sudoers file.*)$", re.M)
"""How sudo, or a shell that finds no sudo, says that nothing was run."""


@dataclass(frozen=True)
class Call:
    """What is sent: a command for the login's shell, and what it reads from its standard input."""

    command: str
    stdin: bytes = b""


def call_for(script: str, login: str) -> Call:
    """Return what makes root's bash run `script` when `login` sends it.

    A login that is not root becomes it by sudo, which must not ask for a password. A script that is too long for a command is
    read from standard input, whole before any of it runs: a connection can end in its middle.
    """
    command = _as_root(script, login)
    if len(command.encode()) <= ARGUMENT_LIMIT:
        return Call(command)
    text = script.encode()
    receive = f"""\
script=$(cat; echo .) && script=${{script%.}}
test "$(printf %s "$script" | sha256sum)" = '{hashlib.sha256(text).hexdigest()}  -' ||
  {{ echo 'the script did not arrive whole; none of it was run' >&2; exit 2; }}
exec </dev/null
eval "$script\""""
    return Call(_as_root(receive, login), text)


def require_root(output: Output, host: str, login: str) -> Output:
    """Return the output of a call; raises RootDenied where sudo has not run it."""
    unrun = login != ROOT and output.status in (1, 127) and not output.stdout
    if unrun and (denied := _DENIED.search(output.stderr)):
        raise RootDenied(host, login, denied.group()[:200])
    return output


def _as_root(script: str, login: str) -> str:
    return script if login == ROOT else f"exec sudo -n -H -- /bin/bash -c {quote(script)}"

"""Programs of this machine, run to their end; a failure says what was run and what came out."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence

from include.lab.errors import LabError

TAIL = 1500
"""Characters of a failed program's output that its error shows."""


def run(
    argv: Sequence[str],
    *,
    stdin: str = "",
    check: bool = True,
    timeout: float | None = 60,
    env: Mapping[str, str] | None = None,
    where: str = "this machine",
) -> subprocess.CompletedProcess[str]:
    """Run a program and return its output; LabError when it fails (unless `check` is false) or outlives `timeout`."""
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=env,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        raise LabError(f"{where}: `{shlex.join(argv)}` did not end within {timeout:g} s") from expired
    except FileNotFoundError as missing:
        raise LabError(f"{where}: there is no program {argv[0]}") from missing
    if check and done.returncode != 0:
        told = (done.stderr.strip() or done.stdout.strip())[-TAIL:]
        raise LabError(f"{where}: `{shlex.join(argv)}` ended with {done.returncode}: {told}")
    return done

"""Send a program of this package to a host as text and run it there with the Python that the host has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

END_OF_PROGRAM = "END_OF_PROGRAM"

FIND_PYTHON = """\
python=$(command -v python3 || command -v python2 || command -v python) || {
echo 'no Python on this host' >&2; exit 2; }"""
"""The real nodes have Python 2.7 only; later systems have python3 only, and no plain `python` at all."""


def program(module_file: Path, *args: str) -> str:
    """Return a POSIX shell command that runs the Python file on a host with these arguments.

    The command is one group of lines in parentheses: it can stand wherever a command can, and its status is the
    program's. Without any Python it ends with status 2. The program cannot read the shell's standard input.
    """
    return _sent(module_file, " ".join(shlex.quote(arg) for arg in args))


def function(name: str, module_file: Path) -> str:
    """Return the definition of a shell function that runs the Python file with the function's own arguments.

    For a script that calls a program more than once, or with an argument that only the host knows.
    """
    own = '"$@"'
    return f"{name}() {_sent(module_file, own)}"


def _sent(module_file: Path, arguments: str) -> str:
    return f"""\
(
{FIND_PYTHON}
{fed(f'exec "$python" - {arguments}', module_file)}
)"""


def fed(command: str, module_file: Path) -> str:
    """Return the command with the Python file on its standard input: a Python, or an `ssh` that starts one elsewhere."""
    source = module_file.read_text(encoding="ascii").rstrip("\n")
    if END_OF_PROGRAM in source.splitlines():
        raise ValueError(f"{module_file.name} has a line {END_OF_PROGRAM}, which ends it when it is sent")
    return f"""\
{command} <<'{END_OF_PROGRAM}'
# include/runbook/{module_file.name}
{source}
{END_OF_PROGRAM}"""


def conf_edit(*args: str) -> str:
    """Return the shell command that edits or checks a configuration file on a host: see `conf_edit.py` for `args`."""
    return program(Path(__file__).with_name("conf_edit.py"), *args)


def conf_edit_function() -> str:
    """Return the definition of the shell function `conf_edit`, for a script that gives it what only the host knows."""
    return function("conf_edit", Path(__file__).with_name("conf_edit.py"))


def abridged(script: str) -> str:
    """Return a script for people to read, with each program that it carries left out and its length named."""

    def left_out(found: re.Match[str]) -> str:
        count = len(found["source"].splitlines())
        return f"{found['start']}\n... {count} lines of {found['file']} ...\n{END_OF_PROGRAM}"

    # Quoted once more, for a script within a script, a quotation mark becomes several.
    start = rf"<<(?P<quotes>['\"]+){END_OF_PROGRAM}(?P=quotes)"
    sent = rf"(?P<start>{start})\n# (?P<file>include/runbook/\w+\.py)\n(?P<source>.*?)\n{END_OF_PROGRAM}$"
    return re.sub(sent, left_out, script, flags=re.S | re.M)

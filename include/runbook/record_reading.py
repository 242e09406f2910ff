"""A run's record read from the Daisy host, whatever its size, with what the product keeps there besides."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime

from include.runbook import custody
from include.runbook.cluster import Cluster
from include.runbook.errors import FactUnreadable
from include.runbook.reach import CredentialsOf, sweep
from include.runbook.record import Record, read
from include.runbook.shell import Output, quote
from include.runbook.step import Read, Run

PIECE = 2_400_000
"""Bytes that are fetched at once: as text of base64 they stay below what is kept of a command's output."""

RECORD_LIMIT = 64_000_000
"""Bytes of a record that are read: two hundred computes leave less than a tenth of it."""


async def read_from_daisy(run: Run, credentials_of: CredentialsOf) -> Record:
    """Return the record of the run that holds or held the cluster as `run.owner`; one without events where there is none."""
    daisy, path = run.cluster.daisy, quote(custody.record_path(run))
    size_of = Read(daisy, f"test ! -e {path} || wc -c < {path}")
    size = min(_size(size_of, (await sweep(run.cluster, [size_of], credentials_of)).output(size_of)), RECORD_LIMIT)
    kept = Read(daisy, custody.read_script(run.cluster))
    pieces = [
        Read(daisy, f"tail -c +{offset + 1} {path} | head -c {min(PIECE, size - offset)} | base64")
        for offset in range(0, size, PIECE)
    ]
    answers = await sweep(run.cluster, [kept, *pieces], credentials_of)
    text = b"".join(_piece(piece, answers.output(piece)) for piece in pieces).decode("utf-8", "replace")
    kept_now = custody.read(answers.output(kept), run.cluster)
    return read(custody.read_record(text), run.owner, run.cluster.name, kept_now, datetime.now(UTC))


async def records_on_daisy(cluster: Cluster, credentials_of: CredentialsOf) -> tuple[str, ...]:
    """Return the names of the records that lie on the Daisy host, the newest last."""
    there = Read(cluster.daisy, f"ls -1tr {quote(f'{custody.folder(cluster)}/record')} 2>/dev/null")
    output = (await sweep(cluster, [there], credentials_of)).output(there)
    return tuple(name.removesuffix(".jsonl") for name in output.stdout.splitlines() if name.endswith(".jsonl"))


def _size(read: Read, output: Output) -> int:
    words = output.stdout.split()
    if not output.ok or (words and not re.fullmatch("[0-9]{1,18}", words[0])):
        raise FactUnreadable(read.host.name, read.command, output.tail)
    return int(words[0]) if words else 0


def _piece(read: Read, output: Output) -> bytes:
    try:
        return base64.b64decode(output.stdout) if output.ok else b""
    except ValueError:
        raise FactUnreadable(read.host.name, read.command, output.tail[:200]) from None

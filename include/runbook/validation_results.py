"""The results of a cluster's validations, one file each on the Daisy host, so that two can be compared."""

from __future__ import annotations

import json

from include.runbook.cluster import Cluster, Host
from include.runbook.custody import folder
from include.runbook.errors import CommandFailed, FactUnreadable
from include.runbook.shell import Output, quote

KEPT = 400
"""Results that are kept: more than a year of one a day."""


def _folder(cluster: Cluster) -> str:
    return f"{folder(cluster)}/validation"


def last(cluster: Cluster) -> str:
    """Return the script that prints the last result; nothing where there is none."""
    there = quote(_folder(cluster))
    return f'last=$(ls -1 {there}/*.json 2>/dev/null | tail -n 1); test -z "$last" || cat "$last"'


def read(output: Output, host: Host) -> dict[str, str]:
    """Return what each check came to in that result: `key -> result`; empty where there is no result yet."""
    if not output.ok:
        raise FactUnreadable(host.name, "the last validation", output.tail or "no answer")
    if not output.stdout.strip():
        return {}
    try:
        return {str(f["check"]): str(f["result"]) for f in json.loads(output.stdout)["findings"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FactUnreadable(host.name, "the last validation", output.stdout[:200]) from None


def keep(cluster: Cluster, when: str, text: str) -> str:
    """Return the script that keeps a result under its time, and of the earlier ones the newest."""
    there = quote(_folder(cluster))
    return f"""\
umask 077
mkdir -p {there} && cd {there} || exit 2
printf '%s\\n' {quote(text)} > {when}.json.new && mv {when}.json.new {when}.json || exit 2
ls -1 *.json | head -n -{KEPT} | xargs -r rm -f"""


def require_kept(output: Output, host: Host) -> None:
    """Raise CommandFailed where the result was not written."""
    if not output.ok:
        status = -1 if output.status is None else output.status
        raise CommandFailed(
            "validation", host.name, "keeping the result", status, output.tail, "see that the Daisy host has room"
        )

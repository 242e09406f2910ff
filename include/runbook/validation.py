"""Whether a cluster is well, and whether it could be rolled back now: checks that only read, each with what to do.

A check that could not be carried out has not passed: it is told apart as `unknown`, for it says nothing about the cluster.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from include.runbook.cluster import Cluster, Host
from include.runbook.custody import folder
from include.runbook.goals import (
    all_started,
    command_succeeds,
    compute_services,
    managed,
    services_in,
    unconstrained,
)
from include.runbook.preconditions import (
    a_can_be_active,
    daisys_data_present,
    installer_whole,
    known_release,
    no_foreign_constraint,
    reachable,
)
from include.runbook.reach import Sweep
from include.runbook.replication import replicated_as_declared
from include.runbook.room import rooms_to_drain
from include.runbook.shell import Output, quote
from include.runbook.step import Goal, Read, Run, Verdict
from include.runbook.steps.databases import schemas_known
from include.runbook.steps.restore_points import points_of, points_whole, where_saved

CLOCKS_APART = 10
"""Seconds by which a host's clock may differ from the Daisy host's; tokens and logs are of no use beyond."""

ROOM_MIB = 1024
"""Free space (MiB) that a host needs where files are staged and saved."""


class Severity(StrEnum):
    """What a check that does not pass means: a rollback would fail or harm, or somebody should look."""

    CRITICAL = "critical"
    WARNING = "warning"

    @property
    def weight(self) -> int:
        """How much of the score a check of this severity makes up."""
        return {Severity.CRITICAL: 5, Severity.WARNING: 1}[self]


class Result(StrEnum):
    """How a check went."""

    OK = "ok"
    FAILS = "fails"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Check:
    """One check: `id` begins with H for health now, R for readiness to roll back."""

    id: str
    goal: Goal
    severity: Severity
    advice: str

    @property
    def key(self) -> str:
        """What names the check from one validation to the next."""
        return f"{self.id} {self.goal.sentence}"


@dataclass(frozen=True)
class Finding:
    """What a check has found."""

    check: str
    severity: Severity
    result: Result
    found: str
    advice: str


def checks(run: Run) -> tuple[Check, ...]:
    """Return the checks of a cluster; `run` is the rollback of the whole cluster that might be needed."""
    return (*_health(run), *_readiness(run))


def _health(run: Run) -> tuple[Check, ...]:
    cluster = run.cluster
    a, daisy = cluster.controllers.a, cluster.daisy
    critical, warning = Severity.CRITICAL, Severity.WARNING
    return (
        *(
            Check("H1", reachable(host), critical, f"see that {host.name} is up, and that its key is the pinned one")
            for host in cluster.hosts
        ),
        # Read early in each host's session, so that the readings lie close together.
        *(
            Check("H8", _clock_agrees(cluster, node), warning, f"let it take its time from where {daisy.name} does")
            for node in cluster.nodes
        ),
        Check("H2", all_started(a), critical, "see `crm_mon -1` on A; clean up what has failed once it is repaired"),
        Check("H3", managed(a), warning, "leave maintenance mode when the work that needs it is done"),
        Check("H4", unconstrained(cluster, a), warning, "a ban belongs to an upgrade; clear it if none is going on"),
        *(
            Check("H5", virtual_ip_answers(cluster, ip), critical, "see where the float IP is started")
            for ip in cluster.virtual_ips
        ),
        Check("H6", services_up(cluster), critical, "see the service's log on the host that is named"),
        *(Check("H7", _has_room(cluster, host), warning, "make room") for host in cluster.hosts),
    )


def _readiness(run: Run) -> tuple[Check, ...]:
    cluster = run.cluster
    b, critical, warning = cluster.controllers.b, Severity.CRITICAL, Severity.WARNING
    cinder = f"{cluster.paths.storage_auto_config}/base/cinder.json"
    return (
        Check("R1", installer_whole(run), critical, f"put the installer of release {run.target} back"),
        Check("R2", daisys_data_present(cluster), critical, "find Daisy's data of this cluster, or correct cluster_id"),
        Check("R3", a_can_be_active(run), critical, "A must be able to take over before anything else can be done"),
        Check("R4", no_foreign_constraint(cluster), critical, "take the constraint away, or find out who needs it"),
        *(
            Check("R5", known_release(cluster, host), critical, "list the release under `releases`, or repair the host")
            for host in cluster.nodes
        ),
        *(Check("R6", room, critical, "free capacity, or plan for an outage") for room in rooms_to_drain(run)),
        Check("R7", schemas_known(run), critical, "a rollback needs `accept_newer_schema` and a backup"),
        Check("R8", replicated_as_declared(cluster), critical, "correct `storage`, or repair the replication"),
        *(
            Check("R9", _readable(host, cluster.paths.nova_conf), critical, "without it A4.1 has nothing to save")
            for host in cluster.computes
        ),
        Check("R10", _readable(b, cinder), warning, "without it A5.4 cannot restore the back ends: copy A's"),
        Check("R11", _nothing_unproven(cluster), critical, "resume the run that began it, or roll that host back"),
        *(Check("R12", where_saved(run, goal), warning, _SAVED_ANEW) for goal in _restore_points(run)),
    )


_SAVED_ANEW = (
    "the next upgrade_cluster saves them anew (U1); a rollback does without them, from what the hosts still have"
)


def _restore_points(run: Run) -> tuple[Goal, ...]:
    return (points_whole(run), *(points_of(run, node) for node in run.cluster.nodes))


def findings(checked: Sequence[Check], answers: Sweep) -> tuple[Finding, ...]:
    """Judge every check from one sweep over the hosts."""
    return tuple(_finding(check, answers) for check in checked)


def _finding(check: Check, answers: Sweep) -> Finding:
    unread = [read.host.name for read in check.goal.reads if answers.unread(read)]
    verdict = answers.judge(check.goal)
    result = Result.OK if verdict.met else Result.UNKNOWN if unread and check.id != "H1" else Result.FAILS
    return Finding(check.key, check.severity, result, verdict.found, "" if verdict.met else check.advice)


def score(found: Sequence[Finding]) -> int:
    """Return how much of what was checked is well, in percent, by weight; 100 only when everything is."""
    whole = sum(finding.severity.weight for finding in found)
    well = sum(finding.severity.weight for finding in found if finding.result is Result.OK)
    return int(100 * well / whole) if whole else 0


def could_roll_back(found: Sequence[Finding]) -> bool:
    """True when no critical check is wanting."""
    return all(f.result is Result.OK for f in found if f.severity is Severity.CRITICAL)


def worse_than_before(before: Mapping[str, str], now: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return what does not pass now and did in an earlier validation, given as key -> result; new checks count too."""
    return tuple(f for f in now if f.result is not Result.OK and before.get(f.check, "ok") == Result.OK)


def as_values(found: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return findings as plain values, for a file."""
    return [{name: str(value) for name, value in asdict(finding).items()} for finding in found]


def virtual_ip_answers(cluster: Cluster, address: str) -> Goal:
    port = cluster.ssh.port
    command = f"ssh-keyscan -T 5 -p {port} {address} 2>/dev/null | grep -q . && echo '{address} answers'"
    return command_succeeds(f"the virtual IP {address} answers", cluster.daisy, command)


def services_up(cluster: Cluster) -> Goal:
    """Nova knows every compute, and none that is enabled is down."""
    a, listing = cluster.controllers.a, compute_services(cluster)

    def judge(outputs: Sequence[Output]) -> Verdict:
        services = {s.host: s for s in services_in(a, listing, outputs[0])}
        missing = [c.name for c in cluster.computes if c.name not in services]
        down = sorted(s.host for s in services.values() if s.enabled and not s.up)
        off = sorted(f"{s.host} ({s.disabled_reason or 'no reason given'})" for s in services.values() if not s.enabled)
        told = [
            f"{what}: {', '.join(names)}"
            for what, names in (("unknown to Nova", missing), ("down", down), ("disabled", off))
            if names
        ]
        return Verdict(not missing and not down, "; ".join(told) or f"{len(services)} computes up and enabled")

    return Goal("nova-compute is up on every compute", (Read(a, listing),), judge)


def _has_room(cluster: Cluster, host: Host) -> Goal:
    where = host.path(cluster.paths.staging)
    command = (
        f'd={quote(where)}; while test ! -e "$d"; do d=$(dirname "$d"); done; '
        'free=$(df -Pm "$d" | awk \'NR == 2 { print $4 }\') && echo "$free MiB free on $d" && '
        f'test "$free" -ge {ROOM_MIB}'
    )
    return command_succeeds(
        f"{host.name} has {ROOM_MIB} MiB free for the installer and for what is saved", host, command
    )


def _clock_agrees(cluster: Cluster, host: Host) -> Goal:
    """Both clocks are read in one sweep, within a few seconds of each other."""
    daisy, now = cluster.daisy, "date +%s"

    def judge(outputs: Sequence[Output]) -> Verdict:
        told = [output.stdout.strip() for output in outputs]
        if not all(re.fullmatch("[0-9]{1,18}", text) for text in told):
            return Verdict(False, f"no time is told: {', '.join(repr(text[:40]) for text in told)}")
        apart = int(told[1]) - int(told[0])
        return Verdict(abs(apart) <= CLOCKS_APART, f"{host.name} is {apart} s ahead of {daisy.name}")

    sentence = f"the clock of {host.name} is within {CLOCKS_APART} s of that of {daisy.name}"
    return Goal(sentence, (Read(daisy, now), Read(host, now)), judge)


def _readable(host: Host, path: str) -> Goal:
    there = quote(host.path(path))
    return command_succeeds(f"{path} is there on {host.name}", host, f"test -s {there} && echo {there} is there")


def _nothing_unproven(cluster: Cluster) -> Goal:
    d = quote(folder(cluster))
    command = (
        f'begun=$(ls -1 {d}/reinstalling 2>/dev/null); test -z "$begun" || '
        '{ echo "begun and not proven:" $begun; exit 1; }; echo "no reinstallation is unproven"'
    )
    return command_succeeds("no reinstallation has begun and is not proven", cluster.daisy, command)

"""U3: the new release is watched for a while, and judged: it passes, it fails, or it cannot be told.

Every look asks the same read-only checks. What fails in one look may be a hiccup; what fails in several looks in a row is
a failure, and what could not be read in several looks in a row is not known to be well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from include.runbook.both_views import b_is_active
from include.runbook.cluster import Cluster, Host
from include.runbook.goals import all_started, cloud, command_succeeds, compute_services, only_peer_banned, services_in
from include.runbook.shell import Output
from include.runbook.step import Goal, Read, Run, Verdict
from include.runbook.steps.nova import ALL_ACTIVE
from include.runbook.validation import virtual_ip_answers

IN_A_ROW = 3
"""Looks in a row after which a failure holds: one look may fall into a switch of a service, two of them into its restart."""

PAUSE = 30.0
"""Seconds between two looks, of the runbook's: a service that dies is told from a hiccup within two minutes."""

QUICKEST = 1.0
"""Real seconds between two looks at least, however fast the cluster lives."""


class Result(StrEnum):
    """How the new release has done."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Seen:
    """One check in one look. `told`: it was carried out; otherwise nothing is known, whatever `found` says."""

    met: bool
    told: bool
    found: str


@dataclass(frozen=True)
class Judgement:
    """The end of a soak: the result, and why, a sentence for each check that is not well."""

    result: Result
    found: tuple[str, ...]


@dataclass(frozen=True)
class Watch:
    """What has been seen so far: of each check, in how many looks in a row it has failed or could not be read."""

    looks: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    untold: Mapping[str, int] = field(default_factory=dict)
    unread_in_all: Mapping[str, int] = field(default_factory=dict)
    found: Mapping[str, str] = field(default_factory=dict)

    def after(self, seen: Mapping[str, Seen]) -> Watch:
        """Return the watch after one more look."""

        def row(before: Mapping[str, int], goes_on: Callable[[Seen], bool]) -> dict[str, int]:
            return {name: before.get(name, 0) + 1 for name, each in seen.items() if goes_on(each)}

        unread = {name: self.unread_in_all.get(name, 0) + (not each.told) for name, each in seen.items()}
        return replace(
            self,
            looks=self.looks + 1,
            failed=row(self.failed, lambda each: each.told and not each.met),
            untold=row(self.untold, lambda each: not each.told),
            unread_in_all=unread,
            found={name: each.found for name, each in seen.items()},
        )

    def judgement(self, *, over: bool) -> Judgement | None:
        """Return the judgement; None while there is none yet. `over`: the time of the soak has passed.

        A failure that holds is judged at once. At the end, what has begun to fail is waited for until it holds or is gone.
        """
        if failed := self._held(self.failed):
            return Judgement(Result.FAIL, failed)
        if not over or self.looks < IN_A_ROW or self.failed:
            return None
        if untold := self._held(self.untold):
            return Judgement(Result.INCONCLUSIVE, untold)
        if self.untold:
            return None
        if seldom := [name for name, count in self.unread_in_all.items() if 2 * count > self.looks]:
            told = tuple(f"{name}: it could not be read in most of {self.looks} looks" for name in seldom)
            return Judgement(Result.INCONCLUSIVE, told)
        return Judgement(Result.PASS, (f"{len(self.found)} checks were well in {self.looks} looks",))

    def _held(self, rows: Mapping[str, int]) -> tuple[str, ...]:
        return tuple(f"{name}: {self.found[name]}" for name, count in rows.items() if count >= IN_A_ROW)


def pause(cluster: Cluster) -> float:
    """Return the seconds between two looks at this cluster."""
    return max(QUICKEST, cluster.seconds(PAUSE))


def checks(run: Run, computes: Sequence[str]) -> tuple[Goal, ...]:
    """Return what must hold while B serves on the new release; `computes` are those that were upgraded."""
    cluster = run.cluster
    b = cluster.controllers.b
    upgraded = [cluster.compute(name) for name in computes]
    return (
        b_is_active(cluster),
        only_peer_banned(cluster, b),
        all_started(b),
        *(virtual_ip_answers(cluster, address) for address in cluster.virtual_ips),
        _api_answers(cluster, b),
        _up(cluster, b, computes),
        *(command_succeeds(f"the services of {compute.name} run", compute, ALL_ACTIVE) for compute in upgraded),
    )


def _api_answers(cluster: Cluster, b: Host) -> Goal:
    listing = "openstack server list --all-projects --limit 1 -f json >/dev/null && echo 'the API answers'"
    return command_succeeds("the cloud's API answers", b, cloud(cluster, listing, on=b))


def _up(cluster: Cluster, b: Host, computes: Sequence[str]) -> Goal:
    listing = compute_services(cluster, on=b)

    def judge(outputs: Sequence[Output]) -> Verdict:
        up = {service.host for service in services_in(b, listing, outputs[0]) if service.up}
        down = [name for name in computes if name not in up]
        return Verdict(not down, f"down: {', '.join(down)}" if down else f"{len(computes)} are up")

    return Goal("Nova sees the upgraded computes up", (Read(b, listing),), judge)

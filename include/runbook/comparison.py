"""The cluster before a run and after it, compared: what is lost, and what is otherwise not as it was, in words. Pure.

That nothing failed does not prove that nothing is missing. What is lost and nobody has accepted keeps a run from ending as
a success; every other difference is told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from include.runbook.consent import Consent
from include.runbook.plan import nodes_rolled_back
from include.runbook.record import NOT_READ, Seen
from include.runbook.step import Run
from include.runbook.survey import Survey
from include.runbook.vms import Vm

ACTIVE, ERROR = "ACTIVE", "ERROR"
NOBODY = "no controller"


@dataclass(frozen=True)
class Comparison:
    """What is lost without anybody having accepted it, and every other difference, a sentence for each."""

    lost: tuple[str, ...]
    changed: tuple[str, ...]


@dataclass(frozen=True)
class Expected:
    """What a run may change, and whose loss somebody has accepted.

    `hosts` get the release `target`. The run went on without the computes `given_up`, which it names by itself. VMs that were
    on the computes `outage_on`, and those of the ids `outage_of`, may have lost their service. `pair_as_found`: who is active,
    and what keeps the float IP where, is none of the run's business, so it is as it was.
    """

    target: str
    hosts: frozenset[str]
    given_up: frozenset[str] = frozenset()
    outage_on: frozenset[str] = frozenset()
    outage_of: frozenset[str] = frozenset()
    pair_as_found: bool = False


def expected_of(run: Run, hosts: Collection[str], consents: Mapping[str, Consent]) -> Expected:
    """Return what the run may have changed: `hosts` are those that it has brought to its target."""
    accepted = {compute.name for compute in run.cluster.computes if run.policy_for(compute).allows_outage}
    return Expected(
        run.target,
        frozenset(hosts),
        given_up=frozenset(node.name for node in nodes_rolled_back(run)) - frozenset(hosts),
        outage_on=frozenset(accepted),
        outage_of=frozenset(vm for consent in consents.values() if consent.answer.allows_outage for vm in consent.vms),
        pair_as_found=run.dag == "rollback_compute",
    )


def compare(before: Seen, after: Survey, expected: Expected) -> Comparison:
    """Compare the cluster as the run found it with the cluster as it is now."""
    lost: list[str] = []
    changed: list[str] = []
    for is_lost, told in (
        *_unknown(before),
        *_releases(before, after, expected),
        *_services(before, after, expected),
        *_vms(before, after, expected),
        *_pair(before, after, expected),
        *_back_ends(before, after),
    ):
        (lost if is_lost else changed).append(told)
    return Comparison(tuple(lost), tuple(changed))


_Differences = Iterator[tuple[bool, str]]
"""Whether it is a loss, and what it is."""


def _unknown(before: Seen) -> _Differences:
    """What cannot be compared, because it was not known then."""
    yield from ((False, f"found before the run: {problem}") for problem in before.problems)
    if unlisted := before.vms_in_all - len(before.vms):
        yield False, f"of {before.vms_in_all} VMs before the run {unlisted} are not recorded and cannot be compared"


def _releases(before: Seen, after: Survey, expected: Expected) -> _Differences:
    for host, had in before.releases.items():
        # One that could not be read is told of already.
        has = None if host in after.unread else after.releases.get(host) or "none"
        if has is None or had in (has, NOT_READ):
            continue
        planned = (host in expected.hosts and has == expected.target) or host in expected.given_up
        yield not planned, f"{host} had release {had} and has {has}" + ("" if planned else ", which is not of this run")


def _services(before: Seen, after: Survey, expected: Expected) -> _Differences:
    for host, was_up in before.services.items():
        is_up = after.services.get(host)
        if is_up == was_up:
            continue
        now = {True: "is up", False: "is down", None: "is gone"}[is_up]
        then = "was up" if was_up else "was down"
        yield was_up and host not in expected.given_up, f"nova-compute on {host} {then} and {now}"


def _vms(before: Seen, after: Survey, expected: Expected) -> _Differences:
    for id, was in before.vms.items():
        told = f"VM {was.name} ({id})"
        accepted = id in expected.outage_of or was.host in expected.outage_on
        because = "; its outage was accepted" if accepted else ""
        now = after.vms.get(id)
        if now is None:
            yield not accepted, f"{told} was on {was.host} and is gone{because}"
            continue
        if now.status == ERROR != was.status:
            yield not accepted, f"{told} was {was.status} on {was.host} and is in error state on {now.host}{because}"
        elif now.status != was.status:
            yield False, f"{told} was {was.status} and is {now.status}{because if was.status == ACTIVE else ''}"
        if now.host != was.host:
            yield False, f"{told} was on {was.host} and is on {now.host}"
    yield from ((False, _new(id, vm)) for id, vm in after.vms.items() if id not in before.vms and _all_known(before))


def _all_known(before: Seen) -> bool:
    return before.vms_in_all == len(before.vms)


def _new(id: str, vm: Vm) -> str:
    return f"VM {vm.name} ({id}) is new, on {vm.host}"


def _pair(before: Seen, after: Survey, expected: Expected) -> _Differences:
    must = expected.pair_as_found
    active = (before.active or NOBODY, after.active or NOBODY)
    if active[0] != active[1]:
        yield must, f"{active[0]} was active and {active[1]} is"
    then, now = set(before.constraints), set(after.constraints)
    yield from ((must, f"the constraint {id} was there and is gone") for id in sorted(then - now))
    yield from ((must, f"the constraint {id} was not there and is") for id in sorted(now - then))
    if before.maintenance != after.maintenance:
        words = {True: "in maintenance", False: "managed"}
        yield must, f"the cluster was {words[before.maintenance]} and is {words[after.maintenance]}"


def _back_ends(before: Seen, after: Survey) -> _Differences:
    for host, then in before.back_ends.items():
        if host in after.unread:
            continue
        now = after.back_ends.get(host, ())
        yield from ((True, f"the cinder back end {name} was enabled on {host} and is not") for name in _less(then, now))
        yield from ((False, f"the cinder back end {name} is new on {host}") for name in _less(now, then))


def _less(these: Collection[str], those: Collection[str]) -> list[str]:
    return [name for name in these if name not in those]

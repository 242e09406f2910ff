"""Whether the VMs of a batch of computes have room on the other computes (A4.2), before anything is changed."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from include.runbook.both_views import a_is_active
from include.runbook.cluster import Compute
from include.runbook.consent import DRAIN, Left, left_in, listing
from include.runbook.errors import FactUnreadable
from include.runbook.goals import cloud, release_of, release_probe
from include.runbook.remote_python import program
from include.runbook.request import batches
from include.runbook.scenarios import ROLLBACK
from include.runbook.shell import Output
from include.runbook.step import Goal, Read, Run, Verdict

ANSWER = (
    "trigger with vm_policy accept_outage or node_faulty, for all or by the compute's name, if someone answers for it"
)
FIRST = "or name those that are out of service, {}, in computes_first: they are rolled back first, and have room then"


@dataclass(frozen=True)
class Room:
    """Processors, and MB of memory: needed, or free."""

    vcpus: float
    ram: float

    def holds(self, other: Room) -> bool:
        """True when the other fits in."""
        return other.vcpus <= self.vcpus and other.ram <= self.ram

    def __str__(self) -> str:
        return f"{self.vcpus:g} vCPUs and {self.ram:g} MB"


def rooms_to_drain(run: Run, lost: Collection[str] = ()) -> tuple[Goal, ...]:
    """Return for each batch: the other computes, up and enabled, have room for the VMs that will leave it.

    Batches go one after the other, and every VM stays in the cluster. So when a batch's turn comes, its own VMs and those
    that have fled to it need together what is needed now, out of what is free outside of the batch now: no compute's room
    is counted twice. VMs that cannot be moved, or whose outage is accepted already, need none; and nothing is moved off computes
    that the run goes on without, the `lost` ones. Where a run has stopped half-way, computes of earlier batches are out of
    service now, and in service again when a later batch begins: its room can be told only then.

    In the rollback of a whole cluster the cloud may not answer just because B is active and bad. That keeps nobody from
    making A active: every batch asks by itself, when it is.
    """
    return tuple(_room_to_drain(run, number, lost) for number in range(len(_parts(run))))


def _parts(run: Run) -> tuple[tuple[Compute, ...], ...]:
    """Return the computes that are drained together: those of a batch, and in a run of chosen computes all of them."""
    return (run.computes,) if run.of_computes else batches(run)


def _room_to_drain(run: Run, number: int, lost: Collection[str]) -> Goal:
    cluster, a, parts, switches = run.cluster, run.cluster.controllers.a, _parts(run), run.dag == ROLLBACK
    vms = listing(cluster, run.computes)
    ratios = cluster.drain.cpu_allocation_ratio, cluster.drain.ram_allocation_ratio
    room = Read(a, cloud(cluster, program(DRAIN, "room", *(f"{ratio:g}" for ratio in ratios))))
    read = [compute for compute in run.computes if compute.name not in lost]
    probes = [release_probe(cluster, compute) for compute in read]
    active = a_is_active(cluster)

    def judge(outputs: Sequence[Output]) -> Verdict:
        silent = next((output for output in outputs[:2] if not output.ok), None)
        if silent is not None and switches and not active.judge(outputs[2 : 2 + len(active.reads)]).met:
            return Verdict(
                True, f"not to be told as long as B is active ({silent.tail}): every batch asks before it begins"
            )
        answers = zip(read, outputs[len(outputs) - len(read) :], strict=True)
        bad = {c.name for c, probe in answers if release_of(cluster, c, probe) != run.target}
        asked = bad - {c.name for c in run.computes if run.policy_for(c).allows_outage}
        left, free = [vm for vm in left_in(vms, outputs[0]) if vm.host in asked], _rooms(room, outputs[1])
        here = {compute.name for compute in parts[number]}
        of_batch = [vm for vm in left if vm.host in here]
        found = _fits([vm for vm in of_batch if not vm.reason], _but(free, here))
        notes = [f"{vm} stays on {vm.host}: {vm.reason}" for vm in of_batch if vm.reason]
        if found.met and not cluster.drain.migrate_across_releases:
            so_far = {compute.name for part in parts[: number + 1] for compute in part}
            alike = _fits([vm for vm in left if vm.host in so_far and not vm.reason], _but(free, so_far))
            notes += _of_own_release(run, alike)
        away = [c.name for part in parts[:number] for c in part if c.name not in free and c.name not in lost]
        if not found.met and away:
            told = f"{found.found}; {', '.join(away)} will be back before, and this batch asks again before it begins"
            return Verdict(True, told)
        if not found.met:
            later = [c.name for part in parts[number + 1 :] for c in part if c.name not in free and c.name not in lost]
            notes += [ANSWER, *([FIRST.format(", ".join(later))] if later and switches else [])]
        return Verdict(found.met, "; ".join([found.found, *notes]))

    names = ", ".join(sorted(compute.name for compute in parts[number]))
    reads = (vms, room, *(active.reads if switches else ()), *probes)
    return Goal(f"VMs of {names} have room on the other computes", reads, judge)


def _but(free: dict[str, Room], names: set[str]) -> dict[str, Room]:
    return {name: each for name, each in free.items() if name not in names}


def _of_own_release(run: Run, alike: Verdict) -> list[str]:
    """Say what will be asked where VMs may go to computes of their own release only.

    In a rollback of all computes, those that are already drained are on the old release when a batch's turn comes: what
    is left for the VMs of all batches so far is the later batches, and for the last batch there is nothing.
    """
    if run.of_computes:
        return ["VMs move to computes of their own release only: someone is asked about those that find no place"]
    return [] if alike.met else [f"someone will be asked whether VMs may go to the other release: {alike.found}"]


def _fits(leaving: Sequence[Left], free: dict[str, Room]) -> Verdict:
    """The VMs fit in what is free on the computes, taken together; each finds its own place when it moves."""
    if not leaving:
        return Verdict(True, "there are no VMs to move")
    sources = ", ".join(sorted({vm.host for vm in leaving}))
    if not free:
        return Verdict(
            False, f"{len(leaving)} VMs of {sources} are to move and there is no other compute, up and enabled"
        )
    need = Room(sum(vm.vcpus or 0 for vm in leaving), sum(vm.ram or 0 for vm in leaving))
    offered = Room(sum(each.vcpus for each in free.values()), sum(each.ram for each in free.values()))
    told = f"{len(leaving)} VMs of {sources} need {need}; {offered} are free on {', '.join(sorted(free))}"
    untold = sum(vm.vcpus is None for vm in leaving)
    if untold:
        told += f" (the client does not tell what {untold} of the VMs need)"
    return Verdict(offered.holds(need), told)


def _room(vcpus: float, ram: float) -> Room:
    """Return the room that a line tells of; raises TypeError for what is no such line."""
    if not all(isinstance(free, (int, float)) and abs(free) < 2**63 for free in (vcpus, ram)):
        raise TypeError("what is free is no number")
    return Room(vcpus, ram)


def _rooms(read: Read, output: Output) -> dict[str, Room]:
    """Parse what is free on each compute; a failed command is never read as no room, nor as no compute."""
    if not output.ok:
        raise FactUnreadable(read.host.name, "drain.py room", output.tail or f"exit status {output.status}")
    try:
        return {name: _room(**figures) for name, figures in json.loads(output.stdout).items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise FactUnreadable(read.host.name, "drain.py room", output.tail) from None

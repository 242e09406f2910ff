"""What begins and ends every run: the cluster lock, and the host keys that the run trusts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from include.runbook import lock
from include.runbook.cluster import Host
from include.runbook.custody import known_hosts_name, pins_path
from include.runbook.goals import command_succeeds
from include.runbook.shell import Output, quote
from include.runbook.step import Goal, Over, Read, Run, Step, Verdict, kind, step


@step("S3", "Take the cluster's lock on the Daisy host", over=Over.DAISY)
def take_lock(run: Run, daisy: Host) -> Step:
    """This run, and no other, may change the cluster."""
    goal = command_succeeds("this run holds the cluster's lock", daisy, lock.owns_lock(run))
    explain = partial(lock.refuse_if_held, run)
    return Step(kind("take_lock"), daisy, goal, action=lock.take(run), explain=explain)


@step("S4", "Pin the nodes' host keys on the Daisy host", over=Over.DAISY)
def pin_host_keys(run: Run, daisy: Host) -> Step:
    """Every node whose key the inventory gives has a pin; a pin that a reinstallation made is newer and stays."""
    cluster = run.cluster
    pins = quote(pins_path(cluster))
    known = [node for node in cluster.nodes if node.host_key]
    tests = [
        f"awk -v n={quote(known_hosts_name(node))} '$1 == n {{ f = 1 }} END {{ exit !f }}' {pins}" for node in known
    ]
    goal = command_succeeds("every node's host key is pinned", daisy, " &&\n".join(tests) or "true")
    adds = [
        f"{test} 2>/dev/null || printf '%s\\n' {quote(f'{known_hosts_name(node)} {node.host_key}')} >> {pins}"
        for node, test in zip(known, tests, strict=True)
    ]
    action = "\n".join([f'mkdir -p "$(dirname {pins})" && touch {pins} || exit 2', *adds])
    return Step(kind("pin_host_keys"), daisy, goal, action=action)


@step("U3", "Hand the cluster's lock over to the rollback", over=Over.DAISY)
def hand_over_lock(run: Run, daisy: Host) -> Step:
    """The cluster belongs to the rollback that this run starts next, and to no other: it was never free in between."""
    goal = command_succeeds("the rollback holds the cluster's lock", daisy, lock.handed_over(run))
    explain = partial(lock.refuse_if_held, run)
    return Step(kind("hand_over_lock"), daisy, goal, action=lock.hand_over(run), explain=explain)


@step("E2", "Release the cluster's lock", over=Over.DAISY)
def release_lock(run: Run, daisy: Host) -> Step:
    """This run no longer holds the cluster. Reached only when every step before it has succeeded."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        if run.batch:
            return Verdict(True, f"the lock is that of {run.owner}, which this batch is a part of")
        mine = outputs[0].ok
        return Verdict(not mine, "this run holds the lock" if mine else "this run does not hold the lock")

    goal = Goal("this run no longer holds the lock", (Read(daisy, lock.owns_lock(run)),), judge)
    return Step(kind("release_lock"), daisy, goal, action=lock.release(run))

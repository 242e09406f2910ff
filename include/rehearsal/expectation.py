"""Which steps a plan expects to act on the twin, and which find their goal true there from the beginning.

A step that rests although it should act has not been rehearsed: a goal that holds too early would hide that its action fails.
"""

from __future__ import annotations

from collections.abc import Callable

from include.runbook.cluster import Host
from include.runbook.plan import Plan, hosts_of
from include.runbook.step import Kind

Acts = Callable[[Kind, Host, int], bool]
"""Whether a step is expected to do something on a host; the number is that of its batch, from 1, or 0 outside of batches."""

NOTHING_TO_DO = frozenset(
    {
        "back_up_databases",  # the twin's databases are as the target release declares them
        "leave_maintenance_to_switch",  # the twin is found managed
        "leave_maintenance",  # what HA sets by itself is left before, for B's resources to start (A5.7)
        "restore_cluster_mode",
        "finish_drain",  # nothing is left of the drain before, unless a person is asked
        "return_vms",  # not asked for
        "synchronise_b",  # what has been begun before may be over
    }
)

REPLICATED = frozenset({"let_b_follow_a"})
"""The steps of clusters whose controllers replicate data."""

FETCHED = frozenset({"fetch_tecs_conf", "fetch_mappings"})
"""The steps whose files lie there for all that come later: the other batches, and those of the same files for B."""

FOUND: dict[str, frozenset[str]] = {
    "rollback_cluster": frozenset({"fetch_tecs_conf_for_b", "fetch_mappings_for_b"}),
    "rollback_controller": frozenset({"ban_float_ip_on_b"}),  # in place since the upgrade began
    "rollback_compute": frozenset(),
}
"""What is done already when its turn comes in a scenario."""


def acts_in(plan: Plan) -> Acts:
    """Return what tells which steps of the plan, and of its batches, are expected to act."""
    rest = NOTHING_TO_DO | FOUND[plan.scenario] | (frozenset() if plan.run.cluster.drbd_resources else REPLICATED)
    whole_run = {
        (stage.kind.name, host.name) for stage in plan.stages if stage.kind for host in hosts_of(stage.kind, plan.run)
    }

    def acts(kind: Kind, host: Host, batch: int) -> bool:
        done_for_all = batch and (kind.name, host.name) in whole_run
        done_before = batch > 1 and kind.name in FETCHED
        return kind.changes and kind.name not in rest and not done_for_all and not done_before

    return acts

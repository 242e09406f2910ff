"""The scenarios by name: which take all of the cluster, and which scenario each of these uses for a batch of its computes."""

from __future__ import annotations

ROLLBACK, UPGRADE = "rollback_cluster", "upgrade_cluster"

BATCH_OF = {ROLLBACK: "rollback_compute", UPGRADE: "upgrade_compute"}
"""Scenario that takes the whole cluster -> the one that it runs for each batch of its computes."""

OF_COMPUTES = frozenset(BATCH_OF.values())
"""The scenarios that take chosen computes."""

UPGRADES = frozenset({UPGRADE, BATCH_OF[UPGRADE]})

SCENARIOS = frozenset({*BATCH_OF, *OF_COMPUTES, "rollback_controller"})
"""The DAGs of this project that change a cluster, among whatever else an Airflow may run."""

"""The scenarios by their letters, and the places where commands outside Airflow find a cluster's inventory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from console.errors import ConsoleError
from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.cluster import Cluster, Inventories, clusters_directory
from include.runbook.errors import RunbookError
from include.runbook.request import read_request
from include.runbook.step import Run

DAGS = {"A": "rollback_cluster", "B": "rollback_controller", "C": "rollback_compute"}

ALL_DAGS = {**DAGS, "U": "upgrade_cluster"}
"""With the upgrade: it can be planned and checked; what is demonstrated begins with a cluster that it has broken."""


def conf_of(scenario: str, cluster: Cluster) -> dict[str, Any]:
    """What a scenario is asked for when nothing else is said: in C, the cluster's first compute."""
    asked: dict[str, Any] = {"cluster": cluster.name}
    return asked | ({"computes": [cluster.computes[0].name]} if scenario == "C" else {})


def clusters_beside(state: Path) -> Inventories:
    """Every known cluster: those of the inventories' directory, and the lab as it runs in this state folder."""
    return Inventories(clusters_directory(), state / "lab" / "clusters")


def requested(scenario: str, name: str, clusters: Mapping[str, Cluster]) -> Run:
    """The run that the scenario would be on this cluster. Raises ConsoleError for one that is not possible."""
    try:
        if name not in clusters:
            raise ConsoleError(f"There is no inventory of a cluster {name!r}; there is {', '.join(sorted(clusters))}.")
        conf = conf_of(scenario, clusters[name])
        return read_request(
            conf, clusters, owner="console", user="console", dag=ALL_DAGS[scenario], computes_asked=scenario == "C"
        )
    except RunbookError as error:
        raise ConsoleError(str(error)) from error

"""The product's steps, carried out one after the other on a lab without Airflow."""

from __future__ import annotations

import json
from typing import Any

from include.lab.client import LabClient
from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.cluster import Cluster, Host
from include.runbook.perform import perform
from include.runbook.plan import hosts_of
from include.runbook.shell import Output
from include.runbook.step import Run, kind


class Operated:
    """Hosts of a lab that steps are carried out on, one after the other."""

    def __init__(self, lab: LabClient, cluster: Cluster, dag: str) -> None:
        self.lab = lab
        self.plan = Run(cluster, cluster.target_release, (), owner=f"{dag}/1", dag=dag)
        self.said: list[str] = []

    def run(self, host: Host, script: str, timeout: float) -> Output:
        done = self.lab.run(host.name, script)
        return Output(done.returncode, done.stdout, done.stderr)

    def do(self, *names: str) -> list[str]:
        """Carry the steps out; return the names of those that did something."""
        acted = []
        for name in names:
            for host in hosts_of(kind(name), self.plan):
                if perform(kind(name).make(self.plan, host), self, self.plan, self.said.append).acted:
                    acted.append(name)
        return acted

    def cluster_now(self) -> dict[str, Any]:
        """What the lab says of the cluster."""
        truth: dict[str, Any] = self.lab.state()["cluster"]
        return truth

    def journal(self) -> list[dict[str, Any]]:
        """What the stand-ins have changed."""
        return [json.loads(line) for line in (self.lab.state_dir / "journal.jsonl").read_text().splitlines()]

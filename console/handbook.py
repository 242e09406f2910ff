"""The page of steps, `docs/runbook.md`, written from the steps themselves.

``python -m console.handbook > docs/runbook.md``
"""

from __future__ import annotations

import sys

from console.airflow_settings import PROJECT
from console.runbook_demands import DEMANDS, Demand
from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.cluster import load_cluster
from include.runbook.plan import make_steps
from include.runbook.step import KINDS, Kind, Run
from include.runbook.timings import FLOOR, LIMIT_FLOOR, RUNBOOK_TOTAL

HEAD = f"""\
# The steps

Written from the code by `python -m console.handbook`; a test keeps it so. Goals are those of the example inventory;
`make plan` prints every command. Times are real seconds. The SLA is the measured time by the cluster's tolerance, plus
{FLOOR:g} s: when it is crossed, the task's log warns and the record notes it. The limit, plus {LIMIT_FLOOR:g} s, fails the
step and ends its job. The runbook's own total for scenario A with one compute, by hand, is {RUNBOOK_TOTAL:,} s.

| id | task | made for | goal: what is true afterwards | measured | limit |
|---|---|---|---|---|---|
"""


ASKED = """
## What the runbook asks for, and what answers it

| runbook | asks | answered by | otherwise |
|---|---|---|---|
"""


def page() -> str:
    """Return the whole page as Markdown."""
    steps = "".join(map(row, sorted(KINDS.values(), key=_order)))
    return HEAD + steps + ASKED + "".join(map(demand_row, DEMANDS))


def demand_row(demand: Demand) -> str:
    """Return the table's row of one thing that the runbook asks for."""
    steps = ", ".join(f"`{name}`" for name in demand.steps)
    return f"| {demand.id} | {demand.asks} | {steps} | {demand.otherwise} |\n"


def row(kind: Kind) -> str:
    """Return the table's row of one kind of step."""
    cluster = load_cluster(PROJECT / "include/clusters/example.yaml")
    made = make_steps(kind, Run(cluster, cluster.target_release, cluster.computes[:1]))[0]
    goal = made.proven_by.sentence.replace("|", "\\|")
    works = "job" if kind.detached else "changes" if kind.changes else "reads only"
    timing = kind.timing
    cells = (
        kind.id,
        f"**{kind.sentence}** `{kind.name}` ({works})",
        kind.over.value,
        goal,
        f"{timing.measured:g} s, {timing.source}",
        f"{timing.limit:g} s",
    )
    return f"| {' | '.join(cells)} |\n"


def _order(kind: Kind) -> tuple[int, tuple[int, ...]]:
    letter, numbers = kind.id[0], tuple(map(int, kind.id[1:].split(".")))
    return "SAUE".index(letter), numbers


if __name__ == "__main__":
    sys.stdout.write(page())

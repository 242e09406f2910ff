"""Where the reports of rehearsals are kept: beside the pages of the cluster's runs, never on a host of the cluster."""

from __future__ import annotations

import re
from typing import Any

from include.rehearsal.report import Report, as_json, report_text
from include.runbook.custody import quote_name

KEPT = 400
"""Reports of a cluster that are kept: more than a year of one a day."""


def keep(report: Report, folder: Any) -> str:
    """Write the report as JSON and as text below the folder, by cluster, and return the text's address.

    `folder` is a path, or Airflow's path in an object storage; of earlier reports the newest are kept.
    """
    there = folder / quote_name(report.cluster) / "rehearsal"
    there.mkdir(parents=True, exist_ok=True)
    name = f"{re.sub('[-:]|[+].*', '', report.begun)}Z-{report.scenario}"
    text = there / f"{name}.txt"
    (there / f"{name}.json").write_text(as_json(report), encoding="utf-8")
    text.write_text(report_text(report), encoding="utf-8")
    names = sorted({file.name.rpartition(".")[0] for file in there.iterdir()})
    for old in names[:-KEPT]:
        for ending in ("json", "txt"):
            (there / f"{old}.{ending}").unlink(missing_ok=True)
    return str(text)

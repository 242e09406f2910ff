"""Tests that take long, or need what not every machine has, run only where their marker is asked for by -m.

Run side by side, the tests of one file stay together, and so do all those that share one Airflow or one machine-wide lab.
"""

from __future__ import annotations

from pathlib import Path

import pytest

ASKED_FOR = ("cluster", "nightly")
TOGETHER = ("tests/lab/", "tests/cluster/drbd/", "tests/cluster/")
"""Folders whose tests go one after the other. They take longest, so they begin first."""


@pytest.hookimpl(tryfirst=True)  # what runs tests side by side reads these marks in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out every test that carries one of these markers, unless -m names it; and say which stay together."""
    markers = [name for name in ASKED_FOR if name not in str(config.option.markexpr)]
    left_out = [item for item in items if any(item.get_closest_marker(name) for name in markers)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item, config.rootpath)))
    items.sort(key=lambda item: _group(item, config.rootpath) not in TOGETHER)


def _group(item: pytest.Item, root: Path) -> str:
    file = item.path.relative_to(root).as_posix()
    return next((folder for folder in TOGETHER if file.startswith(folder)), file)

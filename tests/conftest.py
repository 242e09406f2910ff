"""Tests that take long, or need what not every machine has, run only where their marker is asked for by -m.

`make test` runs tests side by side. Those that share an Airflow and its labs are a group, and run in one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# The same examples in every run, so that a failure is nobody's luck; a night has time for others, and for more of them.
settings.register_profile("same", derandomize=True, deadline=None, database=None)
settings.register_profile("nightly", max_examples=3000, deadline=None, database=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

ASKED_FOR = ("cluster", "faults", "nightly")
LONGEST = ("tests/lab/test_upgrade.py", "tests/lab/test_scenarios.py", "tests/lab/", "tests/rehearsal/")
"""Whole scenarios, the longest of all before the others: they begin first, so that nobody waits for them alone at the end."""


@pytest.fixture(scope="session")
def group(request: pytest.FixtureRequest) -> str:
    """The group to which a test's site belongs. Apart, each of its tests would start the group's Airflow and labs."""
    items = [item for item in request.session.items if item.get_closest_marker("xdist_group")]
    if getattr(request.config.option, "loadgroup", False) and not all("]@" in item.nodeid for item in items):
        pytest.fail("pytest-xdist does not see the groups of tests with this version of pytest")
    return str(request.param)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Leave out every test that carries one of these markers, unless -m names it; put the longest first, groups together."""
    # By identity: pytest-xdist writes a test's group into its id, by which tests are told apart otherwise.
    written = {id(item): place for place, item in enumerate(items)}
    yield
    markers = [name for name in ASKED_FOR if name not in str(config.option.markexpr)]
    left_out = [item for item in items if any(item.get_closest_marker(name) for name in markers)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    # pytest itself deals tests out by their parameters, and a group's among others'.
    items.sort(key=lambda item: (_turn(item), written[id(item)]))
    first = {_group(item): place for place, item in reversed([*enumerate(items)])}
    items.sort(key=lambda item: first[_group(item)])


def _turn(item: pytest.Item) -> int:
    return next((turn for turn, name in enumerate(LONGEST) if item.nodeid.startswith(name)), len(LONGEST))


def _group(item: pytest.Item) -> object:
    """What keeps a test beside others: its group, or for want of one nothing but itself."""
    marker = item.get_closest_marker("xdist_group")
    return marker.args if marker else id(item)

"""Tests whose sites share an Airflow are a group: it runs in one process, and its Airflow is ended after its last test."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from _pytest.mark import ParameterSet


def case(group: str, site: object, *values: object, id: str) -> ParameterSet:
    """A test's parameters: the group, the site in it, and others."""
    return pytest.param(group, site, *values, id=id, marks=pytest.mark.xdist_group(group))


def in_groups(cases: Iterable[ParameterSet], *names: str) -> pytest.MarkDecorator:
    """Run the test for each case, of which `names` are the values besides group and site."""
    # In a narrower scope pytest ends the fixtures of a group after each of its tests.
    return pytest.mark.parametrize(("group", "site", *names), list(cases), indirect=["group", "site"], scope="session")

"""The marker of the test that runs the deployment's services."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "celery: runs the deployment's services as plain processes (about two minutes)")

from __future__ import annotations

from pathlib import Path

import pytest

from tests.standins.site import TrialSite


@pytest.fixture
def site(tmp_path: Path) -> TrialSite:
    """Scenario A: A standby on 100, B active on 101, computes on 101."""
    return TrialSite(tmp_path / "lab")


@pytest.fixture
def old_site(tmp_path: Path) -> TrialSite:
    """Scenario A with pcs 0.9 and Pacemaker 1.1."""
    return TrialSite(tmp_path / "lab", pcs="0.9")


@pytest.fixture
def good_site(tmp_path: Path) -> TrialSite:
    """Every node on release 100, A active, no constraint."""
    return TrialSite(tmp_path / "lab", scenario="good")

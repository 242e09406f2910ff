"""A lab comes and goes without a trace, even when it is killed, and there is one at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from include.cluster_lab import base_tree, traces
from include.cluster_lab.client import ClusterLabClient
from include.cluster_lab.director import remove_lab
from include.lab.errors import LabError
from include.lab.isolation import PROJECT_ROOT

pytestmark = pytest.mark.cluster
OPTIONS = ("--no-cloud", "--scenario", "good")


def on_this_machine() -> dict[str, list[str]]:
    """Everything that a lab could leave: what is here that is named or placed as the lab's is."""

    def output(*argv: str) -> list[str]:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()

    return {
        "namespaces": [line for line in output("ip", "netns", "list") if "tecslab" in line],
        "links": [line for line in output("ip", "-o", "link", "show") if "tecslab" in line],
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if "tecs-cluster-" in line],
        "loop devices": [line for line in output("losetup", "--list") if str(traces.DISK) in line],
        "control groups": [str(path) for root in traces.hierarchies() for path in root.glob(f"{traces.CGROUP}*")],
        "processes": [line for line in output("ps", "-ww", "-eo", "pid,args") if "tecslab-" in line],
        "run directory": [str(traces.RUN)] if traces.RUN.exists() else [],
    }


NOTHING: dict[str, list[str]] = {kind: [] for kind in on_this_machine()}


def test_a_lab_that_is_stopped_leaves_nothing(folder: Path) -> None:
    assert on_this_machine() == NOTHING
    lab = ClusterLabClient.start(folder / "lab", *OPTIONS)
    try:
        there = on_this_machine()
        assert all(there.values()), f"the test would not see what a lab leaves: {there}"
        with pytest.raises(LabError, match="runs on this machine already"):
            ClusterLabClient.start(folder / "other", *OPTIONS)
        with pytest.raises(LabError, match="belongs to"):
            remove_lab(folder / "other")
    finally:
        lab.stop()
    assert on_this_machine() == NOTHING
    assert not traces.NAMESPACES.exists() or any(traces.NAMESPACES.iterdir()), "the folder of the namespaces stayed"


def test_what_prepares_a_tree_leaves_no_control_group(tmp_path: Path) -> None:
    def groups() -> set[Path]:
        # The rest of the machine makes and removes groups of its own meanwhile.
        names = ("payload", "supervisor", traces.BUILDING)
        return {path for root in traces.hierarchies() for name in names for path in root.rglob(name)}

    tree = base_tree.base_tree(print)
    before = groups()
    with base_tree.build_lock(), (tmp_path / "log").open("w") as log:
        base_tree.in_tree(tree, ["true"], log, ("--private-network", "--read-only"))
    assert groups() == before


def test_a_lab_that_is_killed_is_removed_by_down(folder: Path) -> None:
    state = folder / "killed"
    line = [sys.executable, "-m", "include.cluster_lab", "up", "--state", str(state), *OPTIONS]
    director = subprocess.Popen(line, cwd=PROJECT_ROOT, stderr=subprocess.PIPE, text=True)
    try:
        assert director.stderr is not None
        while "starting the cluster" not in director.stderr.readline():
            assert director.poll() is None, "the director ended by itself"
    finally:
        os.kill(director.pid, signal.SIGKILL)
        director.wait()
    assert on_this_machine()["processes"] != []
    down = [sys.executable, "-m", "include.cluster_lab", "down", "--state", str(state)]
    subprocess.run(down, cwd=PROJECT_ROOT, check=True)
    assert on_this_machine() == NOTHING


def test_a_directory_that_the_lab_did_not_make_is_refused(folder: Path) -> None:
    mine = folder / "mine"
    mine.mkdir()
    (mine / "letter").write_text("keep me")
    with pytest.raises(LabError, match="was not made by the lab"):
        ClusterLabClient.start(mine, *OPTIONS)
    assert (mine / "letter").read_text() == "keep me"
    assert on_this_machine() == NOTHING

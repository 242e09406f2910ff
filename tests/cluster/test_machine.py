"""Whether a machine can run the cluster lab is found out before anything of it is made, and told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from include.cluster_lab.machine import KERNEL, require_able
from include.lab.errors import LabError

pytestmark = pytest.mark.cluster


def test_this_machine_can() -> None:
    said: list[str] = []
    require_able(said.append)
    assert said == [], "the fixtures of the other tests have installed what was missing"


@pytest.mark.parametrize(("program", "what"), [("unshare", next(iter(KERNEL))), ("losetup", "loop devices")])
def test_a_kernel_that_does_not_let_root_is_named_with_what_it_refuses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, what: str
) -> None:
    refuses = tmp_path / program
    refuses.write_text("#!/bin/sh\necho 'Operation not permitted' >&2\nexit 1\n")
    refuses.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(LabError, match=f"{what} cannot be had here.*Operation not permitted"):
        require_able(print)

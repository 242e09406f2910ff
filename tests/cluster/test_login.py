"""The login that the product is given: not root, and made root by the sudoers file of the documentation alone."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
import yaml

from include.cluster_lab.client import ClusterLabClient
from include.cluster_lab.site import CONNECTION, A
from include.runbook import reach
from include.runbook.cluster import Cluster
from include.runbook.errors import RootDenied
from include.runbook.login_shell import ARGUMENT_LIMIT
from include.runbook.reach import Credentials
from include.runbook.shell import Output
from tests.cluster.operation import run

pytestmark = pytest.mark.cluster
OPTIONS = ("--no-cloud", "--scenario", "good")
SUDOERS = "/etc/sudoers.d/tecs-rollback"


def ask(lab: ClusterLabClient, script: str) -> Output:
    """Run a script on A as the product does."""
    entry = json.loads((lab.state_dir / "connections.json").read_text())[CONNECTION]
    credentials = Credentials.of(entry["login"], None, entry["extra"])
    host = Cluster.model_validate(yaml.safe_load(lab.inventory.read_text())).controllers.a

    async def asked() -> Output:
        async with await reach.connect(host, credentials, host.host_key) as connection:
            return await reach.run(connection, host, script)

    assert credentials.username != "root"
    return asyncio.run(asked())


def test_a_script_runs_as_root_in_roots_shell_and_home(lab: ClusterLabClient) -> None:
    assert ask(lab, 'id -un; echo "$HOME it\'s $0"; exit 3') == Output(3, "root\n/root it's /bin/bash\n", "")


def test_a_script_that_is_too_long_for_a_command_runs_all_the_same(lab: ClusterLabClient) -> None:
    assert ask(lab, f"# {'x' * 4 * ARGUMENT_LIMIT}\nid -u") == Output(0, "0\n", "")


def test_what_a_script_leaves_running_outlives_its_session(lab: ClusterLabClient) -> None:
    begun = ask(lab, "setsid sh -c 'sleep 2; echo lived > /run/outlived' </dev/null >/dev/null 2>&1 & echo begun")
    assert begun == Output(0, "begun\n", "")
    deadline = time.monotonic() + 20
    while lab.run(A.name, "test -e /run/outlived").returncode != 0:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert run(lab, A, "cat /run/outlived") == "lived\n"


def test_without_the_sudoers_file_the_login_is_denied_and_nothing_runs(lab: ClusterLabClient) -> None:
    run(lab, A, f"visudo -cf {SUDOERS} && mv {SUDOERS} /root/")
    try:
        with pytest.raises(RootDenied, match=f"tecs-rollback cannot become root on {A.name}\n.*\n *sudo: "):
            ask(lab, "touch /run/never")
        assert lab.run(A.name, "test -e /run/never").returncode == 1
    finally:
        run(lab, A, f"mv /root/{SUDOERS.rsplit('/', 1)[1]} {SUDOERS}")
    assert ask(lab, "id -u").stdout == "0\n"


def test_a_host_without_sudo_is_told(lab: ClusterLabClient) -> None:
    run(lab, A, "mv /usr/bin/sudo /usr/bin/sudo.away")
    try:
        with pytest.raises(RootDenied, match="sudo: not found"):
            ask(lab, "true")
    finally:
        run(lab, A, "mv /usr/bin/sudo.away /usr/bin/sudo")

"""Where Corosync encrypts, a reinstalled node needs the key as well."""

from __future__ import annotations

import pytest

from include.cluster_lab.client import ClusterLabClient
from include.cluster_lab.site import A, B
from tests.cluster.conftest import until
from tests.cluster.operation import active, copy_from_a_to_b, nodes_online, reinstalled_b, run

pytestmark = pytest.mark.cluster
OPTIONS = ("--no-cloud", "--scenario", "B", "--transport", "knet", "--no-self-maintenance")


def test_with_knet_a_reinstalled_node_rejoins_only_with_the_authkey(lab: ClusterLabClient) -> None:
    reinstalled_b(lab)
    copy_from_a_to_b(lab, "/etc/corosync/corosync.conf")
    without = lab.run(B.name, "pcs cluster start")
    assert without.returncode == 1, without.stdout
    assert nodes_online(lab) == [A.name]

    copy_from_a_to_b(lab, "/etc/corosync/authkey")
    run(lab, B, "pcs cluster start")
    until(lambda: nodes_online(lab) == [A.name, B.name], "B has rejoined")
    assert active(lab) == A.name
    assert lab.state()["violations"] == []

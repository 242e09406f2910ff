"""The steps that save and restore B's storage settings, on the embedded lab over SSH, without Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from include.lab.client import LabClient
from include.lab.topology import make_inventory
from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.cluster import load_cluster
from include.runbook.errors import CommandFailed, PreconditionFailed
from tests.loopback import free_network
from tests.standins.operated import Operated

REINSTALLED = (
    "take_lock",
    "pin_host_keys",
    "ban_float_ip_on_b",
    "stage_bin_on_daisy",
    "stage_bin_on_node",
    "fetch_tecs_conf_for_b",
    "fetch_mappings_for_b",
    "edit_tecs_conf_for_b",
    "save_cinder_settings",
    "uninstall_b",
    "drop_stale_keys_of_b",
    "install_b",
)
RESTORED = ("bring_back_cinder_settings", "restore_cinder_backends", "carry_over_storage_settings")
STORAGE_FILES = (
    "etc/cinder/cinder_zte_conf_file_KS3200_IPSAN-1.xml",
    "etc/cinder/cinder_zte_conf_file_KS3200_FCSAN-1.xml",
    "etc/ceph/ceph.conf",
    "etc/ceph/ceph.client.cinder.keyring",
    "etc/multipath.conf",
    "home/tecs_install/storage_auto_config/base/cinder.json",
)


class Controller(Operated):
    """B of a lab, which the product's steps are carried out on one after the other."""

    def __init__(self, lab: LabClient) -> None:
        cluster = load_cluster(lab.inventory)
        super().__init__(lab, cluster, "rollback_controller")
        self.tree = lab.state_dir / "hosts" / cluster.controllers.b.name

    def cinder_conf(self) -> set[str]:
        """The lines of cinder.conf that are set, whatever their order."""
        lines = (self.tree / "etc/cinder/cinder.conf").read_text().splitlines()
        return {line for line in lines if line.strip()}


@pytest.fixture
def b(tmp_path: Path) -> Iterator[Controller]:
    inventory = tmp_path / "storage.yaml"
    inventory.write_text(yaml.safe_dump(make_inventory("storage", free_network())))
    with LabClient.start(inventory, tmp_path / "state", "--scenario", "B", "--pace", "500") as lab:
        yield Controller(lab)


def test_a_reinstalled_controller_has_the_storage_that_it_had(b: Controller) -> None:
    files = {name: (b.tree / name).read_bytes() for name in STORAGE_FILES}
    conf = b.cinder_conf()
    b.do(*REINSTALLED)
    assert "enabled_backends = lvm" in b.cinder_conf(), "the installer leaves LVM only"
    assert not (b.tree / "etc/ceph").exists()

    # A failure is told whatever the exit status, and nothing is noted as done.
    b.lab.fault({"cinder_conf": "fail"})
    with pytest.raises(CommandFailed, match="cinder_conf reported that it failed"):
        b.do(*RESTORED)

    # "Done" is not believed either: a back end that was not made is named.
    b.lab.fault({"cinder_conf": "partial"})
    with pytest.raises(PreconditionFailed, match=r"back end KS3200_FCSAN-1 .* is missing") as stopped:
        b.do(*RESTORED)
    note = stopped.value.advice.split("remove ")[1].split(",")[0]
    assert b.lab.run(b.plan.cluster.controllers.b.name, f"rm {note}").returncode == 0

    assert b.do(*RESTORED) == ["restore_cinder_backends", "carry_over_storage_settings"]
    assert b.cinder_conf() == conf
    assert {name: (b.tree / name).read_bytes() for name in STORAGE_FILES} == files
    assert b.do("save_cinder_settings", *RESTORED) == []
    assert b.lab.state()["violations"] == []
    assert "lab-only" not in "\n".join(b.said), "neither a password nor a key of Ceph is printed"

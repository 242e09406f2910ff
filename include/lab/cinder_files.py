"""A controller's storage settings: what the site has in service, what an installation leaves of it, what cinder_conf makes.

In service there are LVM, ZTE's array by IP and by Fibre Channel, and Ceph, with more settings for Ceph than cinder_conf
knows. An installation leaves LVM only.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STORAGE_AUTO_CONFIG = "home/tecs_install/storage_auto_config"

STORAGE_SCRIPT = """\
#!/usr/bin/env python
import os
import sys

os.execvp("lab-storage-auto-config", ["lab-storage-auto-config"] + sys.argv[1:])
"""

CINDER_LVM_ONLY = """\
[DEFAULT]
enabled_backends = lvm
volumes_dir = /etc/cinder/volumes

[lvm]
volume_driver = cinder.volume.drivers.lvm.LVMISCSIDriver
volume_group = cinder-volumes
"""

SECTIONS = {
    "KS3200_IPSAN": "volume_driver = cinder.volume.drivers.zte.zte_iscsi.ZteISCSIDriver\n"
    "cinder_zte_conf_file = /etc/cinder/cinder_zte_conf_file_{name}.xml\nuse_multipath_for_image_xfer = true\n",
    "KS3200_FCSAN": "volume_driver = cinder.volume.drivers.zte.zte_fc.ZteFCDriver\n"
    "cinder_zte_conf_file = /etc/cinder/cinder_zte_conf_file_{name}.xml\nuse_multipath_for_image_xfer = true\n",
    "FUJISTU_ETERNUS": "volume_driver = cinder.volume.drivers.fujitsu.fujitsu_eternus_dx_fc.FJDXFCDriver\n"
    "cinder_eternus_config_file = /etc/cinder/cinder_fujitsu_eternus_dx_{name}.xml\n",
    "CEPH": "volume_driver = cinder.volume.drivers.rbd.RBDDriver\n"
    "rbd_pool = {pool}\nrbd_ceph_conf = /etc/ceph/ceph.conf\n",
    "LVM": "volume_driver = cinder.volume.drivers.lvm.LVMISCSIDriver\nvolume_group = {pool}\n",
}
"""What cinder_conf writes into a back end's section, by the driver that cinder.json names."""

CEPH_IN_SERVICE = (
    "rbd_user = cinder\nrbd_secret_uuid = 457eb676-33da-42ec-9a8c-9293d545c337\n"
    "rbd_flatten_volume_from_snapshot = false\n"
)
"""Set by hand when Ceph was taken into service."""

CEPH_CONF = """\
[global]
fsid = a7f64266-0894-4f1e-a635-d0aeaca0e993
mon_host = 10.43.179.11,10.43.179.12,10.43.179.13
auth_client_required = cephx
"""
CEPH_KEYRING = "[client.cinder]\n    key = lab-only\n"
MULTIPATH_IN_SERVICE = """\
defaults {
    user_friendly_names yes
}
devices {
    device {
        vendor "ZTE"
        product "KS3200"
        path_grouping_policy group_by_prio
        failback immediate
    }
}
"""
MULTIPATH_INSTALLED = "defaults {\n    user_friendly_names yes\n}\n"


def array(driver: str, number: int, address: str) -> dict[str, Any]:
    """An entry of cinder.json's disk arrays; its back end is called after the driver and the number."""
    return {
        "management_ips": [address],
        "data_ips": [address.replace(".177.", ".178.")],
        "pools": [f"pool{number}"],
        "user_name": "root",
        "user_pwd": "lab-only",
        "volume_driver": driver,
        "volume_type": driver,
        "backend_index": f"{driver}-{number}",
    }


CINDER_JSON: dict[str, list[dict[str, Any]]] = {
    "disk_array": [
        array("KS3200_IPSAN", 1, "10.43.177.11"),
        array("KS3200_FCSAN", 1, "10.43.177.12"),
        array("CEPH", 1, "10.43.179.11"),
    ]
}


def put_in_service(tree: Path, local_ip: str) -> None:
    """The controller has every storage setting of the site."""
    (tree / STORAGE_AUTO_CONFIG / "base/cinder.json").write_text(json.dumps(CINDER_JSON, indent=4) + "\n")
    write_back_ends(tree, CINDER_JSON["disk_array"], local_ip)
    conf = tree / "etc/cinder/cinder.conf"
    text = conf.read_text().replace("\n[lvm]", "glance_api_version = 2\n\n[lvm]")
    conf.write_text(text.replace("/etc/ceph/ceph.conf\n", f"/etc/ceph/ceph.conf\n{CEPH_IN_SERVICE}"))
    (tree / "etc/multipath.conf").write_text(MULTIPATH_IN_SERVICE)
    ceph = tree / "etc/ceph"
    ceph.mkdir(exist_ok=True)
    (ceph / "ceph.conf").write_text(CEPH_CONF)
    (ceph / "ceph.client.cinder.keyring").write_text(CEPH_KEYRING)
    (ceph / "ceph.client.cinder.keyring").chmod(0o600)


def install(tree: Path) -> None:
    """An installation has passed: LVM only, no array's settings, a plain multipath.conf."""
    (tree / "etc/cinder").mkdir(exist_ok=True)
    (tree / "etc/cinder/cinder.conf").write_text(CINDER_LVM_ONLY)
    (tree / "etc/cinder/cinder.conf").chmod(0o640)
    (tree / "etc/multipath.conf").write_text(MULTIPATH_INSTALLED)
    (tree / STORAGE_AUTO_CONFIG / "base").mkdir(parents=True, exist_ok=True)
    (tree / STORAGE_AUTO_CONFIG / "storage_auto_config.py").write_text(STORAGE_SCRIPT)


def remove(tree: Path) -> None:
    """The release is gone, and every storage setting with it."""
    for file in (f"{STORAGE_AUTO_CONFIG}/base/cinder.json", "etc/multipath.conf"):
        (tree / file).unlink(missing_ok=True)
    for directory in ("etc/cinder", "etc/ceph"):
        shutil.rmtree(tree / directory, ignore_errors=True)


def write_back_ends(tree: Path, arrays: Sequence[dict[str, Any]], local_ip: str) -> None:
    """cinder.conf has LVM and the back ends of these arrays, each with its XML; KeyError for a driver that there is not."""
    names = [str(each["backend_index"]) for each in arrays]
    text = CINDER_LVM_ONLY.replace("enabled_backends = lvm", "enabled_backends = " + ",".join(["lvm", *names]))
    etc = tree / "etc/cinder"
    for name, each in zip(names, arrays, strict=True):
        section = SECTIONS[each["volume_driver"]].format(name=name, pool=each["pools"][0])
        text += f"\n[{name}]\nvolume_backend_name = {name}\n{section}"
        if each["volume_driver"].startswith("KS3200"):
            (etc / "cinder_zte_conf.xml").write_text(_zte_xml(local_ip))
            (etc / f"cinder_zte_conf_file_{name}.xml").write_text(_zte_xml(local_ip))
        elif each["volume_driver"] == "FUJISTU_ETERNUS":
            (etc / f"cinder_fujitsu_eternus_dx_{name}.xml").write_text(_eternus_xml(each))
    (etc / "cinder.conf").write_text(text)


def _zte_xml(local_ip: str) -> str:
    return (
        "<?xml version='1.0' encoding='utf-8'?>\n"
        f"<config>\n  <Storage>\n    <LocalIP>{local_ip}</LocalIP>\n  </Storage>\n</config>\n"
    )


def _eternus_xml(array: dict[str, Any]) -> str:
    return (
        "<?xml version='1.0' encoding='UTF-8'?>\n<FUJITSU>\n"
        f"  <EternusIP>{array['management_ips'][0]}</EternusIP>\n  <EternusPool>{array['pools'][0]}</EternusPool>\n"
        "</FUJITSU>\n"
    )

"""Reading cinder.conf's back ends: as cinder reads it, on every Python, and nothing else of the file is shown."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from include.runbook import conf_edit, list_backends
from include.runbook.cinder_backends import missing, read_back_ends, surplus
from include.runbook.errors import FactUnreadable
from include.runbook.remote_python import abridged, function, program
from include.runbook.shell import Output, quote

PROGRAM = Path(list_backends.__file__)
PYTHONS = [
    name
    for name in (sys.executable, shutil.which("python2.7"))
    if name and subprocess.run([name, "-c", ""], check=False, capture_output=True).returncode == 0
]
CONF = b"""\
# \xe4\xb8\xad enabled_backends = none
[DEFAULT]
transport_url = rabbit://cinder:hidden@10.0.0.1
enabled_backends = first
enabled_backends =lvm, ceph-1,
    zte_1
;enabled_backends = other
[lvm]
volume_driver: cinder.volume.drivers.lvm.LVMISCSIDriver
volumes_dir = /var/lib/cinder
  # a comment that is a value
[zte_1]
volume_driver=cinder.volume.drivers.zte.zte_fc.ZteFCDriver
cinder_zte_conf_file=/etc/cinder/cinder_zte_conf_file_zte_1.xml
lvm_conf_file = /etc/../etc/shadow

[ceph-1]
san_password = hidden
volume_driver = cinder.volume.drivers.rbd.RBDDriver
rbd_ceph_conf = /etc//ceph/ceph.conf\r
[keystone_authtoken]
password = hidden
"""
LISTED = {
    "enabled": ["lvm", "ceph-1", "zte_1"],
    "sections": {
        "lvm": {"driver": "cinder.volume.drivers.lvm.LVMISCSIDriver", "files": []},
        "zte_1": {
            "driver": "cinder.volume.drivers.zte.zte_fc.ZteFCDriver",
            "files": ["/etc/cinder/cinder_zte_conf_file_zte_1.xml"],
        },
        "ceph-1": {"driver": "cinder.volume.drivers.rbd.RBDDriver", "files": ["/etc/ceph/ceph.conf"]},
    },
}


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    file = tmp_path / "cinder.conf"
    file.write_bytes(CONF)
    return file


def _run(python: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([python, str(PROGRAM), *arguments], capture_output=True, check=False)


@pytest.mark.parametrize("python", PYTHONS)
def test_enabled_back_ends_are_listed_with_driver_and_files_and_without_secrets(python: str, conf: Path) -> None:
    done = _run(python, "back-ends", str(conf))
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, LISTED, b"")
    assert b"hidden" not in done.stdout


@pytest.mark.parametrize("python", PYTHONS)
def test_what_nothing_else_brings_back_is_told_as_rules_that_conf_edit_takes(
    python: str, conf: Path, tmp_path: Path
) -> None:
    rules = json.loads(_run(python, "restored", str(conf)).stdout)
    assert [(rule["section"], rule["key"]) for rule in rules] == [
        ("ceph-1", "*"),
        ("DEFAULT", "rbd_*"),
        ("DEFAULT", "rados_*"),
        ("DEFAULT", "glance_api_version"),
        ("DEFAULT", "enabled_backends"),
    ]
    fresh = tmp_path / "fresh.conf"
    fresh.write_bytes(b"[DEFAULT]\nenabled_backends = lvm\n")
    assert conf_edit.main(["carry", str(conf), str(fresh), "--rules", json.dumps(rules)]) == conf_edit.TRUE
    assert conf_edit.get(fresh.read_bytes(), b"ceph-1", b"san_password") == [b"hidden"]
    assert conf_edit.get(fresh.read_bytes(), b"keystone_authtoken", b"password") == []


def test_without_ceph_only_the_list_of_back_ends_is_carried_over() -> None:
    found = list_backends.settings("[DEFAULT]\nrbd_pool = a\nenabled_backends = lvm\n")
    assert list_backends.restored(found) == [{"section": "DEFAULT", "key": "enabled_backends", "rule": "restore"}]


def test_both_readers_of_such_files_agree() -> None:
    found = list_backends.settings(CONF.decode("latin-1"))
    for section, keys in found.items():
        for key, value in keys.items():
            assert conf_edit.get(CONF, section.encode(), key.encode())[-1:] == [value.encode("latin-1")], (section, key)


@pytest.mark.parametrize("python", PYTHONS)
def test_a_file_that_cannot_be_read_is_told_with_status_2(python: str, tmp_path: Path) -> None:
    done = _run(python, "back-ends", str(tmp_path / "none"))
    assert (done.returncode, b"list_backends: " in done.stderr) == (2, True)


def test_a_shell_function_runs_the_program_with_arguments_that_only_the_host_knows(conf: Path) -> None:
    script = f'{function("lister", PROGRAM)}\nfor each in "$1"; do lister back-ends "$each" && lister back-ends "$each"; done'
    done = subprocess.run(["sh", "-c", script, "sh", str(conf)], capture_output=True, check=True)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [LISTED, LISTED]


def test_the_abridged_script_names_the_program() -> None:
    count = len(PROGRAM.read_text().splitlines())
    sent = program(PROGRAM, "back-ends", "x")
    for script in (sent, f"sh -c {quote(sent)}"):
        assert f"\n... {count} lines of include/runbook/list_backends.py ...\n" in abridged(script)
        assert "def back_ends" not in abridged(script)


# ---- comparing -------------------------------------------------------------------------------------------------------


def _back_ends(text: str) -> Output:
    return Output(0, json.dumps(list_backends.back_ends(list_backends.settings(text))))


BEFORE = read_back_ends(
    "b", "list", _back_ends("[DEFAULT]\nenabled_backends=x,y\n[x]\nvolume_driver=X\n[y]\nvolume_driver=Y\n")
)


@pytest.mark.parametrize(
    ("now", "wanting"),
    [
        ("[DEFAULT]\nenabled_backends=y,x\n[x]\nvolume_driver=X\n[y]\nvolume_driver=Y\n", []),
        (
            "[DEFAULT]\nenabled_backends=x\n[x]\nvolume_driver=X\n",
            ["back end y (Y) is missing: it has no section in cinder.conf"],
        ),
        (
            "[DEFAULT]\nenabled_backends=x\n[x]\nvolume_driver=X\n[y]\nvolume_driver=Y\n",
            ["back end y (Y) is missing: it is not enabled"],
        ),
        (
            "[DEFAULT]\nenabled_backends=x,y,z\n[x]\nvolume_driver=Z\n[y]\nvolume_driver=Y\n",
            ["back end x has the driver Z; expected X", "back end z (no section) was not enabled"],
        ),
    ],
)
def test_two_lists_of_back_ends_are_compared_by_name_and_driver(now: str, wanting: list[str]) -> None:
    here = read_back_ends("b", "list", _back_ends(now))
    assert missing(BEFORE, here) + surplus(BEFORE, here) == wanting


@pytest.mark.parametrize("output", [Output(2, "", "no Python"), Output(0, "[]"), Output(0, "{"), Output(0, "null")])
def test_an_answer_that_is_no_list_is_never_read_as_no_back_ends(output: Output) -> None:
    with pytest.raises(FactUnreadable):
        read_back_ends("b", "list", output)

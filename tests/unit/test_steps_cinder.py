"""A5.4: B's storage settings are saved, restored and carried over on real files."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from include.runbook.cinder_archive import archive
from include.runbook.custody import folder
from include.runbook.errors import CommandFailed, GoalNotReached, PreconditionFailed
from include.runbook.perform import perform
from include.runbook.plan import make_steps
from include.runbook.step import KINDS, Over, Run, kind

from .site import Site

LVM = """\
[DEFAULT]
enabled_backends = lvm

[lvm]
volume_driver = cinder.volume.drivers.lvm.LVMISCSIDriver
"""
ARRAYS = """\
[DEFAULT]
enabled_backends = lvm,IP-1,ETERNUS-1

[lvm]
volume_driver = cinder.volume.drivers.lvm.LVMISCSIDriver

[IP-1]
volume_driver = cinder.volume.drivers.zte.zte_iscsi.ZteISCSIDriver
cinder_zte_conf_file = /etc/cinder/cinder_zte_conf_file_IP-1.xml

[ETERNUS-1]
volume_driver = cinder.volume.drivers.fujitsu.fujitsu_eternus_dx_fc.FJDXFCDriver
cinder_eternus_config_file = /etc/cinder/eternus-1.xml
"""
CEPH = """
[ceph-1]
volume_driver = cinder.volume.drivers.rbd.RBDDriver
rbd_pool = volumes
rbd_user = cinder
rbd_ceph_conf = /etc/ceph/ceph.conf
a_key_of_tomorrow = 1
"""
IN_SERVICE = (
    ARRAYS.replace("enabled_backends = lvm,", "glance_api_version = 2\nenabled_backends = ceph-1,lvm,")
    + CEPH
    + "\n[database]\nconnection = mysql://cinder:hidden@10.0.0.1/cinder\n"
)
JSON = '{"disk_array": [{"user_pwd": "hidden"}]}\n'
KEYRING = "[client.cinder]\n key = hidden\n"
MULTIPATH = "defaults {\n  find_multipaths yes\n}\n"
DIRECTORY = "/home/tecs_install/storage_auto_config"

CINDER_CONF = """\
test -f storage_auto_config.py || exit 2
root=${PWD%/home/tecs_install/storage_auto_config}
cp "$SAYS/made/cinder.conf" "$root/etc/cinder/cinder.conf"
echo "<x><Storage>
<LocalIP>$(cat "$SAYS/made/ip" 2>/dev/null || echo $3)</LocalIP></Storage></x>" > "$root/etc/cinder/cinder_zte_conf_file_IP-1.xml"
test -e "$SAYS/made/no-eternus" || echo "<FUJITSU/>" > "$root/etc/cinder/eternus-1.xml"
cat "$SAYS/made/says" 2>/dev/null || echo "----------Operation $2 is done!----------"
exit 9"""


class Cinder:
    """B with its storage settings, before and after it is reinstalled."""

    def __init__(self, run: Run, site: Site) -> None:
        self.run, self.site, self.b = run, site, run.cluster.controllers.b
        (site.says / "made").mkdir()
        self.cinder_conf_makes(ARRAYS)
        site.records("python", CINDER_CONF)
        site.records("systemctl", 'test "$1" != is-active || echo active')

    def do(self, *names: str) -> bool:
        """Carry the steps out; tell whether any of them did something."""
        acted = False
        for name in names:
            wanted = kind(name)
            host = self.run.cluster.daisy if wanted.over is Over.DAISY else self.b
            acted |= perform(wanted.make(self.run, host), self.site, self.run, print).acted
        return acted

    def restore(self) -> bool:
        return self.do("bring_back_cinder_settings", "restore_cinder_backends", "carry_over_storage_settings")

    def put(self, path: str, text: str) -> Path:
        return self.site.write(self.b, path, text)

    def read(self, path: str) -> str:
        return Path(self.b.path(path)).read_text()

    def cinder_conf_makes(self, text: str) -> None:
        self.made("cinder.conf", text)

    def made(self, file: str, text: str) -> None:
        (self.site.says / "made" / file).write_text(text)

    def put_in_service(self, cinder_conf: str = IN_SERVICE) -> None:
        self.put("/etc/cinder/cinder.conf", cinder_conf)
        self.put(
            "/etc/cinder/cinder_zte_conf_file_IP-1.xml", "<x><Storage><LocalIP>10.43.203.90</LocalIP></Storage></x>"
        )
        self.put("/etc/cinder/eternus-1.xml", "<FUJITSU/>")
        self.put("/etc/ceph/ceph.conf", "[global]\nfsid = 1\n")
        self.put("/etc/ceph/ceph.client.cinder.keyring", KEYRING).chmod(0o600)
        self.put("/etc/multipath.conf", MULTIPATH)
        self.put(f"{DIRECTORY}/base/cinder.json", JSON)

    def clean(self) -> None:
        for path in self.saved:
            Path(self.b.path(path)).unlink()
        self.site.install(self.b, None)

    def install(self, at: int = 2000) -> None:
        """The installer leaves LVM only, and a multipath.conf of its own."""
        self.site.install(self.b, "100", at=at)
        self.put("/etc/cinder/cinder.conf", LVM)
        self.put("/etc/multipath.conf", "defaults {\n}\n")
        self.put(f"{DIRECTORY}/storage_auto_config.py", "")
        (Path(self.b.path(DIRECTORY)) / "base").mkdir(exist_ok=True)

    def reinstall(self) -> None:
        self.do("save_cinder_settings")
        self.clean()
        self.install()

    @property
    def saved(self) -> list[str]:
        with tarfile.open(archive(self.run.cluster)) as tar:
            return sorted(f"/{name}" for name in tar.getnames())

    def saved_text(self, path: str) -> str:
        with tarfile.open(archive(self.run.cluster)) as tar:
            file = tar.extractfile(path.lstrip("/"))
            assert file is not None
            return file.read().decode()


@pytest.fixture
def cinder(run: Run, site: Site) -> Cinder:
    made = Cinder(run, site)
    made.put_in_service()
    return made


# ---- before ----------------------------------------------------------------------------------------------------------


def test_every_file_that_the_back_ends_are_made_of_is_saved_for_nobody_else_to_read(cinder: Cinder) -> None:
    assert cinder.do("save_cinder_settings")
    assert cinder.saved == [
        "/etc/ceph/ceph.client.cinder.keyring",
        "/etc/ceph/ceph.conf",
        "/etc/cinder/cinder.conf",
        "/etc/cinder/cinder_zte_conf_file_IP-1.xml",
        "/etc/cinder/eternus-1.xml",
        "/etc/multipath.conf",
        f"{DIRECTORY}/base/cinder.json",
    ]
    saved = Path(archive(cinder.run.cluster))
    assert (saved.stat().st_mode & 0o077, saved.parent.stat().st_mode & 0o077) == (0, 0)
    assert not cinder.do("save_cinder_settings")


def test_a_file_that_only_cinder_conf_names_is_saved_too(cinder: Cinder) -> None:
    cinder.put_in_service(IN_SERVICE.replace("/etc/cinder/eternus-1.xml", "/etc/fujitsu/dx"))
    cinder.put("/etc/fujitsu/dx", "<FUJITSU/>")
    cinder.do("save_cinder_settings")
    assert "/etc/fujitsu/dx" in cinder.saved


def test_links_and_doubled_slashes_are_saved_as_the_files_that_they_lead_to(cinder: Cinder) -> None:
    cinder.put_in_service(IN_SERVICE.replace("/etc/ceph/ceph.conf", "/etc//ceph/site.conf"))
    Path(cinder.b.path("/etc/ceph/site.conf")).symlink_to("ceph.conf")
    Path(cinder.b.path("/etc/ceph/copy.conf")).hardlink_to(Path(cinder.b.path("/etc/ceph/ceph.conf")))
    cinder.reinstall()
    assert cinder.restore()
    assert {cinder.saved_text(f"/etc/ceph/{name}.conf") for name in ("ceph", "site", "copy")} == {
        "[global]\nfsid = 1\n"
    }


def test_what_b_does_not_have_and_its_back_ends_do_not_need_is_noted_as_absent(
    cinder: Cinder, capsys: pytest.CaptureFixture[str]
) -> None:
    cinder.put_in_service(LVM)
    for path in (f"{DIRECTORY}/base/cinder.json", "/etc/multipath.conf"):
        Path(cinder.b.path(path)).unlink()
    assert cinder.do("save_cinder_settings")
    told = f"{cinder.b.name} has no {DIRECTORY}/base/cinder.json and no /etc/multipath.conf"
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/etc/cinder/cinder.conf", "no whole archive of"),
        ("/etc/cinder/eternus-1.xml", "not enough: /etc/cinder/eternus-1.xml, which back end ETERNUS-1 names"),
        ("/etc/ceph/ceph.conf", "not enough: /etc/ceph/ceph.conf, which back end ceph-1 names"),
        (f"{DIRECTORY}/base/cinder.json", "base/cinder.json, from which cinder_conf makes IP-1, ETERNUS-1"),
    ],
)
def test_a_missing_file_that_the_back_ends_need_stops_the_run_before_b_is_taken_down(
    cinder: Cinder, path: str, told: str
) -> None:
    Path(cinder.b.path(path)).unlink()
    with pytest.raises(GoalNotReached, match=told) as stopped:
        cinder.do("save_cinder_settings")
    assert "A has a copy" in stopped.value.advice


def test_no_secret_of_the_saved_files_is_printed(cinder: Cinder, capsys: pytest.CaptureFixture[str]) -> None:
    cinder.reinstall()
    cinder.restore()
    captured = capsys.readouterr()
    assert "back ends: ceph-1 (RBDDriver), lvm (LVMISCSIDriver)" in captured.out
    assert "hidden" not in captured.out + captured.err


def test_a_change_before_b_is_taken_down_is_saved(cinder: Cinder) -> None:
    cinder.do("save_cinder_settings")
    cinder.put("/etc/multipath.conf", "defaults {\n  polling_interval 10\n}\n")
    assert cinder.do("save_cinder_settings")
    assert "polling_interval" in cinder.saved_text("/etc/multipath.conf")


def test_a_save_of_an_earlier_installation_is_replaced(cinder: Cinder) -> None:
    cinder.do("save_cinder_settings")
    cinder.site.install(cinder.b, "101", at=5000)
    assert cinder.do("save_cinder_settings")
    assert not cinder.do("save_cinder_settings")


def test_what_was_saved_stays_when_b_has_been_taken_down(cinder: Cinder) -> None:
    cinder.do("save_cinder_settings")
    before = cinder.saved
    cinder.clean()
    assert not cinder.do("save_cinder_settings")
    assert cinder.saved == before


def test_the_installers_settings_never_take_the_place_of_what_was_saved(cinder: Cinder) -> None:
    """A run that begins anew after an installation that failed half way finds the installer's files on B."""
    cinder.do("save_cinder_settings")
    cinder.install()
    cinder.site.install(cinder.b, "101", at=2000)
    cinder.site.note_reinstallation(cinder.b)
    assert not cinder.do("save_cinder_settings")
    assert cinder.saved_text("/etc/cinder/cinder.conf") == IN_SERVICE


def test_nothing_is_saved_from_a_b_that_is_being_reinstalled(cinder: Cinder) -> None:
    cinder.site.note_reinstallation(cinder.b)
    with pytest.raises(PreconditionFailed, match="what lies there is the installer's"):
        cinder.do("save_cinder_settings")


def test_an_archive_that_a_person_made_is_taken_once_b_is_not_installed_any_more(cinder: Cinder) -> None:
    cinder.site.install(cinder.b, None)
    with pytest.raises(PreconditionFailed, match="is not installed any more"):
        cinder.do("save_cinder_settings")
    made = Path(archive(cinder.run.cluster))
    made.parent.mkdir(parents=True)
    with tarfile.open(made, "w") as tar:
        for name in ("etc", "home"):
            tar.add(cinder.b.path(f"/{name}"), name)
    assert not cinder.do("save_cinder_settings")
    cinder.install()
    assert cinder.restore()


def test_a_b_that_has_lost_some_files_and_has_others_changed_is_not_saved_again(cinder: Cinder) -> None:
    cinder.do("save_cinder_settings")
    Path(cinder.b.path(f"{DIRECTORY}/base/cinder.json")).unlink()
    assert not cinder.do("save_cinder_settings")
    cinder.put("/etc/cinder/cinder.conf", LVM)
    with pytest.raises(PreconditionFailed, match=r"base/cinder\.json has gone"):
        cinder.do("save_cinder_settings")
    assert cinder.saved_text("/etc/cinder/cinder.conf") == IN_SERVICE


# ---- after -----------------------------------------------------------------------------------------------------------


def test_b_has_its_back_ends_its_ceph_and_its_multipath_settings_again(cinder: Cinder) -> None:
    cinder.reinstall()
    assert cinder.restore()
    conf = cinder.read("/etc/cinder/cinder.conf")
    assert "enabled_backends = ceph-1,lvm,IP-1,ETERNUS-1" in conf
    assert "glance_api_version = 2" in conf
    assert conf[conf.index("[ceph-1]") :].split() == CEPH.split()
    assert "[database]" not in conf, "the installer's own sections are not touched"
    assert (cinder.read("/etc/multipath.conf"), cinder.read("/etc/ceph/ceph.client.cinder.keyring")) == (
        MULTIPATH,
        KEYRING,
    )
    assert Path(cinder.b.path("/etc/ceph/ceph.client.cinder.keyring")).stat().st_mode & 0o777 == 0o600
    asked = [line.split(": ")[1] for line in cinder.site.asked if " is-" not in line]
    assert asked == [
        "python storage_auto_config.py cinder_conf 10.43.203.90",
        "systemctl restart multipathd",
        "systemctl restart openstack-cinder-volume",
    ]
    assert not cinder.restore()


def test_what_is_changed_by_hand_after_the_restoration_stays(cinder: Cinder) -> None:
    cinder.reinstall()
    cinder.restore()
    mended = {
        f"{DIRECTORY}/base/cinder.json": '{"disk_array": ["by hand"]}\n',
        "/etc/multipath.conf": "defaults {\n  by_hand yes\n}\n",
        "/etc/cinder/cinder.conf": cinder.read("/etc/cinder/cinder.conf").replace(
            "rbd_pool = volumes", "rbd_pool = hand"
        ),
    }
    for path, text in mended.items():
        cinder.put(path, text)
    assert not cinder.restore()
    assert {path: cinder.read(path) for path in mended} == mended


def test_the_back_ends_are_restored_once_for_an_installation(cinder: Cinder) -> None:
    cinder.reinstall()
    cinder.restore()
    cinder.install(at=3000)
    assert cinder.restore()


def test_success_is_what_the_script_says_and_not_its_exit_status(cinder: Cinder) -> None:
    cinder.reinstall()
    cinder.made("says", "----------Operation cinder_conf is Failed.----------\n")
    with pytest.raises(CommandFailed, match="cinder_conf reported that it failed"):
        cinder.restore()
    cinder.made("says", "Traceback\n")
    with pytest.raises(CommandFailed, match="did not report that it is done"):
        cinder.restore()


def test_a_cinder_json_that_was_mended_after_a_failure_is_the_one_that_is_applied(cinder: Cinder) -> None:
    cinder.reinstall()
    cinder.made("says", "----------Operation cinder_conf is Failed.----------\n")
    with pytest.raises(CommandFailed, match="the file is not put back again"):
        cinder.restore()
    cinder.put(f"{DIRECTORY}/base/cinder.json", "mended")
    cinder.made("says", "----------Operation cinder_conf is done!----------\n")
    assert cinder.restore()
    assert cinder.read(f"{DIRECTORY}/base/cinder.json") == "mended"


def test_a_local_ip_that_is_not_the_management_address_is_found(cinder: Cinder) -> None:
    cinder.reinstall()
    cinder.made("ip", "127.0.0.1")
    told = r"cinder_zte_conf_file_IP-1\.xml has LocalIP 127\.0\.0\.1; expected 10\.43\.203\.90"
    with pytest.raises(GoalNotReached, match=told):
        cinder.restore()


def test_a_back_end_that_cinder_conf_did_not_make_is_named_and_nothing_is_carried_over(cinder: Cinder) -> None:
    cinder.reinstall()
    partial = ARRAYS[: ARRAYS.index("\n[ETERNUS-1]")]
    cinder.cinder_conf_makes(partial)
    with pytest.raises(
        PreconditionFailed, match=r"back end ETERNUS-1 \(.*FJDXFCDriver\) is missing: it has no section"
    ):
        cinder.restore()
    assert cinder.read("/etc/cinder/cinder.conf") == partial


def test_a_back_end_with_another_driver_than_before_is_named(cinder: Cinder) -> None:
    cinder.reinstall()
    cinder.cinder_conf_makes(ARRAYS.replace("zte_iscsi.ZteISCSIDriver", "zte_fc.ZteFCDriver"))
    with pytest.raises(PreconditionFailed, match=r"IP-1 has the driver .*ZteFCDriver; expected .*ZteISCSIDriver"):
        cinder.restore()


def test_a_back_end_that_is_lost_later_is_found_by_the_next_run(cinder: Cinder) -> None:
    cinder.reinstall()
    cinder.restore()
    conf = cinder.read("/etc/cinder/cinder.conf")
    cinder.put("/etc/cinder/cinder.conf", conf.replace("ceph-1,lvm", "lvm"))
    assert cinder.restore()
    assert cinder.read("/etc/cinder/cinder.conf") == conf


def test_an_arrays_file_that_cinder_conf_did_not_make_is_named(cinder: Cinder) -> None:
    cinder.reinstall()
    cinder.made("no-eternus", "")
    with pytest.raises(PreconditionFailed, match=r"eternus-1\.xml, which back end ETERNUS-1 names, is missing"):
        cinder.restore()


def test_the_back_ends_are_counted_again_after_everything_was_done(cinder: Cinder) -> None:
    cinder.reinstall()
    conf = cinder.b.path("/etc/cinder/cinder.conf")
    cinder.site.records(
        "systemctl", f'test "$1" != restart || sed -i s/ceph-1,// {conf}; test "$1" != is-active || echo active'
    )
    with pytest.raises(GoalNotReached, match=r"back end ceph-1 \(.*RBDDriver\) is missing: it is not enabled"):
        cinder.restore()
    cinder.site.records("systemctl", 'test "$1" != is-active || echo active')
    assert cinder.restore(), "the failure is not forgotten"


def test_after_cinder_conf_has_run_again_the_rest_is_carried_over_again(cinder: Cinder) -> None:
    cinder.reinstall()
    cinder.restore()
    cinder.put("/etc/cinder/cinder_zte_conf_file_IP-1.xml", "<x><Storage><LocalIP>127.0.0.1</LocalIP></Storage></x>")
    stock = "\n[ceph-1]\nvolume_driver = cinder.volume.drivers.rbd.RBDDriver\n"
    cinder.cinder_conf_makes(ARRAYS.replace("= lvm", "= ceph-1,lvm") + stock)
    assert cinder.restore()
    assert "rbd_user = cinder" in cinder.read("/etc/cinder/cinder.conf")


def test_a_file_of_ceph_comes_back_wherever_it_lay(cinder: Cinder) -> None:
    cinder.put_in_service(IN_SERVICE.replace("/etc/ceph/ceph.conf", "/etc/cinder/rbd.conf"))
    cinder.put("/etc/cinder/rbd.conf", "[global]\nfsid = 2\n")
    cinder.reinstall()
    assert cinder.restore()
    assert cinder.read("/etc/cinder/rbd.conf") == "[global]\nfsid = 2\n"


def test_services_that_do_not_come_up_fail_the_step_and_it_is_not_noted_as_done(cinder: Cinder) -> None:
    cinder.reinstall()
    cinder.site.records("systemctl", 'test "$1" != is-active || echo failed')
    with pytest.raises(CommandFailed, match="multipathd is failed"):
        cinder.restore()
    cinder.site.records("systemctl", 'test "$1" != is-active || echo active')
    assert cinder.restore()


def test_a_multipathd_that_is_not_in_use_is_not_started(cinder: Cinder) -> None:
    cinder.reinstall()
    cinder.site.records("systemctl", 'case "$*" in is-*multipathd) exit 3 ;; is-active*) echo active ;; esac')
    assert cinder.restore()
    assert [line.split("systemctl ")[1] for line in cinder.site.asked if " restart " in line] == [
        "restart openstack-cinder-volume"
    ]


def test_a_b_with_ceph_and_lvm_only_needs_no_cinder_conf(cinder: Cinder) -> None:
    cinder.put_in_service(LVM.replace("= lvm", "= lvm,ceph-1") + CEPH)
    Path(cinder.b.path(f"{DIRECTORY}/base/cinder.json")).unlink()
    cinder.reinstall()
    assert cinder.restore()
    assert "enabled_backends = lvm,ceph-1" in cinder.read("/etc/cinder/cinder.conf")
    assert not [line for line in cinder.site.asked if "cinder_conf" in line]


def test_back_ends_that_b_had_no_list_of_are_left_to_a_person(cinder: Cinder) -> None:
    cinder.put_in_service("[DEFAULT]\nvolume_driver = cinder.volume.drivers.lvm.LVMISCSIDriver\n")
    cinder.cinder_conf_makes(LVM)
    cinder.reinstall()
    with pytest.raises(PreconditionFailed, match=r"back end lvm .* was not enabled"):
        cinder.restore()


def test_nothing_is_restored_before_b_is_back(cinder: Cinder) -> None:
    cinder.reinstall()
    cinder.site.install(cinder.b, "101")
    with pytest.raises(PreconditionFailed):
        cinder.restore()
    assert cinder.read("/etc/cinder/cinder.conf") == LVM


def test_where_nothing_was_saved_nothing_is_restored(cinder: Cinder) -> None:
    assert not cinder.restore()
    assert not Path(f"{folder(cinder.run.cluster)}/saved").exists()


def test_no_script_of_any_step_calls_share_disk(run: Run) -> None:
    """It can make a file system on a disk that is in use."""
    scripts = [
        script
        for each in KINDS.values()
        for made in make_steps(each, run)
        for goal in (made.goal, made.proven_by, *made.requires)
        for script in (made.action, *(read.command for read in goal.reads))
    ]
    assert any("storage_auto_config.py cinder_conf" in script for script in scripts)
    assert not [script for script in scripts if "share_disk" in script]

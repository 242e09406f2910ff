"""A4.5, A4.6, A5.2 and A5.3: uninstalled and installed by a stand-in for the bin, through real scripts."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from include.runbook.cluster import Host
from include.runbook.custody import reinstalling_path
from include.runbook.errors import CommandFailed, GoalNotReached, PreconditionFailed
from include.runbook.perform import Outcome, perform
from include.runbook.plan import hosts_of
from include.runbook.step import Run, VmPolicy, kind

from .site import A, B, Site, ban, failed_action, resource_xml

BIN = """\
#!/bin/sh
echo "$HOST: bin $*" >> "$SAYS/asked"
echo "it excludes $(sed -n 's/^EXCLUDE_SERVERS *= *//p' "$2" 2>/dev/null)" >> "$SAYS/asked"
case "$1" in
clean) test -e "$SAYS/clean-does-nothing" || rm -f "$SAYS/$HOST/release" ;;
conf_file)
  echo 'Applying Puppet manifests'
  for host in $(cat "$SAYS/installs"); do printf 100 > "$SAYS/$host/release"; echo 2000 > "$SAYS/$host/installed_at"; done
  test -e "$SAYS/install-fails" || echo ' **** Installation completed successfully ******' ;;
esac
exit 0
"""
KEYSCAN = 'echo "$5 ssh-ed25519 AAAAC3Nz$(cat "$SAYS/key" 2>/dev/null)"'


def do(name: str, run: Run, site: Site) -> Outcome:
    this = kind(name)
    return perform(this.make(run, hosts_of(this, run)[0]), site, run, print)


@pytest.fixture
def ready(run: Run, site: Site) -> Site:
    """A on 100 and active, B on 101 and banned, the installer staged everywhere, no VMs."""
    cluster = run.cluster
    site.install(cluster.controllers.a, "100")
    site.pacemaker(active=A, constraints=(ban(B),))
    for host in (cluster.daisy, cluster.controllers.b, *run.computes):
        site.write(host, run.staged_bin, BIN).chmod(0o755)
    site.write(
        cluster.daisy,
        f"{cluster.paths.tecs_install}/tecs.conf",
        "[general]\nEXCLUDE_SERVERS = nobody\nCONFIG_HA_HOSTS = 10.43.203.91\n",
    )
    site.cloud(servers=[], services=[])
    site.program("ssh-keyscan", KEYSCAN)
    pins = "".join(f"{node.address} ssh-ed25519 AAAAC3Nz\n" for node in cluster.nodes)
    site.write(cluster.daisy, f"{cluster.paths.state}/known_hosts", pins)
    site.write(cluster.daisy, cluster.paths.known_hosts, "")
    return site


def installs(site: Site, *hosts: Host) -> None:
    """Say on which hosts the installer is going to have an effect."""
    (site.says / "installs").write_text("\n".join(host.name for host in hosts))


# ---- uninstalling ----------------------------------------------------------------------------------------------------


def test_a_compute_without_vms_is_uninstalled_once(run: Run, ready: Site) -> None:
    assert do("uninstall_compute", run, ready).acted
    assert ready.asked[0] == f"{run.computes[0].name}: bin clean"
    assert not do("uninstall_compute", run, ready).acted


def one_vm(run: Run, site: Site) -> None:
    name = run.computes[0].name
    service = {"Binary": "nova-compute", "Host": name, "Status": "disabled", "State": "up"}
    site.cloud(servers=[{"ID": "1", "Name": "web", "Status": "ACTIVE", "Host": name}], services=[service])


def test_nothing_is_uninstalled_under_a_vm(run: Run, ready: Site) -> None:
    one_vm(run, ready)
    with pytest.raises(PreconditionFailed, match=r"nobody has accepted the outage of .*: web \(1, ACTIVE\)"):
        do("uninstall_compute", run, ready)
    assert ready.asked == []


def test_nothing_is_uninstalled_while_the_cloud_does_not_tell_its_vms(run: Run, ready: Site) -> None:
    (ready.says / "cloud-is-down").touch()
    with pytest.raises(Exception, match="Unable to establish connection"):
        do("uninstall_compute", run, ready)
    assert ready.asked == []


@pytest.mark.parametrize("policy", [VmPolicy.ACCEPT_OUTAGE, VmPolicy.NODE_FAULTY])
def test_with_an_accepted_outage_it_is_uninstalled_under_a_vm(run: Run, ready: Site, policy: VmPolicy) -> None:
    one_vm(run, ready)
    assert do("uninstall_compute", replace(run, vm_policy=policy), ready).acted


def test_an_uninstallation_without_effect_is_found_whatever_its_exit_status(run: Run, ready: Site) -> None:
    (ready.says / "clean-does-nothing").touch()
    with pytest.raises(GoalNotReached, match="has release 101"):
        do("uninstall_compute", run, ready)


@pytest.mark.parametrize("name", ["uninstall_compute", "uninstall_b", "install_computes"])
def test_no_bin_is_run_with_another_beside_it(run: Run, ready: Site, name: str) -> None:
    if name == "install_computes":
        ready.install(run.computes[0], None)
    for host in (run.cluster.daisy, run.cluster.controllers.b, *run.computes):
        ready.write(host, f"{run.staged_bin.rpartition('/')[0]}/ZXTECS_other.bin", BIN)
    with pytest.raises(PreconditionFailed, match=r"beside it lies: \S+/ZXTECS_other\.bin"):
        do(name, run, ready)
    assert ready.asked == []


@pytest.mark.parametrize(("name", "constraints"), [("ban_float_ip_on_b", ()), ("uninstall_b", (ban(B),))])
def test_b_is_neither_banned_nor_uninstalled_while_a_could_not_run_a_resource(
    run: Run, ready: Site, name: str, constraints: tuple[str, ...]
) -> None:
    stopped, trouble = resource_xml("db_fs", None), failed_action("db_fs_start_0", A)
    ready.pacemaker(active=A, constraints=constraints, more=stopped, troubles=trouble)
    with pytest.raises(PreconditionFailed, match="db_fs_start_0 failed on pcmk_a"):
        do(name, run, ready)
    assert ready.asked == []


def test_a_b_that_is_clean_already_is_banned_and_not_uninstalled(run: Run, ready: Site) -> None:
    ready.install(run.cluster.controllers.b, None)
    ready.pacemaker(active=A, online=(A,))
    ready.tell(run.cluster.controllers.b, "crm_mon.fails", "")
    ready.program("systemctl", "echo inactive; exit 3")
    assert do("ban_float_ip_on_b", run, ready).acted
    assert not do("uninstall_b", run, ready).acted
    assert not any("clean" in each for each in ready.asked)


def test_a_node_that_is_back_is_not_uninstalled(run: Run, ready: Site) -> None:
    ready.install(run.computes[0], "100")
    assert not do("uninstall_compute", run, ready).acted


def test_a_node_that_is_half_upgraded_is_taken_down_whatever_its_packages_say_and_is_back_once_it_is_installed(
    run: Run, ready: Site
) -> None:
    """The upgrade broke off before it came to the package by which the release is told."""
    compute = run.computes[0]
    ready.install(compute, "100")
    note = ready.write(compute, f"{run.cluster.paths.state}/upgrade", "begun\n")
    assert do("uninstall_compute", run, ready).acted
    installs(ready, compute)
    assert do("install_computes", run, ready).acted
    assert not note.exists()
    assert not do("uninstall_compute", run, ready).acted


def test_a_node_whose_installation_is_not_proven_is_uninstalled_again(run: Run, ready: Site) -> None:
    ready.install(run.computes[0], "100")
    ready.note_reinstallation(run.computes[0])
    assert do("uninstall_compute", run, ready).acted


@pytest.mark.parametrize(
    ("active", "constraints", "release"),
    [(B, (ban(B),), "100"), (A, (), "100"), (A, (ban(A),), "100"), (A, (ban(B),), "101"), (None, (ban(B),), "100")],
    ids=["B active", "no ban", "A banned", "A bad", "nobody active"],
)
def test_b_is_taken_down_only_while_a_is_active_and_good_and_b_is_banned(
    run: Run, ready: Site, active: str | None, constraints: tuple[str, ...], release: str
) -> None:
    ready.pacemaker(active=active, constraints=constraints)
    ready.install(run.cluster.controllers.a, release)
    with pytest.raises(PreconditionFailed, match="only while A is active, good, and B is banned"):
        do("uninstall_b", run, ready)
    assert ready.asked == []


def test_b_is_uninstalled_while_a_serves_and_b_is_banned(run: Run, ready: Site) -> None:
    assert do("uninstall_b", run, ready).acted
    assert ready.asked[0] == "host-10-43-203-92: bin clean"


# ---- installing ------------------------------------------------------------------------------------------------------


@pytest.fixture
def empty(run: Run, ready: Site) -> Site:
    """The run's compute has no release, and the installer is going to give it one."""
    ready.install(run.computes[0], None)
    installs(ready, run.computes[0])
    return ready


def noted(run: Run) -> bool:
    return Path(reinstalling_path(run.cluster, run.computes[0])).exists()


def test_the_compute_is_back_and_nothing_is_left_unproven(run: Run, empty: Site) -> None:
    assert do("install_computes", run, empty).acted
    assert not noted(run)
    assert not do("install_computes", run, empty).acted


def test_the_installer_leaves_out_everyone_else_whatever_stood_in_its_file(run: Run, empty: Site) -> None:
    do("install_computes", run, empty)
    others = ",".join(node.address for node in run.cluster.nodes if node not in run.computes)
    assert f"it excludes {others}" in empty.asked


def test_the_installers_exit_status_means_nothing_its_log_tells(run: Run, empty: Site) -> None:
    (empty.says / "install-fails").touch()
    with pytest.raises(CommandFailed, match="the installer did not report: Installation completed successfully"):
        do("install_computes", run, empty)
    assert noted(run), "packages are there, yet the compute must not pass for rolled back"
    (empty.says / "install-fails").unlink()
    assert do("install_computes", run, empty).acted
    assert not noted(run)


def test_an_installer_that_reports_success_without_effect_is_found(run: Run, empty: Site) -> None:
    installs(empty)
    with pytest.raises(GoalNotReached, match="has no release"):
        do("install_computes", run, empty)


def test_nothing_is_installed_over_the_bad_release(run: Run, ready: Site) -> None:
    with pytest.raises(PreconditionFailed, match="no release is installed on host-10-43-203-101"):
        do("install_computes", run, ready)
    assert ready.asked == []


def test_a_new_key_of_a_reinstalled_host_is_pinned(run: Run, empty: Site) -> None:
    empty.program("ssh-keyscan", KEYSCAN.replace("AAAAC3Nz", "AAAAC3NzNEW"))
    do("install_computes", run, empty)
    pins = Path(run.cluster.daisy.path(f"{run.cluster.paths.state}/known_hosts")).read_text().splitlines()
    assert f"{run.computes[0].address} ssh-ed25519 AAAAC3NzNEW" in pins
    assert f"{run.cluster.controllers.a.address} ssh-ed25519 AAAAC3Nz" in pins


@pytest.fixture
def installer_at_work(run: Run) -> Iterator[None]:
    """A process that looks like the installer of this Daisy host."""
    path = run.cluster.daisy.path(run.staged_bin)
    words = [path, "conf_file", "tecs.conf"]
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", *words])
    ends = time.monotonic() + 10
    while b"conf_file" not in Path(f"/proc/{process.pid}/cmdline").read_bytes():
        assert time.monotonic() < ends
        time.sleep(0.02)
    yield
    process.kill()
    process.wait()


def test_a_second_installer_is_not_started_beside_another(run: Run, empty: Site, installer_at_work: None) -> None:
    with pytest.raises(PreconditionFailed, match="an installer runs already: process"):
        do("install_computes", run, empty)
    assert empty.asked == []


def test_b_is_installed_by_an_installer_that_leaves_out_everyone_else(run: Run, ready: Site) -> None:
    b = run.cluster.controllers.b
    ready.install(b, None)
    installs(ready, b)
    assert do("install_b", run, ready).acted
    excluded = next(each for each in ready.asked if each.startswith("it excludes")).split()[-1].split(",")
    assert b.address not in excluded
    assert len(excluded) == len(run.cluster.nodes) - 1

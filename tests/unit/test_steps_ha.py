"""Everything that touches Pacemaker: the scripts run for real, with stateful stand-ins for pcs and its readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.runbook.errors import CommandFailed, GoalNotReached, PreconditionFailed
from include.runbook.perform import perform
from include.runbook.plan import hosts_of
from include.runbook.step import Run, kind

from .site import A, B, Site, ban, fail_count, failed_action, preference, resource_xml, status_xml


def do(name: str, run: Run, site: Site) -> bool:
    this = kind(name)
    return perform(this.make(run, hosts_of(this, run)[0]), site, run, print).acted


def constraints(site: Site) -> str:
    return (site.says / site.cluster.controllers.a.name / "constraints.xml").read_text()


@pytest.fixture
def bad_b(site: Site) -> Site:
    """Scenario A as it begins: A standby on 100 and banned, B active on 101."""
    site.install(site.cluster.controllers.a, "100")
    site.pacemaker(active=B, constraints=(ban(A),))
    return site


@pytest.fixture
def good(site: Site) -> Site:
    """A and B on 100 and online, A active, nothing constrained."""
    for host in (site.cluster.controllers.a, site.cluster.controllers.b):
        site.install(host, "100")
    site.pacemaker(active=A)
    return site


# ---- A1 --------------------------------------------------------------------------------------------------------------


def test_the_ban_that_keeps_the_float_ip_off_a_is_cleared(run: Run, bad_b: Site) -> None:
    assert do("clear_ban_on_a", run, bad_b)
    assert "cli-ban" not in constraints(bad_b)
    assert not do("clear_ban_on_a", run, bad_b)


def test_a_ban_of_b_does_not_keep_the_float_ip_off_a_and_stays(run: Run, bad_b: Site) -> None:
    bad_b.pacemaker(active=A, constraints=(ban(B),))
    assert not do("clear_ban_on_a", run, bad_b)
    assert bad_b.asked == []


@pytest.mark.parametrize("release", ["101", None])
def test_a_that_is_not_on_the_old_release_is_not_let_take_over(run: Run, bad_b: Site, release: str | None) -> None:
    bad_b.install(run.cluster.controllers.a, release)
    for name in ("clear_ban_on_a", "move_float_ip_to_a"):
        with pytest.raises(PreconditionFailed):
            do(name, run, bad_b)
    assert bad_b.asked == []


def test_a_that_is_offline_is_not_let_take_over(run: Run, bad_b: Site) -> None:
    bad_b.pacemaker(active=B, online=(B,), constraints=(ban(A),))
    with pytest.raises(PreconditionFailed, match="B stays active"):
        do("clear_ban_on_a", run, bad_b)


@pytest.mark.parametrize("generation", ["0.9", "0.11"])
def test_the_float_ip_moves_to_a_and_no_preference_is_left(run: Run, bad_b: Site, generation: str) -> None:
    bad_b.pacemaker(active=B)
    if generation == "0.9":
        (bad_b.says / "pcs-0.9").touch()
    assert do("move_float_ip_to_a", run, bad_b)
    assert bad_b.asked[0].endswith(f"pcs resource move lb_float_ip {A}")
    assert "cli-prefer" not in constraints(bad_b)
    assert not do("move_float_ip_to_a", run, bad_b)


@pytest.mark.parametrize(
    ("troubles", "told"),
    [
        ("", f"lb_float_ip is started on {B}"),
        (failed_action("lb_float_ip_stop_0", B), f"{B} does not let go of lb_float_ip: its stop failed"),
        (failed_action("lb_float_ip_start_0", A), f"lb_float_ip_start_0 failed on {A}"),
        (fail_count("lb_float_ip", A, "INFINITY"), f"lb_float_ip may not run on {A}: it failed there too often"),
        (fail_count("haproxy", A, "INFINITY"), f"haproxy may not run on {A}: it failed there too often"),
    ],
    ids=["in time", "b holds it", "start failed", "failed too often", "what goes with it failed"],
)
def test_a_that_does_not_take_over_is_found_with_the_reason_that_pacemaker_gives(
    run: Run, bad_b: Site, impatient: None, troubles: str, told: str
) -> None:
    bad_b.program("sleep", "exit 0")
    bad_b.pacemaker(active=B, troubles=troubles)
    (bad_b.says / f"refuses-{A}").touch()
    with pytest.raises(GoalNotReached, match="A did not take over") as found:
        do("move_float_ip_to_a", run, bad_b)
    assert str(found.value).count(told) == 1
    assert "cli-" not in constraints(bad_b)


def test_a_failed_stop_that_is_over_says_how_it_is_cleaned_up(run: Run, bad_b: Site, impatient: None) -> None:
    bad_b.program("sleep", "exit 0")
    bad_b.pacemaker(active=B, troubles=failed_action("lb_float_ip_stop_0", B))
    (bad_b.says / f"refuses-{A}").touch()
    with pytest.raises(GoalNotReached, match="pcs resource cleanup lb_float_ip"):
        do("move_float_ip_to_a", run, bad_b)


@pytest.mark.parametrize("name", ["move_float_ip_to_a", "ban_float_ip_on_b", "uninstall_b", "clear_ban"])
def test_nothing_is_done_while_a_and_b_both_claim_the_float_ip(run: Run, good: Site, name: str) -> None:
    cluster = run.cluster
    good.install(cluster.controllers.b, "100" if name == "clear_ban" else "101")
    good.pacemaker(active=A, constraints=() if name in ("move_float_ip_to_a", "ban_float_ip_on_b") else (ban(B),))
    good.tell(cluster.controllers.b, "crm_mon.xml", status_xml(active=B, online=(B,)))
    with pytest.raises(PreconditionFailed, match=f"has lb_float_ip on {B}; A has it on {A}"):
        do(name, run, good)
    assert good.asked == []


@pytest.mark.parametrize("mode", ["maintenance-mode", "unmanaged"])
def test_the_float_ip_is_not_moved_in_maintenance(run: Run, bad_b: Site, mode: str) -> None:
    bad_b.pacemaker(active=B, properties=(mode,))
    with pytest.raises(PreconditionFailed, match=f"{mode} is set"):
        do("move_float_ip_to_a", run, bad_b)


# ---- A2 --------------------------------------------------------------------------------------------------------------


def test_the_float_ip_is_banned_from_b_by_the_name_that_pacemaker_has_for_it(run: Run, bad_b: Site) -> None:
    bad_b.pacemaker(active=A)
    assert do("ban_float_ip_on_b", run, bad_b)
    assert bad_b.asked == [f"host-10-43-203-91: pcs resource ban lb_float_ip {B}"]
    assert not do("ban_float_ip_on_b", run, bad_b)


def test_a_preference_that_was_left_does_not_stand_in_the_way_of_the_ban(run: Run, bad_b: Site) -> None:
    bad_b.pacemaker(active=A, constraints=(preference(A),))
    assert do("ban_float_ip_on_b", run, bad_b)
    assert "cli-prefer" not in constraints(bad_b)


def test_b_is_not_banned_while_it_is_active(run: Run, bad_b: Site) -> None:
    bad_b.pacemaker(active=B)
    with pytest.raises(PreconditionFailed, match="A must be active before B is banned"):
        do("ban_float_ip_on_b", run, bad_b)
    assert bad_b.asked == []


def test_a_ban_of_both_is_not_taken_for_the_ban_of_b(run: Run, bad_b: Site) -> None:
    bad_b.pacemaker(active=A, constraints=(ban(A), ban(B)))
    with pytest.raises(GoalNotReached):
        do("ban_float_ip_on_b", run, bad_b)


def test_a_cluster_that_is_rolled_back_is_not_banned_again(run: Run, good: Site) -> None:
    assert not do("ban_float_ip_on_b", run, good)


def test_b_is_banned_while_its_reinstallation_is_not_proven(run: Run, good: Site) -> None:
    good.note_reinstallation(run.cluster.controllers.b)
    assert do("ban_float_ip_on_b", run, good)


@pytest.mark.parametrize("nodes", ["", f'<node id="2" uname="{B}"/>\n<node id="3" uname="pcmk_c"/>'])
def test_a_cluster_without_exactly_one_peer_is_not_guessed_about(run: Run, bad_b: Site, nodes: str) -> None:
    bad_b.pacemaker(active=A)
    bad_b.tell(run.cluster.controllers.a, "nodes.xml", f'<nodes><node id="1" uname="{A}"/>\n{nodes}</nodes>')
    with pytest.raises(CommandFailed, match=f"expected one peer of {A}"):
        do("ban_float_ip_on_b", run, bad_b)
    assert bad_b.asked == []


# ---- A5.5 to A5.8 ----------------------------------------------------------------------------------------------------

COROSYNC, AUTHKEY = "/etc/corosync/corosync.conf", "/etc/corosync/authkey"


def test_the_cluster_files_are_copied_with_their_modes_and_only_where_they_exist(run: Run, good: Site) -> None:
    b = run.cluster.controllers.b
    good.write(run.cluster.controllers.a, COROSYNC, "totem {}\n").chmod(0o600)
    good.write(run.cluster.controllers.a, "/var/lib/pcsd/ip_name.conf", "names\n")
    good.write(b, "/etc/hostname", "b\n")
    assert do("copy_cluster_files", run, good)
    copied = Path(b.path(COROSYNC))
    assert (copied.read_text(), copied.stat().st_mode & 0o777) == ("totem {}\n", 0o600)
    assert Path(b.path("/var/lib/pcsd/ip_name.conf")).exists()
    assert not Path(b.path(AUTHKEY)).exists()
    assert not do("copy_cluster_files", run, good)


def test_one_differing_cluster_file_is_copied_again(run: Run, good: Site) -> None:
    good.write(run.cluster.controllers.a, COROSYNC, "totem {}\n")
    good.write(run.cluster.controllers.a, AUTHKEY, b"\0secret\xff")
    do("copy_cluster_files", run, good)
    damaged = Path(run.cluster.controllers.b.path(AUTHKEY))
    damaged.write_bytes(b"other")
    assert do("copy_cluster_files", run, good)
    assert damaged.read_bytes() == b"\0secret\xff"


def test_a_without_cluster_files_is_refused(run: Run, good: Site) -> None:
    Path(run.cluster.controllers.a.path("/etc")).mkdir()
    with pytest.raises(CommandFailed, match="A has no cluster configuration"):
        do("copy_cluster_files", run, good)


def test_the_cluster_is_started_on_b_only_while_b_is_banned(run: Run, good: Site) -> None:
    for host in (run.cluster.controllers.a, run.cluster.controllers.b):
        good.write(host, COROSYNC, "totem {}\n")
    good.pacemaker(active=A, online=(A,))
    with pytest.raises(PreconditionFailed, match="B may join only while it is banned"):
        do("start_cluster_on_b", run, good)
    assert good.asked == []
    good.pacemaker(active=A, online=(A,), constraints=(ban(B),))
    assert do("start_cluster_on_b", run, good)
    assert good.asked == ["host-10-43-203-92: pcs cluster start"]


@pytest.mark.parametrize("differing", [COROSYNC, AUTHKEY])
def test_the_cluster_is_not_started_on_a_b_whose_files_differ_from_as(run: Run, good: Site, differing: str) -> None:
    good.pacemaker(active=A, online=(A,), constraints=(ban(B),))
    for host in (run.cluster.controllers.a, run.cluster.controllers.b):
        good.write(host, COROSYNC, "totem {}\n")
        good.write(host, AUTHKEY, "key")
    good.write(run.cluster.controllers.b, differing, "other")
    with pytest.raises(PreconditionFailed, match=f"differing on host-10-43-203-92: {differing}"):
        do("start_cluster_on_b", run, good)
    assert good.asked == []


@pytest.mark.parametrize(
    ("totem", "starts"),
    [
        ("secauth: off", True),
        ("crypto_cipher: none\n  crypto_hash: none", True),
        ("version: 2", True),
        ("secauth: on", False),
        ("crypto_cipher: none\n  crypto_hash: sha1", False),
        ("keyfile: /etc/corosync/other\n  secauth: on", False),
    ],
)
def test_b_is_not_started_without_the_key_that_its_corosync_conf_asks_for(
    run: Run, good: Site, totem: str, starts: bool
) -> None:
    good.pacemaker(active=A, online=(A,), constraints=(ban(B),))
    for host in (run.cluster.controllers.a, run.cluster.controllers.b):
        good.write(host, COROSYNC, f"totem {{\n  {totem}\n}}\n")
    if starts:
        assert do("start_cluster_on_b", run, good)
        return
    with pytest.raises(PreconditionFailed, match=r"corosync\.conf asks for encryption .*: copy it from A"):
        do("start_cluster_on_b", run, good)
    good.write(run.cluster.controllers.b, "/etc/corosync/other" if "keyfile" in totem else AUTHKEY, "key")
    good.write(run.cluster.controllers.a, "/etc/corosync/other" if "keyfile" in totem else AUTHKEY, "key")
    assert do("start_cluster_on_b", run, good)


def test_b_is_started_again_while_it_is_still_joining(run: Run, good: Site) -> None:
    good.pacemaker(active=A, constraints=(ban(B),))
    xml = good.says / run.cluster.controllers.a.name / "crm_mon.xml"
    xml.write_text(xml.read_text().replace('pending="false"', 'pending="true"'))
    step = kind("start_cluster_on_b").make(run, run.cluster.controllers.b)
    assert not step.goal.judge([good.run(read.host, read.command, 10) for read in step.goal.reads]).met


@pytest.mark.parametrize(
    "state",
    [{"online": (A,)}, {"failed": True}, {"more": resource_xml("db_fs", None)}],
    ids=["offline", "failed", "stopped"],
)
def test_the_ban_is_kept_until_everything_is_up(run: Run, good: Site, state: dict[str, object]) -> None:
    good.pacemaker(active=A, constraints=(ban(B),), **state)  # type: ignore[arg-type]
    with pytest.raises(PreconditionFailed, match="The ban is kept until B is on the target release"):
        do("clear_ban", run, good)
    assert "cli-ban" in constraints(good)


@pytest.mark.parametrize("release", ["101", None])
def test_the_ban_is_kept_until_b_is_on_the_target_release(run: Run, good: Site, release: str | None) -> None:
    good.pacemaker(active=A, constraints=(ban(B),))
    good.install(run.cluster.controllers.b, release)
    with pytest.raises(PreconditionFailed):
        do("clear_ban", run, good)


def test_the_ban_is_kept_while_bs_reinstallation_is_not_proven(run: Run, good: Site) -> None:
    good.pacemaker(active=A, constraints=(ban(B),))
    good.note_reinstallation(run.cluster.controllers.b)
    with pytest.raises(PreconditionFailed):
        do("clear_ban", run, good)


def test_the_ban_is_cleared_when_b_is_proven_good(run: Run, good: Site) -> None:
    good.pacemaker(active=A, constraints=(ban(B),))
    assert do("clear_ban", run, good)
    assert "cli-ban" not in constraints(good)
    assert not do("clear_ban", run, good)


@pytest.mark.parametrize(("state", "active"), [("active", True), ("failed", False)])
def test_pacemaker_on_b_is_verified(run: Run, good: Site, impatient: None, state: str, active: bool) -> None:
    good.program("systemctl", f"echo {state}; test {state} = active")
    if active:
        assert do("verify_pacemaker_on_b", run, good)
        return
    with pytest.raises(GoalNotReached, match="The ban on B is kept until this is true"):
        do("verify_pacemaker_on_b", run, good)


# ---- A6.1 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", ["0.9", "0.11"])
def test_the_float_ip_goes_to_b_and_back_once_for_an_installation(run: Run, good: Site, generation: str) -> None:
    if generation == "0.9":
        (good.says / "pcs-0.9").touch()
    assert do("switch_over_and_back", run, good)
    moves = [each.split()[-1] for each in good.asked if " move " in each]
    assert moves == [B, A]
    assert "cli-" not in constraints(good)
    assert not do("switch_over_and_back", run, good)


def test_a_switchover_is_verified_again_after_another_installation_of_b(run: Run, good: Site) -> None:
    do("switch_over_and_back", run, good)
    good.install(run.cluster.controllers.b, "100", at=9999)
    assert do("switch_over_and_back", run, good)


def test_a_switchover_that_does_not_reach_b_is_not_proven_by_a_name_that_begins_alike(run: Run, good: Site) -> None:
    """Node names such as node-1 and node-10: what runs on one must not be seen on the other."""
    good.program("sleep", "exit 0")
    for host in (run.cluster.controllers.a, run.cluster.controllers.b):
        for file in ("crm_mon.xml", "crm_mon.txt", "nodes.xml"):
            text = (good.says / host.name / file).read_text()
            (good.says / host.name / file).write_text(text.replace(A, f"{B}_too"))
    good.tell(run.cluster.controllers.a, "name", f"{B}_too")
    (good.says / f"refuses-{B}").touch()
    with pytest.raises(CommandFailed, match=f"lb_float_ip did not reach {B}"):
        do("switch_over_and_back", run, good)


def test_no_switchover_is_tried_while_b_is_banned(run: Run, good: Site) -> None:
    good.pacemaker(active=A, constraints=(ban(B),))
    with pytest.raises(PreconditionFailed):
        do("switch_over_and_back", run, good)
    assert good.asked == []


def test_a_resource_that_did_not_survive_the_switchover_is_found(run: Run, good: Site, impatient: None) -> None:
    broken = status_xml(active=A, more=resource_xml("shared_disk", None))
    (good.says / f"active-{A}.xml").write_text(broken)
    with pytest.raises(GoalNotReached, match="not started: shared_disk"):
        do("switch_over_and_back", run, good)

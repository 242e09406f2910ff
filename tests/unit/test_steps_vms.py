"""A4.2 and A6.2: VMs are moved, and one is made and removed, by scripts that run for real on a stand-in for the cloud."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from include.runbook import consent
from include.runbook.errors import CommandFailed, FactUnreadable, GoalNotReached, PreconditionFailed
from include.runbook.perform import Outcome, judge, perform
from include.runbook.step import Run, VmPolicy, kind
from include.runbook.steps import vms

from .site import Site

MARKER = "tecs-rollback rollback_compute/run-1"


def do(name: str, run: Run, site: Site) -> Outcome:
    """Carry a step out that is made for one host."""
    step = kind(name).make(run, run.cluster.controllers.a if name == "give_back_computes" else run.cluster.daisy)
    return perform(step, site, run, print)


def drain(run: Run, site: Site) -> Outcome:
    return do("drain_computes", run, site)


def finish(run: Run, site: Site) -> Outcome:
    return do("finish_drain", run, site)


def with_drain(run: Run, **settings: Any) -> Run:
    """Return the run on a cluster whose inventory has these settings of the drain."""
    changed = run.cluster.drain.model_copy(update=settings)
    return replace(run, cluster=run.cluster.model_copy(update={"drain": changed}))


def accept(run: Run, site: Site, answer: VmPolicy, *ids: str) -> None:
    given = consent.Consent(run.computes[0].name, answer, "someone", "2026-11-22T10:00:00+00:00", ids)
    assert site.run(run.cluster.daisy, consent.note_consent(run, given), 30).ok


def vm(id: str, host: str, status: str = "ACTIVE", flavor: str = "small", **more: Any) -> dict[str, Any]:
    return {"ID": id, "Name": f"vm-{id}", "Status": status, "Host": host, "Flavor Name": flavor, **more}


def service(host: str, status: str = "enabled", reason: str | None = None) -> dict[str, Any]:
    return {"Binary": "nova-compute", "Host": host, "Status": status, "State": "up", "Disabled Reason": reason}


@pytest.fixture
def first(run: Run) -> str:
    return run.computes[0].name


@pytest.fixture
def other(run: Run) -> str:
    return run.cluster.computes[1].name


@pytest.fixture
def cloud(run: Run, site: Site, first: str, other: str) -> Site:
    """Three VMs on the compute, one elsewhere."""
    site.cloud(
        servers=[vm("1", first), vm("2", first), vm("3", first), vm("4", other)],
        services=[service(first), service(other)],
    )
    return site


def placed(site: Site) -> dict[str, str]:
    return {each["ID"]: each["Host"] for each in site.seen("servers")}


def disabled(site: Site) -> dict[str, str | None]:
    return {each["Host"]: each["Disabled Reason"] for each in site.seen("services") if each["Status"] == "disabled"}


# ---- the drain -------------------------------------------------------------------------------------------------------


def test_every_vm_is_moved_and_nothing_new_is_scheduled(run: Run, cloud: Site, first: str) -> None:
    assert drain(run, cloud).found.endswith("every VM has been moved")
    assert first not in placed(cloud).values()
    assert disabled(cloud) == {first: MARKER}
    assert not drain(run, cloud).acted
    assert not finish(run, cloud).acted


def test_a_compute_without_vms_is_still_taken_out_of_scheduling(run: Run, cloud: Site, first: str) -> None:
    """Otherwise a VM could be placed on it between this step and the uninstallation, and be lost."""
    cloud.cloud(servers=[], services=[service(first)])
    assert drain(run, cloud).acted
    assert disabled(cloud) == {first: MARKER}


def test_vms_of_one_compute_do_not_flee_to_another_of_the_same_batch(run: Run, cloud: Site, first: str) -> None:
    both, third = run.cluster.computes[:2], run.cluster.computes[2].name
    cloud.cloud(
        servers=[vm("1", first), vm("4", both[1].name)],
        services=[service(c.name) for c in (*both, run.cluster.computes[2])],
    )
    drain(replace(run, computes=both), cloud)
    assert set(placed(cloud).values()) == {third}


def test_a_compute_that_someone_else_disabled_keeps_its_reason(run: Run, cloud: Site, first: str) -> None:
    cloud.cloud(servers=[vm("1", first)], services=[service(first, "disabled", "memory"), service("other")])
    assert drain(run, cloud).acted
    assert disabled(cloud) == {first: "memory"}


@pytest.mark.parametrize(
    ("stays", "reason"),
    [
        ({"status": "ERROR"}, "it is in error state"),
        ({"flavor": "pinned"}, "its processors are pinned"),
        ({"Fate": "vm-9 is not on shared storage"}, "its disk lies on the compute itself"),
        ({"Fate": "No valid host was found"}, "the scheduler found no compute for it"),
        ({"Fate": "CPU doesn't have compatibility"}, "Nova refused to move it: CPU doesn't have compatibility"),
        ({"Fate": "gives up"}, "Nova took the move and gave it up"),
    ],
)
def test_a_vm_that_stays_is_named_with_its_reason_and_the_others_are_moved(
    run: Run, cloud: Site, first: str, stays: dict[str, Any], reason: str
) -> None:
    cloud.cloud(servers=[vm("1", first), vm("9", first, **stays)], services=[service(first), service("other")])
    found = drain(run, cloud).found
    assert f"vm-9 (9, {stays.get('status', 'ACTIVE')}) on {first}: {reason}" in found
    assert placed(cloud) == {"1": "other", "9": first}
    if not set(stays) & {"Fate"}:
        assert not any("migrate" in line and line.endswith(" 9") for line in cloud.asked), "it was not even tried"


def test_a_migration_that_takes_too_long_is_aborted(
    run: Run, cloud: Site, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vms, "FLOOR", 0.1)
    cloud.cloud(servers=[vm("1", first, Fate="hangs"), vm("2", first)], services=[service(first), service("other")])
    found = drain(with_drain(run, migration_limit=1), cloud).found
    assert "vm-1 (1, ACTIVE)" in found
    assert "it took longer than 0 s; it was aborted" in found
    assert placed(cloud) == {"1": first, "2": "other"}


@pytest.mark.parametrize(
    ("nova", "told"),
    [
        ("echo '| Id | Source |'; echo '| 12 | x |'; sed -i s/MIGRATING/ACTIVE/ $SAYS/servers.json", "it was aborted"),
        ("echo 'No such command' >&2; exit 1", "it could not be aborted: No such command; it is still being migrated"),
        ("true", "it could not be aborted: Nova lists no running migration of it"),
    ],
)
def test_where_the_client_cannot_abort_nova_is_asked_and_else_it_is_told(
    run: Run, cloud: Site, nova: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run.computes[0].name
    monkeypatch.setattr(vms, "FLOOR", 0.1)
    (cloud.says / "old-client").touch()
    cloud.records("nova", nova)
    cloud.cloud(servers=[vm("1", first, Fate="hangs")], services=[service(first), service("other")])
    assert told in drain(with_drain(run, migration_limit=1), cloud).found


def test_a_migration_that_an_earlier_try_has_begun_is_watched_and_not_begun_again(
    run: Run, cloud: Site, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vms, "FLOOR", 0.1)
    cloud.cloud(servers=[vm("1", first, "MIGRATING")], services=[service(first), service("other")])
    drain(with_drain(run, migration_limit=1), cloud)
    assert not any("server migrate" in line for line in cloud.asked)


def test_no_more_migrations_run_at_a_time_than_the_inventory_allows(
    run: Run, cloud: Site, first: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every migration hangs until its limit, so what is begun before the first abort is what runs at the same time."""
    monkeypatch.setattr(vms, "FLOOR", 0.5)
    both = run.cluster.computes[:2]
    servers = [vm(f"{c.name[-1]}{n}", c.name, Fate="hangs") for c in both for n in range(3)]
    cloud.cloud(servers=servers, services=[service(first), service(other), service("third")])
    bounded = with_drain(replace(run, computes=both), parallel_per_compute=2, parallel_per_batch=3, migration_limit=1)
    drain(bounded, cloud)
    begun = [line.rsplit(" ", 1)[1] for line in cloud.asked if "server migrate" in line]
    before = cloud.asked[: next(n for n, line in enumerate(cloud.asked) if "migration abort" in line)]
    at_once = [line.rsplit(" ", 1)[1] for line in before if "server migrate" in line]
    assert len(at_once) == 3
    assert max(sum(id[0] == c.name[-1] for id in at_once) for c in both) == 2
    assert sorted(begun) == sorted(each["ID"] for each in servers)


def test_a_cloud_that_does_not_answer_is_not_a_compute_without_vms(run: Run, cloud: Site) -> None:
    (cloud.says / "cloud-is-down").touch()
    for step in (drain, finish):
        with pytest.raises(FactUnreadable, match="Unable to establish connection"):
            step(run, cloud)


def test_a_cloud_that_stops_answering_fails_the_drain(run: Run, cloud: Site) -> None:
    step = kind("drain_computes").make(run, run.cluster.daisy)
    (cloud.says / "cloud-is-down").touch()
    output = cloud.run(step.host, step.action, 30)
    assert output.status == 2
    assert "Unable to establish connection" in output.stderr


def test_a_compute_that_is_back_is_not_drained_again(run: Run, cloud: Site) -> None:
    cloud.install(run.computes[0], "100")
    for step in (drain, finish):
        assert not step(run, cloud).acted
    assert cloud.asked == []


def test_a_hostile_marker_is_text_and_nothing_else(run: Run, cloud: Site, first: str) -> None:
    drain(replace(run, owner="a'$(touch hacked)`id`\""), cloud)
    assert disabled(cloud) == {first: "tecs-rollback a'$(touch hacked)`id`\""}


def test_a_vm_with_a_name_in_any_script_is_named(run: Run, cloud: Site, first: str) -> None:
    cloud.cloud(servers=[vm("9", first, "ERROR") | {"Name": "网元-1"}], services=[service(first), service("other")])
    assert "网元-1 (9, ERROR)" in drain(run, cloud).found


# ---- releases --------------------------------------------------------------------------------------------------------


@pytest.fixture
def of_own_release(run: Run, cloud: Site, first: str) -> Run:
    """VMs may go to computes of their own release only; of three others, two are on the old release and one is silent."""
    second, _, fourth = run.cluster.computes[1:4]
    cloud.install(second, "100")
    cloud.install(fourth, "100")
    cloud.cloud(
        servers=[vm("1", first), vm("2", first, flavor="large")],
        services=[service(c.name) for c in run.cluster.computes[:4]],
    )
    (cloud.says / fourth.name / "down").touch()
    return with_drain(run, migrate_across_releases=False, ram_allocation_ratio=1.0)


def test_a_vm_goes_to_a_compute_of_its_own_release_that_has_room(of_own_release: Run, cloud: Site, first: str) -> None:
    third = of_own_release.cluster.computes[2].name
    found = drain(of_own_release, cloud).found
    assert placed(cloud) == {"1": third, "2": first}
    assert f"vm-2 (2, ACTIVE) on {first}: it may go only to another compute of its release" in found
    assert f"none of {third} has room for it" in found


def test_a_vm_stays_where_no_other_compute_has_its_release(of_own_release: Run, cloud: Site, first: str) -> None:
    cloud.install(of_own_release.cluster.computes[2], "100")
    assert "up and enabled, and there is none" in drain(of_own_release, cloud).found
    assert set(placed(cloud).values()) == {first}


def test_consent_lets_the_vms_of_that_compute_go_to_any_release(of_own_release: Run, cloud: Site, first: str) -> None:
    cloud.install(of_own_release.cluster.computes[2], "100")
    drain(of_own_release, cloud)
    with pytest.raises(GoalNotReached, match="nobody has accepted the outage of the VMs"):
        finish(of_own_release, cloud)
    accept(of_own_release, cloud, VmPolicy.MIGRATE_ACROSS_RELEASES)
    assert finish(of_own_release, cloud).acted
    assert first not in placed(cloud).values()


def test_the_request_may_let_vms_go_to_any_release(of_own_release: Run, cloud: Site, first: str) -> None:
    cloud.install(of_own_release.cluster.computes[2], "100")
    drain(replace(of_own_release, vm_policy={first: VmPolicy.MIGRATE_ACROSS_RELEASES}), cloud)
    assert first not in placed(cloud).values()


# ---- consent ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def stuck(run: Run, cloud: Site, first: str, other: str) -> Site:
    """One VM that can be moved and one that cannot."""
    cloud.cloud(servers=[vm("1", first), vm("9", first, "ERROR")], services=[service(first), service(other)])
    return cloud


def test_nobody_is_lost_without_consent(run: Run, stuck: Site) -> None:
    drain(run, stuck)
    with pytest.raises(GoalNotReached, match=r"nobody has accepted the outage of the VMs on .*: vm-9 \(9, ERROR\)"):
        finish(run, stuck)


@pytest.mark.parametrize("answer", [VmPolicy.ACCEPT_OUTAGE, VmPolicy.NODE_FAULTY])
def test_an_outage_that_a_person_accepts_is_told_with_who_and_when(run: Run, stuck: Site, answer: VmPolicy) -> None:
    drain(run, stuck)
    accept(run, stuck, answer, "9")
    told = f"someone has accepted the outage ({answer}, 2026-11-22T10:00:00+00:00) of: vm-9 (9, ERROR)"
    assert told in finish(run, stuck).found


def test_consent_does_not_cover_a_vm_that_came_later(run: Run, stuck: Site, first: str, other: str) -> None:
    drain(run, stuck)
    accept(run, stuck, VmPolicy.ACCEPT_OUTAGE, "9")
    stuck.cloud(servers=[vm("9", first, "ERROR"), vm("10", first, "ERROR")], services=[service(first), service(other)])
    with pytest.raises(GoalNotReached, match=r"was not asked about these VMs on .*: vm-10 \(10, ERROR\)"):
        finish(run, stuck)


def test_consent_to_migrate_is_no_consent_to_an_outage(run: Run, stuck: Site) -> None:
    drain(run, stuck)
    accept(run, stuck, VmPolicy.MIGRATE_ACROSS_RELEASES, "9")
    with pytest.raises(GoalNotReached, match="nobody has accepted"):
        finish(run, stuck)


def test_consent_of_another_run_does_not_count(run: Run, stuck: Site) -> None:
    drain(run, stuck)
    accept(replace(run, owner="rollback_compute/run-0"), stuck, VmPolicy.ACCEPT_OUTAGE, "9")
    with pytest.raises(GoalNotReached, match="nobody has accepted"):
        finish(run, stuck)


def test_a_note_that_cannot_be_read_is_no_consent(run: Run, stuck: Site, first: str) -> None:
    drain(run, stuck)
    stuck.write(run.cluster.daisy, f"{run.cluster.paths.state}/consent/rollback_compute_run-1/{first}.json", "{half")
    with pytest.raises(FactUnreadable, match="half"):
        finish(run, stuck)


def test_an_outage_that_the_request_accepts_is_recorded_with_user_and_vm(run: Run, stuck: Site) -> None:
    accepting = replace(run, vm_policy=VmPolicy.ACCEPT_OUTAGE, user="operator")
    drain(accepting, stuck)
    assert placed(stuck)["1"] != run.computes[0].name, "what can be moved is moved all the same"
    assert "operator accepts the outage (accept_outage) of: vm-9 (9, ERROR)" in finish(accepting, stuck).found


def test_no_vm_of_a_faulty_compute_is_moved(run: Run, stuck: Site, first: str) -> None:
    faulty = replace(run, vm_policy={first: VmPolicy.NODE_FAULTY}, user="operator")
    drain(faulty, stuck)
    found = finish(faulty, stuck).found
    assert "operator accepts the outage (node_faulty) of: vm-1 (1, ACTIVE)" in found
    assert placed(stuck)["1"] == first
    assert disabled(stuck) == {first: MARKER}


def test_a_compute_is_not_taken_down_while_new_vms_may_come(run: Run, stuck: Site) -> None:
    """A failed drain gives its computes back; the uninstallation sees that for itself."""
    goal = vms.drained_or_accepted(replace(run, vm_policy=VmPolicy.ACCEPT_OUTAGE), run.computes[0], run.computes)
    assert "is enabled" in judge(goal, stuck).found


def test_a_compute_that_was_given_back_is_drained_again(run: Run, cloud: Site, first: str, other: str) -> None:
    drain(run, cloud)
    do("give_back_computes", run, cloud)
    cloud.cloud(servers=[vm("7", first)], services=[service(first), service(other)])
    assert finish(run, cloud).acted
    assert placed(cloud) == {"7": other}
    assert disabled(cloud) == {first: MARKER}


# ---- giving back -----------------------------------------------------------------------------------------------------


def test_what_a_rollback_disabled_is_given_back_and_nothing_else(run: Run, cloud: Site, first: str, other: str) -> None:
    third = run.cluster.computes[2].name
    cloud.cloud(
        servers=[],
        services=[
            service(first, "disabled", "tecs-rollback x"),
            service(other, "disabled", "memory"),
            service(third, "disabled", MARKER),
        ],
    )
    both = replace(run, computes=run.cluster.computes[:2])
    assert do("give_back_computes", both, cloud).acted
    assert disabled(cloud) == {other: "memory", third: MARKER}
    assert not do("give_back_computes", both, cloud).acted


# ---- placement -------------------------------------------------------------------------------------------------------


def noted(run: Run, site: Site) -> list[str]:
    return site.run(run.cluster.daisy, f"cat {vms.placement_path(run, run.computes[0])}", 30).stdout.split()


def test_the_placement_is_noted_before_the_drain_and_kept_by_a_second_try(run: Run, cloud: Site) -> None:
    assert do("note_placement", run, cloud).acted
    assert noted(run, cloud) == ["1000", "1", "2", "3"]
    drain(run, cloud)
    assert not do("note_placement", replace(run, owner="rollback_compute/run-2"), cloud).acted
    assert noted(run, cloud) == ["1000", "1", "2", "3"]


def test_the_notes_of_all_computes_are_read_at_once(run: Run) -> None:
    every = replace(run, computes=run.cluster.computes)
    step = kind("note_placement").make(every, run.cluster.daisy)
    # The one of the notes, and the one of the reinstallations that are under way.
    assert len({read for read in step.goal.reads if read.host == run.cluster.daisy}) == 2


def test_a_new_installation_has_a_placement_of_its_own(run: Run, cloud: Site, first: str) -> None:
    do("note_placement", run, cloud)
    cloud.install(run.computes[0], "101", at=2000)
    cloud.cloud(servers=[vm("5", first)], services=[service(first)])
    assert do("note_placement", run, cloud).acted
    assert noted(run, cloud) == ["2000", "5"]


@pytest.mark.parametrize("release", ["100", None], ids=["back", "taken down"])
def test_a_compute_without_its_bad_release_has_no_placement_to_note(run: Run, cloud: Site, release: str | None) -> None:
    cloud.install(run.computes[0], release)
    assert not do("note_placement", run, cloud).acted


def test_a_placement_that_cannot_be_listed_stops_the_run(run: Run, cloud: Site) -> None:
    (cloud.says / "list-fails").touch()
    with pytest.raises(CommandFailed, match="Internal Server Error"):
        do("note_placement", run, cloud)


def test_a_placement_that_cannot_be_kept_stops_the_run(run: Run, cloud: Site) -> None:
    """The notes are written side by side: a failure of one of them must not be lost among the others."""
    cloud.run(run.cluster.daisy, f"mkdir -p {vms.placement_path(run, run.computes[0])}.new", 30)
    with pytest.raises(CommandFailed, match="directory"):
        do("note_placement", run, cloud)


@pytest.fixture
def afterwards(run: Run, cloud: Site, first: str) -> Run:
    """The compute is back, and its VMs are elsewhere."""
    do("note_placement", run, cloud)
    drain(run, cloud)
    cloud.install(run.computes[0], "100")
    cloud.cloud(servers=cloud.seen("servers"), services=[service(c.name) for c in run.cluster.computes[:2]])
    return replace(run, return_vms=True)


def test_vms_come_back_if_that_is_asked_for(afterwards: Run, cloud: Site, first: str, other: str) -> None:
    assert not do("return_vms", replace(afterwards, return_vms=False), cloud).acted
    assert not do("return_vms", replace(afterwards, batch=True), cloud).acted
    assert do("return_vms", afterwards, cloud).found == "every VM that was noted is at home"
    assert placed(cloud) == {"1": first, "2": first, "3": first, "4": other}
    assert not do("return_vms", afterwards, cloud).acted


def test_a_vm_that_does_not_come_back_is_named_and_fails_nothing(
    afterwards: Run, cloud: Site, first: str, other: str
) -> None:
    servers = [s | ({"Fate": "no room"} if s["ID"] == "2" else {}) for s in cloud.seen("servers") if s["ID"] != "3"]
    cloud.cloud(servers=servers, services=cloud.seen("services"))
    found = do("return_vms", afterwards, cloud).found
    assert found == f"vm-2 (2) is on {other}, not on {first}"
    assert placed(cloud) == {"1": first, "2": other, "4": other}


def test_no_vm_comes_back_to_a_compute_that_is_not_back(afterwards: Run, cloud: Site) -> None:
    cloud.install(afterwards.computes[0], "101")
    with pytest.raises(PreconditionFailed, match="has release 101"):
        do("return_vms", afterwards, cloud)


# ---- A6.2 ------------------------------------------------------------------------------------------------------------


def create(run: Run, site: Site) -> bool:
    return perform(kind("create_and_delete_vm").make(run, run.cluster.daisy), site, run, print).acted


def test_a_vm_is_created_and_removed_once_for_an_installation(run: Run, cloud: Site) -> None:
    before = placed(cloud)
    assert create(run, cloud)
    assert placed(cloud) == before
    assert not create(run, cloud)
    cloud.install(run.cluster.controllers.b, "100", at=9999)
    assert create(run, cloud)


def test_a_vm_that_cannot_be_created_is_told_and_nothing_of_it_is_left(run: Run, cloud: Site) -> None:
    (cloud.says / "no-valid-host").touch()
    before = placed(cloud)
    with pytest.raises(CommandFailed, match="No valid host was found"):
        create(run, cloud)
    assert placed(cloud) == before
    (cloud.says / "no-valid-host").unlink()
    assert create(run, cloud)


def test_a_list_that_cannot_be_read_is_not_taken_for_nothing_left_behind(run: Run, cloud: Site) -> None:
    step = kind("create_and_delete_vm").make(run, run.cluster.daisy)
    (cloud.says / "list-fails").touch()
    assert not cloud.run(step.host, step.action, 30).ok
    assert not any("server create" in line for line in cloud.asked)

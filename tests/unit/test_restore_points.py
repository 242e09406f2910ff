"""What an upgrade saves before it changes anything: real files, archives and dumps, and what keeps a save from counting."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from include.runbook.cluster import Cluster, Host
from include.runbook.custody import folder
from include.runbook.errors import CommandFailed, GoalNotReached, PreconditionFailed
from include.runbook.perform import Outcome, perform
from include.runbook.restore_points import MANIFEST, points_folder, read_points, reading
from include.runbook.shell import Output
from include.runbook.step import Run, kind
from include.runbook.steps.restore_points import CLOUD, points_of, points_whole
from include.runbook.validation import checks

from .site import Site, judged

UPGRADE = "upgrade_cluster"
BIN = "the installer of release 100"


@pytest.fixture
def upgrade(cluster: Cluster, tmp_path: Path) -> Run:
    """An upgrade of the whole example site from 100 to 101; the installer's checksum is that of the file here."""
    import hashlib

    known = cluster.releases["100"].model_copy(update={"sha256": hashlib.sha256(BIN.encode()).hexdigest()})
    update = {"releases": {**cluster.releases, "100": known}, "computes": cluster.computes[:2]}
    cluster = cluster.model_copy(update=update)
    return Run(cluster, "101", cluster.computes, owner="upgrade_cluster/1", dag=UPGRADE)


@pytest.fixture
def old(upgrade: Run, tmp_path: Path) -> Site:
    """Every node on release 100, with all that is to be saved."""
    cluster = upgrade.cluster
    site = Site(cluster, tmp_path)
    for node in cluster.nodes:
        site.install(node, "100")
    for compute in cluster.computes:
        site.write(compute, cluster.paths.nova_conf, f"[DEFAULT]\nhost={compute.name}\n")
    for controller in (cluster.controllers.a, cluster.controllers.b):
        site.write(controller, "/etc/corosync/corosync.conf", "totem { }\n")
        site.write(controller, "/etc/corosync/authkey", b"\x00\x01")
    site.write(cluster.controllers.b, "/etc/cinder/cinder.conf", "[DEFAULT]\nenabled_backends = lvm\n")
    for name in ("tecs.conf", "mappings.json"):
        site.write(cluster.daisy, f"{cluster.paths.tecs_data}/{cluster.daisy.cluster_id}/{name}", name)
    site.write(cluster.daisy, cluster.releases["100"].bin, BIN)
    site.databases(cluster.controllers.a)
    site.cloud(servers=[{"ID": "1", "Name": "web", "Status": "ACTIVE", "Host": cluster.computes[0].name}], services=[])
    return site


def save(run: Run, site: Site) -> Outcome:
    return perform(kind("save_restore_points").make(run, run.cluster.daisy), site, run, print)


def listed(run: Run) -> dict[tuple[str, str], dict[str, str]]:
    rows = json.loads((Path(points_folder(run)) / MANIFEST).read_text())["items"]
    return {(row["host"], row["what"]): row for row in rows}


def manifest(run: Run) -> Path:
    return Path(points_folder(run)) / MANIFEST


def test_all_that_a_rollback_needs_is_saved_and_listed_and_then_nothing_is_done_again(upgrade: Run, old: Site) -> None:
    cluster = upgrade.cluster
    a, b, first = cluster.controllers.a.name, cluster.controllers.b.name, cluster.computes[0]
    assert save(upgrade, old).acted
    found = listed(upgrade)
    assert {*found} == {
        *((compute.name, "nova.conf") for compute in cluster.computes),
        *((a, "cluster.tar"), (b, "cluster.tar"), (b, "storage.tar")),
        *((cluster.daisy.name, what) for what in ("tecs.conf", "mappings.json", "installer")),
        *((CLOUD, what) for what in ("placement.json", "schemas")),
        *((CLOUD, f"{name}.sql.gz") for name in cluster.releases["100"].schemas),
    }
    saved = Path(points_folder(upgrade)) / found[first.name, "nova.conf"]["path"]
    assert saved.read_text() == f"[DEFAULT]\nhost={first.name}\n"
    assert saved.stat().st_mode & 0o077 == 0, "it holds the site's passwords"
    assert (found[first.name, "nova.conf"]["release"], found[first.name, "nova.conf"]["installed_at"]) == (
        "100",
        "1000",
    )
    assert found[cluster.daisy.name, "installer"]["path"] == cluster.daisy.path(
        replace(upgrade, target="100").staged_bin
    )
    assert "web" in (Path(points_folder(upgrade)) / CLOUD / "placement.json").read_text()
    assert "nova migrate_version 319" in (Path(points_folder(upgrade)) / CLOUD / "schemas").read_text()
    before = manifest(upgrade).read_text()
    assert not save(upgrade, old).acted
    assert manifest(upgrade).read_text() == before


def test_what_has_changed_since_is_saved_anew(upgrade: Run, old: Site) -> None:
    cluster = upgrade.cluster
    save(upgrade, old)
    for host, path in (
        (cluster.computes[1], cluster.paths.nova_conf),
        (cluster.controllers.a, "/etc/corosync/corosync.conf"),
        (cluster.controllers.b, "/etc/cinder/cinder.conf"),
    ):
        old.write(host, path, "[DEFAULT]\nchanged=by hand\n")
        assert save(upgrade, old).acted, path
        assert not save(upgrade, old).acted


def test_a_new_installation_of_a_host_makes_its_point_worthless(upgrade: Run, old: Site) -> None:
    save(upgrade, old)
    b = upgrade.cluster.controllers.b
    old.install(b, "100", at=2000)
    assert "from another installation" in judged(old, points_of(upgrade, b)).found
    assert save(upgrade, old).acted
    assert listed(upgrade)[b.name, "cluster.tar"]["installed_at"] == "2000"


@pytest.mark.parametrize("path", ["host-10-43-203-101/nova.conf", "cloud/nova.sql.gz", "daisy/tecs.conf", MANIFEST])
@pytest.mark.parametrize("what", ["gone", "cut short"])
def test_a_file_that_is_not_as_it_was_saved_is_named_and_saved_again(
    upgrade: Run, old: Site, path: str, what: str
) -> None:
    save(upgrade, old)
    file = Path(points_folder(upgrade)) / path
    if what == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-4])
    verdict = judged(old, points_whole(upgrade))
    assert not verdict.met
    assert path in verdict.found
    assert save(upgrade, old).acted
    assert judged(old, points_whole(upgrade)).met


def test_an_upgrade_that_has_begun_never_replaces_what_it_has_saved(upgrade: Run, old: Site) -> None:
    """B has the new release by then, and its files and the databases are the new release's."""
    b, first = upgrade.cluster.controllers.b, upgrade.cluster.computes[0]
    save(upgrade, old)
    before = {key: row["sha256"] for key, row in listed(upgrade).items()}
    for host in (b, first):
        old.install(host, "101", at=3000)
    old.write(b, "/etc/cinder/cinder.conf", "[DEFAULT]\nenabled_backends = of 101\n")
    old.write(first, upgrade.cluster.paths.nova_conf, "of 101\n")
    assert not save(upgrade, old).acted

    # Even when something else has to be saved again, and the dump is old by now.
    (Path(points_folder(upgrade)) / "daisy/tecs.conf").unlink()
    age(upgrade)
    assert save(upgrade, old).acted
    assert {key: row["sha256"] for key, row in listed(upgrade).items()} == before


def test_a_host_whose_upgrade_broke_off_never_replaces_what_was_saved_of_it_whatever_its_packages_say(
    upgrade: Run, old: Site
) -> None:
    b, first = upgrade.cluster.controllers.b, upgrade.cluster.computes[0]
    save(upgrade, old)
    before = {key: row["sha256"] for key, row in listed(upgrade).items()}
    for host in (b, first):
        old.write(host, f"{upgrade.cluster.paths.state}/upgrade", "begun\n")
    old.write(b, "/etc/cinder/cinder.conf", "[DEFAULT]\nenabled_backends = of 101\n")
    old.write(first, upgrade.cluster.paths.nova_conf, "of 101\n")
    assert not save(upgrade, old).acted

    (Path(points_folder(upgrade)) / "daisy/tecs.conf").unlink()
    age(upgrade)
    assert save(upgrade, old).acted
    assert {key: row["sha256"] for key, row in listed(upgrade).items()} == before


def test_a_host_that_is_half_upgraded_and_was_never_saved_stops_the_upgrade(upgrade: Run, old: Site) -> None:
    b = upgrade.cluster.controllers.b
    old.write(b, f"{upgrade.cluster.paths.state}/upgrade", "begun\n")
    with pytest.raises(
        GoalNotReached, match=r"not everything of .* is saved; it has release 100, and its upgrade has begun"
    ):
        save(upgrade, old)


def test_the_databases_are_dumped_again_where_the_dump_is_old_and_nothing_has_been_upgraded(
    upgrade: Run, old: Site
) -> None:
    save(upgrade, old)
    age(upgrade)
    assert save(upgrade, old).acted
    assert not save(upgrade, old).acted


def age(run: Run) -> None:
    """The dump was made two hours ago."""
    import os
    import time

    for row in json.loads(manifest(run).read_text())["items"]:
        if row["host"] == CLOUD:
            os.utime(Path(points_folder(run)) / row["path"], (time.time() - 7200,) * 2)
    os.utime(Path(points_folder(run)) / CLOUD / "SHA256SUMS", (time.time() - 7200,) * 2)
    text = json.loads(manifest(run).read_text())
    for row in text["items"]:
        if row["host"] == CLOUD:
            row["at"] = "2026-01-01T00:00:00Z"
    manifest(run).write_text(json.dumps(text))


def test_a_host_that_left_the_release_unsaved_stops_the_upgrade(upgrade: Run, old: Site) -> None:
    b = upgrade.cluster.controllers.b
    old.install(b, None)
    with pytest.raises(GoalNotReached, match=f"not everything of {b.name} is saved; it has none"):
        save(upgrade, old)


def test_a_host_that_has_the_new_release_already_needs_no_point(upgrade: Run, old: Site) -> None:
    first = upgrade.cluster.computes[0]
    old.install(first, "101")
    assert save(upgrade, old).acted
    assert (first.name, "nova.conf") not in listed(upgrade)
    assert not save(upgrade, old).acted


def test_a_cluster_that_is_upgraded_already_needs_none(upgrade: Run, old: Site) -> None:
    for node in upgrade.cluster.nodes:
        old.install(node, "101")
    assert not save(upgrade, old).acted
    assert not manifest(upgrade).exists()


def test_a_host_that_cannot_be_fetched_from_is_named_with_all_others(upgrade: Run, old: Site) -> None:
    first, second = upgrade.cluster.computes[:2]
    old.tell(first, "down", "")
    Path(second.path(upgrade.cluster.paths.nova_conf)).unlink()
    with pytest.raises(CommandFailed) as failed:
        save(upgrade, old)
    assert f"nova.conf of {first.name}" in str(failed.value)
    assert f"nova.conf of {second.name}" in str(failed.value)


def test_an_old_release_that_does_not_know_the_databases_is_nothing_to_go_back_to(upgrade: Run, old: Site) -> None:
    newer = {name: {"migrate_version": ["9999"]} for name in upgrade.cluster.releases["100"].schemas}
    old.databases(upgrade.cluster.controllers.a, newer)
    with pytest.raises(PreconditionFailed, match="9999"):
        save(upgrade, old)


def test_an_upgrade_to_the_release_that_it_would_go_back_to_is_refused(upgrade: Run, old: Site) -> None:
    for node in upgrade.cluster.nodes:
        old.install(node, "101")
    same = replace(upgrade, target="100")
    with pytest.raises(PreconditionFailed, match="target_release of the inventory is 100"):
        save(same, old)


@pytest.mark.parametrize(
    "printed",
    [
        "",
        "no mark",
        "{}==files== x",
        "{}==files== \N{SUPERSCRIPT TWO}",
        "{}==files== " + "9" * 5000,
        "[]==files== 1",
        "[" * 20_000 + "==files== 1",
        '{"items": [{}]}==files== 1',
        f"{{}}==files== 1\n{'a' * 64} {'9' * 5000} x",
    ],
)
def test_a_manifest_that_is_none_lists_nothing(printed: str) -> None:
    assert read_points(Output(0, printed)).items == ()


def test_what_is_read_is_the_files_themselves(upgrade: Run, old: Site) -> None:
    save(upgrade, old)
    points = read_points(old.run(upgrade.cluster.daisy, reading(upgrade).command, 60))
    assert all(points.is_whole(item) for item in points.items)


# ---- a rollback that finds no nova.conf on a compute (A4.1) ------------------------------------------------------------


@pytest.fixture
def rollback(upgrade: Run, old: Site) -> Run:
    """The rollback of a compute that the upgrade has brought to 101, and of which a restore point was saved."""
    save(upgrade, old)
    first = upgrade.cluster.computes[0]
    old.install(first, "101", at=3000)
    old.write(first, upgrade.cluster.paths.nova_conf, "of 101\n")
    return Run(upgrade.cluster, "100", (first,), owner="rollback_compute/1", dag="rollback_compute")


def saved_by(run: Run, site: Site) -> str:
    """What A4.1 has saved of the compute."""
    step = kind("save_nova_conf").make(run, run.computes[0])
    perform(step, site, run, print)
    assert not perform(step, site, run, print).acted
    return Path(f"{folder(run.cluster)}/saved/{run.computes[0].name}/nova_old.conf").read_text()


def test_a_compute_that_has_its_nova_conf_is_saved_with_it(rollback: Run, old: Site) -> None:
    assert saved_by(rollback, old) == "of 101\n"


@pytest.mark.parametrize("how", ["lost by the upgrade", "taken down by hand", "being reinstalled"])
def test_of_a_compute_that_has_lost_it_the_restore_points_is_taken(rollback: Run, old: Site, how: str) -> None:
    first = rollback.computes[0]
    if how == "being reinstalled":
        old.note_reinstallation(first)
    else:
        Path(first.path(rollback.cluster.paths.nova_conf)).unlink()
    if how == "taken down by hand":
        old.install(first, None)
    assert saved_by(rollback, old) == f"[DEFAULT]\nhost={first.name}\n"


def test_a_restore_point_that_is_not_whole_is_not_taken(rollback: Run, old: Site) -> None:
    first = rollback.computes[0]
    Path(first.path(rollback.cluster.paths.nova_conf)).unlink()
    (Path(points_folder(rollback)) / first.name / "nova.conf").write_text("cut")
    with pytest.raises(PreconditionFailed, match="no upgrade has saved it"):
        saved_by(rollback, old)


# ---- the validation of a cluster -------------------------------------------------------------------------------------


def found(run: Run, site: Site) -> dict[str, tuple[bool, str]]:
    """What R12 has found, for the rollback that might be needed."""
    rollback = Run(run.cluster, "100", run.cluster.computes, dag="rollback_cluster")
    goals = [check.goal for check in checks(rollback) if check.id == "R12"]
    verdicts = {goal.sentence: judged(site, goal) for goal in goals}
    return {sentence: (verdict.met, verdict.found) for sentence, verdict in verdicts.items()}


def test_a_cluster_of_which_nothing_was_ever_saved_is_told_so_and_wants_nothing(upgrade: Run, old: Site) -> None:
    results = found(upgrade, old)
    assert len(results) == 1 + len(upgrade.cluster.nodes)
    assert set(results.values()) == {(True, "no upgrade has saved any restore point")}


def test_points_that_are_fresh_and_whole_pass_before_and_during_the_upgrade(upgrade: Run, old: Site) -> None:
    save(upgrade, old)
    assert all(met for met, _ in found(upgrade, old).values())
    old.install(upgrade.cluster.controllers.b, "101", at=3000)
    assert all(met for met, _ in found(upgrade, old).values())


def wanting(run: Run, site: Site) -> list[str]:
    return [told for met, told in found(run, site).values() if not met]


def test_points_that_are_broken_or_of_another_installation_are_told(upgrade: Run, old: Site) -> None:
    save(upgrade, old)
    first: Host = upgrade.cluster.computes[0]
    old.install(first, "100", at=5000)
    (Path(points_folder(upgrade)) / CLOUD / "schemas").write_text("")
    assert wanting(upgrade, old) == [
        "missing or not as it was saved: cloud/schemas",
        f"what {first.name} needs is from another installation",
    ]

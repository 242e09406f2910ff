"""U1: everything that a rollback needs is on the Daisy host before an upgrade changes anything.

A host that is not on the old release any more has nothing left to save: what was saved of it before stays, and is never
replaced. Nor has one whose upgrade broke off, whatever its packages say. So an upgrade that is resumed half-way keeps what it
needs to go back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from include.runbook.cinder_archive import CINDER_CONF, TAR, pack, read_sums, sums_in, sums_on_b
from include.runbook.cluster import Cluster, Compute, Host
from include.runbook.container import daisys_file, where_daisy_runs
from include.runbook.custody import ssh_to
from include.runbook.goals import cloud, no_upgrade_under_way, release_of, release_probe, returned, upgrade_note
from include.runbook.restore_points import (
    MANIFEST,
    NOVA_CONF,
    STORAGE,
    Points,
    point_path,
    points_folder,
    read_points,
    reading,
    release_kept,
)
from include.runbook.shell import Output, quote, shortened, side_by_side
from include.runbook.step import Goal, Of, Over, Read, Run, Step, Verdict, all_of, any_of, kind, step
from include.runbook.steps.databases import dump_all, schemas_known, versions_of
from include.runbook.steps.ha import CLUSTER_FILES, cluster_files
from include.runbook.steps.staging import stage_bin_on_daisy
from include.runbook.steps.vms import ALL_VMS

RECENT = timedelta(hours=1)
"""How old a dump of the databases may be when an upgrade begins: whoever restores it loses what was done since."""

TOLD = 2000
"""Characters of what was found that are told."""

MEMBERSHIP = "cluster.tar"
CLOUD = "cloud"
"""The folder of what belongs to no host: the databases, their versions, and where the VMs are."""

FROM_DAISY = ("tecs.conf", "mappings.json")


def as_rollback(run: Run) -> Run:
    """Return the rollback of the whole cluster that the restore points are for."""
    return replace(run, target=release_kept(run), dag="rollback_cluster")


# ---- what is saved of a node -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Thing:
    """One thing that is saved of a node. `save` prints it on the node; `sums` the checksums of the files that it is made of
    there, and `saved_sums` those on the Daisy host. Without the file `needs` it is worth nothing."""

    what: str
    save: str
    sums: str
    saved_sums: str
    needs: str


def _things(run: Run, node: Host) -> tuple[_Thing, ...]:
    cluster = run.cluster
    if isinstance(node, Compute):
        return (_nova_conf(run, node),)
    listed = _list_membership(cluster, node)
    saved = point_path(run, node, MEMBERSHIP)
    membership = _Thing(
        MEMBERSHIP, f"{listed} | {TAR}", f"{listed} | xargs -r -d '\\n' sha256sum", sums_in(saved), CLUSTER_FILES[0]
    )
    if node != cluster.controllers.b:
        return (membership,)
    saved = point_path(run, node, STORAGE)
    return (membership, _Thing(STORAGE, pack(cluster), sums_on_b(cluster), sums_in(saved), CINDER_CONF))


def _nova_conf(run: Run, node: Host) -> _Thing:
    path = run.cluster.paths.nova_conf
    there, saved = node.path(path), point_path(run, node, NOVA_CONF)

    def sum_of(file: str) -> str:
        return f"sum=$(sha256sum < {quote(file)}) && printf '%s  %s\\n' \"${{sum%% *}}\" {quote(path.lstrip('/'))}"

    return _Thing(NOVA_CONF, f"cat {quote(there)}", sum_of(there), sum_of(saved), path)


def _list_membership(cluster: Cluster, node: Host) -> str:
    """Return the script that lists, below the node's root, the files that make it a member of the cluster."""
    names = " ".join(quote(file.lstrip("/")) for file in cluster_files(cluster))
    return f'cd {quote(node.root or "/")} || exit $?; for f in {names}; do test ! -f "$f" || printf "%s\\n" "$f"; done'


# ---- is it saved? ----------------------------------------------------------------------------------------------------


def _judged(run: Run, sentence: str, find: Callable[[Points], str]) -> Goal:
    """The points as they lie on the Daisy host want for nothing; `find` says what is wanting, or nothing."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        points = read_points(outputs[0])
        wanting = "" if not points.there else points.flaw or find(points)
        if not points.there:
            wanting = f"no restore point of release {release_kept(run)} is on {run.cluster.daisy.name}"
        return Verdict(not wanting, wanting or f"{len(points.items)} files are saved and whole")

    return Goal(sentence, (reading(run),), judge)


def points_whole(run: Run) -> Goal:
    """Every file of the restore points is there as the manifest says, and nothing is wanting that is not a node's own."""
    cluster = run.cluster
    wanted = [(cluster.daisy.name, what) for what in (*FROM_DAISY, "installer")]
    wanted += [(CLOUD, what) for what in _cloud_files(as_rollback(run))]

    def find(points: Points) -> str:
        absent = [f"{what} of {host}" for host, what in wanted if points.item(host, what) is None]
        broken = [item.path for item in points.items if not points.is_whole(item)]
        told = [f"not saved: {', '.join(absent)}"] if absent else []
        return "; ".join(told + ([f"missing or not as it was saved: {', '.join(broken)}"] if broken else []))

    sentence = f"the restore points of release {release_kept(run)} are whole on {cluster.daisy.name}"
    return _judged(run, sentence, find)


def _on_release(run: Run, node: Host) -> tuple[Read, Read]:
    """Return the reads that tell whether the node still is on the release that is kept."""
    return release_probe(run.cluster, node), no_upgrade_under_way(run.cluster, node)


def _has_left(run: Run, node: Host, outputs: Sequence[Output]) -> bool:
    """True when the node has another release, or none, or an upgrade of it has begun, as `_on_release` was answered."""
    release, no_upgrade = outputs
    return release_of(run.cluster, node, release) != release_kept(run) or not no_upgrade.ok


def points_of(run: Run, node: Host) -> Goal:
    """What is saved of the node is from its present installation of the old release, or it has left that release since."""
    cluster, old = run.cluster, release_kept(run)
    things = _things(run, node)

    def judge(outputs: Sequence[Output]) -> Verdict:
        points, has = read_points(outputs[0]), release_of(cluster, node, outputs[1])
        items = [points.item(node.name, thing.what) for thing in things]
        listed = [item for item in items if item is not None and item.release == old]
        if len(listed) < len(things):
            begun = "" if outputs[2].ok else ", and its upgrade has begun"
            told = f"it has {f'release {has}' if has else 'none'}{begun}"
            return Verdict(False, f"not everything of {node.name} is saved; {told}")
        if _has_left(run, node, outputs[1:3]):
            return Verdict(True, f"{node.name} has left release {old}; what was saved of it before stays")
        other = any(item.installed_at != outputs[3].stdout.strip() for item in listed)
        told = "is from another installation" if other else f"is saved, of {min(item.at for item in listed):%F %T}"
        return Verdict(not other, f"what {node.name} needs {told}")

    reads = (reading(run), *_on_release(run, node), Read(node, _installed_at(cluster)))
    return Goal(f"what {node.name} needs to come back is saved", reads, judge)


def where_saved(run: Run, goal: Goal) -> Goal:
    """`goal`, about restore points, holds; or no upgrade has ever saved any."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        points = read_points(outputs[0])
        if points.there or points.flaw:
            return goal.judge(outputs[1:])
        return Verdict(True, "no upgrade has saved any restore point")

    return Goal(goal.sentence, (reading(run), *goal.reads), judge)


def _unchanged(run: Run, node: Host) -> Goal:
    """What is saved of a node that is on the old release is what it has now."""
    cluster, things = run.cluster, _things(run, node)

    def judge(outputs: Sequence[Output]) -> Verdict:
        if _has_left(run, node, outputs[:2]):
            return Verdict(True, f"{node.name} has left the release")
        for thing, here, there in zip(things, outputs[2::2], outputs[3::2], strict=True):
            now, saved = read_sums(here), read_sums(there)
            needed = f"/{thing.needs.lstrip('/')}"
            if needed not in now:
                return Verdict(False, f"{node.name} has no {needed}: {here.tail or 'nothing'}")
            if now != saved:
                names = sorted(path for path in now.keys() | saved.keys() if now.get(path) != saved.get(path))
                return Verdict(False, f"changed on {node.name} since it was saved: {', '.join(names)}")
        return Verdict(True, f"{node.name} is as it was saved")

    sums = [read for thing in things for read in (Read(node, thing.sums), Read(cluster.daisy, thing.saved_sums))]
    return Goal(f"{node.name} is as it was saved", (*_on_release(run, node), *sums), judge)


def _saved_as_it_is(run: Run, node: Host) -> Goal:
    """What is saved of the node leads back to what it has now, or had before it left the old release."""
    of_node, unchanged = points_of(run, node), _unchanged(run, node)

    def judge(outputs: Sequence[Output]) -> Verdict:
        verdict = of_node.judge(outputs[: len(of_node.reads)])
        return unchanged.judge(outputs[len(of_node.reads) :]) if verdict.met else verdict

    return Goal(of_node.sentence, (*of_node.reads, *unchanged.reads), judge)


def _told_in_short(goal: Goal) -> Goal:
    """What is found of two hundred computes is told by its beginning and its end."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        verdict = goal.judge(outputs)
        return Verdict(verdict.met, shortened(verdict.found, TOLD))

    return Goal(goal.sentence, goal.reads, judge)


def _recent(run: Run, nodes: Sequence[Host]) -> Goal:
    """The databases were dumped shortly before the upgrade begins; once it has begun, that dump is the one that counts."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        points = read_points(outputs[0])
        dumps = [item for item in points.items if item.host == CLOUD]
        answers = zip(nodes, outputs[1::2], outputs[2::2], strict=True)
        left = [node.name for node, *answered in answers if _has_left(run, node, answered)]
        if not dumps:
            return Verdict(False, "no database is saved")
        oldest = min(item.at for item in dumps)
        if left:
            return Verdict(
                True, f"the upgrade has begun on {', '.join(left)}; the databases of {oldest:%F %T} are kept"
            )
        return Verdict(points.now - oldest <= RECENT, f"the databases were saved at {oldest:%F %T} UTC")

    sentence = f"the databases were saved in the {RECENT.seconds // 60} minutes before the upgrade"
    return Goal(sentence, (reading(run), *(read for node in nodes for read in _on_release(run, node))), judge)


def _installed_at(cluster: Cluster) -> str:
    return f"LC_ALL=C; export LC_ALL; {cluster.probes.installed_at}"


def _nodes(run: Run) -> tuple[Host, ...]:
    pair = run.cluster.controllers
    return (pair.a, pair.b, *run.computes)


# ---- the step --------------------------------------------------------------------------------------------------------


@step("U1", "Save all that a rollback needs", over=Over.DAISY, detached=True, of=Of.PENDING)
def save_restore_points(run: Run, daisy: Host) -> Step:
    """Settings, the cluster's files, the databases, where the VMs are, and the old installer are saved, each with its checksum.

    Nothing is needed of a node that has the new release already; what was saved of it before is kept.
    """
    nodes, old = _nodes(run), release_kept(run)
    staged = stage_bin_on_daisy(as_rollback(run), daisy)
    each = [any_of(_saved_as_it_is(run, node), returned(run, node)) for node in nodes]
    over = all_of(*(returned(run, node) for node in nodes), sentence=f"every node has release {run.target}")
    saved = all_of(
        points_whole(run),
        *each,
        _recent(run, nodes),
        staged.goal,
        sentence=f"all that leads back to release {old} is saved on {daisy.name}, whole and as it is now",
    )
    return Step(
        kind("save_restore_points"),
        daisy,
        goal=_told_in_short(any_of(saved, over)),
        proof=_told_in_short(saved),
        requires=(_leads_back(run), *staged.requires, schemas_known(as_rollback(run))),
        action=_action(run, staged.action),
        advice=f"Nothing has been upgraded. See that {daisy.name} has room below {points_folder(run)}, that it reaches every "
        f"node, and that every node is on release {old} or was saved before it left it. A node that left it unsaved is rolled "
        "back first.",
    )


def _leads_back(run: Run) -> Goal:
    """The release to go back to is another than the new one."""
    old = release_kept(run)
    found = f"target_release of the inventory is {old}, the new release is {run.target}"
    return Goal("the release to go back to is not the new one", (), lambda _: Verdict(old != run.target, found))


def _action(run: Run, stage: str) -> str:
    """Return the script that saves everything. It goes on after a failure, so that all that cannot be saved is named."""
    cluster, nodes = run.cluster, _nodes(run)
    controllers = [node for node in nodes if not isinstance(node, Compute)]
    computes = [node for node in nodes if isinstance(node, Compute)]
    fetched = "\n".join(_fetched(run, node) for node in controllers)
    of_computes = side_by_side(_fetched(run, node) for node in computes)
    own = "\n".join(
        f"{where_daisy_runs(cluster, f'cat {quote(daisys_file(cluster, name))}')} > {daisy}/{name}.new &&\n"
        f"  mv {daisy}/{name}.new {daisy}/{name} && noted {name} {daisy} {daisy}/{name} || missed {name}"
        for daisy in [quote(cluster.daisy.name)]
        for name in FROM_DAISY
    )
    back = as_rollback(run)
    return f"""\
( {stage} ) || exit $?
umask 077
mkdir -p {quote(points_folder(run))} && cd {quote(points_folder(run))} && mkdir -p .items {quote(cluster.daisy.name)} || exit 2
rm -f .missed .left
{_functions(run)}
{fetched}
{of_computes}
{own}
noted installer {quote(cluster.daisy.name)} {quote(cluster.daisy.path(back.staged_bin))} || missed the installer
{_cloud(back)}
{{ printf '{{"items": [\\n'; cat .items/* | sed '$!s/$/,/'; printf ']}}\\n'; }} > {MANIFEST}.new &&
  mv {MANIFEST}.new {MANIFEST} || exit 2
test ! -e .missed || {{ echo "not saved: $(sort .missed | tr '\\n' ';')" >&2; exit 1; }}
echo "$(wc -l < {MANIFEST}) lines of {MANIFEST} in $(pwd), $(du -sh . | cut -f1)\""""


def _functions(run: Run) -> str:
    cluster, old = run.cluster, release_kept(run)
    # That a node has no release at all is an answer, too.
    probe = (
        f"LC_ALL=C; export LC_ALL; release=$({cluster.probes.release}); at=$({cluster.probes.installed_at}); "
        'if test -e "$note" && ! grep -qx done "$note"; then release="between two releases"; fi; '
        'printf \'%s\\n%s\\n\' "$release" "$at"'
    )
    return f"""\
missed() {{ echo "$*" >> .missed; return 1; }}
# WHAT HOST FILE [INSTALLED_AT]: how the file is listed
noted() {{
  sum=$(sha256sum < "$3" | cut -c1-64) && size=$(wc -c < "$3") && at=$(date -u -r "$3" +%Y-%m-%dT%H:%M:%SZ) &&
  printf '{{"what": "%s", "host": "%s", "path": "%s", "size": %d, "sha256": "%s", "at": "%s", "release": "{old}", \
"installed_at": "%s"}}\\n' "$1" "$2" "$3" "$size" "$sum" "$at" "$4" > ".items/$2.$1"
}}
probe={quote(probe)}
# HOST WHAT SCRIPT NOTE SSH...: the file WHAT of HOST is what SCRIPT prints there, while it is on the old release; NOTE says
# where it has noted its upgrade
fetched() {{
  host=$1; what=$2; script=$3; note=$4; shift 4
  told=$("$@" "$note; $probe") || {{ missed "$what of $host (its release is not told)"; return; }}
  test "$(printf '%s\\n' "$told" | head -n 1)" = {quote(cluster.release_reports[old])} || {{
    echo "$host" >> .left; echo "$host is not on release {old}: what was saved of it stays"; return; }}
  mkdir -p "$host" && "$@" "$script" > "$host/$what.new" && test -s "$host/$what.new" && mv "$host/$what.new" "$host/$what" &&
    noted "$what" "$host" "$host/$what" "$(printf '%s\\n' "$told" | tail -n 1)" ||
    {{ rm -f "$host/$what.new"; missed "$what of $host"; }}
}}"""


def _fetched(run: Run, node: Host) -> str:
    """Return the lines that fetch what is saved of a node."""
    noted = quote(f"note={quote(upgrade_note(run.cluster, node))}")
    lines = [
        f"fetched {quote(node.name)} {thing.what} {quote(thing.save)} {noted} {ssh_to(run.cluster, node)}"
        for thing in _things(run, node)
    ]
    return lines[0] if len(lines) == 1 else "{\n" + "\n".join(lines) + "\n}"


def _cloud_files(back: Run) -> tuple[str, ...]:
    return ("placement.json", "schemas", *(f"{name}.sql.gz" for name in back.cluster.releases[back.target].schemas))


def _cloud(back: Run) -> str:
    """Return the lines that save the databases and where the VMs are, unless that is done and still to be kept."""
    cluster, files = back.cluster, _cloud_files(back)
    versions = versions_of(cluster, list(cluster.releases[back.target].schemas))
    placement = cloud(cluster, f"{ALL_VMS} -f json")
    return f"""\
kept() {{
  ( cd {CLOUD} 2>/dev/null && sha256sum --quiet --check SHA256SUMS ) &&
  {{ test -e .left || test -n "$(find {CLOUD}/SHA256SUMS -mmin -{RECENT.seconds // 60})"; }}
}}
if ! kept; then
  rm -rf {CLOUD}.new; mkdir {CLOUD}.new || exit 2
  (
    cd {CLOUD}.new || exit 2
{dump_all(back)}
    on_database {quote(versions)} > schemas || exit $?
    {ssh_to(cluster, cluster.controllers.a)} {quote(placement)} > placement.json || exit $?
    # Dated by the end: a dump may take longer than it may be old.
    touch {" ".join(files)} && sha256sum {" ".join(files)} > SHA256SUMS
  ) && rm -rf {CLOUD} && mv {CLOUD}.new {CLOUD} || missed 'the databases and where the VMs are'
fi
for file in {" ".join(files)}; do noted "$file" {CLOUD} "{CLOUD}/$file" || missed "$file"; done"""

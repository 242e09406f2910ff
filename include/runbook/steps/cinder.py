"""A5.4: cinder's back ends on B. The installer leaves LVM only, and `clean` takes every setting with it.

Which back ends there must be is read from what B had, not asked. The arrays' come back by the vendor's `cinder_conf`;
Ceph's settings, multipath.conf and the list of enabled back ends are carried over from B's own files. Each of it is done
once for an installation of B: what somebody then changes by hand on B stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from include.runbook.cinder_archive import (
    CEPH_FILES,
    CINDER_CONF,
    LISTING,
    MULTIPATH_CONF,
    archive,
    archived_from,
    cinder_json,
    may_be_saved,
    pack,
    read_sums,
    storage_settings_are_saved,
    sums_in_archive,
    sums_on_b,
    sums_unpacked,
)
from include.runbook.cinder_backends import BackEnds, missing, missing_files, read_back_ends, surplus
from include.runbook.cluster import Cluster, Host
from include.runbook.custody import ssh_to
from include.runbook.goals import command_succeeds, returned
from include.runbook.remote_python import function, program
from include.runbook.restore_points import STORAGE, point_path
from include.runbook.shell import Output, quote
from include.runbook.step import Goal, Over, Read, Run, Step, Verdict, all_of, any_of, kind, step

DONE, FAILED = "Operation cinder_conf is done", "Operation cinder_conf is Failed"
"""The script's exit status means nothing; these lines do."""

_CONF_EDIT = LISTING.with_name("conf_edit.py")


def _kept(cluster: Cluster, path: str = "") -> str:
    """Return where, on B, B's own files of before lie, or one of them."""
    b = cluster.controllers.b
    return f"{b.path(cluster.paths.state)}/cinder/files{path}"


def _note(cluster: Cluster, what: str) -> str:
    """Return the file on B that says for which installation of B `what` was done."""
    b = cluster.controllers.b
    return f"{b.path(cluster.paths.state)}/cinder/{what}"


def _noted(cluster: Cluster, what: str, done: str) -> Goal:
    """What was done is noted for the installation of B that there is now."""
    b = cluster.controllers.b
    command = f"""\
at=$({cluster.probes.installed_at}) && test -n "$at" && test "$(cat {quote(_note(cluster, what))} 2>/dev/null)" = "$at" ||
  {{ echo "not so since {b.name} was installed: {done}"; exit 1; }}
echo "{done} since {b.name} was installed\""""
    return command_succeeds(f"{done} since {b.name} was installed", b, command)


def _nothing_saved(cluster: Cluster) -> Goal:
    command = f"test ! -e {quote(archive(cluster))} && echo 'nothing was saved, nothing is lost'"
    return command_succeeds("B was not reinstalled by a rollback", cluster.daisy, command)


@step("A5.4", "Save B's cinder, multipath and Ceph settings before it is uninstalled", over=Over.DAISY)
def save_cinder_settings(run: Run, daisy: Host) -> Step:
    """All that B's back ends are made of is on the Daisy host. A save is never overwritten once B has been taken down."""
    cluster = run.cluster
    b, target = cluster.controllers.b, archive(cluster)
    saved = storage_settings_are_saved(cluster)
    return Step(
        kind("save_cinder_settings"),
        daisy,
        subject=b.name,
        goal=any_of(returned(run, b), saved),
        proof=saved,
        requires=(may_be_saved(cluster),),
        action=f"""\
umask 077
mkdir -p {quote(target.rsplit("/", 1)[0])} || exit $?
at=$({ssh_to(cluster, b)} {quote(cluster.probes.installed_at)}) || exit $?
{ssh_to(cluster, b)} {quote(pack(cluster))} > {quote(target)}.new || exit $?
tar -tf {quote(target)}.new && rm -f {quote(archived_from(cluster))} && mv {quote(target)}.new {quote(target)} || exit $?
printf %s "$at" > {quote(archived_from(cluster))}""",
        advice=f"Without these files B's back ends cannot be restored after the reinstallation. While {b.name} is installed, "
        f"put what is missing at its path there (A has a copy) and clear this task. Once it is uninstalled, make "
        f"{target} on the Daisy host from A's files: `tar -C / -hcf -` with their paths, without the leading slash; "
        f"or copy {point_path(run, b, STORAGE)}, if an upgrade has saved it.",
    )


def _files_are_on_b(cluster: Cluster) -> Goal:
    b = cluster.controllers.b

    def judge(outputs: Sequence[Output]) -> Verdict:
        saved, there = read_sums(outputs[0]), read_sums(outputs[1])
        differing = sorted(path for path in saved.keys() | there.keys() if saved.get(path) != there.get(path))
        met = bool(saved) and not differing
        return Verdict(
            met, f"{len(saved)} files" if met else f"differing or not there: {', '.join(differing) or 'all'}"
        )

    reads = (Read(cluster.daisy, sums_in_archive(cluster)), Read(b, sums_unpacked(_kept(cluster))))
    unpacked = Goal(f"{b.name} has its saved settings at hand", reads, judge)
    return all_of(unpacked, _noted(cluster, "brought-back", "they were brought there"))


@step("A5.4", "Bring B's saved storage settings back to it", over=Over.DAISY)
def bring_back_cinder_settings(run: Run, daisy: Host) -> Step:
    """B's files of before lie on B, for comparison, and base/cinder.json in its place: once, so that it can be mended there."""
    cluster = run.cluster
    b, source = cluster.controllers.b, cinder_json(cluster)
    here, place = _kept(cluster), b.path(source)
    unpack = f"""\
umask 077
at=$({cluster.probes.installed_at}) || exit $?
rm -rf {quote(_note(cluster, ""))} && mkdir -p {quote(here)} && tar -C {quote(here)} -xpf - || exit $?
if test -e {quote(here + source)}; then
  mkdir -p {quote(place.rsplit("/", 1)[0])} && cp -p {quote(here + source)} {quote(place)}.new || exit $?
  mv {quote(place)}.new {quote(place)} || exit $?
fi
printf '%s\\n' "$at" > {quote(_note(cluster, "brought-back"))}"""
    there = _files_are_on_b(cluster)
    return Step(
        kind("bring_back_cinder_settings"),
        daisy,
        subject=b.name,
        goal=any_of(_nothing_saved(cluster), there),
        proof=there,
        requires=(returned(run, b),),
        action=f"{ssh_to(cluster, b)} {quote(unpack)} < {quote(archive(cluster))}",
    )


def _local_ip(cluster: Cluster) -> Goal:
    """Every ZTE array's settings that cinder.conf names have the management address as Storage/LocalIP."""
    b, wanted = cluster.controllers.b, cluster.cinder_management_ip
    conf, root = quote(b.path(CINDER_CONF)), quote(b.root)
    command = f"""\
test -r {conf} || {{ echo {conf} is missing >&2; exit 2; }}
sed -n 's/^cinder_zte_conf_file[[:space:]]*[=:][[:space:]]*//p' {conf} | tr -d ' \\t\\r' | sort -u | while IFS= read -r f; do
  printf '%s' "$f"
  tr -d '\\n' < {root}"$f" | grep -o '<LocalIP>[^<]*</LocalIP>' | sed 's/<[^>]*>/ /g' | tr -d '\\n'
  echo
done"""

    def judge(outputs: Sequence[Output]) -> Verdict:
        if not outputs[0].ok:
            return Verdict(False, outputs[0].tail)
        wrong = []
        for path, *found in (line.split() or ["a setting without a file"] for line in outputs[0].stdout.splitlines()):
            if not found or set(found) != {wanted}:
                wrong.append(f"{path} has LocalIP {', '.join(found) or 'nowhere'}; expected {wanted}")
        return Verdict(not wrong, "; ".join(wrong) or f"LocalIP is {wanted} wherever a ZTE array is used")

    return Goal(f"LocalIP of every ZTE array is {wanted}", (Read(b, command),), judge)


@step("A5.4", "Restore the arrays among B's cinder back ends", over=Over.B)
def restore_cinder_backends(run: Run, b: Host) -> Step:
    """cinder_conf was applied to this installation of B, with the cinder management IP in the arrays' settings."""
    cluster = run.cluster
    directory = b.path(cluster.paths.storage_auto_config)
    none_saved = command_succeeds(
        "B had no settings for cinder_conf",
        b,
        f"test -d {quote(_kept(cluster))} && test ! -e {quote(_kept(cluster, cinder_json(cluster)))} && "
        "echo 'B had no base/cinder.json'",
    )
    applied = all_of(_noted(cluster, "applied", "cinder_conf was applied"), _local_ip(cluster))
    return Step(
        kind("restore_cinder_backends"),
        b,
        goal=any_of(_nothing_saved(cluster), none_saved, applied),
        proof=applied,
        requires=(returned(run, b), _files_are_on_b(cluster)),
        action=f"""\
cd {quote(directory)} || exit $?
at=$({cluster.probes.installed_at}) || exit $?
rm -f {quote(_note(cluster, "carried-over"))}
out=$(python storage_auto_config.py cinder_conf {cluster.cinder_management_ip} 2>&1)
printf '%s\\n' "$out"
case $out in
*{quote(FAILED)}*) echo 'cinder_conf reported that it failed' >&2; exit 1 ;;
*{quote(DONE)}*) printf '%s\\n' "$at" > {quote(_note(cluster, "applied"))} ;;
*) echo 'cinder_conf did not report that it is done' >&2; exit 1 ;;
esac""",
        advice=f"See what cinder_conf printed. Mend {directory}/base/cinder.json on {b.name} if it is wrong, then clear this "
        f"task: the file is not put back again. The one that {b.name} had lies in {_kept(cluster)}.",
    )


def _about_back_ends(
    sentence: str, cluster: Cluster, find: Callable[[BackEnds, BackEnds, Mapping[str, str]], list[str]]
) -> Goal:
    """Return the goal that `find` finds nothing wanting in the back ends that B had and has, and in B's files."""
    b = cluster.controllers.b
    lists = [program(LISTING, "back-ends", conf) for conf in (_kept(cluster, CINDER_CONF), b.path(CINDER_CONF))]

    def judge(outputs: Sequence[Output]) -> Verdict:
        if unread := [output.tail for output in outputs[:2] if not output.ok]:
            return Verdict(False, "; ".join(unread))
        before, now = (read_back_ends(b.name, f"{LISTING.name} back-ends", output) for output in outputs[:2])
        wanting = find(before, now, read_sums(outputs[2]))
        return Verdict(not wanting, "; ".join(wanting) or f"back ends: {now}")

    return Goal(sentence, (*(Read(b, each) for each in lists), Read(b, sums_on_b(cluster))), judge)


def _none_is_missing(cluster: Cluster) -> Goal:
    """Every back end that B had is enabled on B, with the driver that it had; others may have come by hand."""

    def find(before: BackEnds, now: BackEnds, files: Mapping[str, str]) -> list[str]:
        return missing(before, now) + missing_files(now, now.enabled, files)

    return _about_back_ends(f"no back end of {cluster.controllers.b.name} is missing", cluster, find)


def _as_before(cluster: Cluster) -> Goal:
    """The enabled back ends and their drivers are the same as before."""

    def find(before: BackEnds, now: BackEnds, files: Mapping[str, str]) -> list[str]:
        return missing(before, now) + surplus(before, now) + missing_files(now, now.enabled, files)

    return _about_back_ends(f"{cluster.controllers.b.name} has the back ends that it had", cluster, find)


def _can_be_completed(cluster: Cluster) -> Goal:
    """What only an installation and cinder_conf make is there; what is still wanting, carrying over can add."""

    def find(before: BackEnds, now: BackEnds, files: Mapping[str, str]) -> list[str]:
        others = [name for name in before.enabled if not before.is_ceph(name)]
        # A list of enabled back ends that B did not have cannot be carried over.
        more = [] if before.enabled else surplus(before, now)
        return missing(before, now, only=others, enabled=False) + missing_files(now, others, files) + more

    sentence = f"every back end of {cluster.controllers.b.name} but Ceph's has its section and its files again"
    return _about_back_ends(sentence, cluster, find)


UNITS = """\
units=openstack-cinder-volume
if systemctl is-enabled multipathd >/dev/null 2>&1 || systemctl is-active multipathd >/dev/null 2>&1; then
  units="multipathd $units"
fi"""
"""What reads the settings. A multipathd that is not in use is not started."""

EACH_ACTIVE = """\
for unit in $units; do
  state=$(systemctl is-active "$unit"); test "$state" = active || { echo "$unit is ${state:-unknown}"; exit 1; }
done
echo "active: $units\""""


@step("A5.4", "Carry over what cinder_conf leaves out: Ceph, multipath, the list of back ends", over=Over.B)
def carry_over_storage_settings(run: Run, b: Host) -> Step:
    """B has exactly the back ends that it had, its own Ceph and multipath settings, and cinder-volume runs with them."""
    cluster = run.cluster
    before, now, note = _kept(cluster, CINDER_CONF), b.path(CINDER_CONF), _note(cluster, "carried-over")
    carried = f"""\
{function("list_backends", LISTING)}
{function("conf_edit", _CONF_EDIT)}
rules=$(list_backends restored {quote(before)}) || exit 2
conf_edit carry {quote(before)} {quote(now)} --rules "$rules\""""
    own = f"{MULTIPATH_CONF.lstrip('/')} | {CEPH_FILES.lstrip('/')}/*"
    differs = f"""\
differs() {{
  case $1 in
  {own}) ! cmp -s "$1" {quote(b.root)}/"$1" ;;
  *) test ! -e {quote(b.root)}/"$1" ;;
  esac
}}
cd {quote(_kept(cluster))} || exit $?"""
    each_differing = """find . -type f -printf '%P\\n' | while IFS= read -r f; do differs "$f" || continue"""
    equal = f"""\
{differs}
{each_differing}; echo "/$f is missing or is not as before"; exit 1; done"""
    return Step(
        kind("carry_over_storage_settings"),
        b,
        goal=any_of(
            _nothing_saved(cluster),
            all_of(
                _noted(cluster, "carried-over", "the rest was carried over"),
                _none_is_missing(cluster),
            ),
        ),
        proof=all_of(
            _as_before(cluster),
            command_succeeds("no file is missing, and multipath.conf and Ceph's files are those of before", b, equal),
            command_succeeds("Ceph's settings in cinder.conf are those of before", b, f"{carried} --check"),
            command_succeeds("cinder-volume runs, and multipathd where it is used", b, f"{UNITS}\n{EACH_ACTIVE}"),
        ),
        requires=(returned(run, b), _files_are_on_b(cluster), _can_be_completed(cluster)),
        action=f"""\
at=$({cluster.probes.installed_at}) || exit $?
{differs}
{each_differing}
  there={quote(b.root)}/$f
  mkdir -p "$(dirname "$there")" && cp -p "$f" "$there.new" && mv "$there.new" "$there" || exit $?
  echo "put back: /$f"
done || exit $?
{carried} || exit $?
{UNITS}
for unit in $units; do systemctl restart "$unit" || exit $?; done
{EACH_ACTIVE}
printf '%s\\n' "$at" > {quote(note)}""",
        advice=f"Compare {now} on {b.name} with {before}, which it had. A back end that cinder_conf did not make belongs "
        f"into {b.path(cinder_json(cluster))}: put it there, remove {_note(cluster, 'applied')}, and clear the task before "
        f"this one; or write its section into cinder.conf by hand and clear this task.",
    )

"""A4.1, A4.7 to A4.9: a compute's nova.conf and services."""

from __future__ import annotations

import json
from collections.abc import Sequence

from include.runbook import nova_settings
from include.runbook.cluster import Compute, Host
from include.runbook.custody import folder, record_path, reinstalling_path, ssh_to
from include.runbook.errors import FactUnreadable
from include.runbook.goals import (
    command_succeeds,
    compute_services,
    release_of,
    release_probe,
    returned,
    services_in,
)
from include.runbook.remote_python import conf_edit
from include.runbook.restore_points import NOVA_CONF, point_path, read_points, reading_of, saved_nova_conf
from include.runbook.shell import Output, quote
from include.runbook.step import Goal, Over, Read, Run, Step, Verdict, all_of, any_of, kind, step

MANAGER = "nova.compute.tecs_manager.TecsComputeManager"
"""A4.7. The installer writes the stock class."""

SERVICES = ("openstack-nova-compute", "openstack-nova-storage")
"""Restarted in A4.8: all enabled ones by openstack-service, the second by itself, because it may not be enabled."""


# Asked one by one: of several units, `systemctl is-active` is content with one.
ALL_ACTIVE = f"""\
for unit in {" ".join(SERVICES)}; do
  state=$(systemctl is-active "$unit"); test "$state" = active || {{ echo "$unit is ${{state:-unknown}}"; exit 1; }}
done
echo 'every unit is active'"""


STAYS_UP = 3.0
"""Seconds for which a service must keep its process: one that dies right after its start is active for moments."""


def _all_stay_active(run: Run) -> str:
    """Return the script that succeeds when every unit is active and goes on being so."""
    return f"""\
pids() {{ for unit in {" ".join(SERVICES)}; do systemctl show -p MainPID "$unit"; done; }}
before=$(pids) || exit $?
sleep {run.cluster.seconds(STAYS_UP):.2f}
{ALL_ACTIVE}
test "$(pids)" = "$before" || {{ echo 'a service does not stay up: its process is another than a moment ago'; exit 1; }}"""


def _kept(run: Run, compute: Host, file: str) -> str:
    """Return the path on the Daisy host of what is kept about the compute's nova.conf: `_OLD` and those below."""
    return f"{folder(run.cluster)}/saved/{compute.name}/{file}"


_OLD = "nova_old.conf"
"""The nova.conf of before, with the site's settings."""

_FRESH = "nova_fresh.conf"
"""The nova.conf that the installer left, untouched."""

_FRESH_OF = "nova_fresh.of"
"""When that installation was, as the probe prints it; written last, so that it vouches for the file."""

_AFTER = "nova_after.conf"
"""The nova.conf that the settings were compared with."""

_SETTINGS = "nova_settings.jsonl"
"""Every key that differs among the three, a line of JSON each, secrets masked."""


def _saved(run: Run, compute: Host) -> str:
    return _kept(run, compute, _OLD)


def _old(run: Run, compute: Host) -> str:
    return compute.path(run.cluster.paths.nova_conf.rsplit("/", 1)[0] + "/nova_old.conf")


def _conf(run: Run, compute: Host) -> str:
    return compute.path(run.cluster.paths.nova_conf)


def _equal(sentence: str, run: Run, compute: Host, there: str, kept: str = _OLD) -> Goal:
    """The kept file on the Daisy host and the file on the compute have the same content."""
    saved = _kept(run, compute, kept)

    def judge(outputs: Sequence[Output]) -> Verdict:
        here, on_compute = (o.stdout.split()[:1] for o in outputs)
        met = bool(here) and here == on_compute
        told = f"equal: {kept} and {there} on {compute.name}"
        return Verdict(met, told if met else f"{saved} and {there} on {compute.name} differ, or one is missing")

    daisy = run.cluster.daisy
    reads = (Read(daisy, f"sha256sum {quote(saved)}"), Read(compute, f"sha256sum {quote(there)}"))
    return Goal(sentence, reads, judge)


def _refuses(run: Run) -> bool:
    """Tell whether a compute may not come back with a setting that differs from before and nobody asked for."""
    return run.cluster.carry_over.unlisted_differences == "refuse"


def _past_saving(run: Run, compute: Host) -> Goal:
    """The compute's own settings are on it no more: nothing of it may take the place of what was saved before.

    Either it is taken down, or its reinstallation has begun, and the nova.conf that lies there is the installer's. Where
    nothing was saved before, not even by an upgrade, the compute goes on with the installer's settings, if the inventory
    lets it.
    """
    cluster, saved, conf = run.cluster, _saved(run, compute), _conf(run, compute)

    def judge(outputs: Sequence[Output]) -> Verdict:
        release, lies_there, is_saved, reinstalling, points = outputs
        taken_down = release_of(cluster, compute, release) is None and not lies_there.ok
        if not taken_down and not reinstalling.ok:
            return Verdict(False, f"{compute.name} is neither taken down nor being reinstalled")
        found = f"{compute.name} is {'taken down' if taken_down else 'being reinstalled'}"
        if is_saved.ok:
            return Verdict(True, f"{found}; what was saved before stays")
        if saved_nova_conf(run, compute, read_points(points)):
            return Verdict(False, f"{found}, and nothing was saved but what an upgrade has: that is taken")
        return Verdict(not _refuses(run), f"WARNING: {found}, and nothing was saved: its own settings are not known")

    reads = (
        release_probe(cluster, compute),
        Read(compute, f"test -e {quote(conf)}"),
        Read(cluster.daisy, f"test -s {quote(saved)}"),
        Read(cluster.daisy, f"test -e {quote(reinstalling_path(cluster, compute))}"),
        reading_of(run, compute),
    )
    return Goal(f"{compute.name} is past saving, and what was saved before stays", reads, judge)


def _restore_point(run: Run, compute: Host) -> Goal:
    """An upgrade has saved the compute's nova.conf before it changed the compute, and it is whole."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        item = saved_nova_conf(run, compute, read_points(outputs[0]))
        told = f"an upgrade has saved it at {item.at:%F %T}" if item else "no upgrade has saved it"
        return Verdict(item is not None, told)

    return Goal(f"nova.conf of {compute.name} is among the restore points", (reading_of(run, compute),), judge)


def _taken_from_restore_point(run: Run, compute: Host) -> Goal:
    """The compute has lost its own nova.conf, and what is saved of it is what an upgrade has saved."""
    daisy = run.cluster.daisy

    def judge(outputs: Sequence[Output]) -> Verdict:
        item = saved_nova_conf(run, compute, read_points(outputs[0]))
        lost = not outputs[2].ok or outputs[3].ok
        met = lost and item is not None and outputs[1].stdout.split()[:1] == [item.sha256]
        return Verdict(met, f"nova.conf of {compute.name} is {'' if met else 'not '}taken from the restore point")

    reads = (
        reading_of(run, compute),
        Read(daisy, f"sha256sum {quote(_saved(run, compute))}"),
        Read(compute, f"test -s {quote(_conf(run, compute))}"),
        Read(daisy, f"test -e {quote(reinstalling_path(run.cluster, compute))}"),
    )
    return Goal(f"nova.conf of {compute.name} is saved as it was before the upgrade", reads, judge)


@step("A4.1", "Save nova.conf of each compute as nova_old.conf", over=Over.COMPUTES)
def save_nova_conf(run: Run, compute: Host) -> Step:
    """What the bad release's nova.conf holds of local settings is safe on the Daisy host, where no reinstallation reaches.

    Where the compute has lost it, that of the restore point is taken, if an upgrade has saved one.
    """
    saved, ssh = _saved(run, compute), ssh_to(run.cluster, compute)
    conf, point = quote(_conf(run, compute)), quote(point_path(run, compute, NOVA_CONF))
    equal = _equal(f"nova.conf of {compute.name} is saved", run, compute, _conf(run, compute))
    taken = _taken_from_restore_point(run, compute)
    return Step(
        kind("save_nova_conf"),
        run.cluster.daisy,
        subject=compute.name,
        goal=any_of(returned(run, compute), equal, _past_saving(run, compute), taken),
        proof=any_of(equal, taken),
        requires=(
            any_of(
                command_succeeds("nova.conf is there", compute, f"test -s {conf}"),
                _restore_point(run, compute),
            ),
        ),
        action=f"""\
umask 077
mkdir -p {quote(saved.rsplit("/", 1)[0])} || exit $?
own=$({ssh} {quote(f"test ! -s {conf} || echo own")}) || exit $?
# What lies there during a reinstallation is the installer's.
test ! -e {quote(reinstalling_path(run.cluster, compute))} || own=
if test -n "$own"; then {ssh} {quote(f"cat {conf}")} > {quote(saved)}.new || exit $?
else cp {point} {quote(saved)}.new && echo "nova.conf is taken from the restore point" || exit $?; fi
mv {quote(saved)}.new {quote(saved)}""",
        advice=f"If {compute.name} was taken down by hand, put the nova.conf that it had before at {saved} on the Daisy host, or "
        "set carry_over.unlisted_differences in the inventory to report; then clear the failed task.",
    )


def _nothing_saved(run: Run, compute: Host) -> Goal:
    """Nothing of the compute was saved: it was back before any rollback of it, or else A4.1 has warned of it."""
    command = f"test ! -e {quote(_saved(run, compute))} && echo 'nothing was saved, so nothing is to be carried over'"
    return command_succeeds("nothing was saved", run.cluster.daisy, command)


def _fresh_kept(run: Run, compute: Host) -> Goal:
    """The nova.conf that the present installation left is on the Daisy host."""
    fresh, of = quote(_kept(run, compute, _FRESH)), quote(_kept(run, compute, _FRESH_OF))

    def judge(outputs: Sequence[Output]) -> Verdict:
        installed, kept = (o.stdout.strip() if o.ok else "" for o in outputs)
        if installed and installed == kept:
            return Verdict(True, "the installer's nova.conf is kept")
        told = f"{fresh} is of installation {kept or 'none'}, {compute.name} has {installed or 'none'}"
        return Verdict(False, told)

    reads = (
        Read(compute, run.cluster.probes.installed_at),
        Read(run.cluster.daisy, f"test -s {fresh} && cat {of}"),
    )
    return Goal(f"the installer's nova.conf of {compute.name} is kept", reads, judge)


def _laid_out(run: Run, compute: Host) -> Goal:
    """Both files that A4.7 works from are where it needs them, or there is nothing to carry over."""
    back = _equal(f"nova_old.conf is on {compute.name}", run, compute, _old(run, compute))
    return any_of(_nothing_saved(run, compute), all_of(_fresh_kept(run, compute), back))


@step("A4.7", "Keep the installer's nova.conf, and bring nova_old.conf back beside it", over=Over.COMPUTES)
def bring_back_nova_old_conf(run: Run, compute: Host) -> Step:
    """The fresh file is kept before anything changes it, once for an installation; the saved one lies beside it.

    A compute for which nothing was saved has nothing to carry over.
    """
    conf, old = quote(_conf(run, compute)), quote(_old(run, compute))
    fresh, of = quote(_kept(run, compute, _FRESH)), quote(_kept(run, compute, _FRESH_OF))
    ssh = ssh_to(run.cluster, compute)
    put = (
        f"umask 077; cat > {old}.new && chmod --reference={conf} {old}.new && "
        f"chown --reference={conf} {old}.new && mv {old}.new {old}"
    )
    return Step(
        kind("bring_back_nova_old_conf"),
        run.cluster.daisy,
        subject=compute.name,
        goal=_laid_out(run, compute),
        requires=(returned(run, compute),),
        action=f"""\
umask 077
installed=$({ssh} {quote(run.cluster.probes.installed_at)}) || exit $?
if test "$(cat {of} 2>/dev/null)" != "$installed" || test ! -s {fresh}; then
  rm -f {of}
  {ssh} {quote(f"cat {conf}")} > {fresh}.new || exit $?
  mv {fresh}.new {fresh} || exit $?
  printf '%s\\n' "$installed" > {of} || exit $?
fi
{ssh} {quote(put)} < {quote(_saved(run, compute))}""",
    )


def _rules(run: Run, compute: Compute) -> str:
    address = run.cluster.vnc_address(compute)
    values = {name: MANAGER if name == "compute_manager" else address for name in nova_settings.COMPUTED}
    return nova_settings.program_rules(run.cluster.carry_over.table(compute.network), values)


@step("A4.7", "Repair nova.conf and carry the local settings over", over=Over.COMPUTES)
def repair_nova_conf(run: Run, host: Host) -> Step:
    """nova.conf has TECS's compute manager, the compute's own VNC address, and the settings that a reinstallation loses."""
    compute = _compute(run, host)
    carry = ("carry", _old(run, compute), _conf(run, compute), "--rules", _rules(run, compute))
    laid_out = _laid_out(run, compute)
    carried = command_succeeds(
        "nova.conf is repaired and has the local settings of before", compute, conf_edit(*carry, "--check")
    )
    return Step(
        kind("repair_nova_conf"),
        compute,
        goal=all_of(carried, laid_out, sentence=carried.sentence),
        requires=(returned(run, compute), laid_out),
        action=conf_edit(*carry),
    )


@step("A4.7", "Name every setting that differs from before", over=Over.COMPUTES)
def compare_nova_settings(run: Run, host: Host) -> Step:
    """No setting is lost in silence: before, as installed and now are laid side by side, on the Daisy host and in the record.

    A difference that `carry_over` does not explain is told, or refused before the services run with it.
    """
    compute, daisy = _compute(run, host), run.cluster.daisy
    old, fresh, after, settings = (_kept(run, compute, file) for file in (_OLD, _FRESH, _AFTER, _SETTINGS))
    compare = conf_edit("compare", old, fresh, after, "--rules", _rules(run, compute))

    def judge(outputs: Sequence[Output]) -> Verdict:
        now, kept = outputs
        if not now.ok or not kept.ok or now.stdout != kept.stdout:
            return Verdict(False, f"{settings} is not of the present files: {now.tail or kept.tail or 'it differs'}")
        try:
            found = nova_settings.read_settings(kept.stdout)
        except ValueError as unexpected:
            raise FactUnreadable(daisy.name, f"cat {settings}", str(unexpected)) from None
        met = not (_refuses(run) and any(setting.unexplained for setting in found))
        return Verdict(met, f"{nova_settings.differences_told(found)} (all in {settings})")

    sentence = f"the settings of {compute.name} are compared" + (", each as carry_over says" if _refuses(run) else "")
    told = Goal(sentence, (Read(daisy, compare), Read(daisy, f"cat {quote(settings)}")), judge)
    present = _equal(f"{after} is the present nova.conf", run, compute, _conf(run, compute), _AFTER)
    goal = any_of(_nothing_saved(run, compute), all_of(told, present, sentence=sentence), sentence=sentence)
    return Step(
        kind("compare_nova_settings"),
        daisy,
        subject=compute.name,
        goal=goal,
        requires=(returned(run, compute),),
        action=f"""\
umask 077
{ssh_to(run.cluster, compute)} {quote(f"cat {quote(_conf(run, compute))}")} > {quote(after)}.new || exit $?
mv {quote(after)}.new {quote(after)} || exit $?
{compare} > {quote(settings)}.new || exit $?
mv {quote(settings)}.new {quote(settings)} || exit $?
{_record_settings(run, compute, settings)}""",
        advice="Say in carry_over of the inventory, for each setting that is named, which value is right: restore (before) or "
        f"fresh (the installer's); or mend nova.conf on {compute.name}. Then clear A4.7 repair_nova_conf and what follows it.",
    )


def _record_settings(run: Run, compute: Compute, settings: str) -> str:
    """Return the script that appends an event with every setting of the file to the run's record, in one write."""
    this, record = kind("compare_nova_settings"), quote(record_path(run))
    event = {"run_id": run.owner, "id": this.id, "step": this.name, "host": compute.name, "outcome": "compared"}
    beginning = json.dumps(event).removesuffix("}")
    return f"""mkdir -p "$(dirname {record})" || exit $?
printf '%s, "time": "%s", "settings": [%s]}}\\n' {quote(beginning)} "$(date -u +%Y-%m-%dT%H:%M:%S+00:00)" \\
  "$(paste -s -d , {quote(settings)})" > {quote(settings)}.event || exit $?
cat {quote(settings)}.event >> {record} || exit $?
rm -f {quote(settings)}.event"""


@step("A4.8", "Restart the compute's services", over=Over.COMPUTES)
def restart_compute_services(run: Run, compute: Host) -> Step:
    """The services run with the nova.conf that lies there now, on the installation that is there now."""
    conf = quote(_conf(run, compute))
    noted = quote(compute.path(f"{run.cluster.paths.state}/restarted-with"))
    now = f'"$(sha256sum < {conf}) $({run.cluster.probes.installed_at})"'
    with_this = (
        f'test "$(cat {noted} 2>/dev/null)" = {now} || '
        f"{{ echo 'not restarted since nova.conf was changed'; exit 1; }}\n{ALL_ACTIVE}"
    )
    return Step(
        kind("restart_compute_services"),
        compute,
        goal=command_succeeds(
            "the services were restarted with the present nova.conf and are active", compute, with_this
        ),
        requires=(returned(run, compute),),
        action=f"""\
test -s {conf} || {{ echo {conf} is missing >&2; exit 2; }}
now={now}
openstack-service restart || exit $?
systemctl restart openstack-nova-storage || exit $?
mkdir -p "$(dirname {noted})" && printf '%s\\n' "$now" > {noted}""",
        waits=True,
        advice=f"Read `journalctl -u openstack-nova-compute` on {compute.name}; mend nova.conf, then clear this task.",
    )


@step("A4.9", "Verify that the compute's services are up", over=Over.COMPUTES, changes=False)
def verify_compute_services(run: Run, compute: Host) -> Step:
    """The units are active on the compute and stay so, and the cloud sees its nova-compute as up."""
    a = run.cluster.controllers.a
    listing = compute_services(run.cluster)

    def judge(outputs: Sequence[Output]) -> Verdict:
        up = [s.host for s in services_in(a, listing, outputs[0]) if s.up]
        return Verdict(
            compute.name in up, f"nova-compute is {'up' if compute.name in up else 'not up'} on {compute.name}"
        )

    seen = Goal(f"the cloud sees nova-compute up on {compute.name}", (Read(a, listing),), judge)
    units = command_succeeds("every unit is active", compute, _all_stay_active(run))
    return Step(kind("verify_compute_services"), compute, goal=all_of(units, seen), waits=True)


@step("A4.9", "Let the scheduler use the compute again", over=Over.COMPUTES)
def enable_scheduling(run: Run, compute: Host) -> Step:
    """The compute is enabled, unless someone else than this product had disabled it before."""
    a = run.cluster.controllers.a
    listing = compute_services(run.cluster)

    def judge(outputs: Sequence[Output]) -> Verdict:
        mine = [s for s in services_in(a, listing, outputs[0]) if s.host == compute.name]
        if not mine:
            return Verdict(False, f"the cloud knows no nova-compute on {compute.name}")
        if mine[0].enabled:
            return Verdict(True, f"{compute.name} is enabled")
        reason = mine[0].disabled_reason or "no reason given"
        return Verdict(not reason.startswith("tecs-rollback "), f"{compute.name} is disabled: {reason}")

    return Step(
        kind("enable_scheduling"),
        a,
        subject=compute.name,
        goal=Goal(f"{compute.name} is not disabled by a rollback", (Read(a, listing),), judge),
        requires=(returned(run, compute),),
        action=f". {quote(a.path(run.cluster.paths.openrc))} || exit $?\n"
        f"openstack compute service set --enable {quote(compute.name)} nova-compute",
        waits=True,
    )


def _compute(run: Run, host: Host) -> Compute:
    return run.cluster.compute(host.name)

"""A4.1, A4.7 to A4.9: a compute's nova.conf and services."""

from __future__ import annotations

import json
from collections.abc import Sequence

from include.runbook.cluster import Compute, Host
from include.runbook.custody import folder, reinstalling_path, ssh_to
from include.runbook.goals import (
    command_succeeds,
    compute_services,
    release_of,
    release_probe,
    returned,
    services_in,
)
from include.runbook.remote_python import conf_edit
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


def _saved(run: Run, compute: Host) -> str:
    return f"{folder(run.cluster)}/saved/{compute.name}/nova_old.conf"


def _old(run: Run, compute: Host) -> str:
    return compute.path(run.cluster.paths.nova_conf.rsplit("/", 1)[0] + "/nova_old.conf")


def _conf(run: Run, compute: Host) -> str:
    return compute.path(run.cluster.paths.nova_conf)


def _equal(sentence: str, run: Run, compute: Host, there: str) -> Goal:
    """The saved file on the Daisy host and the file on the compute have the same content."""
    saved = _saved(run, compute)

    def judge(outputs: Sequence[Output]) -> Verdict:
        here, on_compute = (o.stdout.split()[:1] for o in outputs)
        met = bool(here) and here == on_compute
        return Verdict(met, "equal" if met else f"{saved} and {there} on {compute.name} differ, or one is missing")

    daisy = run.cluster.daisy
    reads = (Read(daisy, f"sha256sum {quote(saved)}"), Read(compute, f"sha256sum {quote(there)}"))
    return Goal(sentence, reads, judge)


def _past_saving(run: Run, compute: Host) -> Goal:
    """The compute's own settings are on it no more: nothing of it may take the place of what was saved before.

    Either it is taken down, or its reinstallation has begun, and the nova.conf that lies there is the installer's.
    """
    cluster, saved, conf = run.cluster, _saved(run, compute), _conf(run, compute)

    def judge(outputs: Sequence[Output]) -> Verdict:
        taken_down = release_of(cluster, compute, outputs[0]) is None and not outputs[1].ok
        if taken_down:
            return Verdict(True, f"{compute.name} has neither a release nor a nova.conf to save")
        return Verdict(outputs[2].ok, f"{compute.name} is {'' if outputs[2].ok else 'not '}being reinstalled")

    reads = (
        release_probe(cluster, compute),
        Read(compute, f"test -e {quote(conf)}"),
        Read(cluster.daisy, f"test -e {quote(reinstalling_path(cluster, compute))} && test -s {quote(saved)}"),
    )
    return Goal(f"{compute.name} is past saving, and what was saved before stays", reads, judge)


@step("A4.1", "Save nova.conf of each compute as nova_old.conf", over=Over.COMPUTES)
def save_nova_conf(run: Run, compute: Host) -> Step:
    """What the bad release's nova.conf holds of local settings is safe on the Daisy host, where no reinstallation reaches."""
    saved = _saved(run, compute)
    equal = _equal(f"nova.conf of {compute.name} is saved", run, compute, _conf(run, compute))
    return Step(
        kind("save_nova_conf"),
        run.cluster.daisy,
        subject=compute.name,
        goal=any_of(returned(run, compute), equal, _past_saving(run, compute)),
        proof=equal,
        requires=(command_succeeds("nova.conf is there", compute, f"test -s {quote(_conf(run, compute))}"),),
        action=f"""\
umask 077
mkdir -p {quote(saved.rsplit("/", 1)[0])} || exit $?
{ssh_to(run.cluster, compute)} {quote(f"cat {quote(_conf(run, compute))}")} > {quote(saved)}.new || exit $?
mv {quote(saved)}.new {quote(saved)}""",
    )


@step("A4.7", "Bring nova_old.conf back beside nova.conf", over=Over.COMPUTES)
def bring_back_nova_old_conf(run: Run, compute: Host) -> Step:
    """The saved file lies beside the fresh one. A compute for which nothing was saved has nothing to carry over."""
    saved, old = _saved(run, compute), _old(run, compute)
    daisy = run.cluster.daisy
    put = (
        f"umask 077; cat > {quote(old)}.new && chmod --reference={quote(_conf(run, compute))} {quote(old)}.new && "
        f"chown --reference={quote(_conf(run, compute))} {quote(old)}.new && mv {quote(old)}.new {quote(old)}"
    )
    nothing_saved = command_succeeds(
        "nothing was saved", daisy, f"test ! -e {quote(saved)} && echo 'nothing was saved'"
    )
    return Step(
        kind("bring_back_nova_old_conf"),
        daisy,
        subject=compute.name,
        goal=any_of(nothing_saved, _equal(f"nova_old.conf is on {compute.name}", run, compute, old)),
        requires=(returned(run, compute),),
        action=f"{ssh_to(run.cluster, compute)} {quote(put)} < {quote(saved)}",
    )


@step("A4.7", "Repair nova.conf and carry the local settings over", over=Over.COMPUTES)
def repair_nova_conf(run: Run, host: Host) -> Step:
    """nova.conf has TECS's compute manager, the compute's own VNC address, and the settings that a reinstallation loses."""
    compute = _compute(run, host)
    conf, old = _conf(run, compute), _old(run, compute)
    edits = json.dumps(
        [
            {"section": "DEFAULT", "key": "compute_manager", "values": [MANAGER]},
            {
                "section": "DEFAULT",
                "key": "vncserver_proxyclient_address",
                "values": [run.cluster.vnc_address(compute)],
            },
        ]
    )
    keys = json.dumps({section: list(names) for section, names in run.cluster.carry_over_keys(compute).items()})
    carry = conf_edit("carry", old, conf, "--keys", keys)
    carried = f"test ! -e {quote(old)} || {{\n{conf_edit('carry', old, conf, '--keys', keys, '--check')}\n}}"
    return Step(
        kind("repair_nova_conf"),
        compute,
        goal=all_of(
            command_succeeds("nova.conf is repaired", compute, conf_edit("check", conf, edits)),
            command_succeeds("the local settings are those of nova_old.conf", compute, carried),
        ),
        requires=(returned(run, compute),),
        action=f"""\
{conf_edit("apply", conf, edits)}
rc=$?; test $rc = 0 || exit $rc
if test -e {quote(old)}; then
{carry}
fi""",
    )


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
    """The units are active on the compute, and the cloud sees its nova-compute as up."""
    a = run.cluster.controllers.a
    listing = compute_services(run.cluster)

    def judge(outputs: Sequence[Output]) -> Verdict:
        up = [s.host for s in services_in(a, listing, outputs[0]) if s.up]
        return Verdict(
            compute.name in up, f"nova-compute is {'up' if compute.name in up else 'not up'} on {compute.name}"
        )

    seen = Goal(f"the cloud sees nova-compute up on {compute.name}", (Read(a, listing),), judge)
    units = command_succeeds("every unit is active", compute, ALL_ACTIVE)
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

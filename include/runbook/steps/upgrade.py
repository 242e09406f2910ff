"""U1 to U5: the upgrade itself, and the float IP around it. Everything else of an upgrade the rollback has, too.

Until U2, A is active and commands are given there; from U2 on it is B. One controller is always banned from the float IP: B
while it is upgraded, A until it is. So the cluster at U3 is the one with which scenario A begins.
"""

from __future__ import annotations

from include.runbook.both_views import a_is_active, b_is_active, one_view
from include.runbook.cluster import Host
from include.runbook.custody import ssh_to
from include.runbook.goals import (
    all_started,
    command_succeeds,
    float_ip_on,
    managed,
    not_banned_from,
    only_peer_banned,
    returned,
    unconstrained,
    upgrade_note,
)
from include.runbook.replication import in_sync
from include.runbook.shell import quote
from include.runbook.step import Goal, Over, Run, Step, all_of, any_of, kind, step
from include.runbook.steps.ha import DROP_PREFERENCE, NAMES, float_ip_arrives, nodes_online, note_proven
from include.runbook.steps.staging import alone
from include.runbook.steps.vms import create_and_delete_vm, drained_or_accepted, trial


def _upgrade(name: str, run: Run, host: Host, requires: tuple[Goal, ...], advice: str) -> Step:
    """Return the step that upgrades the host with the bin that is staged on it.

    The bin's exit status means nothing, and what it prints in the end is not known. So it has failed where it prints an
    Error line, as Daisy judges; that it was of use is proven from the host. Until then a note says that it has begun.
    """
    staged, note = host.path(run.staged_bin), quote(upgrade_note(run.cluster, host))
    return Step(
        kind(name),
        host,
        goal=returned(run, host),
        requires=(*requires, alone(host, staged)),
        action=f"""\
mkdir -p "$(dirname {note})" && echo begun > {note} || exit 2
cd {quote(staged.rsplit("/", 1)[0])} || exit 2
log=$(mktemp) || exit 2
trap 'rm -f "$log"' EXIT
{quote(staged)} upgrade 2>&1 | tee "$log"
if grep -Eq '^[[:space:]]*(Error|ERROR)' "$log"; then echo 'the installer has reported an error' >&2; exit 1; fi
echo done > {note}""",
        advice=advice,
    )


# ---- U1: B and the computes ----------------------------------------------------------------------------------------


def _past_the_switch(run: Run) -> Goal:
    """B serves on the new release, or A has it too: B needs no ban any more."""
    cluster = run.cluster
    pair = cluster.controllers
    b = returned(run, pair.b)
    return any_of(
        all_of(b, b_is_active(cluster)),
        all_of(b, returned(run, pair.a)),
        sentence="B is upgraded and the switch is made",
    )


@step("U1", "Forbid switchover: ban the float IP from B", over=Over.A)
def forbid_switchover(run: Run, a: Host) -> Step:
    """B cannot take over while it is upgraded."""
    cluster = run.cluster
    banned = only_peer_banned(cluster, a)
    return Step(
        kind("forbid_switchover"),
        a,
        goal=any_of(banned, _past_the_switch(run)),
        proof=banned,
        requires=(a_is_active(cluster),),
        action=f"""\
{NAMES}
{DROP_PREFERENCE.format(resource=cluster.float_ip_resource)}
pcs resource ban {cluster.float_ip_resource} "$b\"""",
        advice="A must be active before B is banned; otherwise the ban would take the float IP from both.",
    )


@step("U1", "Upgrade B to the new release", over=Over.B, detached=True)
def upgrade_b(run: Run, b: Host) -> Step:
    """B has the new release. Only while A is active and B is banned from taking over."""
    cluster = run.cluster
    requires = (a_is_active(cluster), only_peer_banned(cluster, cluster.controllers.a))
    return _upgrade(
        "upgrade_b",
        run,
        b,
        requires,
        "A serves, and B is banned. Read the installer's lines above, mend B and clear this task; or roll B back: "
        "rollback_controller (scenario B).",
    )


@step("U1", "Upgrade each compute", over=Over.COMPUTES, detached=True)
def upgrade_compute(run: Run, compute: Host) -> Step:
    """The compute has the new release. Never under a VM, unless its outage was accepted for this run."""
    requires = (drained_or_accepted(run, compute, [compute]),)
    return _upgrade(
        "upgrade_compute",
        run,
        compute,
        requires,
        f"Where a VM is on {compute.name} again, clear A4.2_finish_drain with all that follow it. Otherwise read the "
        "installer's lines above, mend the compute and clear this task; or roll it back: rollback_compute (scenario C).",
    )


# ---- U2: the switch ------------------------------------------------------------------------------------------------


@step("U2", "Clear the ban that keeps the float IP off B", over=Over.B)
def let_b_take_over(run: Run, b: Host) -> Step:
    """B may take the float IP: it is upgraded, every resource runs, and it has all of the data."""
    cluster = run.cluster
    return Step(
        kind("let_b_take_over"),
        b,
        goal=not_banned_from(cluster, b),
        requires=(returned(run, b), all_started(b), one_view(cluster), in_sync(cluster)),
        action=f"pcs resource clear {cluster.float_ip_resource}",
        advice="A serves, and B stays banned, until B is upgraded and fit to take over.",
    )


@step("U2", "Move the float IP to B, so that B is active", over=Over.B)
def move_float_ip_to_b(run: Run, b: Host) -> Step:
    """B is the active controller, and A has let go. If B does not take over, A goes on serving and the run stops here."""
    cluster = run.cluster
    resource = cluster.float_ip_resource
    return Step(
        kind("move_float_ip_to_b"),
        b,
        goal=any_of(b_is_active(cluster), returned(run, cluster.controllers.a)),
        proof=b_is_active(cluster),
        requires=(nodes_online(b), returned(run, b), not_banned_from(cluster, b), managed(b), one_view(cluster)),
        action=f"""\
{float_ip_arrives(cluster)}
to=$(crm_node -n) || exit $?
pcs resource move {resource} "$to" || echo "pcs ended with status $?"
arrives "$to" || echo "{resource} has not reached $to yet"
{DROP_PREFERENCE.format(resource=resource)}""",
        waits=True,
        advice=f"B did not take over. No preference of {resource} is left, and B is not banned any more. Mend what is named "
        "above on the node that it names, then clear the failed task.",
    )


@step("U2", "Ban the float IP from A", over=Over.B)
def ban_float_ip_on_a(run: Run, b: Host) -> Step:
    """A cannot take over by itself while it still has the old release: if B proves bad, that is decided at U3."""
    cluster = run.cluster
    banned = only_peer_banned(cluster, b)
    return Step(
        kind("ban_float_ip_on_a"),
        b,
        goal=any_of(banned, returned(run, cluster.controllers.a)),
        proof=banned,
        requires=(b_is_active(cluster),),
        action=f"""\
{NAMES}
{DROP_PREFERENCE.format(resource=cluster.float_ip_resource)}
pcs resource ban {cluster.float_ip_resource} "$b\"""",
        advice="B must be active before A is banned; otherwise the ban would take the float IP from both.",
    )


# ---- U3: verification ----------------------------------------------------------------------------------------------


@step("U3", "Verify that a VM can be created on the new release", over=Over.DAISY)
def create_vm_on_new_release(run: Run, daisy: Host) -> Step:
    """A VM was created and became active. That it could not be deleted again is told and is no verdict on the release."""
    proven = create_and_delete_vm(run, daisy).goal
    told = 'echo "WARNING: the VM $id, made to verify the cloud, is left: it could not be deleted"'
    script = trial(run.cluster, unless_deleted=told)
    return Step(
        kind("create_vm_on_new_release"),
        daisy,
        goal=any_of(returned(run, run.cluster.controllers.a), proven),
        proof=proven,
        action=f"{ssh_to(run.cluster, run.cluster.controllers.a)} {quote(script)} || exit $?\n"
        f"{note_proven(run, 'vm-creation')}",
        advice="A VM cannot be created on the new release: what is done about it is decided next.",
    )


# ---- U4, U5: A, and switchover is allowed again --------------------------------------------------------------------


@step("U4", "Upgrade A to the new release", over=Over.A, detached=True)
def upgrade_a(run: Run, a: Host) -> Step:
    """A has the new release. Only while B is active on it and A is banned from taking over."""
    cluster = run.cluster
    b = cluster.controllers.b
    requires = (returned(run, b), b_is_active(cluster), only_peer_banned(cluster, b))
    return _upgrade(
        "upgrade_a",
        run,
        a,
        requires,
        "B serves on the new release, which has proven good, and A is banned. Read the installer's lines above, mend A "
        "and clear this task. There is no rollback for this: a rollback begins with an A on the old release.",
    )


@step("U4", "Start the cluster on A", over=Over.A)
def start_cluster_on_a(run: Run, a: Host) -> Step:
    """A is a member of the cluster again, and still banned from the float IP."""
    cluster = run.cluster
    b = cluster.controllers.b
    online = command_succeeds(
        "pacemaker.service is active on A and A is online",
        a,
        "systemctl is-active pacemaker.service && crm_node -n && crm_mon -1 >/dev/null",
    )
    return Step(
        kind("start_cluster_on_a"),
        a,
        goal=online,
        requires=(returned(run, a), float_ip_on(cluster, b), only_peer_banned(cluster, b)),
        action="pcs cluster start",
        waits=True,
        advice="A may join only while B is active and A is banned. Read `journalctl -u corosync -u pacemaker` on A.",
    )


@step("U4", "Verify Pacemaker and every resource after A's upgrade", over=Over.A, changes=False)
def verify_pacemaker_on_a(run: Run, a: Host) -> Step:
    """pacemaker.service is active on A, every resource of the cluster is started, and A sees what B sees."""
    cluster = run.cluster
    active = command_succeeds("pacemaker.service is active on A", a, "systemctl is-active pacemaker.service")
    return Step(
        kind("verify_pacemaker_on_a"),
        a,
        goal=all_of(active, all_started(cluster.controllers.b), one_view(cluster)),
        waits=True,
        advice="The ban on A is kept until this is true. Repair the resource that is named, then clear this task.",
    )


@step("U5", "Allow switchover again: clear the ban", over=Over.B)
def allow_switchover(run: Run, b: Host) -> Step:
    """Either controller may be active: both have the new release."""
    cluster = run.cluster
    a = cluster.controllers.a
    return Step(
        kind("allow_switchover"),
        b,
        goal=unconstrained(cluster, b),
        requires=(returned(run, a), returned(run, b), b_is_active(cluster), all_started(b), one_view(cluster)),
        action=f"pcs resource clear {cluster.float_ip_resource}",
        advice="The ban on A is kept until both controllers have the new release and every resource is started.",
    )

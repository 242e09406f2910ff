"""A4.2 and A6.2: VMs are moved away before a compute is reinstalled, and one is made to prove that the cloud works."""

from __future__ import annotations

from collections.abc import Sequence

from include.runbook.cluster import Cluster, Host
from include.runbook.custody import ssh_to
from include.runbook.goals import compute_services, no_vms_on, returned, servers_in, servers_on, services_in
from include.runbook.remote_python import FIND_PYTHON
from include.runbook.shell import Output, quote
from include.runbook.step import Goal, Over, Read, Run, Step, Verdict, VmPolicy, any_of, kind, step
from include.runbook.steps.ha import note_proven, proven_for_this_installation

_IDS = """\
ids() {{
  list=$(openstack server list --all-projects --long --host {compute} -f json) || return 1
  printf '%s' "$list" | "$python" -c 'import json, sys
for vm in json.load(sys.stdin): print(vm["ID"])'
}}"""


@step("A4.2", "Keep new VMs off each compute", over=Over.COMPUTES)
def keep_new_vms_off(run: Run, compute: Host) -> Step:
    """The scheduler places nothing on the compute: VMs of one compute of a batch cannot flee to another of the same batch.

    A compute that someone else has disabled is left as it is, and is not enabled afterwards either.
    """
    cluster = run.cluster
    a = cluster.controllers.a
    unused = _gets_no_vms(cluster, compute)
    return Step(
        kind("keep_new_vms_off"),
        a,
        subject=compute.name,
        goal=any_of(returned(run, compute), unused),
        proof=unused,
        action=f"""\
. {quote(a.path(cluster.paths.openrc))} || exit $?
openstack compute service set --disable --disable-reason {quote(run.marker)} {quote(compute.name)} nova-compute""",
    )


def _gets_no_vms(cluster: Cluster, compute: Host) -> Goal:
    """The scheduler places nothing on the compute, whoever has disabled it."""
    a, listing = cluster.controllers.a, compute_services(cluster)

    def judge(outputs: Sequence[Output]) -> Verdict:
        enabled = any(s.enabled for s in services_in(a, listing, outputs[0]) if s.host == compute.name)
        return Verdict(not enabled, f"{compute.name} is {'enabled' if enabled else 'not used by the scheduler'}")

    return Goal(f"nothing new is scheduled to {compute.name}", (Read(a, listing),), judge)


@step("A4.2", "Move the VMs off each compute", over=Over.COMPUTES, detached=True)
def drain_compute(run: Run, compute: Host) -> Step:
    """No VM is left on the compute, or someone has accepted the outage of those that stay."""
    cluster = run.cluster
    a = cluster.controllers.a
    empty = no_vms_on(cluster, compute)
    return Step(
        kind("drain_compute"),
        a,
        subject=compute.name,
        goal=any_of(returned(run, compute), empty) if run.vm_policy is VmPolicy.MIGRATE else returned(run, compute),
        proof=_consented(run, compute) if run.vm_policy.allows_outage else empty,
        requires=(_gets_no_vms(cluster, compute),),
        action=_drain(run, a, compute),
        advice="VMs that stay are named above. Move them by hand, or trigger with vm_policy accept_outage (their outage is "
        "accepted) or node_faulty (the compute does not work anyway). Their names go into the run's record.",
    )


def _drain(run: Run, a: Host, compute: Host) -> str:
    """Move every VM, a few at a time; each that stays is named."""
    if run.vm_policy is VmPolicy.NODE_FAULTY:
        return "echo 'the compute is faulty: no VM is moved'"
    move = "openstack server migrate --live-migration --os-compute-api-version 2.30 --wait"
    return f"""\
{FIND_PYTHON}
. {quote(a.path(run.cluster.paths.openrc))} || exit $?
{_IDS.format(compute=quote(compute.name))}
all=$(ids) || exit 1
echo "VMs to move off {compute.name}: $(printf '%s\\n' "$all" | grep -c .)"
printf '%s\\n' "$all" | grep . | xargs -r -P {run.cluster.parallel_migrations} -I ID sh -c \\
  '{move} "$1" && echo "moved $1" || echo "stays $1"' move ID
left=$(ids) || exit 1
test -z "$left" && echo 'every VM has been moved' || echo "VMs that stay: $(echo $left)\""""


def _consented(run: Run, compute: Host) -> Goal:
    """Whatever VMs are left, their outage was accepted for this run."""
    a = run.cluster.controllers.a
    command = servers_on(run.cluster, compute)

    def judge(outputs: Sequence[Output]) -> Verdict:
        servers = servers_in(a, command, outputs[0])
        names = ", ".join(f"{s.name} ({s.id}, {s.status})" for s in servers)
        found = (
            f"{run.user} accepts the outage ({run.vm_policy.value}) of: {names}"
            if servers
            else "every VM has been moved"
        )
        return Verdict(True, found)

    return Goal(f"the outage of the VMs left on {compute.name} is accepted", (Read(a, command),), judge)


@step("A6.2", "Verify that a VM can be created", over=Over.DAISY)
def create_and_delete_vm(run: Run, daisy: Host) -> Step:
    """A VM was created, became active, and was deleted again. Given on A, through the Daisy host."""
    cluster = run.cluster
    a, vm = cluster.controllers.a, cluster.verification_vm
    nic = "none" if vm.network == "none" else f"net-id={vm.network}"
    name = f"tecs-rollback-{cluster.name}"
    trial = f"""\
{FIND_PYTHON}
. {quote(a.path(cluster.paths.openrc))} || exit $?
left() {{ openstack server list --all-projects -f json | "$python" -c 'import json, sys
for vm in json.load(sys.stdin):
    if vm["Name"] == sys.argv[1]: print(vm["ID"])' {quote(name)}; }}
of_before=$(left) || exit $?
for id in $of_before; do openstack server delete --wait "$id" || exit $?; done
openstack server create --flavor {quote(vm.flavor)} --image {quote(vm.image)} --nic {quote(nic)} --wait {quote(name)} -f json
rc=$?
ours=$(left) || exit $?
for id in $ours; do openstack server delete --wait "$id" || exit $?; done
exit $rc"""
    return Step(
        kind("create_and_delete_vm"),
        daisy,
        goal=proven_for_this_installation(run, "vm-creation"),
        action=f"{ssh_to(cluster, a)} {quote(trial)} || exit $?\n{note_proven(run, 'vm-creation')}",
        advice="The rollback itself is done; a VM cannot be created. See the error above and nova's logs on A.",
    )

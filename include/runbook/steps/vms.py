"""A4.2 and A6.2: VMs are moved away before computes are reinstalled, and one is made to prove that the cloud works.

Steps of A4.2 are made once for all computes of a batch: what is moved where, and how much at a time, is one decision.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from include.runbook.cluster import Cluster, Host
from include.runbook.consent import DRAIN, consent_folder, consent_path, empty, gets_no_vms, left_in, listing, settled
from include.runbook.custody import folder, ssh_to
from include.runbook.errors import FactUnreadable
from include.runbook.goals import (
    cloud,
    compute_services,
    not_installed,
    release_probe,
    returned,
    servers_in,
    services_in,
)
from include.runbook.remote_python import FIND_PYTHON, fed, program
from include.runbook.shell import Output, quote, side_by_side
from include.runbook.step import Goal, Of, Over, Read, Run, Step, Verdict, VmPolicy, all_of, any_of, kind, step
from include.runbook.steps.ha import note_proven, proven_for_this_installation
from include.runbook.timings import FLOOR

ALL_VMS = "openstack server list --all-projects --long --limit -1"
"""Lists every VM: without a limit of -1 the list ends where the API's page ends."""


# ---- where the VMs were ----------------------------------------------------------------------------------------------


def placement_folder(cluster: Cluster) -> str:
    """Return where the Daisy host notes the VMs of each compute, under its name: the installation's time, then an id a line."""
    return f"{folder(cluster)}/placement"


def placement_path(run: Run, compute: Host) -> str:
    """Return the note of one compute's VMs on the Daisy host."""
    return f"{placement_folder(run.cluster)}/{compute.name}"


@step("A4.2", "Note where the VMs are", over=Over.DAISY, of=Of.PENDING)
def note_placement(run: Run, daisy: Host) -> Step:
    """Each compute's VMs are noted as they were before anything moved. A note of the present installation is kept as it is."""
    cluster, a = run.cluster, run.cluster.controllers.a
    installed_at = f"LC_ALL=C; export LC_ALL; {cluster.probes.installed_at}"
    listed = f"{cloud(cluster, ALL_VMS)} -f value -c ID -c Host"
    each = side_by_side(
        f"note {quote(placement_path(run, c))} {quote(c.name)} {ssh_to(cluster, c)} {quote(installed_at)}"
        for c in run.computes
    )
    return Step(
        kind("note_placement"),
        daisy,
        goal=all_of(
            *(any_of(returned(run, c), not_installed(cluster, c), _noted(run, c)) for c in run.computes),
            sentence="the VMs of each compute are noted as they were before anything moved",
        ),
        action=f"""\
umask 077
mkdir -p {quote(placement_folder(cluster))} || exit 2
vms=$({ssh_to(cluster, a)} {quote(listed)}) || exit $?
note() {{
  file=$1; compute=$2; shift 2
  at=$("$@") || return 0
  test "$(head -n 1 "$file" 2>/dev/null)" != "$at" || return 0
  {{ printf '%s\\n' "$at"; printf '%s\\n' "$vms" | awk -v host="$compute" '$2 == host {{ print $1 }}'; }} > "$file.new" &&
  mv "$file.new" "$file" && echo "$compute: $(($(wc -l < "$file") - 1)) VMs"
}}
{each}
exit "$failed\"""",
    )


def _noted(run: Run, compute: Host) -> Goal:
    """There is a note that was taken while the compute had its present installation."""
    # One reading for all computes: of hundreds, the Daisy host would be asked one by one.
    notes = Read(run.cluster.daisy, f"cd {quote(placement_folder(run.cluster))} 2>/dev/null && grep -H -m 1 . -- *")
    installed = Read(compute, f"LC_ALL=C; export LC_ALL; {run.cluster.probes.installed_at}")

    def judge(outputs: Sequence[Output]) -> Verdict:
        at = dict(line.split(":", 1) for line in outputs[0].stdout.splitlines() if ":" in line)
        now = outputs[1].stdout.strip()
        met = outputs[1].ok and bool(now) and at.get(compute.name) == now
        return Verdict(met, f"the VMs of {compute.name} are {'noted' if met else 'not noted'}")

    return Goal(f"the VMs of {compute.name} are noted", (notes, installed), judge)


# ---- the drain -------------------------------------------------------------------------------------------------------


@step("A4.2", "Move the VMs off the computes", over=Over.DAISY, detached=True, of=Of.PENDING)
def drain_computes(run: Run, daisy: Host) -> Step:
    """The scheduler places nothing on the computes, and every VM that can be moved has left. Those that stay are named.

    A compute that someone else has disabled is left as it is, and is not enabled afterwards either.
    """
    return Step(
        kind("drain_computes"),
        daisy,
        goal=all_of(
            *(
                any_of(returned(run, c), all_of(gets_no_vms(run.cluster, c), empty(run, c, run.computes)))
                for c in run.computes
            ),
            sentence="no VM is on the computes, and nothing new is scheduled to them",
        ),
        proof=all_of(*(gets_no_vms(run.cluster, c) for c in run.computes), _rest_is_named(run)),
        action=_emptied(run),
        advice="The cloud could not be asked, or stopped answering; see above. Clear the failed task when it answers.",
    )


@step("A4.2", "Leave no VM on the computes without consent", over=Over.DAISY, detached=True, of=Of.PENDING)
def finish_drain(run: Run, daisy: Host) -> Step:
    """Nothing new is scheduled to the computes, and no VM is on them but those whose outage someone has accepted.

    What has come back to a compute since is moved again, and what may now go to another release is moved there.
    """
    drained = all_of(
        *(any_of(returned(run, c), drained_or_accepted(run, c, run.computes)) for c in run.computes),
        sentence="no VM is on the computes but those whose outage is accepted",
    )
    return Step(
        kind("finish_drain"),
        daisy,
        goal=drained,
        action=_emptied(run),
        advice="The log above says of each VM why it stays. Move them by hand and clear the failed tasks; or clear the task "
        "A4.2_consent of that compute to be asked again.",
    )


def drained_or_accepted(run: Run, compute: Host, among: Sequence[Host]) -> Goal:
    """The compute may be taken down: no VM can come to it, and none is on it without consent."""
    return all_of(gets_no_vms(run.cluster, compute), settled(run, compute, among))


def stays_path(run: Run) -> str:
    """Return the file on the Daisy host with what the last drain of this run printed."""
    return f"{consent_folder(run)}/stays"


def reasons(run: Run) -> Read:
    """Return the read of the lines in which the last drain told why a VM stays."""
    return Read(run.cluster.daisy, f"grep '^stays ' {quote(stays_path(run))} || test $? = 1")


def reasons_in(output: Output) -> dict[str, str]:
    """Parse what `reasons` read: VM id -> why it stays."""
    words = (line.split(": ", 2) for line in output.stdout.splitlines())
    return {parts[0].split()[1]: parts[2] for parts in words if len(parts) == 3 and len(parts[0].split()) > 1}


def standing_answer(run: Run, compute: Host) -> Read:
    """Return the read of the consent that was given for the compute since its last drain; `consents_in` parses it.

    One that was given before is out of date: a drain has tried since what it allowed.
    """
    note, stays = quote(consent_path(run, compute.name)), quote(stays_path(run))
    return Read(run.cluster.daisy, f"test ! -e {note} || test {stays} -nt {note} || cat {note}")


def _rest_is_named(run: Run) -> Goal:
    """Every VM that is still on the computes was named by the drain, with its reason."""
    left_read, reasons_read = listing(run.cluster, run.computes), reasons(run)

    def judge(outputs: Sequence[Output]) -> Verdict:
        left, told = left_in(left_read, outputs[0]), reasons_in(outputs[1])
        untold = [str(vm) for vm in left if vm.id not in told]
        if untold:
            return Verdict(False, f"neither moved nor said to stay: {', '.join(untold)}")
        stays = [f"{vm} on {vm.host}: {told[vm.id]}" for vm in left]
        return Verdict(True, f"VMs that stay: {'; '.join(stays)}" if stays else "every VM has been moved")

    return Goal("every VM that is left was named with the reason why it stays", (left_read, reasons_read), judge)


def _order(run: Run) -> str:
    """Return what the program on A needs to know of the run, as JSON."""
    cluster, drain = run.cluster, run.cluster.drain
    order = {
        "computes": [compute.name for compute in run.computes],
        "reason": run.marker,
        "faulty": [c.name for c in run.computes if run.policy_for(c) is VmPolicy.NODE_FAULTY],
        "anywhere": drain.migrate_across_releases,
        "ratios": [drain.cpu_allocation_ratio, drain.ram_allocation_ratio],
        "per_compute": drain.parallel_per_compute,
        "per_batch": drain.parallel_per_batch,
        "limit": cluster.seconds(drain.migration_limit) * cluster.tolerance + FLOOR,
        "pause": max(0.2, cluster.seconds(5)),
    }
    return json.dumps(order, sort_keys=True)


def _on_a(run: Run, command: str, *variables: str) -> str:
    """Return the command for the Daisy host that runs the program on A, with these variables of the shell as arguments.

    The variables hold base64 or names of hosts: letters that no shell treats as its own.
    """
    a = run.cluster.controllers.a
    given = " ".join(f"{name}='${name}';" for name in variables)
    arguments = " ".join(f'"${name}"' for name in variables)
    openrc = quote(a.path(run.cluster.paths.openrc))
    script = f'. {openrc} || exit $?\n{FIND_PYTHON}\nexec "$python" - {command} {arguments}'
    return fed(f'{ssh_to(run.cluster, a)} "{given} "{quote(script)}', DRAIN)


def _emptied(run: Run) -> str:
    """Keep new VMs off the computes and move theirs away; what is printed is kept for those who are asked."""
    consents, stays = quote(consent_folder(run)), quote(stays_path(run))
    across = " ".join(c.name for c in run.computes if run.policy_for(c) is VmPolicy.MIGRATE_ACROSS_RELEASES)
    answer = f'"answer": "{VmPolicy.MIGRATE_ACROSS_RELEASES.value}"'
    return f"""\
umask 077
mkdir -p {consents} || exit 2
{_releases(run)}
across="{across} $(grep -l {quote(answer)} {consents}/*.json 2>/dev/null | sed 's|.*/||; s|[.]json$||' | tr '\\n' ' ')"
{{ {_on_a(run, f"empty {quote(_order(run))}", "releases", "across")}
echo $? > {stays}.status; }} | tee {stays}.new
mv {stays}.new {stays} || exit 2
exit "$(cat {stays}.status)\""""


def _releases(run: Run) -> str:
    """Ask every compute for its release, where VMs may only go to computes of their own; one that is silent has none."""
    cluster = run.cluster
    if cluster.drain.migrate_across_releases:
        return "releases="
    each = side_by_side(
        f"ask {quote(c.name)} {ssh_to(cluster, c)} {quote(release_probe(cluster, c).command)}" for c in cluster.computes
    )
    return f"""\
ask() {{ name=$1; shift; printf '%s\\t%s\\n' "$name" "$("$@" 2>/dev/null | tr '\\n' ' ')"; }}
releases=$({{
{each}
}} | base64 | tr -d '\\n')"""


# ---- giving back -----------------------------------------------------------------------------------------------------


@step("A4.2", "Give computes that are not taken down back to the scheduler", over=Over.A)
def give_back_computes(run: Run, a: Host) -> Step:
    """No compute is kept from the scheduler by a rollback that does not go on; one that someone else has disabled stays so."""
    listed = compute_services(run.cluster)
    names = {compute.name for compute in run.computes}

    def judge(outputs: Sequence[Output]) -> Verdict:
        ours = [
            s.host
            for s in services_in(a, listed, outputs[0])
            if s.host in names and not s.enabled and s.disabled_reason.startswith("tecs-rollback ")
        ]
        return Verdict(
            not ours, f"disabled by a rollback: {', '.join(ours)}" if ours else "none is disabled by a rollback"
        )

    return Step(
        kind("give_back_computes"),
        a,
        goal=Goal("no compute that keeps its release is disabled by a rollback", (Read(a, listed),), judge),
        action=cloud(run.cluster, program(DRAIN, "give-back", _order(run))),
    )


# ---- bringing VMs home -----------------------------------------------------------------------------------------------


@step("A4.9", "Move the VMs back to where they were, if asked to", over=Over.DAISY, detached=True, of=Of.BACK)
def return_vms(run: Run, daisy: Host) -> Step:
    """Every VM that was noted is on its compute again, or is named: it runs where it is, and that fails nothing.

    In a batch nothing moves yet: the run that it is a part of does it for all computes, when all are on the old release.
    """
    a = run.cluster.controllers.a
    notes = " ".join(quote(placement_path(run, compute)) for compute in run.computes)
    homes = f'for note in {notes}; do test ! -e "$note" || sed "1d; s|^|${{note##*/}} |" "$note" || exit $?; done'
    noted, now = Read(daisy, homes), Read(a, cloud(run.cluster, f"{ALL_VMS} -f json"))

    def away(outputs: Sequence[Output]) -> list[str]:
        home = {words[1]: words[0] for line in _lines(noted, outputs[0]) if len(words := line.split()) == 2}
        vms = servers_in(a, ALL_VMS, outputs[1])
        return [
            f"{vm.name} ({vm.id}) is on {vm.host}, not on {home[vm.id]}"
            for vm in vms
            if home.get(vm.id, vm.host) != vm.host
        ]

    def judge(outputs: Sequence[Output]) -> Verdict:
        if not run.return_vms or run.batch:
            return Verdict(True, "not asked for" if not run.return_vms else f"{run.owner} does this at its end")
        found = away(outputs)
        return Verdict(not found, "; ".join(found) or "every VM that was noted is at home")

    def told(outputs: Sequence[Output]) -> Verdict:
        return Verdict(True, "; ".join(away(outputs)) or "every VM that was noted is at home")

    return Step(
        kind("return_vms"),
        daisy,
        goal=Goal("every VM that was noted is at home, if that is asked for", (noted, now), judge),
        proof=Goal("every VM that was noted is at home, or is named", (noted, now), told),
        requires=tuple(returned(run, compute) for compute in run.computes),
        action=f"""\
homes=$({{ {homes}; }} | base64 | tr -d '\\n')
{_on_a(run, f"bring-home {quote(_order(run))}", "homes")}""",
    )


def _lines(read: Read, output: Output) -> list[str]:
    if not output.ok:
        raise FactUnreadable(read.host.name, read.command, output.tail or f"exit status {output.status}")
    return output.stdout.splitlines()


# ---- A6.2 ------------------------------------------------------------------------------------------------------------


@step("A6.2", "Verify that a VM can be created", over=Over.DAISY)
def create_and_delete_vm(run: Run, daisy: Host) -> Step:
    """A VM was created, became active, and was deleted again. Given on A, through the Daisy host."""
    return Step(
        kind("create_and_delete_vm"),
        daisy,
        goal=proven_for_this_installation(run, "vm-creation"),
        action=f"{ssh_to(run.cluster, run.cluster.controllers.a)} {quote(trial(run.cluster))} || exit $?\n"
        f"{note_proven(run, 'vm-creation')}",
        advice="The rollback itself is done; a VM cannot be created. See the error above and nova's logs on A.",
    )


def trial(cluster: Cluster, *, unless_deleted: str = "exit $?") -> str:
    """Return the script, for A, that creates a VM and deletes it; `unless_deleted`: what is done where that fails."""
    a, vm = cluster.controllers.a, cluster.verification_vm
    # No network at all can be asked for since 2.37; an older cloud has a network to name.
    nic = "none --os-compute-api-version 2.37" if vm.network == "none" else quote(f"net-id={vm.network}")
    name = f"tecs-rollback-{cluster.name}"
    return f"""\
{FIND_PYTHON}
. {quote(a.path(cluster.paths.openrc))} || exit $?
left() {{ openstack server list --all-projects -f json | "$python" -c 'import json, sys
for vm in json.load(sys.stdin):
    if vm["Name"] == sys.argv[1]: print(vm["ID"])' {quote(name)}; }}
of_before=$(left) || exit $?
for id in $of_before; do openstack server delete --wait "$id" || exit $?; done
openstack server create --flavor {quote(vm.flavor)} --image {quote(vm.image)} --nic {nic} --wait {quote(name)} -f json
rc=$?
ours=$(left) || exit $?
for id in $ours; do openstack server delete --wait "$id" || {unless_deleted}; done
exit $rc"""

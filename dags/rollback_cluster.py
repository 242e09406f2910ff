"""
# Roll the whole cluster back (scenario A, runbook A1 to A6)

**What.** The new release proved bad after the switchover (U3): B is active and bad, A is standby on the old release, the
computes are bad. A becomes active again, B is banned, the computes are rolled back batch by batch, then B, and the cluster
is verified by a switchover there and back and by a VM.

**How long.** The runbook measured 1,502 s by hand with one compute; the first task prints what this cluster will need.

**Where it may be stopped.** Before *A2*: B goes on serving. Between batches, and anywhere before *A5.8 Clear the ban*: A
serves on the old release, and the ban keeps B from taking over. The ban is kept on failure; do not clear it by hand.

**When computes fail.** The first batch is the canary, of which none may fail. Then up to the inventory's `failure_budget` of all
computes, unreachable ones among them, the run goes on without them, and the last task names those that are not back. Beyond it
no further batch begins, and B is not touched. Computes that are out of service already may go before the canary
(`computes_first`), so that the VMs of the others have room on them; the gate of an upgrade names them by itself.

**How to resume.** Mend what the failed task names, then clear the failed task and what follows it (Airflow: *Clear*,
*Downstream*); a failed batch resumes where it stopped. What is already true is skipped. After a person has marked the whole run
failed, clear all of its tasks: Airflow has made *skipped* of what had not begun, and no task begins as long as the proof of the
end state is among that. The cluster stays locked by this run until it has succeeded. Maintenance in which the cluster was found
is left where Pacemaker has to act, and put back at the end; of a failed run, *S6* says what was found.
"""

from airflow.sdk import chain
from tecs.decisions import batches_back, compute_batches
from tecs.scenario import count, decide, in_batches, scenario, step
from tecs.sections import begin_run, end_run, roll_back_b, stage_installer

with scenario("rollback_cluster", __doc__) as dag:
    # The runbook's caution: nothing changes before the databases are known to fit the old release, or are backed up.
    begun = step("back_up_databases")
    free = begin_run()
    chain(free, step("note_cluster_mode"), begun)

    # What shows why the release failed is saved before anything of it is destroyed; each batch does so for its computes.
    evidence = step("save_evidence")
    chain(free, evidence)

    # A1, A2: A becomes active, and B cannot take over.
    banned = step("ban_float_ip_on_b")
    chain(begun, step("clear_ban_on_a"), step("leave_maintenance_to_switch"), step("move_float_ip_to_a"), banned)

    # A3: meanwhile the installer on the Daisy host, then on B; each batch brings it to its computes.
    staged = stage_installer(begun)

    # A4: the computes, batch by batch, each a run of rollback_compute; B waits until enough of them are back.
    batches = decide("A4", "Divide the computes into batches", compute_batches)
    computes = in_batches("A4", "Roll back the computes, batch by batch", "rollback_compute", batches.output)
    back = count("A4", "Name the computes that are back", batches_back)
    chain(begun, batches, computes)
    # The cloud is asked where the VMs are once A is active: the bad release may be what does not answer.
    chain(banned, step("note_placement"), computes)
    chain(staged, computes, back)

    # A5, A6: B is reinstalled and comes back; the cluster is verified.
    verified = roll_back_b(begun, after=[back, evidence], installer_free=back)

    # Every compute is on the old release now: VMs may go home, if that is asked for.
    returned = step("return_vms")
    chain(verified, returned)
    end_run(returned, back.output)

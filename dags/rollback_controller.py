"""
# Roll back controller B (scenario B, runbook A5 and A6)

**What.** The upgrade of B failed before the switchover: A is active on the old release, B is bad and banned from the
float IP. B is uninstalled, installed with the old release, brought back into the cluster, and the cluster is verified.

**How long.** About 20 minutes: uninstalling was measured at 3'35", installing at 11'15".

**Where it may be stopped.** Anywhere before *A5.8 Clear the ban*: A serves, and the ban keeps B from taking over while it
is not proven good. The ban is kept on failure; do not clear it by hand.

**How to resume.** Mend what the failed task names, then clear the failed task and what follows it (Airflow: *Clear*,
*Downstream*). What is already true is skipped. After a person has marked the whole run failed, clear all of its tasks: Airflow
has made *skipped* of what had not begun, and no task begins as long as the proof of the end state is among that. The cluster
stays locked by this run until it has succeeded. Maintenance in which the cluster was found is left where Pacemaker has to act,
and put back at the end; of a failed run, *S6* says what was found.
"""

from airflow.sdk import chain
from tecs.scenario import scenario, step
from tecs.sections import begin_run, end_run, roll_back_b, stage_installer

with scenario("rollback_controller", __doc__) as dag:
    # The runbook's caution: nothing changes before the databases are known to fit the old release, or are backed up.
    begun = step("back_up_databases")
    free = begin_run()
    chain(free, step("note_cluster_mode"), begun)

    # What shows why the upgrade failed is saved before B is taken down.
    evidence = step("save_evidence")
    chain(free, evidence)

    # A2: the ban is in place since the upgrade began; if it is not, it is set now.
    banned = step("ban_float_ip_on_b")
    chain(begun, banned)

    # A3: the installer on the Daisy host, then on B.
    staged = stage_installer(begun)

    # A5, A6: B is reinstalled and comes back; the cluster is verified.
    verified = roll_back_b(begun, after=[banned, staged, evidence], installer_free=begun)

    end_run(verified)

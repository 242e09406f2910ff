"""
# Roll back computes (scenario C, runbook A4)

**What.** The chosen computes failed in their upgrade. Their VMs are moved away, the bad release is uninstalled, the old
one is installed, their settings are carried over, and their services are proven up. The controllers are not touched.
`rollback_cluster` runs this scenario for each batch of its computes.

**How long.** About 10 minutes for a batch, plus the time that its VMs need to move (measured: 60 s to 120 s and more).

**Where you are asked.** *A4.2 Ask what may become of VMs that stay*, only where some do: under *Required actions*, or by the
parameter `vm_policy`. Without an answer in time nothing is uninstalled.

**Where it may be stopped.** Before *A4.5 Uninstall*: the computes go on with the bad release, and the scheduler gets them
back when a task fails. Whoever marks the whole run failed instead does that by hand: `openstack compute service set
--enable`. After *A4.5*, a compute is out of service until the run is resumed.

**When some fail.** Up to the inventory's `failure_budget` (none by default) the others go on without them, and the last task
names those that are not back. Beyond it the run stops at the next count.

**How to resume.** Mend what the failed task names, then clear the failed task and what follows it (Airflow: *Clear*,
*Downstream*). What is already true is skipped. After a person has marked the whole run failed, clear all of its tasks: Airflow
has made *skipped* of what had not begun, and no task begins as long as the proof of the end state is among that. The cluster
stays locked by this run until it has succeeded.
"""

from airflow.sdk import chain
from tecs.decisions import computes, computes_back, computes_ready, computes_taken_down
from tecs.scenario import ask_consent, count, decide, each, each_in_turn, go_on_or_give_back, scenario, step
from tecs.sections import begin_run, end_run

with scenario("rollback_compute", __doc__) as dag:
    begun = begin_run()
    named = decide("A4", "Name the computes to roll back", computes)
    chain(begun, named)
    hosts = named.output

    # What shows why the upgrade failed is saved before the computes are taken down.
    evidence = step("save_evidence")
    chain(begun, evidence)

    # A3: the installer on the Daisy host, then on every compute side by side.
    brought, staged = step("stage_bin_on_daisy"), each("stage_bin_on_node", hosts)
    chain(begun, brought, staged)

    # A4.1, A4.2: settings saved and VMs moved; for what stays, a person is asked.
    saved, drained, finished = each("save_nova_conf", hosts), step("drain_computes"), step("finish_drain")
    noted, asked = step("note_placement"), ask_consent(hosts)
    chain(named, noted, drained, asked, finished)

    # A4.3, A4.4: meanwhile, on the Daisy host, the installer's files.
    configured = step("edit_tecs_conf_for_computes")
    chain(begun, [step("fetch_tecs_conf"), step("fetch_mappings")], configured, finished)

    # Up to here nothing is lost. Computes that are not ready go back to the scheduler; the others go on, if they are enough.
    ready = count("A4.2", "Name the computes that may be taken down", computes_ready)
    cleared = go_on_or_give_back(ready.output)
    chain([named, staged, saved, finished], ready)
    chain([named, brought, noted, configured, evidence, ready], cleared)

    # A4.5, A4.6: one run of the installer serves all that are taken down.
    down = count("A4.5", "Name the computes that are taken down", computes_taken_down)
    installed = step("install_computes")
    chain(cleared, each("uninstall_compute", ready.output), down, step("drop_stale_keys_of_computes"), installed)

    # A4.7 to A4.9: each compute at its own pace.
    back = count("A4.9", "Name the computes that are back", computes_back)
    restored = each_in_turn(
        "restore",
        down.output,
        "bring_back_nova_old_conf",
        "repair_nova_conf",
        "compare_nova_settings",
        "restart_compute_services",
        "verify_compute_services",
        "enable_scheduling",
    )
    chain(installed, restored, back)

    returned = step("return_vms")
    chain(back, returned)
    end_run(returned, back.output)

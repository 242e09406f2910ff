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

**How to resume.** Mend what the failed task names, then clear the failed task (Airflow: *Clear*, *Only failed*). What is
already true is skipped. The cluster stays locked by this run until it has succeeded.
"""

from airflow.sdk import chain
from tecs.decisions import computes
from tecs.scenario import ask_consent, decide, each, go_on_or_give_back, scenario, step
from tecs.sections import begin_run, end_run, stage_installer

with scenario("rollback_compute", __doc__, computes=True) as dag:
    begun = begin_run()
    named = decide("A4", "Name the computes to roll back", computes)
    chain(begun, named)
    hosts = named.output

    # A3: the installer on the Daisy host, then on every compute side by side.
    staged = stage_installer(begun)

    # A4.1, A4.2: settings saved and VMs moved; for what stays, a person is asked.
    saved, drained = each("save_nova_conf", hosts), step("drain_computes")
    noted, asked = step("note_placement"), ask_consent(hosts)
    chain(named, noted, drained, asked)

    # A4.3, A4.4: meanwhile, on the Daisy host, the installer's files.
    configured = step("edit_tecs_conf_for_computes")
    chain(begun, [step("fetch_tecs_conf"), step("fetch_mappings")], configured)

    # Up to here nothing is lost: unless all is well, the computes go back to the scheduler. Then the drain is finished anew.
    finished, ready = step("finish_drain"), go_on_or_give_back()
    chain([staged, saved, asked, configured], finished)
    chain([named, staged, saved, noted, drained, asked, configured, finished], ready)

    # A4.5 to A4.9: from here on each stage waits for every compute of the batch.
    enabled = each("enable_scheduling", hosts)
    chain(
        ready,
        each("uninstall_compute", hosts),
        step("drop_stale_keys_of_computes"),
        step("install_computes"),
        each("bring_back_nova_old_conf", hosts),
        each("repair_nova_conf", hosts),
        each("compare_nova_settings", hosts),
        each("restart_compute_services", hosts),
        each("verify_compute_services", hosts),
        enabled,
    )

    returned = step("return_vms")
    chain(enabled, returned)
    end_run(returned)

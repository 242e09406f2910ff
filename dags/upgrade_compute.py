"""
# Upgrade computes (runbook U1)

**What.** The chosen computes get the new release: their VMs are moved away, the installer upgrades them where they stand, their
settings are carried over, and their services are proven up. The controllers are not touched. `upgrade_cluster` runs this scenario
for each batch of its computes. What a rollback does, too, keeps its runbook id.

**How long.** About 6 minutes for a batch, plus the time that its VMs need to move. No upgrade was measured: the installation's
time is assumed.

**Where you are asked.** *A4.2 Ask what may become of VMs that stay*, only where some do: under *Required actions*, or by the
parameter `vm_policy`. Without an answer in time nothing is upgraded.

**Where it may be stopped.** Before *U1 Upgrade each compute*: the computes go on with their release, and the scheduler gets them
back when a task fails. Afterwards a compute is out of service until the run is resumed, or the compute is rolled back
(`rollback_compute`, scenario C).

**How to resume.** Mend what the failed task names, then clear the failed task and what follows it (Airflow: *Clear*,
*Downstream*). What is already true is skipped. The cluster stays locked by this run until it has succeeded.
"""

from airflow.sdk import chain
from tecs.decisions import computes, computes_back, computes_ready, computes_upgraded
from tecs.scenario import ask_consent, count, decide, each, each_in_turn, go_on_or_give_back, scenario, step
from tecs.sections import begin_run, end_run

with scenario("upgrade_compute", __doc__) as dag:
    begun = begin_run()
    named = decide("A4", "Name the computes to upgrade", computes)
    chain(begun, named)
    hosts = named.output

    # The new release's installer on the Daisy host, then on every compute side by side.
    brought, staged = step("stage_bin_on_daisy"), each("stage_bin_on_node", hosts)
    chain(begun, brought, staged)

    # Settings are saved and VMs moved; for what stays, a person is asked.
    saved, drained, finished = each("save_nova_conf", hosts), step("drain_computes"), step("finish_drain")
    chain(named, step("note_placement"), drained, ask_consent(hosts), finished)

    # Up to here nothing is lost. Computes that are not ready go back to the scheduler; the others go on, if they are enough.
    ready = count("A4.2", "Name the computes that may be taken down", computes_ready)
    cleared = go_on_or_give_back(ready.output)
    chain([named, staged, saved, finished], ready)
    chain([named, brought, ready], cleared)

    # U1: each compute is upgraded; then each gets its settings back, at its own pace.
    upgraded = count("U1", "Name the computes that have the new release", computes_upgraded)
    chain(cleared, each("upgrade_compute", ready.output), upgraded)
    back = count("U1", "Name the computes that are in service", computes_back)
    restored = each_in_turn(
        "restore",
        upgraded.output,
        "bring_back_nova_old_conf",
        "repair_nova_conf",
        "compare_nova_settings",
        "restart_compute_services",
        "verify_compute_services",
        "enable_scheduling",
    )
    chain(upgraded, restored, back)

    returned = step("return_vms")
    chain(back, returned)
    end_run(returned, back.output, proven="the computes are upgraded")

"""
# Upgrade the whole cluster (runbook U1 to U5)

**What.** B and the computes get the new release while A serves; B becomes active; the new release is watched and verified; then A
gets it, too. If it proves bad, the cluster goes back to the old release by `rollback_cluster`: by itself, when a person says
so, or not at all, as `on_failure` says.

**How long.** The first task prints what this cluster will need: the soak alone is 20 minutes (`soak` in the inventory). No
upgrade was measured: for each host the installation's time is assumed.

**Where you are asked.** *A4.2* in a batch, where VMs stay on a compute. *U3 Ask what follows*, where `on_failure` says so or
where it cannot be told whether the release is good; how long you have, and what happens then, is in the question.

**Where it may be stopped.** Before *U2*: A serves on the old release, and B is banned. Between *U2* and *U4*: B serves on the new
release, A is banned and keeps the old one, so that `rollback_cluster` can begin. After *U4* has begun there is no way back here.

**When something fails.** B in U1: scenario B is offered (`rollback_controller`). A compute in U1: scenario C
(`rollback_compute`). U3 decides on the whole. What fails after U3 has passed never starts a rollback: mend it and resume.

**How to resume.** Mend what the failed task names, then clear the failed task and what follows it (Airflow: *Clear*,
*Downstream*); a failed batch resumes where it stopped. What is already true is skipped. The cluster stays locked by this run
until it has succeeded, or has handed it over to the rollback.
"""

from airflow.sdk import chain
from tecs.decisions import batches_upgraded, compute_batches, controllers
from tecs.gate import b_upgraded, gate, go_on
from tecs.scenario import ask_what_follows, count, decide, each, hand_over, in_batches, roll_back, scenario, soak, step
from tecs.sections import begin_run, end_run

with scenario("upgrade_cluster", __doc__) as dag:
    # U1: nothing is changed before the cluster is known to be well, and all is saved that leads back.
    begun = step("save_restore_points")
    chain(begin_run(), begun)

    # The new release's installer, on the Daisy host and on both controllers; each batch brings it to its computes.
    named = decide("A3", "Name the controllers", controllers)
    staged = each("stage_bin_on_node", named.output)
    chain(begun, [step("stage_bin_on_daisy"), named], staged)

    # U1: B cannot take over while it is upgraded; it comes back into the cluster, still banned.
    joined, b_ready = step("verify_pacemaker_on_b"), count("U1", "Go on if B is upgraded", b_upgraded)
    chain(staged, step("forbid_switchover"), step("upgrade_b"), step("start_cluster_on_b"), joined, b_ready)

    # U1: the computes, batch by batch, each a run of upgrade_compute.
    batches = decide("U1", "Divide the computes into batches", compute_batches)
    through = in_batches("U1", "Upgrade the computes, batch by batch", "upgrade_compute", batches.output)
    back = count("U1", "Name the computes that are upgraded", batches_upgraded)
    chain(b_ready, [batches, step("note_placement")], through, back)

    # U2: B becomes active, and A cannot take over while it has the old release.
    banned = step("ban_float_ip_on_a")
    chain(back, step("let_b_take_over"), step("move_float_ip_to_b"), banned)

    # U3: the new release is watched, verified and judged. From here the cluster can go back by rollback_cluster.
    soaked, verified = soak(back.output), step("create_vm_on_new_release")
    judged = count("U3", "Decide whether the new release is good", gate)
    good = decide("U3", "Go on only if the new release is good", go_on)
    chain(banned, soaked, verified, judged, ask_what_follows(), hand_over(), roll_back(), good)
    chain(soaked, judged)

    # U4: A follows, and comes back into the cluster.
    a_back = step("verify_pacemaker_on_a")
    chain(good, step("upgrade_a"), step("start_cluster_on_a"), a_back)

    # U5: switchover is allowed again. VMs may go home, if that is asked for.
    returned = step("return_vms")
    chain(a_back, step("allow_switchover"), returned)
    end_run(returned, back.output, proven="the cluster is upgraded")

"""What the runbook asks for, sentence by sentence, and what answers it: steps, or a person for the reason given.

A test sees to it that every step named here exists, and that every step of the runbook is named here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Demand:
    """One thing that the runbook asks for. `otherwise` says who or what answers it where no step does, or besides."""

    id: str
    asks: str
    steps: tuple[str, ...] = ()
    otherwise: str = ""


DEMANDS = (
    Demand("A1", "clear the ban on the float IP", ("clear_ban_on_a",)),
    Demand("A1", "make A the active controller", ("leave_maintenance_to_switch", "move_float_ip_to_a")),
    Demand(
        "A1",
        "A failing to take over lies outside the document",
        ("move_float_ip_to_a",),
        "detected; the run stops with B serving, and a person repairs A",
    ),
    Demand("A2", "ban the float IP from B", ("ban_float_ip_on_b",)),
    Demand("A3", "put the old release's installer where it is needed", ("stage_bin_on_daisy", "stage_bin_on_node")),
    Demand("A4.1", "save nova.conf before a compute is reinstalled", ("save_nova_conf",)),
    Demand("A4.1", "look for other local settings to keep", ("save_nova_conf", "compare_nova_settings")),
    Demand("A4.2", "move the VMs to other computes", ("note_placement", "drain_computes", "return_vms")),
    Demand(
        "A4.2",
        "if VMs stay, somebody must accept it: the compute is faulty, an outage is acceptable, or migration across releases",
        ("finish_drain", "give_back_computes"),
        "a person is asked for each compute, or the request has answered already; without an answer nothing is uninstalled",
    ),
    Demand("A4.3", "fetch the cluster's tecs.conf and mappings.json", ("fetch_tecs_conf", "fetch_mappings")),
    Demand("A4.4", "leave every other host out; name the fetched mappings.json", ("edit_tecs_conf_for_computes",)),
    Demand("A4.5", "take the bad release off the compute", ("uninstall_compute",)),
    Demand(
        "A4.6", "drop stale host keys, so that the installer asks for no password", ("drop_stale_keys_of_computes",)
    ),
    Demand("A4.6", "install the old release", ("install_computes",)),
    Demand("A4.7", "set the compute manager and the VNC address", ("repair_nova_conf",)),
    Demand(
        "A4.7",
        "carry CPU pinning, huge pages and multipath over from the saved file",
        ("bring_back_nova_old_conf", "repair_nova_conf", "compare_nova_settings"),
    ),
    Demand("A4.8", "restart the OpenStack services, and nova-storage by itself", ("restart_compute_services",)),
    Demand("A4.9", "see that every compute service is up", ("verify_compute_services", "enable_scheduling")),
    Demand(
        "A5.1",
        "prepare tecs.conf for B",
        ("fetch_tecs_conf_for_b", "fetch_mappings_for_b", "edit_tecs_conf_for_b"),
    ),
    Demand("A5.2", "take the bad release off B", ("verify_data_on_a", "uninstall_b")),
    Demand("A5.3", "drop B's stale host keys", ("drop_stale_keys_of_b",)),
    Demand("A5.3", "install the old release on B", ("install_b",)),
    Demand(
        "A5.4",
        "restore cinder's back ends on B",
        (
            "save_cinder_settings",
            "bring_back_cinder_settings",
            "restore_cinder_backends",
            "carry_over_storage_settings",
        ),
    ),
    Demand("A5.5", "copy the cluster's files from A to B", ("copy_cluster_files",)),
    Demand("A5.5", "with replicated disks, copy WebData.res too", ("copy_cluster_files", "let_b_follow_a")),
    Demand("A5.6", "start the cluster on B", ("start_cluster_on_b",)),
    Demand("A5.7", "see that Pacemaker and every resource run", ("leave_maintenance_for_b", "verify_pacemaker_on_b")),
    Demand("A5.8", "allow switchovers again", ("clear_ban",)),
    Demand("A5.9", "leave maintenance mode if HA has entered it", ("leave_maintenance",)),
    Demand("A5.10", "bring B's replicated data up to A's", ("synchronise_b",)),
    Demand("A6.1", "see that a switchover there and back works", ("switch_over_and_back",)),
    Demand("A6.2", "see that a VM can be created", ("create_and_delete_vm",)),
    Demand(
        "caution",
        "nobody configures the load balancer's resources by hand",
        ("verify_pacemaker_on_b",),
        "the installer makes them; no step touches them, and all must be started in the end",
    ),
    Demand("caution", "a reinstalled compute has lost its huge pages and multipath", ("repair_nova_conf",)),
    Demand("caution", "a reinstalled controller has LVM only", ("restore_cinder_backends",)),
    Demand("caution", "Ceph's settings are lost", ("carry_over_storage_settings",)),
    Demand(
        "caution",
        "databases of the two releases may not fit each other",
        ("back_up_databases",),
        "refused before anything is touched; a person may accept it, and the databases are backed up first",
    ),
    Demand(
        "scenario B",
        "the failure came before the switchover: A stays active",
        ("ban_float_ip_on_b",),
        "A1 is no part of rollback_controller",
    ),
    Demand(
        "scenario C",
        "controllers are not touched",
        (),
        "no step of rollback_compute acts on a controller, but for reading and for Nova's own commands on A",
    ),
    Demand("U1", "begin with all that a rollback needs", ("save_restore_points",)),
    Demand("U1", "forbid switchover", ("forbid_switchover",)),
    Demand("U1", "upgrade B", ("upgrade_b", "start_cluster_on_b", "verify_pacemaker_on_b")),
    Demand("U1", "upgrade every compute", ("drain_computes", "upgrade_compute", "verify_compute_services")),
    Demand("U2", "switch from A to B", ("let_b_take_over", "move_float_ip_to_b", "ban_float_ip_on_a")),
    Demand("U3", "keep the traces of what failed", ("save_evidence",)),
    Demand(
        "U3",
        "soak for 20 minutes and verify basic function",
        ("create_vm_on_new_release", "hand_over_lock"),
        "a task of its own watches the cluster; another decides, or a person, and starts rollback_cluster",
    ),
    Demand("U4", "upgrade A", ("upgrade_a", "start_cluster_on_a", "verify_pacemaker_on_a")),
    Demand("U5", "allow switchover again", ("allow_switchover",)),
    Demand(
        "by hand",
        "read the installer's own menu, watch its output, answer its questions",
        ("install_computes", "install_b"),
        "`conf_file` asks nothing; its output is in the task's log, and a question ends the job",
    ),
)

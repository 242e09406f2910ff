"""How long each step takes: measured in the runbook where it was, estimated where it was not, and never longer than.

Times are real seconds on a real cluster. `Cluster.pace` divides them for a cluster that lives faster than that.
"""

from __future__ import annotations

from dataclasses import dataclass

RUNBOOK_TOTAL = 1502
"""Seconds that the runbook needs for scenario A with one compute, by hand, one step after the other."""

FLOOR = 5.0
"""Seconds added to every SLA: connecting and proving cost this much however short the action is."""

LIMIT_FLOOR = 60.0
"""Seconds added to every limit, for the same reason."""


@dataclass(frozen=True)
class Timing:
    """How long a step was measured to take (s), by which source, how long it may take (s), and its retries.

    A retry follows only a lost connection or a lost worker; a command that failed is not sent again.
    """

    measured: float
    source: str
    limit: float
    retries: int = 3

    def expected(self, pace: float) -> float:
        """Seconds that the step should take on a cluster of this pace."""
        return self.measured / pace

    def sla(self, pace: float, tolerance: float) -> float:
        """Seconds after which a running step is reported as late."""
        return self.measured * tolerance / pace + FLOOR

    def limit_at(self, pace: float) -> float:
        """Seconds after which the step is failed and its remote job is cancelled."""
        return self.limit / pace + LIMIT_FLOOR


def _runbook(step: str, measured: float, limit: float) -> Timing:
    return Timing(measured, f"runbook {step}", limit)


def _estimate(measured: float, limit: float) -> Timing:
    return Timing(measured, "estimate: the runbook gives no time", limit)


def _assumed(step: str, measured: float, limit: float) -> Timing:
    return Timing(measured, f"assumption: no upgrade was measured; the installation, runbook {step}", limit)


TIMINGS: dict[str, Timing] = {
    "take_lock": _estimate(1, 30),
    "pin_host_keys": _estimate(1, 60),
    "back_up_databases": Timing(2, "estimate: that it is not needed; a dump takes its time", 3600),
    "note_cluster_mode": _estimate(2, 60),
    "clear_ban_on_a": _runbook("A1 (10 s with the move)", 2, 60),
    "leave_maintenance_to_switch": _estimate(2, 60),
    "move_float_ip_to_a": _runbook("A1 (10 s with the clear)", 8, 120),
    "ban_float_ip_on_b": _runbook("A2", 2, 60),
    "stage_bin_on_daisy": _runbook("A3", 10, 600),
    "stage_bin_on_node": _runbook("A3", 10, 600),
    "save_nova_conf": _runbook("A4.1", 10, 60),
    "note_placement": _estimate(5, 300),
    # Its VMs have limits of their own; this one is for a client that hangs.
    "drain_computes": _runbook("A4.2 (varies)", 120, 21600),
    "finish_drain": Timing(5, "estimate: for finding that it is not needed", 21600),
    "give_back_computes": _estimate(3, 120),
    "fetch_tecs_conf": _runbook("A4.3 (60 s by hand, with mappings.json)", 60, 120),
    "fetch_mappings": _runbook("A4.3 (60 s by hand, with tecs.conf)", 60, 120),
    "edit_tecs_conf_for_computes": _runbook("A4.4 (by hand)", 60, 120),
    "uninstall_compute": _runbook("A4.5", 120, 900),
    "drop_stale_keys_of_computes": _estimate(5, 120),
    "install_computes": _runbook("A4.6", 200, 1800),
    "bring_back_nova_old_conf": _estimate(2, 60),
    "repair_nova_conf": _estimate(5, 120),
    "compare_nova_settings": _estimate(3, 60),
    "restart_compute_services": _estimate(20, 300),
    "verify_compute_services": _estimate(15, 300),
    "enable_scheduling": _estimate(3, 60),
    "return_vms": Timing(3, "estimate: for finding that it is not asked for", 21600),
    "fetch_tecs_conf_for_b": _runbook("A5.1 (60 s by hand, with mappings.json)", 60, 120),
    "fetch_mappings_for_b": _runbook("A5.1 (60 s by hand, with tecs.conf)", 60, 120),
    "edit_tecs_conf_for_b": _runbook("A5.1 (by hand)", 60, 120),
    "save_cinder_settings": _estimate(2, 60),
    "verify_data_on_a": _estimate(2, 60),
    "uninstall_b": _runbook("A5.2", 215, 1200),
    "drop_stale_keys_of_b": _estimate(5, 120),
    "install_b": Timing(675, "runbook A5.3 (11'15\")", 3600),
    "bring_back_cinder_settings": _estimate(3, 60),
    "restore_cinder_backends": _runbook("A5.4", 10, 300),
    "carry_over_storage_settings": _estimate(5, 300),
    "copy_cluster_files": _estimate(5, 120),
    "let_b_follow_a": _estimate(5, 300),
    "start_cluster_on_b": _runbook("A5.6", 10, 300),
    "leave_maintenance_for_b": _estimate(2, 60),
    "verify_pacemaker_on_b": _estimate(10, 300),
    "clear_ban": _estimate(2, 60),
    "leave_maintenance": _estimate(2, 60),
    "synchronise_b": Timing(20, "estimate: a small data set; a whole disk takes its time", 86400),
    "switch_over_and_back": _estimate(20, 300),
    "create_and_delete_vm": _estimate(10, 300),
    "restore_cluster_mode": _estimate(2, 60),
    "release_lock": _estimate(1, 30),
    "save_evidence": Timing(20, "estimate: some seconds a host, sixteen at a time", 600),
    "save_restore_points": Timing(30, "estimate: small files; dumps of the databases take their time", 3600),
    "forbid_switchover": _runbook("A2 (the same command)", 2, 60),
    "upgrade_b": _assumed("A5.3", 675, 3600),
    "upgrade_compute": _assumed("A4.6", 200, 1800),
    "let_b_take_over": _estimate(2, 60),
    "move_float_ip_to_b": _runbook("A1 (the same command)", 8, 120),
    "ban_float_ip_on_a": _runbook("A2 (the same command)", 2, 60),
    "create_vm_on_new_release": _estimate(10, 300),
    "hand_over_lock": _estimate(1, 30),
    "upgrade_a": _assumed("A5.3", 675, 3600),
    "start_cluster_on_a": _runbook("A5.6 (the same command)", 10, 300),
    "verify_pacemaker_on_a": _estimate(10, 300),
    "allow_switchover": _estimate(2, 60),
}

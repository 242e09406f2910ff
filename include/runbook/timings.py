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


TIMINGS: dict[str, Timing] = {
    "take_lock": _estimate(1, 30),
    "pin_host_keys": _estimate(1, 60),
    "clear_ban_on_a": _runbook("A1 (10 s with the move)", 2, 60),
    "move_float_ip_to_a": _runbook("A1 (10 s with the clear)", 8, 120),
    "ban_float_ip_on_b": _runbook("A2", 2, 60),
    "stage_bin_on_daisy": _runbook("A3", 10, 600),
    "stage_bin_on_node": _runbook("A3", 10, 600),
    "save_nova_conf": _runbook("A4.1", 10, 60),
    "keep_new_vms_off": _estimate(3, 60),
    "drain_compute": _runbook("A4.2 (varies)", 120, 1800),
    "fetch_tecs_conf": _runbook("A4.3 (60 s by hand, with mappings.json)", 60, 120),
    "fetch_mappings": _runbook("A4.3 (60 s by hand, with tecs.conf)", 60, 120),
    "edit_tecs_conf_for_computes": _runbook("A4.4 (by hand)", 60, 120),
    "uninstall_compute": _runbook("A4.5", 120, 900),
    "drop_stale_keys_of_computes": _estimate(5, 120),
    "install_computes": _runbook("A4.6", 200, 1800),
    "bring_back_nova_old_conf": _estimate(2, 60),
    "repair_nova_conf": _estimate(5, 120),
    "restart_compute_services": _estimate(20, 300),
    "verify_compute_services": _estimate(15, 300),
    "enable_scheduling": _estimate(3, 60),
    "fetch_tecs_conf_for_b": _runbook("A5.1 (60 s by hand, with mappings.json)", 60, 120),
    "fetch_mappings_for_b": _runbook("A5.1 (60 s by hand, with tecs.conf)", 60, 120),
    "edit_tecs_conf_for_b": _runbook("A5.1 (by hand)", 60, 120),
    "save_cinder_settings": _estimate(2, 60),
    "uninstall_b": _runbook("A5.2", 215, 1200),
    "drop_stale_keys_of_b": _estimate(5, 120),
    "install_b": Timing(675, "runbook A5.3 (11'15\")", 3600),
    "restore_cinder_backends": _runbook("A5.4", 10, 300),
    "copy_cluster_files": _estimate(5, 120),
    "start_cluster_on_b": _runbook("A5.6", 10, 300),
    "verify_pacemaker_on_b": _estimate(10, 300),
    "clear_ban": _estimate(2, 60),
    "leave_maintenance": _estimate(2, 60),
    "verify_shared_storage": _estimate(2, 60),
    "switch_over_and_back": _estimate(20, 300),
    "create_and_delete_vm": _estimate(10, 300),
    "release_lock": _estimate(1, 30),
}

"""The parts of the runbook that several scenarios go through, each a function that reads like its section there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from airflow.sdk import BaseOperator, XComArg, chain
from airflow.sdk.definitions.mappedoperator import MappedOperator

from tecs.decisions import check, name_failures, plan, prove
from tecs.scenario import decide, step
from tecs.telling import told_when_done

Task: TypeAlias = BaseOperator | MappedOperator


def begin_run() -> Task:
    """Nothing is touched before the request, the plan and the live state have been checked and the lock is held."""
    pinned = step("pin_host_keys")
    chain(
        decide("S1", "Check the request and print the plan", plan),
        decide("S2", "Check that every precondition holds", check),
        step("take_lock"),
        pinned,
    )
    return pinned


def stage_installer(begun: Task) -> Task:
    """A3: the old release's installer on the Daisy host, then on B, where it will uninstall the bad one."""
    staged = step("stage_bin_on_node")
    chain(begun, step("stage_bin_on_daisy"), staged)
    return staged


def roll_back_b(begun: Task, after: Sequence[Task], installer_free: Task) -> Task:
    """A5 and A6: B is reinstalled, comes back into the cluster, and the cluster is verified and left as it was found.

    B is taken down `after` these tasks; from `installer_free` on, nobody else needs the installer's files.
    """
    # A5.1: the installer's files; B's storage settings are saved while they are still there.
    configured, saved = step("edit_tecs_conf_for_b"), step("save_cinder_settings")
    fetched = [step("fetch_tecs_conf_for_b"), step("fetch_mappings_for_b")]
    chain(installer_free, fetched, configured)
    chain(begun, saved)

    # A5.2, A5.3: B is reinstalled.
    installed = step("install_b")
    chain(
        [*after, configured, saved],
        step("verify_data_on_a"),
        step("uninstall_b"),
        step("drop_stale_keys_of_b"),
        installed,
    )

    # A5.4, A5.5: its back ends, and side by side its cluster files and what DRBD needs.
    back_ends, replicating = step("carry_over_storage_settings"), step("let_b_follow_a")
    chain(installed, step("bring_back_cinder_settings"), step("restore_cinder_backends"), back_ends)
    chain(installed, step("copy_cluster_files"), replicating)

    # A5.6 to A6.2: one proven step after the other; A5.10 before A5.8, so that B takes over only with all of the data.
    restored = step("restore_cluster_mode")
    chain(
        [back_ends, replicating],
        step("start_cluster_on_b"),
        step("leave_maintenance_for_b"),
        step("verify_pacemaker_on_b"),
        step("synchronise_b"),
        step("clear_ban"),
        step("leave_maintenance"),
        step("switch_over_and_back"),
        step("create_and_delete_vm"),
        restored,
    )
    return restored


def end_run(verified: Task, *back: XComArg, proven: str = "the cluster is back") -> None:
    """The end state is proven from the hosts; only then is the cluster free for others.

    Of the computes it is proven of those that are `back`. A run that has lost others does not end as a success.
    """
    last = released = step("release_lock")
    chain(verified, decide("E1", f"Prove from live state that {proven}", prove, *back), released)
    if back:
        last = decide("E3", "Fail if a compute is not back, and name it", name_failures, *back)
        chain(released, last)
    told_when_done(last)

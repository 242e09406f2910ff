"""Faults that are injected by other tests, and faults that no test injects, with the reason: the table ends with both."""

from __future__ import annotations

ELSEWHERE = {
    "a changing step fails with status 1, each once": (
        "tests/lab/test_scenarios.py::test_broken_once_at_every_changing_step_the_scenario_is_resumed_to_its_end_and_then_has_nothing_left_to_do",
    ),
    "worker and triggerer die during the install": (
        "tests/lab/test_faults.py::test_the_worker_and_the_triggerer_are_killed_during_the_install_and_one_installer_runs",
    ),
    "task or run marked failed while the installer runs": (
        "tests/lab/test_faults.py::test_marking_the_task_failed_ends_the_remote_job_though_no_triggerer_watches_and_the_run_can_be_resumed",
        "tests/lab/test_faults.py::test_marking_the_whole_run_failed_ends_the_job_of_its_batch_and_the_batch_goes_no_further",
    ),
    "host refuses connections": (
        "tests/lab/test_many.py::test_a_compute_that_cannot_be_reached_costs_itself_and_nobody_else_and_is_done_when_it_is_back",
    ),
    "host hangs": (
        "tests/unit/test_steps_evidence.py::test_a_host_that_hangs_is_cut_off_and_what_it_has_told_is_kept",
    ),
    "host reboots while a job runs": (
        "tests/unit/test_job.py::test_a_job_whose_process_was_killed_is_lost_and_not_polled_for_ever",
        "tests/unit/test_job.py::test_a_process_that_got_the_same_number_later_is_not_taken_for_the_job",
    ),
    "endless and binary output": (
        "tests/plugins/test_ssh.py::test_a_host_that_never_ends_printing_is_not_waited_for",
        "tests/unit/test_job.py::test_one_look_never_returns_more_than_a_chunk",
        "tests/unit/test_job.py::test_output_that_is_no_utf_8_is_counted_in_its_own_bytes",
    ),
    "host key changed without a reinstallation": (
        "tests/unit/test_host_keys.py::test_a_host_that_shows_another_key_than_the_pinned_is_refused_and_nothing_of_it_accepted",
    ),
    "disk full under the lock or a job's script": (
        "tests/unit/test_lock.py::test_on_a_full_disk_no_lock_is_made_that_is_nobodys",
        "tests/unit/test_job.py::test_on_a_full_disk_no_half_written_script_is_run_and_the_job_can_be_started_later",
    ),
    "two runs through Airflow on one cluster": (
        "tests/lab/test_faults.py::test_a_second_run_is_refused_while_the_first_holds_the_cluster_and_may_take_it_over_only_explicitly",
    ),
    "power lost by the compute or the Daisy host in the middle of an installation, on real hosts": (
        "tests/cluster/test_host_faults.py::test_power_is_lost_in_the_middle_of_an_installation",
    ),
    "every packet 100 ms or 1 s late, on real hosts": (
        "tests/cluster/test_host_faults.py::test_every_packet_of_the_daisy_host_and_the_compute_is_late",
    ),
    "a host's clock is five minutes fast: the validation's finding": (
        "tests/cluster/test_upgrade.py::test_each_seeded_problem_is_found_by_name",
    ),
    "calendar clocks hours apart, as `date` tells them": (
        "tests/cluster/test_host_faults.py::test_the_hosts_calendar_clocks_are_hours_apart",
    ),
    "half-open and black-holed connections, on real hosts": (
        "tests/cluster/test_host_faults.py::test_a_host_goes_silent_in_the_middle_of_an_installation",
    ),
    "disk full on the Daisy host or on a node, on real hosts": (
        "tests/cluster/test_host_faults.py::test_a_daisy_host_without_room_stops_the_run_before_anything_is_touched",
        "tests/cluster/test_host_faults.py::test_a_node_without_room_for_the_installer_stops_the_run_before_it_is_taken_down",
    ),
    "MaxSessions and MaxStartups of a real sshd": (
        "tests/cluster/test_host_faults.py::test_an_sshd_that_takes_few_connections_at_a_time_is_asked_again",
    ),
    "HA faults on real Pacemaker": (
        "tests/cluster/test_ha_faults.py::test_an_a_that_dies_as_it_is_to_take_over_leaves_b_serving",
        "tests/cluster/test_ha_faults.py::test_a_resource_that_a_cannot_start_leaves_b_serving_and_is_named",
        "tests/cluster/test_ha_faults.py::test_a_cable_that_is_cut_during_the_ban_is_found_by_both_views",
        "tests/cluster/test_ha_faults.py::test_a_b_that_dies_and_comes_back_during_the_rollback_takes_nothing_over",
    ),
    "two hundred computes, of which some fail": (
        "tests/lab/test_hundreds.py::test_three_that_fail_in_three_ways_are_named_at_the_end_and_done_by_themselves_afterwards",
    ),
}
"""What is injected, and the tests that do it. They are run by `make test` and `make test-nightly` and count nothing here."""

NOT_INJECTED = {
    "two runs of one name in two Airflows of one address": "the lock cannot tell them apart: see docs/operations.md",
    "fifty clusters at once": "not measured",
}
"""What is not injected, and why."""

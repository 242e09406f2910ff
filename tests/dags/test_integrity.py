"""What must hold of every scenario's DAG, whatever its steps are."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jinja2 import Template

from include.rehearsal.decisions import Decisions
from include.rehearsal.rehearsal import SCENARIOS as REHEARSED
from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.cluster import load_cluster
from include.runbook.step import KINDS, Run

from .conftest import PROJECT, SCENARIOS

RUNBOOK_IDS = {
    *("A1", "A2", "A3", "A4.1", "A4.2", "A4.3", "A4.4", "A4.5", "A4.6", "A4.7", "A4.8", "A4.9"),
    *("U1", "U2", "U3", "U4", "U5"),
    *("A5.1", "A5.2", "A5.3", "A5.4", "A5.5", "A5.6", "A5.7", "A5.8", "A5.9", "A5.10", "A6.1", "A6.2"),
}
GATE = "A4.2_give_back_computes"
EVIDENCE = "U3_save_evidence"
COUNTS = {
    "rollback_cluster": {"A4_batches_back"},
    "rollback_compute": {"A4.2_computes_ready", "A4.5_computes_taken_down", "A4.9_computes_back"},
    "rollback_controller": set(),
    "upgrade_cluster": {"U1_b_upgraded", "U1_batches_upgraded", "U3_gate"},
    "upgrade_compute": {"A4.2_computes_ready", "U1_computes_upgraded", "U1_computes_back"},
}
PACEMAKER = ("A1", "A2", "A5.6", "A5.7", "A5.8", "A5.9", "A6.1", "U2", "U3", "U4", "U5")
INSTALLER = ("A4.5", "A4.6", "A5.2", "A5.3")


def example_run(scenario: str) -> Run:
    """A run of the scenario on the example site."""
    cluster = load_cluster(PROJECT / "include/clusters/example.yaml")
    return Run(cluster, cluster.target_release, cluster.computes, dag=scenario)


def runbook_id(task: Any) -> str:
    return task.task_id.partition("_")[0]


@pytest.fixture(params=SCENARIOS)
def dag(bag: Any, request: pytest.FixtureRequest) -> Any:
    return bag.dags[request.param]


def test_every_file_is_parsed_without_an_error(bag: Any) -> None:
    assert bag.import_errors == {}
    assert sorted(bag.dags) == sorted(
        [*SCENARIOS, "validate_cluster", "validate_example", "rehearse_cluster", "rehearse_example"]
    )


def test_every_step_of_the_runbook_is_a_task(bag: Any) -> None:
    assert {runbook_id(task) for dag in bag.dags.values() for task in dag.tasks} >= RUNBOOK_IDS


def test_every_registered_step_is_used(bag: Any) -> None:
    used = {task.task_id for dag in bag.dags.values() for task in dag.tasks}
    assert {kind.task_id for kind in KINDS.values()} <= used


def test_a_cluster_is_validated_when_its_inventory_says_so(bag: Any) -> None:
    assert bag.dags["validate_cluster"].timetable.can_be_scheduled is False
    morning = bag.dags["validate_example"].timetable
    assert (morning.expression, str(morning.timezone)) == ("0 6 * * *", "Asia/Shanghai")


def test_a_cluster_is_rehearsed_when_its_inventory_says_so(bag: Any) -> None:
    assert bag.dags["rehearse_cluster"].timetable.can_be_scheduled is False
    night = bag.dags["rehearse_example"]
    assert (night.timetable.expression, str(night.timetable.timezone)) == ("0 3 * * 0", "Asia/Shanghai")
    assert {name: night.params[name] for name in ("cluster", "scenario", "pace")} == {
        "cluster": "example",
        "scenario": "A",
        "pace": 200,
    }


def test_a_rehearsal_that_fails_is_told_to_those_who_want_to_hear_of_failures(bag: Any) -> None:
    from tecs.telling import tell_failed

    for name in ("rehearse_cluster", "rehearse_example"):
        assert {tuple(task.on_failure_callback) for task in bag.dags[name].tasks} == {(tell_failed,)}


def test_every_decision_of_a_scenario_is_known_to_the_rehearsal(bag: Any) -> None:
    from tecs.plans import plan_of

    for name in REHEARSED.values():
        decisions = [stage for stage in plan_of(bag.dags[name], example_run(name)).stages if stage.kind is None]
        assert [stage.task_id for stage in decisions if not (Decisions.knows(stage) or stage.rounds)] == []


def test_a_skip_lets_the_next_step_run_and_a_failure_does_not(dag: Any) -> None:
    others = [task for task in dag.tasks if task.task_id not in {GATE, *COUNTS[dag.dag_id]}]
    assert {task.trigger_rule for task in others} == {"none_failed"}


def test_who_goes_on_is_counted_whatever_has_failed(dag: Any) -> None:
    assert {task.task_id for task in dag.tasks if task.trigger_rule == "all_done"} - {GATE} == COUNTS[dag.dag_id]


def test_no_task_begins_in_a_run_that_a_person_has_marked_as_a_whole(dag: Any) -> None:
    from tecs.given_up import PROOF, require_proof_ahead

    assert PROOF in dag.task_ids
    for task in dag.tasks:
        hook = task.partial_kwargs.get("pre_execute") if task.is_mapped else task._pre_execute_hook
        assert hook is require_proof_ahead, task.task_id


def test_a_drain_that_does_not_go_on_gives_its_computes_back_whatever_has_failed(bag: Any) -> None:
    """The gate waits for the end of everything before the first uninstallation, and nothing passes by it."""
    dag = bag.dags["rollback_compute"]
    gate, uninstall = dag.task_dict[GATE], dag.task_dict["A4.5_uninstall_compute"]
    assert gate.trigger_rule == "all_done"
    assert uninstall.upstream_task_ids == {GATE, "A4.2_computes_ready"}
    before = gate.get_flat_relative_ids(upstream=True)
    assert {task.task_id for task in dag.tasks if task.task_id < "A4.5"} - before == {GATE}
    shared = {
        "A4_computes",
        "A3_stage_bin_on_daisy",
        "A4.2_note_placement",
        "A4.4_edit_tecs_conf_for_computes",
        EVIDENCE,
    }
    assert gate.upstream_task_ids == {"A4.2_computes_ready", *shared}, "what serves every compute must not fail"


def test_titles_begin_with_the_id_and_say_a_sentence(dag: Any) -> None:
    for task in dag.tasks:
        assert re.fullmatch(r"([AU]\d(\.\d+)?|[SE]\d) [A-Z].{10,}", task.task_display_name), task.task_id


def test_every_step_documents_its_script_and_its_times(dag: Any) -> None:
    for task in dag.tasks:
        if task.task_id in {kind.task_id for kind in KINDS.values()}:
            assert "```sh" in task.doc_md, task.task_id
            assert "Measured" in task.doc_md, task.task_id


def test_the_page_of_the_scenario_says_what_how_long_where_to_stop_and_how_to_resume(dag: Any) -> None:
    for heading in ("**What.**", "**How long.**", "**Where it may be stopped.**", "**How to resume.**"):
        assert heading in dag.doc_md


@pytest.mark.parametrize("ids", [PACEMAKER, INSTALLER])
def test_what_must_be_serial_has_one_order(dag: Any, ids: tuple[str, ...]) -> None:
    tasks = [task for task in dag.tasks if runbook_id(task) in ids and task.task_id != EVIDENCE]
    for one, other in itertools.combinations(tasks, 2):
        before = dag.task_dict[one.task_id].get_flat_relative_ids(upstream=True)
        after = dag.task_dict[one.task_id].get_flat_relative_ids(upstream=False)
        assert other.task_id in before | after, f"{one.task_id} and {other.task_id} could run side by side"


def test_a_batch_of_any_size_has_a_name_that_airflow_can_keep(bag: Any) -> None:
    """The column holds 250 letters."""
    template = bag.dags["rollback_cluster"].task_dict["A4_computes_in_batches"].map_index_template
    names = [f"{number:03}-{'x' * 59}" for number in range(100)]

    def named(count: int) -> str:
        return Template(template).render(task=SimpleNamespace(conf={"computes": names[:count]}))

    assert named(1) == names[0]
    assert named(100) == f"{names[0]} and 99 more, to {names[99]}"
    assert len(named(100)) < 250


def test_nothing_acts_before_the_lock_is_held(dag: Any) -> None:
    lock = dag.task_dict["S3_take_lock"]
    after = lock.get_flat_relative_ids(upstream=False)
    before = lock.get_flat_relative_ids(upstream=True)
    assert {task.task_id for task in dag.tasks} == after | before | {lock.task_id}
    assert before == {"S1_plan", "S2_check"}


def test_the_lock_is_released_last(dag: Any) -> None:
    last = dag.task_dict["E2_release_lock"]
    assert last.downstream_task_ids == ({"E3_name_failures"} if "E3_name_failures" in dag.task_ids else set())
    assert {task.task_id for task in dag.leaves} == last.downstream_task_ids or {last.task_id}


def test_the_ban_on_b_is_cleared_only_after_b_is_proven(bag: Any) -> None:
    for name in ("rollback_cluster", "rollback_controller"):
        before = bag.dags[name].task_dict["A5.8_clear_ban"].get_flat_relative_ids(upstream=True)
        assert {"A5.3_install_b", "A5.5_copy_cluster_files", "A5.7_verify_pacemaker_on_b"} <= before


@pytest.mark.parametrize(
    ("name", "destroys"),
    [("rollback_controller", "A5.2_uninstall_b"), ("rollback_cluster", "A5.2_uninstall_b"), ("rollback_compute", GATE)],
)
def test_evidence_is_saved_before_anything_is_destroyed(bag: Any, name: str, destroys: str) -> None:
    before = bag.dags[name].task_dict[destroys].get_flat_relative_ids(upstream=True)
    assert EVIDENCE in before
    assert bag.dags[name].task_dict[EVIDENCE].upstream_task_ids == {"S4_pin_host_keys"}


def test_an_upgraded_controller_may_take_over_only_after_it_is_proven_and_a_only_after_the_gate(bag: Any) -> None:
    dag = bag.dags["upgrade_cluster"]

    def before(task_id: str) -> set[str]:
        return dag.task_dict[task_id].get_flat_relative_ids(upstream=True)

    assert {"U1_upgrade_b", "A5.7_verify_pacemaker_on_b", "U1_batches_upgraded"} <= before("U2_let_b_take_over")
    assert {"U2_ban_float_ip_on_a", "U3_soak", "U3_create_vm_on_new_release", "U3_go_on"} <= before("U4_upgrade_a")
    assert {"U4_upgrade_a", "U4_verify_pacemaker_on_a"} <= before("U5_allow_switchover")


def test_the_rollback_holds_the_lock_before_it_is_started_and_nothing_after_the_gate_starts_one(bag: Any) -> None:
    dag = bag.dags["upgrade_cluster"]
    start = dag.task_dict["U3_roll_back"]
    assert start.upstream_task_ids == {"U3_hand_over_lock"}
    assert "U3_gate" in start.get_flat_relative_ids(upstream=True)
    assert {task.task_id for task in dag.tasks if task.task_type == "RollBack"} == {"U3_roll_back"}


def test_no_shell_text_is_in_a_dag_file(bag: Any) -> None:
    for dag in bag.dags.values():
        text = Path(dag.fileloc).read_text().rpartition('"""')[2]
        assert not re.search(r"\b(pcs|ssh|openstack|systemctl|subprocess)\b", text)
        assert text.count("\n") < 100

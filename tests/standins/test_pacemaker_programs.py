from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from tests.standins.site import A_NODE, B_NODE, A, B, TrialSite

BAN = f"cli-ban-lb_float_ip-on-{A_NODE}"


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("pcs cluster move host_127_1_0_11", 1, "Usage: pcs cluster ..."),
        (
            "pcs property set unmanaged=false",
            1,
            "invalid cluster property option 'unmanaged', allowed options are: 'batch-",
        ),
        ("pcs property set unmanaged=false --force", 0, "Warning: invalid cluster property option 'unmanaged'"),
        ("pcs property set maintenance-mode=false", 0, ""),
        (
            "pcs resource move lb_float_ip nosuchnode",
            1,
            "Error: Node 'nosuchnode' does not appear to exist in configuration",
        ),
        ("pcs resource clear nosuchrsc", 1, "Error: bundle/clone/group/resource 'nosuchrsc' does not exist"),
        (f"pcs resource move lb_float_ip {B_NODE}", 1, "Error: cannot move resource 'lb_float_ip'"),
        ("pcs cluster start", 0, "Starting Cluster..."),
        ("pcs resource defrag", 1, "Usage: pcs resource ..."),
        ("crm_mon --bogus", 64, "Unknown option --bogus"),
        ("crm_node -n", 0, A_NODE),
        ("cibadmin --replace", 64, "emulates --query"),
    ],
)
def test_programs_answer_as_the_real_ones_do(site: TrialSite, command: str, status: int, said: str) -> None:
    answer = site.run(A, command)
    assert (answer.returncode, said in answer.stdout + answer.stderr) == (status, True), answer


def test_a_ban_is_announced_on_standard_error_and_moves_the_float_ip_a_second_later(good_site: TrialSite) -> None:
    answer = good_site.run(A, f"pcs resource ban lb_float_ip {A_NODE}")
    assert answer.returncode == 0
    assert f"Creating location constraint '{BAN}' with a score of -INFINITY" in answer.stderr
    assert good_site.settled().float_on == B_NODE


def test_clearing_a_ban_names_the_constraint_and_does_not_move_the_float_ip_back(site: TrialSite) -> None:
    assert site.run(A, "pcs resource clear lb_float_ip").stdout == f"Removing constraint: {BAN}\n"
    assert site.settled().float_on == B_NODE


def test_clearing_when_there_is_nothing_to_clear_is_silent(good_site: TrialSite) -> None:
    answer = good_site.run(A, "pcs resource clear lb_float_ip")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_a_ban_with_nowhere_to_go_stops_the_float_ip(site: TrialSite) -> None:
    site.run(A, f"pcs resource ban lb_float_ip {B_NODE}")
    assert site.settled().float_on is None


def test_move_waits_and_removes_its_own_constraint(site: TrialSite) -> None:
    site.run(A, "pcs resource clear lb_float_ip")
    answer = site.run(A, f"pcs resource move lb_float_ip {A_NODE}")
    assert f"resource 'lb_float_ip' is running on node '{A_NODE}'" in answer.stderr
    world = site.settled()
    assert (world.float_on, world.constraints) == (A_NODE, [])


def test_move_is_refused_in_maintenance_mode(good_site: TrialSite) -> None:
    good_site.run(A, "pcs property set maintenance-mode=true")
    answer = good_site.run(A, f"pcs resource move lb_float_ip {B_NODE}")
    assert (answer.returncode, answer.stderr) == (1, "Error: 'lb_float_ip' is unmanaged\n")


def test_move_of_pcs_0_9_leaves_its_preference_behind(old_site: TrialSite) -> None:
    old_site.run(A, "pcs resource clear lb_float_ip")
    assert old_site.run(A, f"pcs resource move lb_float_ip {A_NODE}").returncode == 0
    world = old_site.settled()
    assert (world.float_on, world.constraints[0].id, world.constraints[0].score) == (
        A_NODE,
        "cli-prefer-lb_float_ip",
        "INFINITY",
    )


def test_a_refused_takeover_makes_the_move_fail_and_leaves_the_float_ip(site: TrialSite) -> None:
    site.lab.fault({"takeover": "refused"})
    site.run(A, "pcs resource clear lb_float_ip")
    answer = site.run(A, f"pcs resource move lb_float_ip {A_NODE}")
    assert answer.returncode == 1
    assert site.settled().float_on == B_NODE


def test_constraints_are_listed_in_each_generations_form(site: TrialSite) -> None:
    listing = site.run(A, "pcs constraint --full").stdout
    assert f"    Disabled on:\n      Node: {A_NODE} (score:-INFINITY) (role:Started) (id:{BAN})\n" in listing


def test_constraints_are_listed_on_one_line_by_pcs_0_9(old_site: TrialSite) -> None:
    listing = old_site.run(A, "pcs constraint --full").stdout
    assert f"    Disabled on: {A_NODE} (score:-INFINITY) (role: Started) (id:{BAN})\n" in listing


def test_a_constraint_can_be_removed_by_its_id(site: TrialSite) -> None:
    assert site.run(A, f"pcs constraint remove {BAN}").returncode == 0
    assert site.settled().constraints == []


def test_crm_mon_2_shows_nodes_resources_bans_and_maintenance_in_xml(site: TrialSite) -> None:
    root = ET.fromstring(site.run(A, "crm_mon -1 --output-as=xml").stdout)
    assert root.tag == "pacemaker-result"
    assert {node.get("name"): node.get("online") for node in root.findall("nodes/node")} == {
        A_NODE: "true",
        B_NODE: "true",
    }
    assert [node.get("name") for node in root.findall("resources/resource[@id='lb_float_ip']/node")] == [B_NODE]
    assert [ban.get("id") for ban in root.findall("bans/ban")] == [BAN]
    options = root.find("summary/cluster_options")
    assert options is not None and options.get("maintenance-mode") == "false"


def test_crm_mon_1_1_knows_only_the_old_xml(old_site: TrialSite) -> None:
    assert ET.fromstring(old_site.run(A, "crm_mon --as-xml").stdout).get("version") == "1.1.13"
    assert old_site.run(A, "crm_mon -1 --output-as=xml").returncode != 0


def test_crm_mon_ends_with_102_when_the_cluster_is_stopped(site: TrialSite) -> None:
    site.run(B, "pcs cluster stop")
    answer = site.run(B, "crm_mon -1")
    assert (answer.returncode, answer.stderr.splitlines()[-1]) == (
        102,
        "crm_mon: Connection to cluster failed: Connection refused",
    )


def test_crm_mon_1_1_ends_with_107_when_the_cluster_is_stopped(old_site: TrialSite) -> None:
    old_site.run(B, "pcs cluster stop")
    answer = old_site.run(B, "crm_mon -1")
    assert (answer.returncode, answer.stderr) == (
        107,
        "Connection to cluster failed: Transport endpoint is not connected\n",
    )


def test_the_cib_shows_nodes_and_constraints(site: TrialSite) -> None:
    nodes = ET.fromstring(site.run(A, "cibadmin --query --scope nodes").stdout)
    assert [node.get("uname") for node in nodes] == [A_NODE, B_NODE]
    constraints = ET.fromstring(site.run(A, "cibadmin -Q -o constraints").stdout)
    assert [(each.get("id"), each.get("node"), each.get("score")) for each in constraints] == [
        (BAN, A_NODE, "-INFINITY")
    ]
    assert ET.fromstring(site.run(A, "cibadmin --query").stdout).tag == "cib"


def test_a_node_without_the_peers_corosync_conf_is_not_configured(site: TrialSite) -> None:
    site.run(B, "pcs cluster stop; rm @/etc/corosync/corosync.conf")
    answer = site.run(B, "pcs cluster start")
    assert (answer.returncode, answer.stderr) == (1, "Error: cluster is not currently configured on this node\n")


def test_stopping_the_active_node_hands_the_float_ip_over(good_site: TrialSite) -> None:
    good_site.run(A, "pcs cluster stop")
    world = good_site.settled()
    assert (world.float_on, world.online) == (B_NODE, [B_NODE])

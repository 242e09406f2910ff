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
        ("pcs resource clear lb_float_ip nosuchnode", 1, "crm_resource: Node 'nosuchnode' not found"),
        ("pcs resource ban", 1, "Error: must specify a resource to ban"),
        ("pcs constraint remove a b", 1, "Error: Unable to find constraint - 'b'"),
        ("pcs property set maintenance-mode=on", 0, ""),
        (
            "pcs property set maintenance-mode=perhaps",
            1,
            "Error: 'perhaps' is not a valid maintenance-mode value, use a pacemaker boolean value: '0', '1', 'false', ",
        ),
        (
            "pcs property unset unmanaged",
            1,
            "not present in property set 'cib-bootstrap-options', use --force to override",
        ),
        ("pcs property unset unmanaged --force", 0, "Warning: Cannot remove property 'unmanaged'"),
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
    answer = site.run(A, "pcs resource clear lb_float_ip")
    assert (answer.stdout, answer.stderr) == ("", f"Removing constraint: {BAN}\n")
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


# ---- pcs 0.9 over Pacemaker 1.1 ------------------------------------------------------------------------------------

FAILED_0_9 = "Error: error moving/banning/clearing resource\n"


@pytest.mark.parametrize(
    ("command", "status", "out", "err"),
    [
        (
            f"pcs resource move lb_float_ip {B_NODE}",
            1,
            "",
            f"{FAILED_0_9}Error performing operation: lb_float_ip is already active on {B_NODE}\n"
            "Error performing operation: Invalid argument\n\n",
        ),
        (
            "pcs resource move lb_float_ip nosuchnode",
            1,
            "",
            f"{FAILED_0_9}Error performing operation: node 'nosuchnode' is unknown\n"
            "Error performing operation: No such device or address\n\n",
        ),
        ("pcs resource clear nosuchrsc", 1, "", "Error: nosuchrsc is not a valid resource\n"),
        ("pcs resource clear lb_float_ip", 0, "", ""),
        ("pcs cluster move host_127_1_0_11", 1, "\nUsage: pcs cluster [commands]...\n\n", ""),
        (
            "pcs property set unmanaged=false",
            1,
            "",
            "Error: unknown cluster property: 'unmanaged', (use --force to override)\n",
        ),
        ("pcs property set unmanaged=false --force", 0, "", ""),
        (
            "pcs property set maintenance-mode=perhaps",
            1,
            "",
            "Error: invalid value of property: 'maintenance-mode=perhaps', (use --force to override)\n",
        ),
        ("pcs property set maintenance-mode=false", 0, "", ""),
        ("pcs constraint remove nosuch", 1, "", "Error: Unable to find constraint - 'nosuch'\n"),
    ],
)
def test_pcs_0_9_answers_in_its_own_words(old_site: TrialSite, command: str, status: int, out: str, err: str) -> None:
    answer = old_site.run(A, command)
    assert (answer.returncode, answer.stdout, answer.stderr) == (status, out, err)


def test_a_ban_of_pcs_0_9_is_announced_on_standard_output(old_site: TrialSite) -> None:
    answer = old_site.run(A, f"pcs resource ban lb_float_ip {A_NODE}")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith(f"Warning: Creating location constraint {BAN} with a score of -INFINITY")
    assert answer.stdout.endswith(f"This will be the case even if {A_NODE} is the last node in the cluster.\n")


def test_move_of_pcs_0_9_leaves_its_preference_behind_and_takes_the_ban_of_its_target_away(old_site: TrialSite) -> None:
    answer = old_site.run(A, f"pcs resource move lb_float_ip {A_NODE}")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    world = old_site.settled()
    assert world.float_on == A_NODE
    assert [(each.id, each.node, each.score) for each in world.constraints] == [
        ("cli-prefer-lb_float_ip", A_NODE, "INFINITY")
    ]


def test_move_of_pcs_0_9_does_not_wait(old_site: TrialSite) -> None:
    old_site.lab.fault({"takeover": "refused"})
    assert old_site.run(A, f"pcs resource move lb_float_ip {A_NODE}").returncode == 0
    assert old_site.settled().float_on == B_NODE


def test_move_of_pcs_0_9_is_accepted_in_maintenance_mode_and_moves_nothing(old_site: TrialSite) -> None:
    old_site.run(A, "pcs property set maintenance-mode=true")
    assert old_site.run(A, f"pcs resource move lb_float_ip {A_NODE}").returncode == 0
    assert old_site.settled().float_on == B_NODE


def test_what_runs_nowhere_is_in_the_xml_of_crm_mon_1_1_only_when_it_is_asked_for(old_site: TrialSite) -> None:
    old_site.run(A, f"pcs resource ban lb_float_ip {A_NODE}; pcs resource ban lb_float_ip {B_NODE}")
    assert old_site.settled().float_on is None

    def shown(command: str) -> list[str | None]:
        return [each.get("id") for each in ET.fromstring(old_site.run(A, command).stdout).iter("resource")]

    assert "lb_float_ip" not in shown("crm_mon -1 --as-xml")
    assert "lb_float_ip" in shown("crm_mon -1 -r --as-xml")


@pytest.mark.parametrize(
    ("command", "status", "helped"),
    [
        ("crm_mon -1 --output-as=xml", 1, "standard error"),
        ("crm_mon -1 -r --output-as=xml", 1, "standard error"),
        ("crm_mon -1 --inactive --output-as=xml", 0, "standard output"),
    ],
)
def test_crm_mon_1_1_takes_an_unknown_option_for_help_after_a_long_one(
    old_site: TrialSite, command: str, status: int, helped: str
) -> None:
    answer = old_site.run(A, command)
    assert answer.returncode == status
    assert answer.stderr.startswith("crm_mon: unrecognized option '--output-as=xml'\n")
    text = {"standard error": answer.stderr, "standard output": answer.stdout}[helped]
    assert "crm_mon - Provides a summary of cluster's current state." in text


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


def test_crm_mon_1_1_prints_its_own_form(old_site: TrialSite) -> None:
    root = ET.fromstring(old_site.run(A, "crm_mon --as-xml").stdout)
    assert (root.tag, root.get("version")) == ("crm_mon", "1.1.13")
    summary = root.find("summary")
    assert summary is not None
    assert [each.tag for each in summary][:4] == ["last_update", "last_change", "stack", "current_dc"]
    options = root.find("summary/cluster_options")
    assert options is not None and "maintenance-mode" not in options.attrib


def test_crm_mon_2_still_prints_the_deprecated_form(site: TrialSite) -> None:
    root = ET.fromstring(site.run(A, "crm_mon -1 --as-xml").stdout)
    assert (root.tag, root.get("version")) == ("crm_mon", "2.1.5")
    assert root.find("resources/resource[@resource_agent='ocf:heartbeat:IPaddr2']") is not None


LAUNCHER = "error: Could not connect to launcher: Connection refused"
CONNECTION = "crm_mon: Connection to cluster failed: Connection refused"
CIB_2 = "Could not connect to the CIB: Transport endpoint is not connected"
CIB_1 = "Signon to CIB failed: Transport endpoint is not connected"
INIT = "Init failed, could not perform requested operations"


@pytest.mark.parametrize(
    ("command", "out", "err"),
    [
        ("crm_mon -1", "", f"{LAUNCHER}\n{CONNECTION}\n"),
        ("crm_mon -1 --as-xml", '<crm_mon version="2.1.5" />\n', f"Not connected\n{LAUNCHER}\n{CONNECTION}\n"),
        ("cibadmin --query --scope constraints", "", f"{CIB_2}\n{INIT}\n"),
        ("crm_node -n", "", "error: Could not connect to controller: Connection refused\n"),
    ],
)
def test_pacemaker_2_ends_with_102_when_the_cluster_is_stopped(
    site: TrialSite, command: str, out: str, err: str
) -> None:
    site.run(B, "pcs cluster stop")
    answer = site.run(B, command)
    assert (answer.returncode, answer.stdout, answer.stderr) == (102, out, err)


def test_crm_mon_2_tells_in_xml_that_the_cluster_is_stopped(site: TrialSite) -> None:
    site.run(B, "pcs cluster stop")
    answer = site.run(B, "crm_mon -1 --output-as=xml")
    status = ET.fromstring(answer.stdout).find("status")
    assert status is not None
    assert (answer.returncode, answer.stderr, status.get("code"), status.get("message")) == (
        102,
        "",
        "102",
        "Not connected",
    )
    assert [each.text for each in status.iter("error")] == [LAUNCHER, CONNECTION]


@pytest.mark.parametrize(
    ("command", "status", "out", "err"),
    [
        ("crm_mon -1 --as-xml", 107, "\nConnection to cluster failed: Transport endpoint is not connected\n", ""),
        ("cibadmin --query --scope constraints", 107, "", f"{CIB_1}\n{INIT}\n"),
        ("crm_node -n", 0, f"{B}\n", ""),
    ],
)
def test_pacemaker_1_1_has_other_words_for_a_stopped_cluster(
    old_site: TrialSite, command: str, status: int, out: str, err: str
) -> None:
    old_site.run(B, "pcs cluster stop")
    answer = old_site.run(B, command)
    assert (answer.returncode, answer.stdout, answer.stderr) == (status, out, err)


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

"""The inventory: what it accepts, what it refuses and in which words."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from include.runbook import errors
from include.runbook.cluster import Cluster, Inventories, clusters_directory, load_cluster
from include.runbook.errors import InventoryError, RequestRefused

LAB = """\
name: lab
title: Embedded lab
ssh:
  connection: tecs_lab
  port: 2222
daisy:
  name: daisy
  address: 127.1.0.1
  cluster_id: f3e0fd0c-512b-43b6-a078-f9c41c0daa8a
controllers:
  a: {name: host-127-1-0-11, address: 127.1.0.11}
  b: {name: host-127-1-0-12, address: 127.1.0.12, port: 22, root: /tmp/lab/b/}
computes:
  - {name: host-127-1-0-21, address: 127.1.0.21}
  - {name: host-127-1-0-22, address: 127.1.0.22, network: dvs, connection: tecs_dvs}
virtual_ips: [127.1.0.100, 127.1.0.101]
storage: share
storage_network: STORAGE
cinder_management_ip: 127.1.0.100
releases:
  "100": {bin: /home/r/I100.bin, sha256: SUM, reports: "100.el7"}
  "101": {bin: /home/r/I101.bin, sha256: SUM}
target_release: "100"
pace: 20
""".replace("SUM", "ab" * 32)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return load_cluster(_written(tmp_path, LAB))


def _written(directory: Path, text: str, name: str = "lab.yaml") -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def _refused(directory: Path, text: str) -> list[str]:
    with pytest.raises(InventoryError) as refused:
        load_cluster(_written(directory, text))
    return str(refused.value).splitlines()


def test_daisy_may_run_on_controller_a_and_on_no_host_that_is_reinstalled(tmp_path: Path) -> None:
    on_a = load_cluster(_written(tmp_path, LAB.replace("address: 127.1.0.1\n", "address: 127.1.0.11\n")))
    assert on_a.daisy.address == on_a.controllers.a.address
    reason = "this host is reinstalled, so it cannot be the Daisy host; of the nodes only A can"
    for address, key in {"127.1.0.12": "controllers.b.address", "127.1.0.21": "computes[0].address"}.items():
        told = _refused(tmp_path, LAB.replace("address: 127.1.0.1\n", f"address: {address}\n"))
        assert len(told) == 1
        assert told[0].endswith(f"{key}: '{address}' is already the address at daisy.address; {reason}")


def test_a_container_is_docker_with_the_installer_outside_unless_it_says_otherwise(tmp_path: Path) -> None:
    plain = LAB.replace("address: 127.1.0.1\n", "address: 127.1.0.1\n  container: {name: daisy}\n")
    container = load_cluster(_written(tmp_path, plain)).daisy.container
    assert container is not None
    assert (container.engine, container.installer) == ("docker", "outside")
    told = _refused(tmp_path, plain.replace("name: daisy}", "name: daisy, path: /x}"))
    assert told == ["lab.yaml:9: daisy.container.path: unknown key; expected one of: engine, name, installer"]
    assert "is not valid" in _refused(tmp_path, plain.replace("{name: daisy}", '{name: "x; reboot"}'))[0]


def test_a_host_takes_port_and_connection_from_ssh_unless_it_has_its_own(cluster: Cluster) -> None:
    reached = {host.name: (host.connection, host.port) for host in cluster.hosts}
    assert reached == {
        "daisy": ("tecs_lab", 2222),
        "host-127-1-0-11": ("tecs_lab", 2222),
        "host-127-1-0-12": ("tecs_lab", 22),
        "host-127-1-0-21": ("tecs_lab", 2222),
        "host-127-1-0-22": ("tecs_dvs", 2222),
    }


def test_nodes_are_the_controllers_and_the_computes(cluster: Cluster) -> None:
    assert [host.address for host in cluster.nodes] == ["127.1.0.11", "127.1.0.12", "127.1.0.21", "127.1.0.22"]


def test_a_path_on_a_host_lies_below_its_root(cluster: Cluster) -> None:
    assert cluster.controllers.b.path("/etc/hosts") == "/tmp/lab/b/etc/hosts"
    assert cluster.controllers.a.path("/etc/hosts") == "/etc/hosts"


def test_the_exclude_list_holds_management_addresses(cluster: Cluster) -> None:
    assert cluster.exclude_list(cluster.controllers.a, *cluster.computes) == "127.1.0.11,127.1.0.21,127.1.0.22"


def test_the_exclude_list_holds_host_names_where_the_cluster_uses_dns(tmp_path: Path) -> None:
    cluster = load_cluster(_written(tmp_path, LAB + "use_dns: true\n"))
    assert cluster.exclude_list(cluster.controllers.a, cluster.controllers.b) == "host-127-1-0-11,host-127-1-0-12"


def test_known_hosts_names_carry_the_port_unless_it_is_22(cluster: Cluster) -> None:
    assert cluster.known_hosts_names(cluster.controllers.a) == ("[127.1.0.11]:2222", "[host-127-1-0-11]:2222")
    assert cluster.known_hosts_names(cluster.controllers.b) == ("127.1.0.12", "host-127-1-0-12")
    assert cluster.virtual_ips_known_hosts_names == ("[127.1.0.100]:2222", "[127.1.0.101]:2222")


def test_measured_seconds_shrink_with_the_pace(cluster: Cluster) -> None:
    assert cluster.seconds(675) == 33.75


def test_a_console_listens_on_the_storage_network_name(cluster: Cluster) -> None:
    assert cluster.vnc_address(cluster.computes[0]) == "host-127-1-0-21.STORAGE"


def test_a_console_listens_on_the_host_name_without_a_storage_network(tmp_path: Path) -> None:
    cluster = load_cluster(_written(tmp_path, LAB.replace("storage_network: STORAGE", "storage_network: null")))
    assert cluster.vnc_address(cluster.computes[0]) == "host-127-1-0-21"


def test_a_compute_can_name_its_own_console_address(tmp_path: Path) -> None:
    text = LAB.replace("network: dvs", "network: dvs, vnc_address: 10.9.9.9")
    cluster = load_cluster(_written(tmp_path, text))
    assert cluster.vnc_address(cluster.computes[1]) == "10.9.9.9"


def test_only_a_dvs_compute_carries_over_the_settings_of_dvs(cluster: Cluster) -> None:
    ovs, dvs = (cluster.carry_over.table(compute.network) for compute in cluster.computes)
    assert "DEFAULT/dvs_high_cpu_set" not in ovs
    assert dvs["DEFAULT/dvs_high_cpu_set"] == "restore"
    assert ovs["DEFAULT/vcpu_pin_set"] == dvs["DEFAULT/vcpu_pin_set"] == "restore"
    assert cluster.carry_over.unlisted_differences == "report"


def test_rows_of_an_inventory_come_before_the_built_in_ones_of_their_network_mode(tmp_path: Path) -> None:
    rows = '{"libvirt/cpu_*": restore, vnc/server_proxyclient_address: set, "*/*token*": restore}'
    cluster = load_cluster(_written(tmp_path, LAB + f"carry_over: {{ovs: {rows}}}\n"))
    ovs, dvs = (cluster.carry_over.table(compute.network) for compute in cluster.computes)
    assert list(ovs)[:2] == ["libvirt/cpu_*", "vnc/server_proxyclient_address"]
    assert (ovs["*/*token*"], dvs["*/*token*"]) == ("restore", "fresh")
    assert ovs["libvirt/volume_use_multipath"] == "restore"
    assert "libvirt/cpu_*" not in dvs


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("{libvirt: restore}", "expected SECTION/KEY of nova.conf"),
        ("{libvirt/a b: restore}", "expected SECTION/KEY of nova.conf"),
        ('{"libvirt/a]": restore}', "expected SECTION/KEY of nova.conf"),
        ("{libvirt/cpu_mode: keep}", "'keep' is not one of the choices; expected 'restore', 'fresh' or 'set'"),
        ("{libvirt/cpu_mode: set}", "libvirt/cpu_mode: set: no value is known for it; expected one section and one of"),
        ('{"*/compute_manager": set}', "no value is known for it"),
    ],
)
def test_a_row_of_carry_over_that_cannot_be_followed_is_refused(tmp_path: Path, rows: str, told: str) -> None:
    with pytest.raises(InventoryError, match=r"carry_over\.dvs") as refused:
        load_cluster(_written(tmp_path, LAB + f"carry_over: {{dvs: {rows}}}\n"))
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("storage", "resources"),
    [
        ("storage: share", ()),
        ("storage: local", ("glance", "db", "dbbackup")),
        ("storage: share_cluster", ("glance", "db", "dbbackup")),
        ("storage: local\nreplicated: {glance: image, db: data, dbbackup: data, mongodb: data}", ("image", "data")),
    ],
)
def test_a_storage_mode_says_which_drbd_resources_there_are(
    tmp_path: Path, storage: str, resources: tuple[str, ...]
) -> None:
    assert load_cluster(_written(tmp_path, LAB.replace("storage: share", storage))).drbd_resources == resources


@pytest.mark.parametrize(
    ("storage", "told"),
    [
        ("storage: share\nreplicated: {db: db}", "replicated: names DRBD resources, but storage share"),
        ("storage: local\nreplicated: {}", "replicated: names nobody, but storage is local"),
        ("storage: local\nreplicated: {db: '; rm'}", "replicated.db: '; rm' is not valid; expected letters"),
        ("storage: local\nreplicated: {tape: db}", "replicated.tape: 'tape' is not one of the choices"),
    ],
)
def test_replicated_data_that_cannot_be_is_refused_by_name(tmp_path: Path, storage: str, told: str) -> None:
    with pytest.raises(InventoryError) as refused:
        load_cluster(_written(tmp_path, LAB.replace("storage: share", storage)))
    assert told in str(refused.value)


def test_a_release_reports_its_own_name_unless_told_otherwise(cluster: Cluster) -> None:
    assert cluster.release_reports == {"100": "100.el7", "101": "101"}


def test_a_release_may_be_listed_without_quotes(tmp_path: Path) -> None:
    cluster = load_cluster(_written(tmp_path, LAB.replace('  "101":', "  1.10:")))
    assert cluster.release("1.10").reports == "1.10"


@pytest.mark.parametrize("ask", [lambda c: c.host("x"), lambda c: c.compute("daisy"), lambda c: c.release("99")])
def test_an_unknown_name_is_refused_with_the_known_ones(cluster: Cluster, ask: Callable[[Cluster], object]) -> None:
    with pytest.raises(RequestRefused, match="choose one of: "):
        ask(cluster)


def test_nobody_is_told_of_a_run_unless_the_inventory_says_so_and_then_everything(tmp_path: Path) -> None:
    assert load_cluster(_written(tmp_path, LAB)).notify == ()
    told = load_cluster(_written(tmp_path, LAB + "notify: [{by: smtp, connection: m, to: [noc@example.org]}]\n")).notify
    assert [event.value for event in told[0].events] == ["start", "decision", "late", "failed", "done"]


def test_an_inventory_cannot_be_changed_after_loading(cluster: Cluster) -> None:
    with pytest.raises(ValueError, match="frozen"):
        cluster.pace = 1.0


REFUSED = {
    "an unknown key": (
        ("pace: 20", "pase: 20"),
        "lab.yaml:24: pase: unknown key; expected one of: name, title,",
    ),
    "an unknown key of a controller": (
        ("address: 127.1.0.11}", "address: 127.1.0.11, vlan: 3}"),
        "lab.yaml:11: controllers.a.vlan: unknown key; expected one of: name, address,",
    ),
    "a missing key": (
        ("storage: share\n", ""),
        "lab.yaml:1: storage: is missing; expected a value",
    ),
    "a missing connection, told once": (
        ("  connection: tecs_lab\n", ""),
        "lab.yaml:3: ssh.connection: is missing; expected a value",
    ),
    "a port out of range, told once": (
        ("port: 2222", "port: 70000"),
        "lab.yaml:5: ssh.port: 70000 is not valid; expected less than or equal to 65535",
    ),
    "what is not an address": (
        ("127.1.0.12,", "10.0.0.300,"),
        "lab.yaml:12: controllers.b.address: '10.0.0.300' is not an IP address; expected one such as 10.43.203.90",
    ),
    "a shell command as the scope of an address": (
        ("address: 127.1.0.21}", 'address: "fe80::1%$(reboot)"}'),
        "lab.yaml:14: computes[0].address: 'fe80::1%$(reboot)' is not valid; expected an address without a scope",
    ),
    "A and B at one address": (
        ("127.1.0.12,", "127.1.0.11,"),
        "lab.yaml:12: controllers.b.address: '127.1.0.11' is already the address at controllers.a.address; "
        "A and B must be two hosts",
    ),
    "two hosts of one name": (
        ("name: host-127-1-0-22", "name: daisy"),
        "lab.yaml:15: computes[1].name: 'daisy' is already the name at daisy.name; "
        "expected another name for every host",
    ),
    "a virtual IP that is a host's address": (
        ("127.1.0.101]", "127.1.0.21]"),
        "lab.yaml:16: virtual_ips[1]: '127.1.0.21' is already the address at computes[0].address; "
        "expected another address for every host",
    ),
    "a full-width comma": (
        ("127.1.0.100, 127.1.0.101]", "127.1.0.100\uff0c127.1.0.101]"),
        "lab.yaml:16: virtual_ips[0]: '127.1.0.100\uff0c127.1.0.101' holds a full-width comma, '\uff0c' (U+FF0C); "
        "expected one such as 10.43.203.90",
    ),
    "a letter outside ASCII in a name": (
        ("name: daisy", "name: da\u0456sy"),
        "lab.yaml:7: daisy.name: 'da\u0456sy' holds a character outside ASCII, '\u0456' (U+0456); expected letters,",
    ),
    "a shell command in a name": (
        ("name: daisy", "name: 'x;reboot'"),
        "lab.yaml:7: daisy.name: 'x;reboot' is not valid; expected letters, digits and . _ -",
    ),
    "a name with a line end": (
        ("name: daisy", r'name: "daisy\n"'),
        r"lab.yaml:7: daisy.name: 'daisy\n' is not valid; expected letters, digits and . _ -",
    ),
    "a root that climbs": (
        ("/tmp/lab/b/", "/tmp/../etc"),
        "lab.yaml:12: controllers.b.root: '/tmp/../etc' is not valid; expected an absolute path",
    ),
    "a path with a shell command": (
        ("/home/r/I101.bin", "/home/$(reboot).bin"),
        "lab.yaml:22: releases.101.bin: '/home/$(reboot).bin' is not valid; expected an absolute path",
    ),
    "a sum that is too short": (
        ("ab" * 32, "abcd"),
        "lab.yaml:21: releases.100.sha256: 'abcd' is not valid; expected a SHA-256 sum of 64 hexadecimal digits",
    ),
    "a target that is no release": (
        ('target_release: "100"', 'target_release: "99"'),
        "lab.yaml:23: target_release: '99' is not under releases; expected one of: 100, 101",
    ),
    "a target without quotes": (
        ('target_release: "100"', "target_release: 100"),
        "lab.yaml:23: target_release: 100 is a number; expected text: write it in quotes",
    ),
    "two releases that look the same": (
        ('reports: "100.el7"', 'reports: "101"'),
        "lab.yaml:22: releases.101.reports: '101' is what release 100 reports too; "
        "expected a text that tells them apart",
    ),
    "a connection id with a blank": (
        ("connection: tecs_dvs", "connection: tecs dvs"),
        "lab.yaml:15: computes[1].connection: 'tecs dvs' is not valid; expected an Airflow connection id",
    ),
    "a host key of an unknown kind": (
        ("network: dvs", "host_key: ssh-dss AAAA"),
        "lab.yaml:15: computes[1].host_key: 'ssh-dss AAAA' is not valid; expected a public key",
    ),
    "a network mode that does not exist": (
        ("network: dvs", "network: sriov"),
        "lab.yaml:15: computes[1].network: 'sriov' is not one of the choices; expected 'ovs' or 'dvs'",
    ),
    "a probe of two lines": (
        ("pace: 20", r'probes: {release: "cat a\ncat b"}'),
        "lab.yaml:24: probes.release: 'cat a\\ncat b' is not valid; expected one line of text",
    ),
    "a pace of nought": (
        ("pace: 20", "pace: 0"),
        "lab.yaml:24: pace: 0 is not valid; expected greater than 0",
    ),
    "a batch of nobody": (
        ("pace: 20", "batch_size: 0"),
        "lab.yaml:24: batch_size: 0 is not valid; expected greater than or equal to 1",
    ),
    "an unknown key of the databases": (
        ("pace: 20", "databases: {password: x}"),
        "lab.yaml:24: databases.password: unknown key; expected one of: client, dump",
    ),
    "an unknown key of the validation": (
        ("pace: 20", "validation: {every: day}"),
        "lab.yaml:24: validation.every: unknown key; expected one of: schedule, timezone",
    ),
    "an unknown notifier": (
        ("pace: 20", "notify: [{by: pigeon, connection: c}]"),
        "lab.yaml:24: notify[0].by: 'pigeon' is not one of the choices; expected 'smtp', 'http' or 'slack'",
    ),
    "an unknown event": (
        ("pace: 20", "notify:\n  - {by: http, connection: c}\n  - {by: http, connection: c, events: [failed, lunch]}"),
        "lab.yaml:26: notify[1].events[1]: 'lunch' is not one of the choices; "
        "expected 'start', 'decision', 'late', 'failed' or 'done'",
    ),
    "no event at all": (
        ("pace: 20", "notify: [{by: http, connection: c, events: []}]"),
        "lab.yaml:24: notify[0].events: lists nothing; expected some of: start, decision, late, failed, done",
    ),
    "a mail to nobody": (
        ("pace: 20", "notify: [{by: smtp, connection: c}]"),
        "lab.yaml:24: notify[0].to: names nobody; expected the mail addresses that smtp sends to",
    ),
    "what is not a mail address": (
        ("pace: 20", 'notify: [{by: smtp, connection: c, to: ["noc@example.org\\nBcc: x@y"]}]'),
        "lab.yaml:24: notify[0].to[0]: 'noc@example.org\\nBcc: x@y' is not valid; "
        "expected a mail address such as noc@example.org",
    ),
    "addresses where the connection says where to": (
        ("pace: 20", "notify: [{by: http, connection: c, to: [noc@example.org]}]"),
        "lab.yaml:24: notify[0].to: means nothing to http, whose connection says where to; expected no such key",
    ),
    "an unknown key of a notifier": (
        ("pace: 20", "notify: [{by: http, connection: c, url: x}]"),
        "lab.yaml:24: notify[0].url: unknown key; expected one of: by, connection, to, events",
    ),
    "a name that is not the file's": (
        ("name: lab\n", "name: other\n"),
        "lab.yaml:1: name: 'other' differs from the file's name; expected 'lab'",
    ),
    "a key given twice": (
        ("title: Embedded lab", "title: a\ntitle: b"),
        "lab.yaml:3: title: the key stands here again; it is already on line 2",
    ),
    "an alias": (
        ("title: Embedded lab\n", "title: &t lab\nfloat_ip_resource: *t\n"),
        "lab.yaml:3: alias '*t' is not supported; expected the values themselves",
    ),
    "what is not YAML": (
        ("computes:", "computes: ["),
        "lab.yaml:14: not readable as YAML: ",
    ),
}


@pytest.mark.parametrize(("change", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_file_line_key_and_expectation(tmp_path: Path, change: tuple[str, str], expected: str) -> None:
    assert change[0] in LAB
    told = _refused(tmp_path, LAB.replace(*change, 1))
    assert len(told) == 1
    assert told[0].startswith(expected)


def test_a_cluster_without_computes_is_refused(tmp_path: Path) -> None:
    start, end = LAB.index("computes:"), LAB.index("virtual_ips:")
    told = _refused(tmp_path, LAB[:start] + "computes: []\n" + LAB[end:])
    assert told == ["lab.yaml:13: computes: lists nobody; expected at least one compute"]


def test_all_problems_are_told_at_once_in_order_of_lines(tmp_path: Path) -> None:
    text = LAB.replace("127.1.0.12,", "127.1.0.11,").replace("storage: share", "storage: tape").replace("20", "fast")
    assert [line.split(":")[1] for line in _refused(tmp_path, text)] == ["12", "17", "24"]


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_a_file_without_keys_is_refused(tmp_path: Path, text: str) -> None:
    assert _refused(tmp_path, text) == ["lab.yaml:1: expected keys and values of a cluster, such as 'name: lab'"]


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_bytes(LAB.replace("Embedded", "\u7248").encode("gb2312"))
    with pytest.raises(InventoryError, match=r"lab\.yaml: not UTF-8 at byte 17"):
        load_cluster(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="cannot be read: No such file"):
        load_cluster(tmp_path / "absent.yaml")


def test_conflicts_are_refused_however_a_cluster_is_built(cluster: Cluster) -> None:
    raw = cluster.model_dump()
    raw["controllers"]["b"]["address"] = raw["controllers"]["a"]["address"]
    with pytest.raises(ValueError, match="A and B must be two hosts"):
        Cluster.model_validate(raw)


def test_a_mistake_in_one_file_does_not_keep_another_cluster_from_being_used(tmp_path: Path) -> None:
    _written(tmp_path, LAB)
    _written(tmp_path, LAB, "north.yaml")
    known = Inventories(tmp_path)
    assert list(known) == ["lab", "north"]
    assert known["lab"].name == "lab"
    with pytest.raises(InventoryError, match=r"north\.yaml"):
        known["north"]


def test_the_example_is_a_valid_inventory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TECS_CLUSTERS", raising=False)
    example = load_cluster(clusters_directory() / "example.yaml")
    assert [compute.network for compute in example.computes].count("dvs") == 1


def test_the_directory_of_inventories_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TECS_CLUSTERS", str(tmp_path))
    assert clusters_directory() == tmp_path


def test_a_failure_says_host_command_status_output_and_what_to_do() -> None:
    failure = errors.CommandFailed("A2", "b", "pcs resource ban x", 1, "one\ntwo\x1b[2J\n", "look at crm_mon")
    assert str(failure).splitlines() == [
        "A2: command failed on b with exit status 1: pcs resource ban x",
        "last lines of output:",
        "    one",
        "    two",
        "what to do: look at crm_mon",
    ]


@pytest.mark.parametrize(
    "failure",
    [
        errors.RequestRefused("no"),
        errors.HostUnreachable("b", "timed out"),
        errors.HostKeyMissing("b", "10.0.0.2", 22),
        errors.HostKeyMismatch("b", "ssh-ed25519 A", "ssh-ed25519 B"),
        errors.ConnectionLost("A2", "b", "pcs status", "reset"),
        errors.GoalNotReached("A2", "b", "b is banned", "no ban", "look"),
        errors.PreconditionFailed("A1", "a", "a online", "a offline", "start a"),
        errors.LockHeld("lab", "run 1", "2016-06-01T00:00:00Z", "wait"),
        errors.FactUnreadable("b", "crm_mon", "nothing"),
        errors.LimitExceeded("A5.3", "daisy", 900, "Applying", "look"),
        errors.JobLost("A5.3", "daisy", "j1", "Applying", "look"),
        errors.PasswordPrompt("A5.3", "daisy", "root@b's password:"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_a_failure_crosses_a_process_border_unchanged(failure: errors.RunbookError) -> None:
    arrived = pickle.loads(pickle.dumps(failure))
    assert type(arrived) is type(failure)
    assert str(arrived) == str(failure)
    assert vars(arrived) == vars(failure)

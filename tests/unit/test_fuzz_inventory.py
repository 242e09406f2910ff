"""Whatever stands in an inventory or a request, it is refused in words or quoted wherever it reaches a shell."""

from __future__ import annotations

import copy
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.runbook import custody, lock, notice, validation_results
from include.runbook import steps as _registered  # noqa: F401  the import registers every step
from include.runbook.cluster import Cluster, load_cluster
from include.runbook.consent import Consent, consents, note_consent
from include.runbook.errors import InventoryError, RequestRefused
from include.runbook.perform import signed
from include.runbook.plan import make_steps
from include.runbook.request import read_request
from include.runbook.step import KINDS, Run, VmPolicy
from include.runbook.validation import checks

from .hostile import DEEP, ESCAPES, HUGE, PAYLOADS, replaced, values, words

EXAMPLE = Path(__file__).parents[2] / "include/clusters/example.yaml"
SHELL = ("probes", "databases")
"""Parts of an inventory that are shell commands by themselves: who writes them is trusted with that."""

KEYS = st.sampled_from(sorted({*Cluster.model_fields} - set(SHELL)))
WRITES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@cache
def example() -> str:
    return EXAMPLE.read_text(encoding="utf-8")


@cache
def site() -> Cluster:
    return Cluster.model_validate(yaml.safe_load(example()))


@st.composite
def inventories(draw: st.DrawFn) -> dict[str, Any]:
    """The example site with one to three of its parts replaced by anything."""
    raw: dict[str, Any] = copy.deepcopy(yaml.safe_load(example()))
    for _ in range(draw(st.integers(1, 3))):
        key = draw(KEYS)
        raw[key] = replaced(draw, raw[key]) if key in raw else draw(values)
    if draw(st.booleans()):
        raw[draw(words)] = draw(values)
    return raw


def loaded(folder: Path, text: str | bytes) -> Cluster | None:
    """Load the text as the inventory of `example`; None where it is refused as it should be."""
    file = folder / "example.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    try:
        return load_cluster(file)
    except InventoryError as refused:
        told = str(refused).splitlines()
        assert told
        assert all(line.startswith(("example.yaml:", "... ")) for line in told), told
        assert sum(map(len, told)) < 25_000
        return None


def run_on(cluster: Cluster, **asked: Any) -> Run:
    run = Run(cluster, cluster.target_release, cluster.computes[:2], owner="rollback_cluster/r", dag="rollback_cluster")
    return replace(run, **asked)


def scripts(run: Run) -> Iterator[str]:
    """Yield every script that the product may send in this run."""
    yield custody.read_script(run.cluster)
    yield custody.record_script(run, {"event": "begun", "user": run.user, "title": run.cluster.title})
    yield lock.take(run)
    yield lock.release(run)
    yield consents(run).command
    yield note_consent(run, Consent(run.computes[0].name, VmPolicy.MIGRATE, run.user, run.owner, (run.user,)))
    yield validation_results.keep(run.cluster, "20260101T000000Z", run.cluster.title)
    for kind in KINDS.values():
        for step in make_steps(kind, run):
            yield signed(step)
            for goal in (step.goal, step.proven_by, *step.requires):
                yield from (read.command for read in goal.reads)
    for check in checks(run):
        yield from (read.command for read in check.goal.reads)


@cache
def parses(script: str) -> bool:
    return subprocess.run(["sh", "-n"], input=script.encode(), capture_output=True, check=False).returncode == 0


# ---- inventories -----------------------------------------------------------------------------------------------------


def test_the_example_as_it_is_makes_scripts_that_a_shell_understands(tmp_path: Path) -> None:
    cluster = loaded(tmp_path, example())
    assert cluster is not None
    made = set(scripts(run_on(cluster)))
    assert len(made) > 100
    assert [script for script in made if not parses(script)] == []


@WRITES
@given(inventories())
def test_an_inventory_is_accepted_or_refused_with_file_and_line(tmp_path: Path, raw: dict[str, Any]) -> None:
    try:
        text = yaml.safe_dump(raw, allow_unicode=True)
    except (yaml.YAMLError, UnicodeError):
        return
    cluster = loaded(tmp_path, text)
    if cluster is not None:
        made = set(scripts(run_on(cluster)))
        assert [script for script in made if not parses(script)] == []


@WRITES
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.tuples(st.integers(0, 5000), words, st.integers(0, 40)).map(
            lambda cut: (example()[: cut[0]] + cut[1] + example()[cut[0] + cut[2] :]).encode("utf-8", "surrogatepass")
        ),
        st.sampled_from((*DEEP, HUGE, "name: " + "[" * 3000 + "]" * 3000)).map(str.encode),
    )
)
def test_any_bytes_are_accepted_or_refused_with_file_and_line(tmp_path: Path, data: bytes) -> None:
    loaded(tmp_path, data)


TAGGED = ("bool", "int", "float", "timestamp", "binary", "null", "set", "omap", "pairs", "seq", "map", "x")


@pytest.mark.parametrize("tag", TAGGED)
@pytest.mark.parametrize("value", ["x", "''", "{a: 1}", "[1]", "0b", "0x_", "9999-99-99", "!!int '0b'"])
def test_a_value_with_a_type_of_yaml_is_accepted_or_refused(tmp_path: Path, tag: str, value: str) -> None:
    loaded(tmp_path, f"name: !!{tag} {value}\n")


@pytest.mark.parametrize("hostile", (*PAYLOADS, *ESCAPES))
@pytest.mark.parametrize(
    "path",
    [
        ("daisy", "name"),
        ("daisy", "address"),
        ("daisy", "cluster_id"),
        ("controllers", "a", "name"),
        ("controllers", "b", "root"),
        ("computes", 0, "name"),
        ("computes", 5, "vnc_address"),
        ("virtual_ips", 0),
        ("float_ip_resource",),
        ("storage_network",),
        ("releases", "100", "bin"),
        ("releases", "100", "sha256"),
        ("verification_vm", "image"),
        ("paths", "nova_conf"),
        ("cinder_management_ip",),
        ("ssh", "connection"),
    ],
    ids=str,
)
def test_a_name_that_is_more_than_a_name_is_refused(tmp_path: Path, path: tuple[str | int, ...], hostile: str) -> None:
    raw: dict[str, Any] = yaml.safe_load(example())
    raw.setdefault("paths", {})
    part: Any = raw
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = hostile
    assert loaded(tmp_path, yaml.safe_dump(raw)) is None


@pytest.mark.parametrize("text", ['{"a":' * 50_000, "[" * 50_000, "- " * 30_000, "a: [" * 9000], ids=range(4))
def test_what_lies_too_deep_is_refused_at_once(tmp_path: Path, text: str) -> None:
    file = tmp_path / "example.yaml"
    file.write_text(text)
    begun = time.process_time()
    with pytest.raises(InventoryError, match=r"example\.yaml:1: "):
        load_cluster(file)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("value", ["!!bool x", "!!timestamp x", "!!int ''", "2016-99-99"])
def test_a_value_that_is_not_of_its_type_is_named_with_its_key(tmp_path: Path, value: str) -> None:
    file = tmp_path / "example.yaml"
    file.write_text(f"name: example\ntitle: {value}\n")
    with pytest.raises(InventoryError, match=r"example\.yaml:2: title: '.*' is no (bool|timestamp|int)"):
        load_cluster(file)


@pytest.mark.parametrize(
    "parent", [True, "rollback_cluster", ["x"], 7, {"run_id": 1}, {"failures_allowed": "2"}], ids=str
)
def test_a_parent_that_is_no_run_is_refused(parent: object) -> None:
    with pytest.raises(RequestRefused, match=r"parent: .* is not a run"):
        read_request(
            SOUND | {"parent": parent}, {"example": site()}, owner="d/r", user="u", dag="d", computes_asked=True
        )


# ---- what reaches a shell --------------------------------------------------------------------------------------------

TOOLS = (
    "awk basename base64 cat chmod chown cibadmin cmp cp crm_mon crm_node cut date dd df dirname drbdadm find grep head "
    "hostname id install ip ls mkdir mktemp mv nova openstack pcs rm rpm sed setsid sha256sum sleep sort ssh ssh-keygen "
    "ssh-keyscan stat sync systemctl tail tar tee timeout tr uniq wc xargs"
)
"""Programs of hosts. Here each of them does nothing and says nothing, so that a script can go its way without effect."""


@pytest.fixture
def harmless(tmp_path: Path) -> Iterator[Path]:
    """A folder whose programs do nothing, but for `touch`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in TOOLS.split():
        (programs / tool).write_text("#!/bin/sh\nexit 0\n")
        (programs / tool).chmod(0o755)
    (programs / "touch").write_text('#!/bin/sh\nfor f; do : > "$f"; done\n')
    (programs / "touch").chmod(0o755)
    yield programs


def leaves_a_canary(script: str, programs: Path) -> bool:
    """Carry the script out where nothing can be touched but the canary, and say whether something in it did."""
    folder = programs.parent / "here"
    folder.mkdir(exist_ok=True)
    shell = subprocess.Popen(
        ["/bin/sh", "-c", f"kill() {{ :; }}\n{script}"],
        cwd=folder,
        env={"PATH": str(programs)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    try:
        shell.wait(2)
    except subprocess.TimeoutExpired:
        os.killpg(shell.pid, 9)
        shell.wait()
    return (folder / "CANARY").exists()


def site_at(folder: Path, **changed: Any) -> Cluster:
    """The example site with every host's files below the folder."""
    raw: dict[str, Any] = yaml.safe_load(example()) | changed
    for host in (raw["daisy"], *raw["controllers"].values(), *raw["computes"]):
        host["root"] = str(folder / "hosts" / host["name"])
    return Cluster.model_validate(raw)


def test_a_shell_that_is_tricked_leaves_a_canary(harmless: Path) -> None:
    assert leaves_a_canary(f"echo '{PAYLOADS[2]}'", harmless)


@pytest.mark.parametrize("hostile", PAYLOADS)
def test_what_is_free_text_is_quoted_wherever_it_reaches_a_shell(harmless: Path, hostile: str) -> None:
    releases: Mapping[str, Any] = yaml.safe_load(example())["releases"]
    one_line = hostile.replace("\n", " ")
    told = {name: release | {"reports": f"{name} {one_line}"} for name, release in releases.items()}
    cluster = site_at(harmless.parent, releases=told, title=one_line)
    run = run_on(cluster, owner=f"rollback_cluster/{hostile}", user=hostile)
    holding = [script for script in dict.fromkeys(scripts(run)) if "CANARY" in script]
    assert len(holding) > 5
    for script in holding:
        assert parses(script), script
        assert not leaves_a_canary(script, harmless), script


# ---- requests --------------------------------------------------------------------------------------------------------

PARAMETERS = (
    "cluster",
    "target_release",
    "computes",
    "vm_policy",
    "return_vms",
    "take_over",
    "accept_newer_schema",
    "computes_first",
    "parent",
)
SOUND: dict[str, Any] = {
    "cluster": "example",
    "target_release": "100",
    "computes": ["host-10-43-203-101", "host-10-43-203-102"],
    "vm_policy": {"host-10-43-203-101": "migrate"},
    "return_vms": True,
    "take_over": False,
    "parent": {"dag_id": "rollback_cluster", "run_id": "r", "user": "x", "failures_allowed": 1},
}


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """A request of which some parts are anything."""
    asked = dict(SOUND)
    for key in draw(st.lists(st.sampled_from(PARAMETERS), min_size=1, max_size=3)):
        asked[key] = replaced(draw, asked.get(key))
    if draw(st.integers(0, 4)) == 0:
        asked[draw(words)] = draw(values)
    return asked


@given(requests(), st.booleans())
def test_a_request_is_a_run_or_refused(asked: dict[str, Any], computes_asked: bool) -> None:
    cluster = site()
    try:
        run = read_request(
            asked, {"example": cluster}, owner="d/r", user="u", dag="rollback_compute", computes_asked=computes_asked
        )
    except RequestRefused as refused:
        assert "nothing has been touched" in str(refused)
        assert len(str(refused)) < 25_000
    else:
        assert run.target in cluster.releases
        assert set(run.computes) <= set(cluster.computes)
        assert isinstance(run.failures_allowed, int)
        for compute in run.computes:
            assert isinstance(run.policy_for(compute), VmPolicy)


@given(words, words)
def test_a_notice_is_made_of_any_text(found: str, advice: str) -> None:
    told = notice.Notice(notice.Event.FAILED, "example", "rollback_cluster", "run", found, advice)
    assert told.values["text"].startswith(told.subject)

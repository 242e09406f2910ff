"""The embedded lab's stand-ins answer as the real programs do, in the same states, as far as the product reads them.

One table says in which state which command line is sent to which host, and what of the answer counts: its exit status
and some words, or what the product's own parser reads from it. The real programs are right; where a stand-in differs,
the stand-in is mended.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from include.lab.client import LabClient
from include.lab.topology import make_inventory
from include.runbook import facts
from include.runbook.errors import FactUnreadable
from include.runbook.goals import CONSTRAINTS, CRM_MON, PROPERTIES, THIS_NODE
from include.runbook.steps.ha import NAMES
from tests.loopback import free_network

pytestmark = pytest.mark.cluster
OPTIONS = ("--no-cloud", "--scenario", "good")

FLOAT_IP = "lb_float_ip"
RELEASE = "LC_ALL=C rpm -q --qf '%{RELEASE}' openstack-nova-common"
CONF = "{root}/etc/corosync/corosync.conf"
PATIENCE = 60.0
"""Seconds that a lab may need to reach a state; the real cluster needs up to ten."""

Answer = subprocess.CompletedProcess[str]


# ---- the two labs ----------------------------------------------------------------------------------------------------


class Lab(Protocol):
    """What the clients of both labs have in common."""

    @property
    def inventory(self) -> Path: ...

    def run(self, host: str, command: str, stdin: str = "") -> Answer: ...


class Side:
    """One of the two labs. Its names are written as <a> and <b>, so that its answers can be compared with the other's."""

    def __init__(self, lab: Lab) -> None:
        inventory: dict[str, Any] = yaml.safe_load(lab.inventory.read_text())
        a, b = inventory["controllers"]["a"], inventory["controllers"]["b"]
        self.lab = lab
        self.hosts = {"a": a, "b": b, "c": inventory["computes"][0], "daisy": inventory["daisy"]}
        self.nodes = {key: lab.run(self.hosts[key]["name"], THIS_NODE).stdout.strip() for key in ("a", "b")}
        assert all(self.nodes.values()), f"crm_node -n names no node: {self.nodes}"

    def run(self, host: str, command: str) -> Answer:
        """Run a command line of the table; {a} and {b} are the nodes' names, {root} is where the host's files are."""
        root = self.hosts[host].get("root", "")
        for word, value in {"{a}": self.nodes["a"], "{b}": self.nodes["b"], "{root}": root}.items():
            command = command.replace(word, value)
        return self.lab.run(self.hosts[host]["name"], command)

    def common(self, text: str) -> str:
        """Return the text with this lab's names replaced."""
        for key in ("a", "b"):
            for name in (self.nodes[key], self.hosts[key]["name"], self.hosts[key]["address"]):
                text = text.replace(name, f"<{key}>")
        return text

    def view(self) -> Cluster:
        """Return the cluster as A's Pacemaker shows it, read as the product reads it."""
        status = facts.parse_cluster_status(self._told(CRM_MON), source="a: crm_mon")
        constraints = facts.parse_constraints(self._told(CONSTRAINTS), source="a: cibadmin")
        properties = facts.parse_cluster_properties(self._told(PROPERTIES), source="a: cibadmin")
        return Cluster(
            online=tuple(sorted(self.common(name) for name in status.online)),
            float_ip_on=tuple(self.common(name) for name in status.located(FLOAT_IP)),
            constrained=tuple(self.common(each.id) for each in constraints if each.is_cli),
            kept_by=facts.maintenance_by(properties),
            meaningless=properties.get("unmanaged"),
        )

    def _told(self, command: str) -> str:
        answer = self.run("a", command)
        assert answer.returncode == 0, f"a: {command}: {answer.returncode}\n{answer.stdout}{answer.stderr}"
        return answer.stdout


@dataclass(frozen=True)
class Cluster:
    """What a state is told by. `meaningless`: the value of TECS's property, which Pacemaker itself does not know."""

    online: tuple[str, ...] = ("<a>", "<b>")
    float_ip_on: tuple[str, ...] = ("<a>",)
    constrained: tuple[str, ...] = ()
    kept_by: str | None = None
    meaningless: str | None = None


# ---- the states ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """How a state is made of the one before it, and how it is recognised."""

    before: str | None
    commands: tuple[tuple[str, str], ...]
    reached: Cluster


BAN_OF_A, BAN_OF_B = f"cli-ban-{FLOAT_IP}-on-<a>", f"cli-ban-{FLOAT_IP}-on-<b>"
STATES = {
    "both online": State(None, (), Cluster()),
    "B banned": State("both online", (("a", f"pcs resource ban {FLOAT_IP} {{b}}"),), Cluster(constrained=(BAN_OF_B,))),
    "A banned": State(
        "both online",
        (("a", f"pcs resource ban {FLOAT_IP} {{a}}"),),
        Cluster(float_ip_on=("<b>",), constrained=(BAN_OF_A,)),
    ),
    "after the clear": State("A banned", (("a", f"pcs resource clear {FLOAT_IP}"),), Cluster(float_ip_on=("<b>",))),
    "in maintenance": State(
        "both online", (("a", "pcs property set maintenance-mode=true"),), Cluster(kept_by="maintenance-mode")
    ),
    "B stopped": State(
        "both online",
        (("b", "systemctl stop pacemaker.service && systemctl stop corosync.service"),),
        Cluster(online=("<a>",)),
    ),
    "B without corosync.conf": State("B stopped", (("b", f"mv {CONF} {CONF}.away"),), Cluster(online=("<a>",))),
}


class Stage:
    """Both labs, always in the same state."""

    def __init__(self, stand_in: Side, real: Side) -> None:
        self.sides = {"stand-in": stand_in, "real": real}
        self.now: str | None = None

    def go(self, name: str) -> None:
        """Bring both labs into the state."""
        if self.now == name:
            return
        self.now = None
        state = STATES[name]
        if state.before is None:
            for side in self.sides.values():
                _undo(side)
        else:
            self.go(state.before)
            self.now = None
        for side in self.sides.values():
            for host, command in state.commands:
                _succeed(side, host, command)
        for label, side in self.sides.items():
            _await(label, side, state.reached)
        self.now = name


def _undo(side: Side) -> None:
    """Undo whatever keeps the lab from both controllers being online, A active, and nothing constrained."""
    seen = side.view()
    if seen.online != ("<a>", "<b>"):
        _succeed(side, "b", f"test ! -e {CONF}.away || mv {CONF}.away {CONF}")
        _succeed(side, "b", "pcs cluster start")
    if seen.kept_by:
        _succeed(side, "a", "pcs property set maintenance-mode=false")
    if seen.meaningless:
        _succeed(side, "a", "pcs property unset unmanaged")
    if seen.constrained:
        _succeed(side, "a", f"pcs resource clear {FLOAT_IP}")
    _await("undoing", side, None)
    if side.view().float_ip_on != ("<a>",):
        _succeed(side, "a", f"pcs resource move {FLOAT_IP} {{a}}")


def _succeed(side: Side, host: str, command: str) -> None:
    answer = side.run(host, command)
    assert answer.returncode == 0, f"{host}: {command}: {answer.stdout}{answer.stderr}"


def _await(label: str, side: Side, wanted: Cluster | None) -> None:
    ends = time.monotonic() + PATIENCE
    while True:
        seen = side.view()
        if seen == wanted or (wanted is None and len(seen.online) == 2 and seen.float_ip_on):
            return
        assert time.monotonic() < ends, f"{label}: after {PATIENCE:g} s {seen}, expected {wanted or 'both online'}"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def stage(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Both labs, every node on release 100, A active, nothing constrained."""
    folder = tmp_path_factory.mktemp("stand-in")
    inventory = folder / "inventory.yaml"
    inventory.write_text(yaml.safe_dump(make_inventory("conformance", network=free_network())))
    with LabClient.start(inventory, folder / "state", "--scenario", "good", "--pace", "200") as stand_in:
        stage = Stage(Side(stand_in), Side(lab))
        yield stage
        stage.go("both online")


# ---- what counts of an answer ----------------------------------------------------------------------------------------

Reading = Callable[[Side, Answer], object]


def text(side: Side, answer: Answer) -> object:
    """The exit status and the whole of standard output."""
    return answer.returncode, side.common(answer.stdout)


def status(side: Side, answer: Answer) -> object:
    """The exit status alone."""
    return answer.returncode


def cluster(side: Side, answer: Answer) -> object:
    """What the product reads of nodes, of the float IP and of maintenance from crm_mon's XML."""
    try:
        read = facts.parse_cluster_status(answer.stdout, source="a host: crm_mon")
    except FactUnreadable as refused:
        return answer.returncode, type(refused).__name__
    nodes = {side.common(each.name): (each.online, each.standby, each.maintenance, each.pending) for each in read.nodes}
    float_ip = [
        (each.agent, each.role, each.active, each.failed, each.managed, [side.common(node) for node in each.nodes])
        for each in read.resources
        if each.id == FLOAT_IP
    ]
    return answer.returncode, nodes, float_ip, read.maintenance


def constraints(side: Side, answer: Answer) -> object:
    """What the product reads of the constraints that `ban` and `move` make."""
    read = facts.parse_constraints(answer.stdout, source="a host: cibadmin")
    own = [each for each in read if each.resource == FLOAT_IP]
    return answer.returncode, [(side.common(each.id), side.common(each.node or ""), each.score) for each in own]


def kept(side: Side, answer: Answer) -> object:
    """What keeps the cluster unmanaged."""
    return answer.returncode, facts.maintenance_by(facts.parse_cluster_properties(answer.stdout, source="a: cibadmin"))


def where_the_text_has_the_float_ip(side: Side, answer: Answer) -> object:
    """The words after the float IP's name in crm_mon's text, which A1 and A6.1 wait for."""
    found = re.search(rf"\b{FLOAT_IP}\s+\S+\s+(Started \S+)", answer.stdout)
    return answer.returncode, side.common(found[1]) if found else None


@dataclass(frozen=True)
class Says:
    """The exit status, and words that must be in the answer of both, on whichever stream."""

    status: int
    words: tuple[str, ...]

    def __call__(self, side: Side, answer: Answer) -> object:
        said = side.common(answer.stdout + answer.stderr)
        return answer.returncode, [word for word in self.words if word not in said]


def says(wanted: int, *words: str) -> Says:
    """Both end with this status and say these words; <a> and <b> are the nodes."""
    return Says(wanted, words)


# ---- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """In this state, this command on this host (a, b, c, daisy); `changes`: the state is left by it."""

    state: str
    host: str
    command: str
    compare: Reading
    changes: bool = False

    @property
    def name(self) -> str:
        return re.sub(r"[^\w{}.=<>-]+", "_", f"{self.state}-{self.host}-{self.command}")[:110]


def known_hosts(command: str) -> str:
    """Return ssh-keygen's command line with a file of its own: $k is there and empty, $k.none is not."""
    return f'd=$(mktemp -d); k="$d/known_hosts"; : > "$k"; {command}; s=$?; rm -r "$d"; exit $s'


NO_NODE = "Error: Node 'nosuch' does not appear to exist in configuration"
NO_CIB = "Error: unable to get cib"
TABLE = (
    Line("both online", "a", CRM_MON, cluster),
    Line("both online", "b", CRM_MON, cluster),
    Line("both online", "a", "crm_mon -1", where_the_text_has_the_float_ip),
    Line("both online", "a", "crm_mon --bogus", says(64, "crm_mon: Unknown option --bogus")),
    Line("both online", "a", THIS_NODE, text),
    Line("both online", "b", THIS_NODE, text),
    Line("both online", "a", f'{NAMES}\necho "$a $b"', text),
    Line("both online", "b", f'{NAMES}\necho "$a $b"', text),
    Line("both online", "a", CONSTRAINTS, constraints),
    Line("both online", "a", PROPERTIES, kept),
    Line("both online", "a", "systemctl is-active pacemaker.service", text),
    Line("both online", "a", "systemctl is-active corosync.service", text),
    Line("both online", "a", "systemctl is-active nosuch.service", text),
    Line("both online", "a", "systemctl restart nosuch.service", status),
    Line("both online", "a", RELEASE, text),
    Line("both online", "c", RELEASE, text),
    Line("both online", "daisy", RELEASE, text),
    Line("both online", "a", RELEASE.replace("RELEASE", "INSTALLTIME") + " | grep -cx '[0-9][0-9]*'", text),
    Line("both online", "c", "openstack-service bogus", status),
    Line("both online", "c", "openstack-service restart", status),
    Line("both online", "c", "systemctl restart openstack-nova-storage", status),
    Line("both online", "daisy", known_hosts('ssh-keygen -R nosuch -f "$k"'), status),
    Line("both online", "daisy", known_hosts('ssh-keygen -R nosuch -f "$k.none"'), status),
    Line("both online", "daisy", known_hosts('ssh-keygen -F nosuch -f "$k"'), text),
    Line("both online", "a", "pcs cluster start", says(0, "Starting Cluster...")),
    Line("both online", "a", "pcs cluster move {b}", says(1, "Usage: pcs cluster")),
    Line("both online", "a", "pcs resource defrag", says(1, "Usage: pcs resource")),
    Line("both online", "a", "pcs property set maintenance-mode=false", says(0)),
    Line(
        "both online",
        "a",
        "pcs property set unmanaged=false",
        says(1, "Error: invalid cluster property option 'unmanaged', allowed options are: ", "use --force to override"),
    ),
    Line("both online", "a", "pcs property set unmanaged=false --force", says(0), changes=True),
    Line("both online", "a", f"pcs resource clear {FLOAT_IP}", text),
    Line("both online", "a", f"pcs resource ban {FLOAT_IP} nosuch", says(1, NO_NODE)),
    Line("both online", "a", f"pcs resource move {FLOAT_IP} nosuch", says(1, NO_NODE)),
    Line(
        "both online",
        "a",
        f"pcs resource clear {FLOAT_IP} nosuch",
        says(1, f"Error: cannot clear resource '{FLOAT_IP}'", "Node 'nosuch' not found"),
    ),
    Line(
        "both online",
        "a",
        "pcs property set maintenance-mode=perhaps",
        says(1, "is not a valid maintenance-mode value"),
    ),
    Line("both online", "a", "pcs resource clear nosuch", says(1, "'nosuch' does not exist")),
    Line(
        "both online",
        "a",
        f"pcs resource move {FLOAT_IP} {{a}}",
        says(1, f"Error: cannot move resource '{FLOAT_IP}'", "Requested item already exists"),
    ),
    Line(
        "both online",
        "a",
        f"pcs constraint remove cli-prefer-{FLOAT_IP}",
        says(1, f"Error: Unable to find constraint - 'cli-prefer-{FLOAT_IP}'"),
    ),
    Line(
        "both online",
        "a",
        f"pcs resource move {FLOAT_IP} {{b}}",
        says(0, f"resource '{FLOAT_IP}' is running on node '<b>'"),
        changes=True,
    ),
    Line("both online", "a", f"pcs resource move {FLOAT_IP} {{b}} && {CONSTRAINTS}", constraints, changes=True),
    Line("B banned", "a", CRM_MON, cluster),
    Line("B banned", "a", CONSTRAINTS, constraints),
    Line("B banned", "b", CONSTRAINTS, constraints),
    Line(
        "B banned",
        "a",
        f"pcs resource ban {FLOAT_IP} {{b}}",
        says(
            0,
            f"Warning: Creating location constraint '{BAN_OF_B}' with a score of -INFINITY for resource {FLOAT_IP} on <b>.",
            f"This will prevent {FLOAT_IP} from running on <b> until the constraint is removed",
            "This will be the case even if <b> is the last node in the cluster",
        ),
    ),
    Line("B banned", "a", f"pcs constraint remove {BAN_OF_B.replace('<b>', '{b}')}", says(0), changes=True),
    Line("B banned", "a", f"pcs resource clear {FLOAT_IP}", says(0, f"Removing constraint: {BAN_OF_B}"), changes=True),
    Line("A banned", "a", CRM_MON, cluster),
    Line("A banned", "a", "crm_mon -1", where_the_text_has_the_float_ip),
    Line("A banned", "a", CONSTRAINTS, constraints),
    Line("after the clear", "a", CRM_MON, cluster),
    Line("after the clear", "a", CONSTRAINTS, constraints),
    Line("in maintenance", "a", CRM_MON, cluster),
    Line("in maintenance", "a", PROPERTIES, kept),
    Line("in maintenance", "a", f"pcs resource move {FLOAT_IP} {{b}}", says(1, f"Error: '{FLOAT_IP}' is unmanaged")),
    Line("in maintenance", "a", "pcs property set maintenance-mode=false", says(0), changes=True),
    Line("B stopped", "a", CRM_MON, cluster),
    Line("B stopped", "b", CRM_MON, cluster),
    Line("B stopped", "b", "crm_mon -1", says(102, "crm_mon: Connection to cluster failed: Connection refused")),
    Line("B stopped", "b", CONSTRAINTS, says(102, "Could not connect to the CIB: Transport endpoint is not connected")),
    Line("B stopped", "b", THIS_NODE, says(102, "Could not connect to controller: Connection refused")),
    Line("B stopped", "b", "systemctl is-active pacemaker.service", text),
    Line("B stopped", "b", f"pcs resource clear {FLOAT_IP}", says(1, NO_CIB)),
    Line("B stopped", "b", "pcs property set maintenance-mode=false", says(1, NO_CIB)),
    Line("B stopped", "b", "pcs cluster start", says(0, "Starting Cluster..."), changes=True),
    Line(
        "B without corosync.conf",
        "b",
        "pcs cluster start",
        says(1, "Error: cluster is not currently configured on this node"),
    ),
)


@pytest.mark.parametrize("line", TABLE, ids=lambda line: line.name)
def test_the_stand_in_answers_as_the_real_program(stage: Stage, line: Line) -> None:
    stage.go(line.state)
    answers = {label: side.run(line.host, line.command) for label, side in stage.sides.items()}
    if line.changes:
        stage.now = None
    read = {label: line.compare(stage.sides[label], answer) for label, answer in answers.items()}
    told = "\n".join(
        f"{label}: {answer.returncode}\n{answer.stdout}{answer.stderr}" for label, answer in answers.items()
    )
    assert read["stand-in"] == read["real"], told
    if isinstance(line.compare, Says):
        assert read["real"] == (line.compare.status, []), told

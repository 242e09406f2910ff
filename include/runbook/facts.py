"""Pure parsers: from what a program on a host printed to a typed, unchangeable value.

Every parser takes `source`, which names whose answer it reads, as "host: command", and raises FactUnreadable for an
answer that is cut off, garbled or of an unknown form. Nothing is ever guessed from such an answer.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.runbook.errors import FactUnreadable

INFINITY = 1_000_000
"""The score that Pacemaker writes as INFINITY."""

_TRUE = frozenset({"true", "on", "yes", "y", "1"})
_SHOWN = 200


def _unreadable(source: str, found: str) -> FactUnreadable:
    host, _, command = source.partition(": ")
    return FactUnreadable(host, command, found)


def _shown(text: str) -> str:
    if not text.strip():
        return "nothing was printed"
    return repr(text[:_SHOWN]) + (" and more" if len(text) > _SHOWN else "")


# ---- Pacemaker: status -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Node:
    """A cluster node by the name that Pacemaker has for it. `pending`: it has not joined completely."""

    name: str
    online: bool
    standby: bool
    maintenance: bool
    pending: bool


@dataclass(frozen=True)
class Resource:
    """One resource, or one instance of a cloned one. `nodes` are the names of the nodes on which it runs.

    `blocked`: Pacemaker does nothing more with it, most often because its stop has failed; 1.1 tells that of no resource.
    """

    id: str
    agent: str
    role: str
    active: bool
    failed: bool
    managed: bool
    nodes: tuple[str, ...]
    blocked: bool = False


@dataclass(frozen=True)
class FailedAction:
    """An operation on a resource that failed on a node and was not cleaned up: `db_fs_start_0`, and why."""

    operation: str
    node: str
    reason: str

    def stopped(self, resource: str) -> bool:
        """True when it was the stop of this resource that failed."""
        return self.operation == f"{resource}_stop_0"

    def __str__(self) -> str:
        return f"{self.operation} failed on {self.node} ({self.reason})"


@dataclass(frozen=True)
class FailCount:
    """How often a resource has failed on a node; from `threshold` failures on it may not run there."""

    resource: str
    node: str
    count: int
    threshold: int

    @property
    def keeps_off(self) -> bool:
        """True when Pacemaker does not start the resource on the node again by itself."""
        return self.count >= self.threshold > 0


@dataclass(frozen=True)
class ClusterStatus:
    """What crm_mon reports. `maintenance`: Pacemaker leaves every resource alone, by whichever setting."""

    nodes: tuple[Node, ...]
    resources: tuple[Resource, ...]
    maintenance: bool
    failed_actions: tuple[FailedAction, ...] = ()
    fail_counts: tuple[FailCount, ...] = ()

    @property
    def online(self) -> tuple[str, ...]:
        """The nodes that are online and have joined completely."""
        return tuple(node.name for node in self.nodes if node.online and not node.pending)

    def located(self, resource: str) -> tuple[str, ...]:
        """Return the nodes on which the resource is active; empty where it runs nowhere or does not exist."""
        return tuple(node for found in self.resources if found.id == resource and found.active for node in found.nodes)


def parse_cluster_status(crm_mon_xml: str, *, source: str) -> ClusterStatus:
    """Read crm_mon's XML, in the form of Pacemaker 1.1 (`--as-xml`) or of 2.x (`--output-as=xml`)."""
    root = _xml(crm_mon_xml, source)
    if root.tag not in ("crm_mon", "pacemaker-result"):
        raise _unreadable(source, f"XML of <{root.tag}>; expected <crm_mon> or <pacemaker-result>")
    status = root.find("status")
    if status is not None and status.get("code") != "0":
        raise _unreadable(source, f"status {status.get('code')}: {status.get('message')}")
    nodes = tuple(_node(node, source) for node in _child(root, "nodes", source).findall("node"))
    if not nodes:
        raise _unreadable(source, "a cluster without nodes")
    resources = tuple(_resource(found, source) for found in _child(root, "resources", source).iter("resource"))
    options = root.find("summary/cluster_options")
    declared = options is not None and _flag(options, "maintenance-mode", source, absent=False)
    # Pacemaker 1.1 does not print the option in every release; what it does to the resources shows in all of them.
    left_alone = bool(resources) and not any(resource.managed for resource in resources)
    failed_actions = tuple(_failed_action(found, source) for found in root.iterfind("failures/failure"))
    return ClusterStatus(nodes, resources, declared or left_alone, failed_actions, tuple(_fail_counts(root, source)))


def _node(node: ET.Element, source: str) -> Node:
    return Node(
        name=_attribute(node, "name", source),
        online=_flag(node, "online", source),
        standby=_flag(node, "standby", source, absent=False),
        maintenance=_flag(node, "maintenance", source, absent=False),
        pending=_flag(node, "pending", source, absent=False),
    )


def _resource(resource: ET.Element, source: str) -> Resource:
    return Resource(
        id=_attribute(resource, "id", source),
        agent=_attribute(resource, "resource_agent", source),
        role=_attribute(resource, "role", source),
        active=_flag(resource, "active", source),
        failed=_flag(resource, "failed", source),
        managed=_flag(resource, "managed", source),
        nodes=tuple(_attribute(node, "name", source) for node in resource.findall("node")),
        blocked=_flag(resource, "blocked", source, absent=False),
    )


def _failed_action(failure: ET.Element, source: str) -> FailedAction:
    told = (failure.get("exitstatus"), failure.get("exitreason"))
    return FailedAction(
        # Where an operation has no key, crm_mon prints its id instead.
        operation=failure.get("op_key") or _attribute(failure, "id", source),
        node=_attribute(failure, "node", source),
        reason=": ".join(text for text in told if text) or "no reason given",
    )


def _fail_counts(root: ET.Element, source: str) -> Iterator[FailCount]:
    for node in root.iterfind("node_history/node"):
        for history in node.iterfind("resource_history"):
            if (count := history.get("fail-count")) is None:
                continue
            threshold = _score(history.get("migration-threshold", "0"), source)
            yield FailCount(
                _attribute(history, "id", source), _attribute(node, "name", source), _score(count, source), threshold
            )


def _xml(text: str, source: str) -> ET.Element:
    # The standard parser expands entities, which a few lines can make grow without end; no answer needs any.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise _unreadable(source, "XML with a document type or entities, which no Pacemaker program prints")
    try:
        return ET.fromstring(text)
    except (ET.ParseError, ValueError) as broken:
        raise _unreadable(source, f"no complete XML ({broken}): {_shown(text)}") from None


def _child(element: ET.Element, tag: str, source: str) -> ET.Element:
    child = element.find(tag)
    if child is None:
        raise _unreadable(source, f"XML without <{tag}> in <{element.tag}>")
    return child


def _attribute(element: ET.Element, name: str, source: str) -> str:
    value = element.get(name)
    if value is None:
        raise _unreadable(source, f"XML of <{element.tag}> without '{name}'")
    return value


def _flag(element: ET.Element, name: str, source: str, *, absent: bool | None = None) -> bool:
    value = element.get(name)
    if value is None and absent is not None:
        return absent
    if value not in ("true", "false"):
        raise _unreadable(source, f"'{name}' of <{element.tag}> is {value!r}; expected true or false")
    return value == "true"


# ---- Pacemaker: configuration ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Constraint:
    """A rule about where a resource may run. `id` is empty where a listing leaves it out; `node` None: no one node."""

    id: str
    resource: str
    node: str | None
    score: int
    expires: bool = False

    @property
    def is_ban(self) -> bool:
        """The resource must not run on the node, for good: a rule with a lifetime stays in the text when it has ended."""
        return self.score <= -INFINITY and not self.expires

    @property
    def is_preference(self) -> bool:
        """The resource is drawn to the node."""
        return self.score > 0

    @property
    def is_cli(self) -> bool:
        """A `ban` or `move` made it, so `clear` takes it away."""
        return self.id.startswith(("cli-ban-", "cli-prefer-"))


def parse_constraints(cib_xml: str, *, source: str) -> tuple[Constraint, ...]:
    """Read the location constraints from `cibadmin --query --scope constraints`."""
    root = _xml(cib_xml, source)
    constraints = root if root.tag == "constraints" else root.find(".//constraints")
    if constraints is None:
        raise _unreadable(source, f"XML of <{root.tag}>; expected <constraints>")
    return tuple(found for location in constraints.iter("rsc_location") for found in _location(location, source))


def _location(location: ET.Element, source: str) -> Iterator[Constraint]:
    own_id = _attribute(location, "id", source)
    resource = location.get("rsc") or location.get("rsc-pattern") or ""
    rules = location.findall("rule")
    if not rules:
        yield Constraint(own_id, resource, location.get("node"), _score(location.get("score", "0"), source))
    for rule in rules:
        about_name = [test for test in rule.findall("expression") if test.get("attribute") == "#uname"]
        one = about_name[0].get("value") if len(about_name) == 1 and about_name[0].get("operation") == "eq" else None
        expires = rule.find("date_expression") is not None
        yield Constraint(own_id, resource, one, _score(rule.get("score", "0"), source), expires)


def _score(text: str, source: str) -> int:
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if digits == "INFINITY":
        return sign * INFINITY
    if re.fullmatch(r"[0-9]{1,18}", digits) is None:
        raise _unreadable(source, f"score {text!r}; expected a number or INFINITY")
    return sign * min(int(digits), INFINITY)


def parse_cluster_properties(crm_config_xml: str, *, source: str) -> dict[str, str]:
    """Read the cluster's properties from `cibadmin --query --scope crm_config`."""
    root = _xml(crm_config_xml, source)
    config = root if root.tag == "crm_config" else root.find(".//crm_config")
    if config is None:
        raise _unreadable(source, f"XML of <{root.tag}>; expected <crm_config>")
    # Pacemaker lets this set win over others, and pcs writes to no other.
    sets = sorted(config.findall("cluster_property_set"), key=lambda found: found.get("id") != "cib-bootstrap-options")
    properties: dict[str, str] = {}
    for pair in (pair for found in sets for pair in found.findall("nvpair")):
        properties.setdefault(_attribute(pair, "name", source), pair.get("value", ""))
    return properties


MAINTENANCE = ("maintenance-mode", "unmanaged")
"""The properties that keep a cluster unmanaged: Pacemaker's own, and that of TECS."""


def unmanaging(properties: Mapping[str, str]) -> dict[str, str]:
    """Return those properties that keep the cluster unmanaged, each with the very word that it has; empty: none does."""
    return {name: properties[name] for name in MAINTENANCE if properties.get(name, "").strip().lower() in _TRUE}


def maintenance_by(properties: Mapping[str, str]) -> str | None:
    """Return the property that keeps the cluster unmanaged: Pacemaker's own first, then that of TECS; None: neither."""
    return next(iter(unmanaging(properties)), None)


# ---- the cloud -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Server:
    """A VM. `host` is the compute it is placed on, None before that; `power_state` is empty where it is not told."""

    id: str
    name: str
    status: str
    host: str | None
    power_state: str


@dataclass(frozen=True)
class ComputeService:
    """A Nova service of a host. `disabled_reason` is empty where there is none."""

    host: str
    binary: str
    enabled: bool
    up: bool
    disabled_reason: str


# Nova's numbers, as `openstack server list` prints them in words; older clients print the number.
_POWER_STATES = {0: "NOSTATE", 1: "Running", 3: "Paused", 4: "Shutdown", 6: "Crashed", 7: "Suspended"}


def parse_servers(json_text: str, *, source: str) -> tuple[Server, ...]:
    """Read `openstack server list --long -f json`, or one `server show -f json`, of old and new clients."""
    return tuple(_server(row, source) for row in _rows(json_text, source))


def _server(row: Mapping[str, Any], source: str) -> Server:
    power = _column(row, source, "Power State", "OS-EXT-STS:power_state", "power_state", absent="")
    placed = _column(row, source, "Host", "OS-EXT-SRV-ATTR:host", "host")
    return Server(
        id=_text(row, source, "ID", "id"),
        name=_text(row, source, "Name", "name"),
        status=_text(row, source, "Status", "status"),
        host=None if placed in (None, "", "None", "-") else str(placed),
        power_state=_POWER_STATES.get(power, str(power)) if isinstance(power, int) else str(power or ""),
    )


def parse_compute_services(json_text: str, *, source: str) -> tuple[ComputeService, ...]:
    """Read `openstack compute service list -f json`, with or without `--long`."""
    return tuple(_compute_service(row, source) for row in _rows(json_text, source))


def _compute_service(row: Mapping[str, Any], source: str) -> ComputeService:
    return ComputeService(
        host=_text(row, source, "Host", "host"),
        binary=_text(row, source, "Binary", "binary"),
        enabled=_either(row, source, "Status", "enabled", "disabled"),
        up=_either(row, source, "State", "up", "down"),
        disabled_reason=str(_column(row, source, "Disabled Reason", "disabled_reason", absent=None) or ""),
    )


def _rows(json_text: str, source: str) -> Sequence[Mapping[str, Any]]:
    try:
        parsed = json.loads(json_text)
    except (ValueError, RecursionError):
        raise _unreadable(source, f"no complete JSON: {_shown(json_text)}") from None
    rows = [parsed] if isinstance(parsed, dict) else parsed
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _unreadable(source, f"JSON that is no list of objects: {_shown(json_text)}")
    return rows


_REQUIRED = object()


def _column(row: Mapping[str, Any], source: str, *spellings: str, absent: object = _REQUIRED) -> object:
    for spelling in spellings:
        if spelling in row:
            return row[spelling]
    if absent is _REQUIRED:
        raise _unreadable(source, f"no column '{spellings[0]}'; there are: {', '.join(row) or 'none'}")
    return absent


def _text(row: Mapping[str, Any], source: str, *spellings: str) -> str:
    value = _column(row, source, *spellings)
    if not isinstance(value, str) or not value:
        raise _unreadable(source, f"column '{spellings[0]}' is {value!r}; expected text")
    return value


def _either(row: Mapping[str, Any], source: str, column: str, yes: str, no: str) -> bool:
    value = _text(row, source, column, column.lower())
    if value.lower() not in (yes, no):
        raise _unreadable(source, f"column '{column}' is {value!r}; expected {yes} or {no}")
    return value.lower() == yes


# ---- releases --------------------------------------------------------------------------------------------------------


def parse_release(probe_output: str, releases: Mapping[str, str], *, source: str) -> str | None:
    """Return the release that the probe's output names; None: none. `releases`: release -> what is printed.

    An empty output and rpm's own words mean that none is installed. Any other text is unreadable, since a host on a
    release that the inventory does not know must not be touched.
    """
    printed = probe_output.strip()
    if not printed or re.fullmatch(r"package \S+ is not installed", printed):
        return None
    for release, expected in releases.items():
        if printed == expected.strip():
            return release
    expected_texts = ", ".join(f"{text!r} (release {release})" for release, text in releases.items())
    raise _unreadable(
        source, f"{_shown(printed)}; expected one of: {expected_texts}, or nothing where none is installed"
    )

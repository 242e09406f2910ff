"""The truth about the simulated site at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOREVER = -1


@dataclass
class Unit:
    """A systemd unit: `state` is active, inactive or failed; `pid` is that of its process while it is active."""

    state: str
    enabled: bool
    pid: int = 299


@dataclass
class Machine:
    """One host. `node` is its Pacemaker name; `complete` tells a whole installation from a half one."""

    name: str
    role: str
    address: str
    port: int
    network: str
    node: str
    release: str | None = None
    complete: bool = False
    installed_at: int = 0
    installs: int = 0
    uninstalls: int = 0
    down: bool = False
    key_version: int = 1
    scheduling: bool = True
    disabled_reason: str | None = None
    units: dict[str, Unit] = field(default_factory=dict)

    def runs(self, unit: str) -> bool:
        """Whether the unit is active."""
        return unit in self.units and self.units[unit].state == "active"


@dataclass
class Vm:
    """A virtual machine; `migrating_to` is set while a live migration runs."""

    id: str
    name: str
    host: str
    status: str = "ACTIVE"
    flavor: str = "m1.tiny"
    image: str = "cirros"
    migrating_to: str | None = None


@dataclass
class Constraint:
    """A location constraint of the floating IP."""

    id: str
    node: str
    score: str


@dataclass
class Copy:
    """A controller's copy of a replicated resource. `generations`: what its data is and comes from, newest first."""

    resource: str
    host: str
    generations: list[str]
    consistent: bool = True
    up: bool = True
    standalone: bool = False


@dataclass
class Event:
    """Something that becomes true at `due` (epoch seconds): arrive, appear, online, move_float, die or synced."""

    due: float
    kind: str
    subject: str
    target: str | None = None


@dataclass
class World:
    """The site at one moment."""

    state: Path
    site: str
    cluster_id: str
    resource: str
    pace: float
    pcs: str
    self_maintenance: bool
    new_host_keys: bool
    installer_status: str
    names_resolve: bool
    use_dns: bool
    cinder_ip: str
    virtual_ips: list[str]
    virtual_port: int
    machines: dict[str, Machine]
    online: list[str] = field(default_factory=list)
    float_on: str | None = None
    float_stuck: bool = False
    link_cut: bool = False
    constraints: list[Constraint] = field(default_factory=list)
    properties: dict[str, str] = field(default_factory=dict)
    schemas: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    vms: dict[str, Vm] = field(default_factory=dict)
    copies: list[Copy] = field(default_factory=list)
    a_demoted: bool = False
    events: list[Event] = field(default_factory=list)
    faults: list[dict[str, Any]] = field(default_factory=list)
    violations: list[dict[str, Any]] = field(default_factory=list)
    installer_pid: int | None = None
    installer_started: int = 0
    effects: list[dict[str, Any]] = field(default_factory=list)
    now: float = 0.0

    @property
    def controllers(self) -> list[Machine]:
        """A and B, in this order."""
        return [machine for machine in self.machines.values() if machine.role == "controller"]

    @property
    def computes(self) -> list[Machine]:
        """The compute nodes in the inventory's order."""
        return [machine for machine in self.machines.values() if machine.role == "compute"]

    @property
    def active(self) -> Machine | None:
        """The controller that holds the floating IP."""
        return self.by_node(self.float_on) if self.float_on else None

    def by_node(self, node: str) -> Machine | None:
        """The host with this Pacemaker name."""
        return next((machine for machine in self.controllers if machine.node == node), None)

    def tree(self, host: str) -> Path:
        """The directory that holds this host's own /etc, /home, /root and /var."""
        return self.state / "hosts" / host

    def after(self, seconds: float, kind: str, subject: str, target: str | None = None) -> None:
        """Let something become true after so many seconds of simulated time."""
        self.events.append(Event(self.now + seconds / self.pace, kind, subject, target))

    def record(self, host: str, program: str, argv: list[str], effect: str) -> None:
        """Put one change of state in the journal."""
        self.effects.append({"time": self.now, "host": host, "program": program, "argv": argv, "effect": effect})

    def violate(self, audit: str, host: str, detail: str) -> None:
        """Record that an audit is broken; it stays recorded for the life of the lab."""
        self.violations.append({"time": self.now, "audit": audit, "host": host, "detail": detail})

    def take_fault(self, key: str, **matches: str) -> dict[str, Any] | None:
        """The first fault that has `key` and agrees with `matches`, used up by one; None when there is none."""
        for fault in self.faults:
            if key in fault and all(fault.get(name) in (None, value) for name, value in matches.items()):
                if fault["count"] != FOREVER:
                    fault["count"] -= 1
                self.faults = [left for left in self.faults if left["count"] != 0]
                return fault
        return None

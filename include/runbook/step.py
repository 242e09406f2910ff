"""What a step of the runbook is: a goal on live state, and the action that makes it so.

A goal is read before the action (is it already true?) and after it (is it true now?), by the same reads and the same
judgement, so that the check and the proof cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from include.runbook.cluster import Cluster, Compute, Host
from include.runbook.errors import MESSAGE_LIMIT, RequestRefused
from include.runbook.scenarios import OF_COMPUTES, UPGRADES
from include.runbook.shell import Output, printable, shortened
from include.runbook.timings import TIMINGS, Timing


class VmPolicy(StrEnum):
    """What is allowed to happen to VMs that do not leave a compute (A4.2)."""

    MIGRATE = "migrate"
    ACCEPT_OUTAGE = "accept_outage"
    NODE_FAULTY = "node_faulty"
    MIGRATE_ACROSS_RELEASES = "migrate_across_releases"

    @property
    def allows_outage(self) -> bool:
        """True when a person has accepted that VMs which stay lose their service."""
        return self in (VmPolicy.ACCEPT_OUTAGE, VmPolicy.NODE_FAULTY)


class OnFailure(StrEnum):
    """What an upgrade does when the new release proves bad after the switchover (U3)."""

    AUTOMATIC = "automatic"
    ASK = "ask"
    REPORT = "report"


UNNAMED = "unnamed"
"""The Airflow of a run that has not been told its own address."""


@dataclass(frozen=True)
class Run:
    """One run of a scenario on one cluster: everything that a step may depend on besides live state.

    `vm_policy` is one answer for every compute, or answers by the computes' names; who is not named is asked about.

    `computes_first` are those of its computes that go before the others, because they are out of service already.

    `owner` is who holds the cluster's lock: this run, or, for a `batch`, the run that it is a part of. So many of its
    computes may fail before the run stops: `failures_allowed`.

    `airflow` is the address of the Airflow that it belongs to: two of them may give their runs the same name.

    An upgrade does what `on_failure` says when the new release proves bad, and `window_end` is when the cluster must be
    well again, on the one release or the other.
    """

    cluster: Cluster
    target: str
    computes: tuple[Compute, ...]
    vm_policy: VmPolicy | Mapping[str, VmPolicy] = VmPolicy.MIGRATE
    computes_first: tuple[Compute, ...] = ()
    return_vms: bool = False
    owner: str = "plan"
    user: str = "nobody"
    dag: str = "plan"
    take_over: bool = False
    accept_newer_schema: bool = False
    batch: bool = False
    failures_allowed: int = 0
    on_failure: OnFailure = OnFailure.ASK
    window_end: datetime | None = None
    airflow: str = UNNAMED

    @property
    def upgrades(self) -> bool:
        """Tell whether the target is a new release, and not the one to return to."""
        return self.dag in UPGRADES

    @property
    def of_computes(self) -> bool:
        """Tell whether the run is about chosen computes, and touches no controller."""
        return self.dag in OF_COMPUTES

    @property
    def staged_bin(self) -> str:
        """The path of the staged installer of the target release, the same on Daisy and on nodes (A3)."""
        directory = f"{self.cluster.paths.staging}/{self.target}"
        return f"{directory}/{self.cluster.releases[self.target].bin.rsplit('/', 1)[-1]}"

    def policy_for(self, compute: Host) -> VmPolicy:
        """Return what may happen to VMs that do not leave this compute."""
        if isinstance(self.vm_policy, VmPolicy):
            return self.vm_policy
        return self.vm_policy.get(compute.name, VmPolicy.MIGRATE)

    @property
    def marker(self) -> str:
        """What this run writes where it disables a compute's scheduling, so that it later undoes only its own."""
        return f"tecs-rollback {self.owner}"


@dataclass(frozen=True)
class Read:
    """A command that only reads, and the host it is sent to."""

    host: Host
    command: str


@dataclass(frozen=True)
class Verdict:
    """Whether a goal holds, and what was found, as a sentence for an operator: printable, whatever hosts have said."""

    met: bool
    found: str

    def __post_init__(self) -> None:
        # The class is frozen; this is how a frozen one sets its own field.
        object.__setattr__(self, "found", shortened(printable(self.found), MESSAGE_LIMIT))


@dataclass(frozen=True)
class Goal:
    """A predicate on live state. `judge` is pure: it gets the outputs of `reads` in order."""

    sentence: str
    reads: tuple[Read, ...]
    judge: Callable[[Sequence[Output]], Verdict]


def all_of(*goals: Goal, sentence: str = "") -> Goal:
    """Every one of `goals` holds; what was found names those that do not."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        verdicts = _judge_each(goals, outputs)
        wanting = [v.found for v in verdicts if not v.met]
        return Verdict(not wanting, "; ".join(wanting or [v.found for v in verdicts]))

    return Goal(sentence or " and ".join(g.sentence for g in goals), _reads(goals), judge)


def any_of(*goals: Goal, sentence: str = "") -> Goal:
    """At least one of `goals` holds."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        verdicts = _judge_each(goals, outputs)
        true = [v for v in verdicts if v.met]
        return Verdict(bool(true), true[0].found if true else "; ".join(v.found for v in verdicts))

    return Goal(sentence or ", or ".join(g.sentence for g in goals), _reads(goals), judge)


def explained(goal: Goal, *, by: Goal) -> Goal:
    """The goal itself; where it does not hold, what was found tells as well why the other one does not."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        verdict, cause = _judge_each((goal, by), outputs)
        return verdict if verdict.met or cause.met else Verdict(False, f"{verdict.found}; {cause.found}")

    return Goal(goal.sentence, _reads((goal, by)), judge)


def _reads(goals: Sequence[Goal]) -> tuple[Read, ...]:
    return tuple(dict.fromkeys(read for goal in goals for read in goal.reads))


def _judge_each(goals: Sequence[Goal], outputs: Sequence[Output]) -> list[Verdict]:
    by_read = dict(zip(_reads(goals), outputs, strict=True))
    return [goal.judge([by_read[read] for read in goal.reads]) for goal in goals]


class Over(StrEnum):
    """Which hosts a step is made for: one host, or each of several side by side."""

    DAISY = "the Daisy host"
    A = "controller A"
    B = "controller B"
    COMPUTES = "each compute"
    NODES = "each node that is uninstalled in this run itself"

    @property
    def many(self) -> bool:
        """True when the step is made for a number of hosts that is known only when the run begins."""
        return self in (Over.COMPUTES, Over.NODES)


@dataclass(frozen=True)
class Step:
    """A step of one run: where it acts, what must hold before, what it does, and what holds afterwards.

    `waits`: the goal becomes true some time after the action has ended, so it is read again until the step's limit.
    `explain`: raises an error that tells more than an exit status, where the action's output gives cause for one.
    """

    kind: Kind
    host: Host
    goal: Goal
    action: str = ""
    requires: tuple[Goal, ...] = ()
    proof: Goal | None = None
    waits: bool = False
    explain: Callable[[Output], None] | None = None
    advice: str = ""
    subject: str = ""

    @property
    def label(self) -> str:
        """The id and name with the host the step is about: `A4.5 uninstall_compute on host-1`."""
        return f"{self.kind.id} {self.kind.name} on {self.subject or self.host.name}"

    @property
    def proven_by(self) -> Goal:
        """The goal that must hold after the action."""
        return self.proof or self.goal


class Of(StrEnum):
    """Which of a run's computes a step is made for, where it is made once for several: by what is read when it begins."""

    ALL = "all computes of the run"
    PENDING = "the computes that are not back yet"
    TAKEN_DOWN = "the computes that are taken down and not back yet"
    BACK = "the computes that are back"


@dataclass(frozen=True)
class Kind:
    """A step before it is made for a run: what the plan, the DAGs and the docs need to know of it.

    `optional`: that it fails is told, and stops nothing.
    """

    id: str
    name: str
    sentence: str
    over: Over
    changes: bool
    detached: bool
    of: Of
    reinstalls: bool
    optional: bool
    timing: Timing
    make: Callable[[Run, Host], Step] = field(repr=False, compare=False)

    @property
    def task_id(self) -> str:
        """The Airflow task id, beginning with the runbook's id."""
        return f"{self.id}_{self.name}"

    @property
    def title(self) -> str:
        """The runbook's id and the sentence that says what becomes true."""
        return f"{self.id} {self.sentence}"


KINDS: dict[str, Kind] = {}


def step(
    id: str,
    sentence: str,
    *,
    over: Over,
    changes: bool = True,
    detached: bool = False,
    of: Of = Of.ALL,
    reinstalls: bool = False,
    optional: bool = False,
) -> Callable[[Callable[[Run, Host], Step]], Callable[[Run, Host], Step]]:
    """Register the decorated function as the maker of the runbook step `id`; its name is the step's name.

    `over` says for which hosts it is made; where its action runs is the step's own matter (often the Daisy host).
    `of`: the installer serves a whole batch, and must touch neither a compute of it that is in service again nor one that
    has not been taken down. `reinstalls`: its hosts come back with new keys. `optional`: its failure is told and stops nothing;
    not for a detached step.
    """

    def register(make: Callable[[Run, Host], Step]) -> Callable[[Run, Host], Step]:
        name = make.__name__
        KINDS[name] = Kind(id, name, sentence, over, changes, detached, of, reinstalls, optional, TIMINGS[name], make)
        return make

    return register


def kind(name: str) -> Kind:
    """Return the kind called `name`; an unknown one is refused by name."""
    try:
        return KINDS[name]
    except KeyError:
        raise RequestRefused(f"unknown step {name!r}; expected one of {', '.join(sorted(KINDS))}") from None

"""A plan: every step of one run in order, with its hosts, commands and times, printable before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from include.runbook.cluster import Host
from include.runbook.remote_python import abridged
from include.runbook.step import Kind, Over, Run, Step
from include.runbook.timings import RUNBOOK_TOTAL


@dataclass(frozen=True)
class Stage:
    """One task of a scenario: a kind of step, or a round of batches, or a decision; and the tasks it comes after.

    `waits`: seconds for which it only looks on.
    """

    task_id: str
    title: str
    after: frozenset[str]
    kind: Kind | None = None
    rounds: tuple[Plan, ...] = ()
    waits: float = 0.0


@dataclass(frozen=True)
class Plan:
    """The stages of one run, each with the steps it makes on this cluster."""

    scenario: str
    run: Run
    stages: tuple[Stage, ...]

    @cached_property
    def steps(self) -> Mapping[str, tuple[Step, ...]]:
        """The steps of each stage, one for each host that it is made for."""
        return {stage.task_id: make_steps(stage.kind, self.run) if stage.kind else () for stage in self.stages}

    def duration(self, stage: Stage) -> float:
        """Seconds that the stage should take: its hosts go side by side, its rounds one after the other."""
        if stage.rounds:
            return sum(plan.predicted for plan in stage.rounds)
        return stage.kind.timing.expected(self.run.cluster.pace) if stage.kind else stage.waits

    @cached_property
    def ends(self) -> Mapping[str, float]:
        """Seconds after the beginning at which each stage should end."""
        ends: dict[str, float] = {}
        for stage in self.stages:
            ends[stage.task_id] = max((ends[t] for t in stage.after if t in ends), default=0.0) + self.duration(stage)
        return ends

    @property
    def predicted(self) -> float:
        """Seconds from beginning to end along the critical path, without what orchestration adds."""
        return max(self.ends.values(), default=0.0)

    @cached_property
    def critical_path(self) -> tuple[str, ...]:
        """The stages that make the run as long as it is, in order."""
        by_id = {stage.task_id: stage for stage in self.stages}
        path: list[str] = []
        at = max(by_id, key=lambda t: self.ends[t], default=None)
        while at is not None:
            path.append(at)
            # Of several that end together the first in the plan's order: sets have none of their own.
            at = max((t for t in by_id if t in by_id[at].after), key=lambda t: self.ends[t], default=None)
        return tuple(reversed(path))

    @property
    def tasks(self) -> int:
        """How many tasks the run has, with those of its rounds; a stage over many hosts counts once for each."""
        return sum(
            sum(plan.tasks for plan in stage.rounds) + max(1, len(self.steps[stage.task_id])) for stage in self.stages
        )

    def serial(self) -> float:
        """Seconds that the same steps take one after the other, as a person would do them."""
        total = 0.0
        for stage in self.stages:
            total += stage.waits + sum(plan.serial() for plan in stage.rounds)
            if stage.kind:
                total += stage.kind.timing.expected(self.run.cluster.pace) * len(self.steps[stage.task_id])
        return total


def hosts_of(kind: Kind, run: Run) -> tuple[Host, ...]:
    """Return the hosts that a kind of step is made for in this run."""
    cluster = run.cluster
    return {
        Over.DAISY: (cluster.daisy,),
        Over.A: (cluster.controllers.a,),
        Over.B: (cluster.controllers.b,),
        Over.COMPUTES: run.computes,
        Over.NODES: run.computes if run.of_computes else _controllers_reached(run),
    }[kind.over]


def _controllers_reached(run: Run) -> tuple[Host, ...]:
    """Return the controllers that get another release in the run, in this order."""
    pair = run.cluster.controllers
    return (pair.b, pair.a) if run.upgrades else (pair.b,)


def nodes_rolled_back(run: Run) -> tuple[Host, ...]:
    """Return the nodes from which the bad release is taken off in this run: B and the computes, as the scenario says."""
    with_b = not run.of_computes
    with_computes = run.dag != "rollback_controller"
    return ((run.cluster.controllers.b,) if with_b else ()) + (run.computes if with_computes else ())


def make_steps(kind: Kind, run: Run) -> tuple[Step, ...]:
    """Return the steps that a kind makes for a run, one for each of its hosts."""
    return tuple(kind.make(run, host) for host in hosts_of(kind, run))


def plan_text(plan: Plan, *, commands: bool = True) -> str:
    """Return the plan as text: a table in order of time, the critical path, and each step's exact commands."""
    cluster = plan.run.cluster
    predicted = plan.predicted
    head = [
        f"Plan of {plan.scenario} on {cluster.name} ({cluster.title}) to release {plan.run.target}",
        f"  predicted: {clock(predicted)} along the critical path"
        + (f" at pace {cluster.pace:g} ({clock(predicted * cluster.pace)} in real time)" if cluster.pace != 1 else ""),
        f"  by hand, one step after the other: {clock(plan.serial() * cluster.pace)} in real time"
        f" (the runbook, scenario A with one compute: {clock(RUNBOOK_TOTAL)})",
        "  * on the critical path; stages with the same beginning run side by side",
        "",
        f"{'begins':>8}  {'ends':>8}    {'stage':<72} {'measured':>9} {'SLA':>8} {'limit':>8}  hosts",
    ]
    return "\n".join(head + _rows(plan, 0.0, "") + (["", "Commands", *_commands(plan)] if commands else [])) + "\n"


def _rows(plan: Plan, begin: float, indent: str) -> list[str]:
    cluster, critical, rows = plan.run.cluster, set(plan.critical_path), []
    for stage in plan.stages:
        end = begin + plan.ends[stage.task_id]
        start = end - plan.duration(stage)
        mark = "*" if stage.task_id in critical else " "
        times = f"{'':>9} {'':>8} {'':>8}"
        if stage.kind:
            timing = stage.kind.timing
            sla, limit = timing.sla(cluster.pace, cluster.tolerance), timing.limit_at(cluster.pace)
            times = f"{timing.measured:>7g} s {sla:>6.1f} s {limit:>6.0f} s"
        hosts = ", ".join(dict.fromkeys(s.subject or s.host.name for s in plan.steps[stage.task_id]))
        rows.append(
            f"{clock(start):>8}  {clock(end):>8}  {mark} {indent + stage.title:<72} {times}  {_short(hosts)}".rstrip()
        )
        at = start
        for number, round_ in enumerate(stage.rounds, 1):
            names = ", ".join(compute.name for compute in round_.run.computes)
            rows.append(f"{'':>8}  {'':>8}    {indent}  batch {number} of {len(stage.rounds)}: {_short(names)}")
            rows += _rows(round_, at, indent + "    ")
            at += round_.predicted
    return rows


def _commands(plan: Plan) -> list[str]:
    text: list[str] = []
    for stage in plan.stages:
        shown: dict[str, list[str]] = {}
        for step in plan.steps[stage.task_id]:
            name = step.subject or step.host.name
            body = step_text(step)
            shown.setdefault(body, []).append(name)
        for body, names in shown.items():
            text += ["", f"== {stage.title} [{_short(', '.join(names))}]", body]
        for round_ in stage.rounds[:1]:
            text += ["", f"== {stage.title}: commands of the first batch; the others differ in their hosts only"]
            text += _commands(round_)
    return text


def step_text(step: Step) -> str:
    """Return a step as an operator reads it: what must be true, how that is read, and what makes it so.

    A program that is sent along is named instead of printed; its file is part of this project.
    """
    parts = [f"# goal: {step.goal.sentence}"]
    parts += [f"# needs: {goal.sentence}" for goal in step.requires]
    for read in step.goal.reads:
        parts.append(_indented(f"read on {read.host.name}", abridged(read.command)))
    if step.action:
        parts.append(
            f"# action on {step.host.name}{' (a detached job)' if step.kind.detached else ''}\n{abridged(step.action)}"
        )
    return "\n".join(parts)


def clock(seconds: float) -> str:
    """Return seconds as `m:ss`, or `h:mm:ss` from an hour on."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _indented(title: str, script: str) -> str:
    return f"# {title}\n" + "\n".join(f"#   {line}" for line in script.splitlines())


def _short(names: str, most: int = 4) -> str:
    words: Sequence[str] = names.split(", ")
    return names if len(words) <= most else f"{', '.join(words[: most - 1])} and {len(words) - most + 1} more"

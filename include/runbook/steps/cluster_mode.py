"""S6, A1, A5.7, A5.9, E1: whether Pacemaker manages its resources, by whichever property somebody has set.

An operator may have put the cluster into maintenance before the run. How it was found is noted once per run; the mode is
left where a step needs Pacemaker to act, and put back at the end in the very words in which it was found. What HA sets by
itself while B comes back (A5.9) was not found, so it is left for good.
"""

from __future__ import annotations

from collections.abc import Sequence

from include.runbook import facts
from include.runbook.both_views import a_is_active, one_view
from include.runbook.cluster import Host
from include.runbook.custody import folder, quote_name, ssh_to
from include.runbook.goals import PROPERTIES, all_started, float_ip_on, managed, returned, unconstrained
from include.runbook.shell import Output, quote
from include.runbook.step import Goal, Over, Read, Run, Step, Verdict, all_of, any_of, kind, step
from include.runbook.steps.ha import proven_for_this_installation

TRUE = "[Tt][Rr][Uu][Ee] | [Oo][Nn] | [Yy][Ee][Ss] | [Yy] | 1"
"""The words that Pacemaker takes for true, as patterns of the shell."""

WORD_OF = """\
word_of() {
  printf '%s\\n' "$properties" | grep " name=\\"$1\\"" | sed -n 's/.* value="\\([A-Za-z0-9]*\\)".*/\\1/p' | head -n 1
}"""
"""Defines the shell function that prints a property's value, from the cluster's properties in $properties."""


def note_path(run: Run) -> str:
    """Return the file on the Daisy host that holds the cluster's properties as the run found them."""
    return f"{folder(run.cluster)}/mode/{quote_name(run.owner)}"


def noted(run: Run) -> Goal:
    """It is noted in which mode the run found the cluster."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        if not outputs[0].ok:
            return Verdict(False, f"no note of the mode in which the cluster was found: {outputs[0].tail}")
        mode = _found(run, outputs[0])
        promise = f"found {_told(mode)}, which is put back at the end of the run (E1)" if mode else "found managed"
        return Verdict(True, promise)

    return Goal("the mode in which the run found the cluster is noted", (_note(run),), judge)


def as_found(run: Run) -> Goal:
    """The cluster is in the mode in which the run found it: the same properties with the same words."""
    a = run.cluster.controllers.a

    def judge(outputs: Sequence[Output]) -> Verdict:
        if not outputs[0].ok:
            return Verdict(False, f"no note of the mode in which the cluster was found: {outputs[0].tail}")
        before, now = _found(run, outputs[0]), _mode(a, outputs[1])
        return Verdict(now == before, f"the cluster is {_told(now)}; it was found {_told(before)}")

    return Goal("the cluster is in the mode in which it was found", (_note(run), Read(a, PROPERTIES)), judge)


def _note(run: Run) -> Read:
    return Read(run.cluster.daisy, f"cat {quote(note_path(run))}")


def _found(run: Run, output: Output) -> dict[str, str]:
    source = f"{run.cluster.daisy.name}: cat {note_path(run)}"
    return facts.unmanaging(facts.parse_cluster_properties(output.stdout, source=source))


def _mode(host: Host, output: Output) -> dict[str, str]:
    return facts.unmanaging(facts.parse_cluster_properties(output.stdout, source=f"{host.name}: {PROPERTIES}"))


def _told(mode: dict[str, str]) -> str:
    words = " and ".join(f"{name}={word}" for name, word in mode.items())
    return f"unmanaged ({words})" if mode else "managed"


@step("S6", "Note in which mode the cluster was found", over=Over.DAISY)
def note_cluster_mode(run: Run, daisy: Host) -> Step:
    """Maintenance that somebody set before the run is known, so that it can be put back. Noted once, never overwritten."""
    note = quote(note_path(run))
    return Step(
        kind("note_cluster_mode"),
        daisy,
        goal=noted(run),
        proof=all_of(noted(run), as_found(run)),
        action=f"""\
note={note}
mkdir -p "$(dirname "$note")" || exit 2
trap 'rm -f "$note.$$"' EXIT
{ssh_to(run.cluster, run.cluster.controllers.a)} {quote(PROPERTIES)} > "$note.$$" || exit $?
ln "$note.$$" "$note" 2>/dev/null || test -e "$note" || {{ echo "$note cannot be written" >&2; exit 2; }}""",
        advice="Pacemaker must answer on A, and the product's folder on the Daisy host must be writable.",
    )


def _leave(name: str, run: Run, a: Host, *, unless: Goal, requires: tuple[Goal, ...] = ()) -> Step:
    return Step(
        kind(name),
        a,
        goal=any_of(managed(a), unless),
        proof=all_of(managed(a), noted(run)),
        requires=(noted(run), one_view(run.cluster), *requires),
        action=f"""\
properties=$({PROPERTIES}) || exit $?
{WORD_OF}
case "$(word_of maintenance-mode)" in {TRUE}) pcs property set maintenance-mode=false || exit $? ;; esac
case "$(word_of unmanaged)" in {TRUE}) pcs property set unmanaged=false --force || exit $? ;; esac""",
        waits=True,
        advice="Nothing else was changed. See `pcs property` on A; the note of what was found is in the run's record.",
    )


def _nothing_left_to_move(run: Run) -> Goal:
    """The rollback is over and proven: Pacemaker need not act any more, and may stay as somebody put it."""
    cluster = run.cluster
    a = cluster.controllers.a
    return all_of(
        a_is_active(cluster),
        unconstrained(cluster, a),
        all_started(a),
        proven_for_this_installation(run, "switchover"),
        as_found(run),
        sentence="the rollback is proven and the cluster is as it was found",
    )


@step("A1", "Leave maintenance for the switch to A, if the cluster was found in it", over=Over.A)
def leave_maintenance_to_switch(run: Run, a: Host) -> Step:
    """Pacemaker can move the float IP. Where A is active already, nothing has to move and the mode stays."""
    return _leave("leave_maintenance_to_switch", run, a, unless=float_ip_on(run.cluster, a))


@step("A5.7", "Leave maintenance so that B's resources are started", over=Over.A)
def leave_maintenance_for_b(run: Run, a: Host) -> Step:
    """Pacemaker manages its resources, so that those of B are started and can be verified."""
    requires = (returned(run, run.cluster.controllers.b),)
    return _leave("leave_maintenance_for_b", run, a, unless=_nothing_left_to_move(run), requires=requires)


@step("A5.9", "Leave maintenance mode if HA has put itself into it", over=Over.A)
def leave_maintenance(run: Run, a: Host) -> Step:
    """Pacemaker manages its resources. Whichever property is set is cleared: the stock one, or TECS's own."""
    requires = (returned(run, run.cluster.controllers.b),)
    return _leave("leave_maintenance", run, a, unless=_nothing_left_to_move(run), requires=requires)


@step("E1", "Put the cluster back into the mode in which it was found", over=Over.DAISY)
def restore_cluster_mode(run: Run, daisy: Host) -> Step:
    """The properties that kept the cluster unmanaged before the run have the same words as then; no other is set."""
    on_a = ssh_to(run.cluster, run.cluster.controllers.a)
    return Step(
        kind("restore_cluster_mode"),
        daisy,
        goal=as_found(run),
        requires=(noted(run),),
        action=f"""\
properties=$(cat {quote(note_path(run))}) || exit $?
{WORD_OF}
w=$(word_of maintenance-mode)
case "$w" in {TRUE}) {on_a} "pcs property set maintenance-mode=$w" || exit $? ;; esac
w=$(word_of unmanaged)
case "$w" in {TRUE}) {on_a} "pcs property set unmanaged=$w --force" || exit $? ;; esac""",
        waits=True,
        advice="The rollback itself is done. If the cluster is unmanaged though it was not found so, see `pcs property` on A "
        "and find out who set it; otherwise set what is named by hand, then clear this task.",
    )

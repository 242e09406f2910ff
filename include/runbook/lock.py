"""The cluster lock: one file on the Daisy host, made atomically, naming the run that may change the cluster.

The run that holds it enters again after a crash or a clear. A failed run keeps it, because a cluster that is half way
is nobody else's to touch; taking it over is an explicit act that is recorded beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from include.runbook.errors import LockHeld
from include.runbook.scenarios import ROLLBACK
from include.runbook.shell import Output, quote
from include.runbook.step import Run

HELD = 75
"""Exit status of the scripts below when another run holds the lock (EX_TEMPFAIL)."""


@dataclass(frozen=True)
class Holder:
    """Who holds the lock: the run, its scenario, the user who started it and when."""

    owner: str
    dag: str
    user: str
    since: str

    def __str__(self) -> str:
        return f"run {self.owner} of {self.dag}, started by {self.user}, since {self.since}"


def lock_path(run: Run) -> str:
    """Return the path of the lock on the Daisy host."""
    return run.cluster.daisy.path(f"{run.cluster.paths.state}/lock")


def owns_lock(run: Run) -> str:
    """Return the test, as shell, that is true while this run holds the lock."""
    return f'test "$(head -n 1 {quote(lock_path(run))} 2>/dev/null)" = {quote(run.owner)}'


def take(run: Run) -> str:
    """Return the script that takes the lock, or ends with status HELD and prints who has it.

    Taking over puts the new lock in the place of the old one in one move: a run that was not asked to take over finds no
    moment in which the cluster is free. A lock that could not be written whole, on a full disk, is nobody's and is not made.
    """
    path = quote(lock_path(run))
    over = "true" if run.take_over else "false"
    return f"""\
lock={path}
mkdir -p "$(dirname "$lock")" || exit 2
trap 'rm -f "$lock.$$"' EXIT
printf '%s\\n%s\\n%s\\n%s\\n' {quote(run.owner)} {quote(run.dag)} {quote(run.user)} "$(date -u +%Y-%m-%dT%H:%M:%SZ)" \\
  > "$lock.$$" || exit 2
if ln "$lock.$$" "$lock" 2>/dev/null; then echo taken; exit 0; fi
if {owns_lock(run)}; then echo 'held by this run already'; exit 0; fi
if {over}; then
  aside="$lock.taken-over-$(date -u +%Y%m%dT%H%M%SZ)-$$"
  ln "$lock" "$aside" && mv -f "$lock.$$" "$lock" && echo "taken over from:" && cat "$aside" && exit 0
fi
cat "$lock"
exit {HELD}
"""


def successor(run: Run) -> str:
    """Return who takes the cluster over from an upgrade that has failed: the one run of the rollback that it starts."""
    return f"{ROLLBACK}/{successor_id(run)}"


def successor_id(run: Run) -> str:
    """Return the id of the rollback's run that an upgrade starts."""
    return f"{run.owner.partition('/')[2]}__rollback"


def hand_over(run: Run) -> str:
    """Return the script that makes the lock that of the run's successor, in one move: it is never free in between."""
    path, to = quote(lock_path(run)), quote(successor(run))
    return f"""\
lock={path}
if test "$(head -n 1 "$lock" 2>/dev/null)" = {to}; then echo 'handed over already'; exit 0; fi
{owns_lock(run)} || {{ cat "$lock"; exit {HELD}; }}
printf '%s\\n%s\\n%s\\n%s\\n' {to} {ROLLBACK} {quote(run.user)} "$(date -u +%Y-%m-%dT%H:%M:%SZ)" > "$lock.$$" &&
mv "$lock.$$" "$lock" && echo handed over to {to}
"""


def release(run: Run) -> str:
    """Return the script that releases the lock if this run holds it."""
    return f"if {owns_lock(run)}; then rm -f {quote(lock_path(run))}; fi"


def read_holder(text: str) -> Holder | None:
    """Read the lock's text; None when there is no lock."""
    fields = [line.strip() for line in text.splitlines() if line.strip()]
    if not fields:
        return None
    return Holder(*(fields + ["unknown"] * 4)[:4])


def refuse_if_held(run: Run, output: Output) -> None:
    """Raise LockHeld when the output of `take` says that another run holds the lock."""
    if output.status != HELD:
        return
    holder = read_holder(output.stdout)
    raise LockHeld(
        run.cluster.name,
        holder.owner if holder else "unknown",
        holder.since if holder else "unknown",
        f"Held by {holder}. Let that run finish, or clear its failed tasks to resume it. Only if it is certainly dead and "
        "you answer for what it left, trigger again with take_over.",
    )

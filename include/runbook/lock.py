"""The cluster lock: one file on the Daisy host, made atomically, naming the run that may change the cluster, and its Airflow.

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
    """Who holds the lock: the run, the address of its Airflow, its scenario, the user who started it and when."""

    owner: str
    airflow: str
    dag: str
    user: str
    since: str

    def __str__(self) -> str:
        return f"run {self.owner} of {self.dag} in Airflow {self.airflow}, started by {self.user}, since {self.since}"

    def is_run(self, run: Run) -> bool:
        """Tell whether it is this run that holds the lock: one of the same name in another Airflow is another."""
        return (self.owner, self.airflow) == (run.owner, run.airflow)


def lock_path(run: Run) -> str:
    """Return the path of the lock on the Daisy host."""
    return run.cluster.daisy.path(f"{run.cluster.paths.state}/lock")


def owns_lock(run: Run) -> str:
    """Return the test, as shell, that is true while this run holds the lock."""
    return _held_by(run.owner, run)


def handed_over(run: Run) -> str:
    """Return the test, as shell, that is true while this run's successor holds the lock."""
    return _held_by(successor(run), run)


def _held_by(owner: str, run: Run) -> str:
    """Return the test for a run of the same Airflow. The first two lines count; what follows them is for people."""
    first = quote(f"{owner}\n{run.airflow}")
    return f'test "$(head -n 2 {quote(lock_path(run))} 2>/dev/null)" = {first}'


def _print(owner: str, dag: str, run: Run) -> str:
    """Return the command that prints the lock of a run of the same Airflow."""
    fields = " ".join(map(quote, (owner, run.airflow, dag, run.user)))
    return f"""printf '%s\\n' {fields} "$(date -u +%Y-%m-%dT%H:%M:%SZ)\""""


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
{_print(run.owner, run.dag, run)} > "$lock.$$" || exit 2
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
    to = successor(run)
    return f"""\
lock={quote(lock_path(run))}
if {handed_over(run)}; then echo 'handed over already'; exit 0; fi
{owns_lock(run)} || {{ cat "$lock"; exit {HELD}; }}
{_print(to, ROLLBACK, run)} > "$lock.$$" && mv "$lock.$$" "$lock" && echo handed over to {quote(to)}
"""


def release(run: Run) -> str:
    """Return the script that releases the lock if this run holds it."""
    return f"if {owns_lock(run)}; then rm -f {quote(lock_path(run))}; fi"


def read_holder(text: str) -> Holder | None:
    """Read the lock's text; None when there is no lock."""
    fields = [line.strip() for line in text.splitlines() if line.strip()]
    if not fields:
        return None
    return Holder(*(fields + ["unknown"] * 5)[:5])


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

"""What can go wrong in a rollback, each kind a sentence that an operator can act on.

Retry rules are written by class: a lost connection may be tried again, a failed command may not.
"""

from __future__ import annotations

from include.runbook.redaction import masked
from include.runbook.shell import last_lines, printable, shortened

MESSAGE_LIMIT = 20_000
"""Characters of a message that are kept: what is wanting on each of two hundred hosts fits, what a hostile host says does not."""


def _report(sentence: str, output: str = "", advice: str = "") -> str:
    parts = [sentence]
    if output.strip():
        parts.append("last lines of output:")
        parts += [f"    {line}" for line in last_lines(output).splitlines()]
    if advice:
        parts.append(f"what to do: {advice}")
    return "\n".join(parts)


class RunbookError(Exception):
    """The root of every failure that this project reports by itself. `message` is what the operator reads.

    Parts of it come from hosts and requests, so it is made printable here, and secrets are masked, for every kind at once.
    """

    may_hold_secrets = True

    def __init__(self, message: str) -> None:
        told = printable(message)
        self.message = shortened(masked(told) if self.may_hold_secrets else told, MESSAGE_LIMIT)
        super().__init__(self.message)

    def _rebuild_from(self, *arguments: object) -> None:
        # Exceptions cross process borders by pickle, which calls the class with `args` again.
        self.args = arguments

    def __str__(self) -> str:
        return self.message


class InventoryError(RunbookError):
    """The inventory of a cluster is not usable: file, line, key and what was expected, one problem per line.

    Nothing in it comes from a host, and what follows `password:` here is what is wrong with a key of that name.
    """

    may_hold_secrets = False


class RequestRefused(RunbookError):
    """What was asked for cannot be done as asked. Nothing has been touched."""


class TooManyFailures(RunbookError):
    """More computes have failed than the inventory's failure_budget allows; no other compute is touched."""

    def __init__(self, failed: int, allowed: int, tally: str) -> None:
        advice = (
            "mend what is named and trigger the scenario again, or clear the failed tasks: only what is left is done"
        )
        sentence = f"{failed} computes have failed, {allowed} are allowed to (failure_budget); it stops here:\n{tally}"
        super().__init__(_report(sentence, advice=advice))
        self._rebuild_from(failed, allowed, tally)


class ComputesUntouched(RunbookError):
    """Computes of the run have not had their turn, since a batch before theirs did not let it begin."""

    def __init__(self, untouched: int, tally: str) -> None:
        advice = "mend what the batch that failed names, then clear it with what follows it: only what is left is done"
        sentence = f"{untouched} of the computes have not had their turn:\n{tally}"
        super().__init__(_report(sentence, advice=advice))
        self._rebuild_from(untouched, tally)


class HostUnreachable(RunbookError):
    """No SSH session to the host could be opened."""

    def __init__(self, host: str, reason: str, advice: str = "check that the host is up and that sshd answers") -> None:
        super().__init__(_report(f"{host} cannot be reached: {reason}", advice=advice))
        self._rebuild_from(host, reason, advice)
        self.host, self.reason, self.advice = host, reason, advice


class RootDenied(RunbookError):
    """The login of the host's connection is not root, and sudo does not let it become root. Nothing was run."""

    def __init__(self, host: str, login: str, reason: str) -> None:
        advice = f"let sudo on {host} give {login} root without a password, or let the connection log in as root"
        super().__init__(_report(f"{login} cannot become root on {host}", reason, advice))
        self._rebuild_from(host, login, reason)
        self.host, self.login, self.reason, self.advice = host, login, reason, advice


class HostKeyMissing(RunbookError):
    """No key is pinned for the host, so no session to it is opened: the first key that comes is never believed."""

    def __init__(self, host: str, address: str, port: int) -> None:
        advice = f"add host_key of {host} to the inventory (ssh-keyscan -p {port} {address}, compared by eye)"
        super().__init__(_report(f"{host} is not connected to: no host key is pinned for it", advice=advice))
        self._rebuild_from(host, address, port)
        self.host, self.address, self.port, self.advice = host, address, port, advice


class HostKeyMismatch(RunbookError):
    """The host showed another key than the pinned one."""

    def __init__(self, host: str, expected: str, found: str) -> None:
        advice = "find out why the key changed; only if the host was reinstalled, pin its new key in the inventory"
        super().__init__(_report(f"{host} showed host key {found}, pinned is {expected}", advice=advice))
        self._rebuild_from(host, expected, found)
        self.host, self.expected, self.found, self.advice = host, expected, found, advice


class ConnectionLost(RunbookError):
    """The SSH session ended before the command's exit status was known: the command may still be running."""

    def __init__(self, step: str, host: str, command: str, reason: str) -> None:
        advice = "the step is tried again by itself; it reads the host's state before it acts"
        sentence = f"{step}: the connection to {host} was lost while running: {command}\nreason: {reason}"
        super().__init__(_report(sentence, advice=advice))
        self._rebuild_from(step, host, command, reason)
        self.step, self.host, self.command, self.reason, self.advice = step, host, command, reason, advice


class CommandFailed(RunbookError):
    """A command on a host ended with a status other than 0. It is not run again."""

    def __init__(  # noqa: PLR0917 -- in the order in which an operator reads them
        self, step: str, host: str, command: str, status: int, tail: str, advice: str
    ) -> None:
        sentence = f"{step}: command failed on {host} with exit status {status}: {command}"
        super().__init__(_report(sentence, tail, advice))
        self._rebuild_from(step, host, command, status, tail, advice)
        self.step, self.host, self.command, self.status = step, host, command, status
        self.tail, self.advice = tail, advice


class GoalNotReached(RunbookError):
    """The action ran to its end, yet what the step is for is not true."""

    def __init__(self, step: str, host: str, goal: str, found: str, advice: str) -> None:
        sentence = f"{step}: goal not reached on {host}: expected that {goal}; found {found}"
        super().__init__(_report(sentence, advice=advice))
        self._rebuild_from(step, host, goal, found, advice)
        self.step, self.host, self.goal, self.found, self.advice = step, host, goal, found, advice


class PreconditionFailed(RunbookError):
    """What must hold before the step does not hold. The step has changed nothing."""

    def __init__(self, step: str, host: str, expected: str, found: str, advice: str) -> None:
        sentence = f"{step}: not started on {host}: expected {expected}; found {found}"
        super().__init__(_report(sentence, advice=advice))
        self._rebuild_from(step, host, expected, found, advice)
        self.step, self.host, self.expected, self.found, self.advice = step, host, expected, found, advice


class LockHeld(RunbookError):
    """Another run holds the cluster. `since` is the UTC time at which it took the lock."""

    def __init__(self, cluster: str, owner: str, since: str, advice: str) -> None:
        super().__init__(_report(f"cluster {cluster} is held by {owner} since {since}", advice=advice))
        self._rebuild_from(cluster, owner, since, advice)
        self.cluster, self.owner, self.since, self.advice = cluster, owner, since, advice


class FactUnreadable(RunbookError):
    """A host's answer could not be understood, so nothing is decided from it."""

    def __init__(self, host: str, command: str, found: str) -> None:
        advice = "run the command on the host by hand and compare its output with what the runbook expects"
        super().__init__(_report(f"the answer of {host} to '{command}' cannot be read: {found}", advice=advice))
        self._rebuild_from(host, command, found)
        self.host, self.command, self.found, self.advice = host, command, found, advice


class LimitExceeded(RunbookError):
    """The step took longer than its limit (in seconds, on the cluster's clock)."""

    def __init__(self, step: str, host: str, limit: float, tail: str, advice: str) -> None:
        sentence = f"{step}: not finished on {host} within its limit of {limit:g} s"
        super().__init__(_report(sentence, tail, advice))
        self._rebuild_from(step, host, limit, tail, advice)
        self.step, self.host, self.limit, self.tail, self.advice = step, host, limit, tail, advice


class JobLost(RunbookError):
    """A detached job is gone without an exit status: its process does not live and it wrote no result."""

    def __init__(self, step: str, host: str, job: str, tail: str, advice: str) -> None:
        sentence = f"{step}: job {job} on {host} is gone without a result; the host may have been restarted"
        super().__init__(_report(sentence, tail, advice))
        self._rebuild_from(step, host, job, tail, advice)
        self.step, self.host, self.job, self.tail, self.advice = step, host, job, tail, advice


class PasswordPrompt(RunbookError):
    """The installer stopped at a password prompt: key login to one of its hosts does not work."""

    def __init__(self, step: str, host: str, tail: str) -> None:
        advice = (
            "on this host, try key login to every node and virtual IP named in tecs.conf; "
            "remove stale known_hosts entries with ssh-keygen -R, then resume the run"
        )
        super().__init__(_report(f"{step}: a password was asked for on {host}; nobody will type it", tail, advice))
        self._rebuild_from(step, host, tail)
        self.step, self.host, self.tail, self.advice = step, host, tail, advice

"""A4.5, A4.6, A5.2, A5.3: uninstall with the bin on the node, install with the bin on the Daisy host, one run at a time.

The bin's exit status means nothing, so its log is read for the one line that Packstack prints on success, and what it did
is then proven on the node.
"""

from __future__ import annotations

from collections.abc import Sequence

from include.runbook import host_keys
from include.runbook.both_views import a_is_active
from include.runbook.cluster import Cluster, Host
from include.runbook.container import installer_runs_inside, run_inside, same_inside, where_daisy_runs
from include.runbook.custody import reinstalling_path, ssh_to
from include.runbook.goals import (
    command_succeeds,
    not_installed,
    nothing_fails_on,
    only_peer_banned,
    returned,
    taken_down,
    upgrade_note,
)
from include.runbook.remote_python import conf_edit
from include.runbook.shell import quote
from include.runbook.step import Goal, Of, Over, Run, Step, any_of, kind, step
from include.runbook.steps.staging import alone
from include.runbook.steps.tecs_conf import all_but, hosts_returned, installed_conf, leaving_out, names_no_stranger
from include.runbook.steps.vms import drained_or_accepted

SUCCESS = "Installation completed successfully"
"""What Packstack prints last when it has installed everything."""


def _uninstall(name: str, run: Run, host: Host, requires: tuple[Goal, ...], advice: str) -> Step:
    staged = quote(host.path(run.staged_bin))
    gone = any_of(not_installed(run.cluster, host), returned(run, host))
    return Step(
        kind(name),
        host,
        goal=gone,
        proof=not_installed(run.cluster, host),
        requires=(*requires, alone(host, host.path(run.staged_bin))),
        action=f"cd {quote(host.path(run.staged_bin).rsplit('/', 1)[0])} || exit $?\n{staged} clean",
        advice=advice,
    )


@step("A4.5", "Uninstall the bad release from each compute", over=Over.COMPUTES, detached=True)
def uninstall_compute(run: Run, compute: Host) -> Step:
    """No release is installed on the compute. Never under a VM, unless its outage was accepted for this run."""
    requires = (drained_or_accepted(run, compute, [compute]),)
    advice = f"Clear the task A4.2_finish_drain with all that follow it: {compute.name} is drained again before this."
    return _uninstall("uninstall_compute", run, compute, requires, advice)


@step("A5.2", "Uninstall the bad release from B", over=Over.B, detached=True)
def uninstall_b(run: Run, b: Host) -> Step:
    """No release is installed on B. Only while A is active and B is banned from taking over."""
    cluster = run.cluster
    a = cluster.controllers.a
    requires = (a_is_active(cluster), only_peer_banned(cluster, a), nothing_fails_on(a), returned(run, a))
    return _uninstall(
        "uninstall_b", run, b, requires, "B may be taken down only while A is active, good, and B is banned."
    )


def _drop_stale_keys(name: str, run: Run, daisy: Host, hosts: Sequence[Host]) -> Step:
    cluster = run.cluster
    entries = command_succeeds(
        "the installer's known_hosts has the true keys of its hosts and of the virtual IPs",
        daisy,
        f"( {host_keys.entries_true(cluster, hosts)} )",
    )
    return Step(
        kind(name),
        daisy,
        goal=any_of(hosts_returned(run, hosts), entries),
        proof=entries,
        action=host_keys.renew_entries(cluster, hosts),
        advice="A key that is neither pinned nor explained by a reinstallation is never accepted. Find out why it changed; "
        f"if it is right, correct it in {run.cluster.paths.state}/known_hosts on the Daisy host.",
    )


@step("A4.6", "Drop the computes' stale host keys from known_hosts", over=Over.DAISY, of=Of.TAKEN_DOWN)
def drop_stale_keys_of_computes(run: Run, daisy: Host) -> Step:
    """The installer will not stop at a password prompt: entries of the computes, their names and the virtual IPs are true."""
    return _drop_stale_keys("drop_stale_keys_of_computes", run, daisy, run.computes)


@step("A5.3", "Drop B's stale host keys from known_hosts", over=Over.DAISY)
def drop_stale_keys_of_b(run: Run, daisy: Host) -> Step:
    """As in A4.6, for B."""
    return _drop_stale_keys("drop_stale_keys_of_b", run, daisy, [run.cluster.controllers.b])


def _no_installer_runs(daisy: Host) -> str:
    """Return the test that no installer runs on the host; processes of other containers on it are not its own."""
    return f"""\
here=$(readlink /proc/self/ns/mnt)
for p in /proc/[0-9]*; do
  if {{ tr '\\0' ' ' < "$p/cmdline"; }} 2>/dev/null | grep -q '{daisy.root}/[^ ]*[Z]XTECS[^ ]*[.]bin conf_file' &&
     test "$(readlink "$p/ns/mnt" 2>/dev/null)" = "$here"; then
    echo "an installer runs already: process $(basename "$p")"; exit 1
  fi
done
echo "no installer runs\""""


def _directories(cluster: Cluster, staged: str, conf: str) -> tuple[str, ...]:
    """Return what the installer uses on the Daisy host, its known_hosts among it."""
    return tuple(path.rsplit("/", 1)[0] for path in (staged, conf, cluster.daisy.path(cluster.paths.known_hosts)))


def _install(name: str, run: Run, daisy: Host, hosts: Sequence[Host]) -> Step:
    cluster = run.cluster
    staged, conf = daisy.path(run.staged_bin), installed_conf(cluster)
    notes = " ".join(quote(reinstalling_path(cluster, host)) for host in hosts)
    # Where the bin leaves the disk as it is, the note of an upgrade that is undone now outlives it.
    undone = "\n".join(
        f"{ssh_to(cluster, host)} {quote(f'rm -f {quote(upgrade_note(cluster, host))}')} || exit $?" for host in hosts
    )
    inside = installer_runs_inside(cluster)
    idle = _no_installer_runs(daisy)
    directory, command = staged.rsplit("/", 1)[0], f"{quote(staged)} conf_file {quote(conf)}"
    return Step(
        kind(name),
        daisy,
        goal=hosts_returned(run, hosts),
        requires=(
            names_no_stranger(cluster, conf),
            command_succeeds(
                "no other installer runs on the Daisy host",
                daisy,
                f"( {idle} ) && {where_daisy_runs(cluster, f'sh -c {quote(idle)}')}" if inside else idle,
            ),
            alone(daisy, staged),
            *((same_inside(cluster, *_directories(cluster, staged, conf)),) if inside else ()),
            *(taken_down(run, host) for host in hosts),
        ),
        action=f"""\
# Said again here, right before it counts: the installer touches these hosts and no other.
{conf_edit("apply", conf, leaving_out(cluster, all_but(run, hosts)))}
rc=$?; test $rc = 0 || exit $rc
mkdir -p "$(dirname {reinstalling_path(cluster, hosts[0])})" && touch {notes} || exit 2
cd {quote(directory)} || exit 2
log=$(mktemp) || exit 2
trap 'rm -f "$log"' EXIT
{run_inside(cluster, directory, command) if inside else command} 2>&1 | tee "$log"
grep -q {quote(SUCCESS)} "$log" || {{ echo "the installer did not report: {SUCCESS}" >&2; exit 1; }}
( {host_keys.repin_reinstalled(cluster, hosts)} ) || exit $?
{undone}
rm -f {notes}""",
        advice="Read the installer's lines above. The host is not back until the installer has reported success; clear the "
        "failed task to run it again.",
    )


@step(
    "A4.6",
    "Install the old release on the computes of the batch",
    over=Over.DAISY,
    detached=True,
    of=Of.TAKEN_DOWN,
    reinstalls=True,
)
def install_computes(run: Run, daisy: Host) -> Step:
    """The computes of the batch are back on the old release: proven on each of them. One run of the installer serves all."""
    return _install("install_computes", run, daisy, run.computes)


@step("A5.3", "Install the old release on B", over=Over.DAISY, detached=True, reinstalls=True)
def install_b(run: Run, daisy: Host) -> Step:
    """B is back on the old release, proven on B; not yet in the cluster."""
    return _install("install_b", run, daisy, [run.cluster.controllers.b])

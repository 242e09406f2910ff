"""A1, A2, A5.5 to A5.8, A6.1: the float IP, and B's way back into the cluster. One at a time, each proven before the next.

Commands are given on A: it is healthy and on the old release, and B may have no cluster at the time. Names of nodes are
read from Pacemaker in the very script that uses them.
"""

from __future__ import annotations

from collections.abc import Sequence

from include.runbook.both_views import a_is_active, one_view
from include.runbook.cluster import Cluster, Host
from include.runbook.custody import folder, ssh_to
from include.runbook.goals import (
    CRM_MON,
    THIS_NODE,
    all_started,
    cluster_status,
    command_succeeds,
    float_ip_on,
    managed,
    node_name,
    not_banned_from,
    nothing_else_has_failed_on,
    nothing_fails_on,
    only_peer_banned,
    returned,
    unconstrained,
)
from include.runbook.replication import WEB_DATA, in_sync
from include.runbook.shell import Output, quote
from include.runbook.step import Goal, Over, Read, Run, Step, Verdict, all_of, any_of, explained, kind, step

NAMES = """\
a=$(crm_node -n) || exit $?
b=$(cibadmin --query --scope nodes | sed -n 's/.*uname="\\([^"]*\\)".*/\\1/p' | grep -vxF "$a")
test "$(printf '%s\\n' "$b" | grep -c .)" = 1 || { echo "expected one peer of $a, found: $b" >&2; exit 2; }"""

DROP_PREFERENCE = """\
if cibadmin --query --scope constraints | grep -q 'id="cli-prefer-{resource}"'; then
  pcs constraint remove cli-prefer-{resource} || exit $?
fi"""
"""pcs 0.9 leaves an INFINITY preference behind each `move`; pcs 0.11 removes its own."""

CLUSTER_FILES = (
    "/etc/corosync/corosync.conf",
    "/etc/corosync/authkey",
    "/var/lib/pcsd/ip_name.conf",
    "/var/lib/pcsd/pcs_settings.conf",
)
"""A5.5. The installer makes none of them; `authkey` exists only where corosync encrypts."""


def cluster_files(cluster: Cluster) -> tuple[str, ...]:
    """Return the files that make a controller a member of the cluster (A5.5)."""
    return (*CLUSTER_FILES, WEB_DATA) if cluster.drbd_resources else CLUSTER_FILES


def nodes_online(host: Host) -> Goal:
    """The host itself is online to Pacemaker, neither standby nor in maintenance."""

    def judge(outputs: Sequence[Output]) -> Verdict:
        status, here = cluster_status(host, outputs[0]), node_name(host, outputs[1])
        fit = [n.name for n in status.nodes if n.name in status.online and not n.standby and not n.maintenance]
        return Verdict(here in fit, f"fit to run resources: {', '.join(fit) or 'no node'}")

    return Goal(f"{host.name} can run resources", (Read(host, CRM_MON), Read(host, THIS_NODE)), judge)


def float_ip_arrives(cluster: Cluster) -> str:
    """Return the shell function that waits, for at most 60 looks, until the float IP runs on the node that $1 names.

    Words are compared whole: one node's name may begin another's.
    """
    return f"""\
arrives() {{
  n=0
  until crm_mon -1 | awk -v ip={quote(cluster.float_ip_resource)} -v to="$1" '
    {{ at = 0; for (i = 1; i < NF; i++) {{ if ($i == ip) at = 1; if (at && $i == "Started" && $(i + 1) == to) found = 1 }} }}
    END {{ exit !found }}'
  do
    test $n -lt 60 || return 1
    sleep 0.5; n=$((n + 1))
  done
}}"""


@step("A1", "Clear the ban that keeps the float IP off A", over=Over.A)
def clear_ban_on_a(run: Run, a: Host) -> Step:
    """A may take the float IP. A ban of B, which a later step sets, is left alone."""
    cluster = run.cluster
    return Step(
        kind("clear_ban_on_a"),
        a,
        goal=not_banned_from(cluster, a),
        requires=(nodes_online(a), returned(run, a), one_view(cluster)),
        action=f"pcs resource clear {cluster.float_ip_resource}",
        advice="A must be a healthy member of the cluster and on the old release before it may take over. "
        "Nothing has been changed; B stays active.",
    )


@step("A1", "Move the float IP to A, so that A is active", over=Over.A)
def move_float_ip_to_a(run: Run, a: Host) -> Step:
    """A is the active controller, and B has let go. If A does not take over, B goes on serving and the run stops here.

    What pcs says of a move that fails differs between its generations, so Pacemaker is asked what became of it.
    """
    resource = run.cluster.float_ip_resource
    return Step(
        kind("move_float_ip_to_a"),
        a,
        goal=a_is_active(run.cluster),
        proof=explained(a_is_active(run.cluster), by=nothing_else_has_failed_on(a, resource)),
        requires=(nodes_online(a), returned(run, a), managed(a), one_view(run.cluster)),
        action=f"""\
{float_ip_arrives(run.cluster)}
to=$(crm_node -n) || exit $?
pcs resource move {resource} "$to" || echo "pcs ended with status $?"
arrives "$to" || echo "{resource} has not reached $to yet"
{DROP_PREFERENCE.format(resource=resource)}""",
        waits=True,
        advice="A did not take over. Nothing was changed but the ban and, where it was set, maintenance; no preference of "
        f"{resource} is left. Mend what is named above on the node that it names, then clear the failed task.",
    )


@step("A2", "Ban the float IP from B", over=Over.A)
def ban_float_ip_on_b(run: Run, a: Host) -> Step:
    """B cannot take over while it is broken. This ban is kept whatever fails, until B is proven good (A5.8)."""
    cluster = run.cluster
    ready = all_of(
        a_is_active(cluster),
        unconstrained(cluster, a),
        all_started(a),
        returned(run, cluster.controllers.b),
    )
    return Step(
        kind("ban_float_ip_on_b"),
        a,
        goal=any_of(
            only_peer_banned(cluster, a),
            all_of(ready, sentence="B is back on the target release and the whole cluster is up and unconstrained"),
        ),
        proof=only_peer_banned(cluster, a),
        requires=(a_is_active(cluster), nothing_fails_on(a)),
        action=f"""\
{NAMES}
{DROP_PREFERENCE.format(resource=cluster.float_ip_resource)}
pcs resource ban {cluster.float_ip_resource} "$b\"""",
        advice="A must be active before B is banned, and run what goes with that; otherwise the ban would take it from both.",
    )


@step("A5.5", "Copy the cluster's configuration from A to B", over=Over.DAISY)
def copy_cluster_files(run: Run, daisy: Host) -> Step:
    """B has A's Corosync, pcsd and DRBD files, with owner and mode. Carried by the Daisy host, which both of them trust."""
    cluster = run.cluster
    a, b = cluster.controllers.a, cluster.controllers.b
    names = " ".join(quote(file.lstrip("/")) for file in cluster_files(cluster))
    there = f"cd {quote(a.root or '/')} && for f in {names}; do test ! -e $f || echo $f; done"
    sums = "cd {root} && for f in {names}; do test ! -e $f || sha256sum $f; done"
    a_sums = sums.format(root=quote(a.root or "/"), names=names)
    b_sums = sums.format(root=quote(b.root or "/"), names=names)

    def judge(outputs: Sequence[Output]) -> Verdict:
        wanted, found = outputs[0].stdout.split("\n"), outputs[1].stdout.split("\n")
        if not outputs[0].ok or not any(line.strip() for line in wanted):
            return Verdict(False, f"{a.name} shows no cluster configuration: {outputs[0].tail}")
        differing = [line.split()[-1] for line in wanted if line.strip() and line not in found]
        return Verdict(
            not differing, f"differing on {b.name}: {', '.join('/' + f for f in differing)}" if differing else "equal"
        )

    return Step(
        kind("copy_cluster_files"),
        daisy,
        goal=Goal(f"the cluster files of {a.name} and {b.name} are equal", (Read(a, a_sums), Read(b, b_sums)), judge),
        requires=(returned(run, b),),
        action=f"""\
umask 077
t=$(mktemp -d) || exit 2
trap 'rm -rf "$t"' EXIT
files=$({ssh_to(cluster, a)} {quote(there)}) || exit $?
test -n "$files" || {{ echo 'A has no cluster configuration' >&2; exit 2; }}
{ssh_to(cluster, a)} "tar -C {quote(a.root or "/")} -cf - $(echo $files)" > "$t/files.tar" || exit $?
tar -tf "$t/files.tar" || exit $?
{ssh_to(cluster, b)} {quote(f"tar -C {quote(b.root or '/')} -xpf -")} < "$t/files.tar\"""",
    )


def _b_online(cluster: Cluster) -> Goal:
    """Both nodes are online to A."""
    a = cluster.controllers.a

    def judge(outputs: Sequence[Output]) -> Verdict:
        status = cluster_status(a, outputs[0])
        online = status.online
        return Verdict(
            len(online) == 2 == len(status.nodes), f"online: {', '.join(online)} of {len(status.nodes)} nodes"
        )

    return Goal("both controllers are online in the cluster, as A sees it", (Read(a, CRM_MON),), judge)


def _key_that_corosync_asks_for(b: Host) -> Goal:
    """Where B's corosync.conf says that the nodes talk encrypted, B has the key: it would not be let in without it."""
    conf, key = quote(b.path("/etc/corosync/corosync.conf")), "/etc/corosync/authkey"
    command = f"""\
asked=$(grep -E '^[[:space:]]*(secauth|crypto_cipher|crypto_hash):' {conf} | grep -Evi ':[[:space:]]*(off|none)[[:space:]]*$')
key=$(sed -n 's/^[[:space:]]*keyfile:[[:space:]]*//p' {conf} | head -n 1)
key=${{key:-{key}}}
if test -n "$asked" && ! test -s {quote(b.root)}"$key"; then
  echo "corosync.conf asks for encryption ($(echo $asked)), and $key is not there: copy it from A, with mode 400"; exit 1
fi"""
    return command_succeeds(f"{b.name} has the key that its corosync.conf asks for", b, command)


@step("A5.6", "Start the cluster on B", over=Over.B)
def start_cluster_on_b(run: Run, b: Host) -> Step:
    """B is a member of the cluster again, and still banned from the float IP."""
    cluster = run.cluster
    a = cluster.controllers.a
    return Step(
        kind("start_cluster_on_b"),
        b,
        goal=_b_online(cluster),
        requires=(
            any_of(only_peer_banned(cluster, a), _b_online(cluster)),
            float_ip_on(cluster, a),
            copy_cluster_files(run, cluster.daisy).goal,
            _key_that_corosync_asks_for(b),
        ),
        action="pcs cluster start",
        waits=True,
        advice="B may join only while it is banned from the float IP, A is active, and B has A's cluster files. If it does not "
        "come online, read `journalctl -u corosync -u pacemaker` on B: `digest` or `decrypt` there means that authkey differs.",
    )


@step("A5.7", "Verify Pacemaker and every resource", over=Over.B, changes=False)
def verify_pacemaker_on_b(run: Run, b: Host) -> Step:
    """pacemaker.service is active on B, every resource of the cluster is started, and B itself sees that too."""
    active = command_succeeds("pacemaker.service is active on B", b, "systemctl is-active pacemaker.service")
    return Step(
        kind("verify_pacemaker_on_b"),
        b,
        goal=all_of(active, all_started(run.cluster.controllers.a), one_view(run.cluster)),
        waits=True,
        advice="The ban on B is kept until this is true. Repair the resource that is named, then clear this task.",
    )


@step("A5.8", "Clear the ban on the float IP", over=Over.A)
def clear_ban(run: Run, a: Host) -> Step:
    """Switchover is allowed again: B is proven good."""
    cluster = run.cluster
    return Step(
        kind("clear_ban"),
        a,
        goal=unconstrained(cluster, a),
        requires=(
            returned(run, cluster.controllers.b),
            _b_online(cluster),
            a_is_active(cluster),
            all_started(a),
            in_sync(cluster),
        ),
        action=f"pcs resource clear {cluster.float_ip_resource}",
        advice="The ban is kept until B is on the target release, online, every resource is started, and B has all of the data.",
    )


def proven_path(run: Run, what: str) -> str:
    """Return the file on the Daisy host that says for which installation of B a verification has passed."""
    return f"{folder(run.cluster)}/proven/{what}"


def proven_for_this_installation(run: Run, what: str) -> Goal:
    """The verification `what` has passed since A and B were last installed: a round trip is not made twice."""
    cluster = run.cluster
    a, b = cluster.controllers.a, cluster.controllers.b

    def judge(outputs: Sequence[Output]) -> Verdict:
        now = f"{outputs[0].stdout.strip()} {outputs[1].stdout.strip()}"
        met = outputs[0].ok and outputs[1].ok and outputs[2].stdout.strip() == now
        return Verdict(
            met, f"proven since B was installed ({what})" if met else f"not proven since B was installed ({what})"
        )

    reads = (
        Read(a, cluster.probes.installed_at),
        Read(b, cluster.probes.installed_at),
        Read(cluster.daisy, f"cat {quote(proven_path(run, what))} 2>/dev/null"),
    )
    return Goal(f"{what} was proven for the present installation of A and B", reads, judge)


def note_proven(run: Run, what: str) -> str:
    """Return the script, for the Daisy host, that notes the verification for the present installation."""
    cluster = run.cluster
    a, b = cluster.controllers.a, cluster.controllers.b
    path = quote(proven_path(run, what))
    probe = quote(cluster.probes.installed_at)
    return f"""\
at_a=$({ssh_to(cluster, a)} {probe}) && at_b=$({ssh_to(cluster, b)} {probe}) || exit $?
mkdir -p "$(dirname {path})" && printf '%s %s\\n' "$at_a" "$at_b" > {path}.new && mv {path}.new {path}"""


@step("A6.1", "Verify that a switchover A to B and back to A works", over=Over.DAISY)
def switch_over_and_back(run: Run, daisy: Host) -> Step:
    """The float IP has moved to B and back to A, and nothing of the trip is left. Given on A, through the Daisy host."""
    cluster = run.cluster
    a, resource = cluster.controllers.a, cluster.float_ip_resource
    trip = f"""\
{NAMES}
{float_ip_arrives(cluster)}
for to in "$b" "$a"; do
  pcs resource move {resource} "$to" || exit $?
  arrives "$to"; reached=$?
  {DROP_PREFERENCE.format(resource=resource)}
  test $reached = 0 || {{ echo "{resource} did not reach $to" >&2; exit 1; }}
  echo "{resource} is on $to"
done"""
    return Step(
        kind("switch_over_and_back"),
        daisy,
        goal=all_of(a_is_active(cluster), proven_for_this_installation(run, "switchover")),
        requires=(unconstrained(cluster, a), managed(a), all_started(a), one_view(cluster)),
        # What goes along with the float IP must have come back with it, which may take a moment longer.
        proof=all_of(
            a_is_active(cluster),
            unconstrained(cluster, a),
            all_started(a),
            proven_for_this_installation(run, "switchover"),
        ),
        waits=True,
        action=f"{ssh_to(cluster, a)} {quote(trip)} || exit $?\n{note_proven(run, 'switchover')}",
        advice="The rollback itself is done; a switchover does not work. See `crm_mon -1` on A, put the float IP back with "
        f"`pcs resource move {resource} <A>`, then clear this task.",
    )

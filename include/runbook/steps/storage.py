"""A5.5 and A5.10 where A and B replicate their data with DRBD: B's copies are made anew from A's, never the other way.

What may be lost is asked three times: before anything is changed, before B is taken down, and on both hosts in the very
script that acts. Nothing is ever sent to A that changes its copy.
"""

from __future__ import annotations

from include.runbook.both_views import a_is_active
from include.runbook.cluster import Cluster, Host
from include.runbook.custody import ssh_to
from include.runbook.drbd import JUST_CREATED, SOURCE_LINKS
from include.runbook.goals import returned
from include.runbook.replication import a_has_everything, b_follows_a, in_sync
from include.runbook.shell import lines, quote
from include.runbook.step import Goal, Over, Run, Step, kind, step

LOOK_EVERY = 5.0
"""Seconds of the runbook between two looks at a resynchronisation."""

LOOKS_WITHOUT_ANSWER = 60
"""Looks in a row that A, or its connection to B, may be gone before a resynchronisation is given up."""

_FUNCTIONS = """\
refuse() { echo "$(hostname): $*. Nothing was changed here" >&2; exit 3; }
# every line of $1 begins as $2 says
all() { test -n "$1" && ! printf '%s\\n' "$1" | grep -Eqv "^($2)"; }"""

_EACH_SOURCE = f"""\
{_FUNCTIONS}
for r in $resources; do
  role=$(drbdadm role "$r") && disk=$(drbdadm dstate "$r") && link=$(drbdadm cstate "$r") && ids=$(drbdadm get-gi "$r") ||
    refuse "DRBD does not tell the state of $r"
  all "$role" Primary/ || refuse "$r is" $role"; a source is Primary"
  all "$disk" UpToDate/ || refuse "$r is" $disk"; a source is UpToDate"
  all "$link" '({"|".join(SOURCE_LINKS)})$' || refuse "$r is" $link"; a source is connected or waits for its peer\""""
"""Shell, on A: begins a loop over $resources that ends the script with status 3 where one cannot be the source."""

AS_SOURCE = f"""\
{_EACH_SOURCE}
  echo "$r" $ids
done"""
"""Shell, on A: prints each of $resources with the generations that A has; refuses unless A is the source of all."""

LOOK = f"""\
{_EACH_SOURCE}
  if all "$role" Primary/Secondary && all "$disk" UpToDate/UpToDate && all "$link" Connected; then echo "$r: in sync"
  elif all "$link" WFConnection; then echo "$r: waiting for B"
  else
    done=$(awk -v minor="$(drbdadm sh-minor "$r"):" '/^ *[0-9]+:/ {{ mine = $1 == minor }}
      mine && match($0, /sync.ed: *[0-9.]+/) {{ print substr($0, RSTART + 8, RLENGTH - 8) }}' /proc/drbd 2>/dev/null)
    # DRBD 8.4 tells it in /proc/drbd; later ones, and the tools for them, by `status`.
    test -n "$done" || done=$(drbdadm status "$r" 2>/dev/null | sed -n 's/.*done:\\([0-9.]*\\).*/\\1/p')
    echo "$r:" $link, ${{done:-?}} "% synchronised"
  fi
done"""
"""Shell, on A: prints for each of $resources how far B is; refuses when A is not the source any more."""

AS_TARGET = f"""\
{_FUNCTIONS}
given=$(cat)
printf '%s\\n' "$given" | while read -r r had; do
  role=$(drbdadm role "$r" 2>/dev/null </dev/null) || role=Unconfigured
  all "$role" 'Secondary/|Unconfigured' || refuse "$r is" $role"; a copy that is in use is not overwritten"
  ids=$(drbdadm get-gi "$r" 2>/dev/null </dev/null) || ids=$(drbdadm get-gi "$r" 2>&1 </dev/null)
  all "$ids" '([0-9A-F]{{16}}:){{4}}[01]' || case "$ids" in
  '' | *'alid meta'*) ids= ;;
  *) refuse "$r does not tell its generations:" $ids ;;
  esac
  for id in $ids; do
    generation=${{id%%:*}}; generation=${{generation%?}}
    # New metadata, or data that is not whole, are no source to DRBD either: nothing can be lost with them.
    test "$generation" != {JUST_CREATED} && test "$(echo "$id" | cut -d: -f5)" = 1 || continue
    echo ":$had" | tr ' ' : | grep -q ":$generation.:" ||
      refuse "$r holds generation ${{generation}}x, which A never had: it is newer, or the two have diverged"
  done
done || exit $?
for r in $resources; do
  role=$(drbdadm role "$r" 2>/dev/null) || role=Unconfigured
  disk=$(drbdadm dstate "$r" 2>/dev/null); link=$(drbdadm cstate "$r" 2>/dev/null)
  if all "$role" Unconfigured || all "$disk" Diskless/; then
    # A reinstallation may have written to the disk behind DRBD's back: metadata that outlived it is not believed.
    all "$role" Unconfigured || drbdadm down "$r" || exit $?
    drbdadm create-md --force "$r" && drbdadm up "$r" || exit $?
    echo "$r has new metadata and is connected; all of it comes from A"
  elif all "$link" StandAlone; then
    drbdadm invalidate "$r" && drbdadm connect "$r" || exit $?
    echo "$r is declared worthless and connected; all of it comes from A"
  fi
done"""
"""Shell, on B: reads what AS_SOURCE printed; refuses unless all of B's copies may be lost; then lets each follow A's.

Each copy is made worthless before it is connected, so that whatever DRBD then decides, A's is the source.
"""


def _on(cluster: Cluster, host: Host, script: str) -> str:
    names = f"resources={quote(' '.join(cluster.drbd_resources))}"
    return f"{ssh_to(cluster, host)} {quote(lines(names, script))}"


def _let_b_follow(cluster: Cluster) -> str:
    """Return the script, for the Daisy host, that asks A whether it is the source and only then acts on B."""
    a, b = cluster.controllers.a, cluster.controllers.b
    return f"""\
had=$({_on(cluster, a, AS_SOURCE)}) || exit $?
printf '%s\\n' "$had" | {_on(cluster, b, AS_TARGET)} || exit $?"""


def _advice(cluster: Cluster) -> str:
    a, b = cluster.controllers.a.name, cluster.controllers.b.name
    return (
        f"Find out which side has the good data before anything else: `drbdadm role|cstate|dstate|get-gi all` on {a} and {b}. "
        f"If {a} is good: make it Primary by Pacemaker, `drbdadm connect` there what is StandAlone, and clear this task. If {b} "
        f"holds what {a} never had, and it may be lost: `drbdadm down` and `drbdadm create-md` that resource on {b}, and clear "
        f"this task. If {b} may hold what is needed: stop here and save it."
    )


@step("A5.2", "Verify, before B is taken down, that A holds all of the data", over=Over.DAISY, changes=False)
def verify_data_on_a(run: Run, daisy: Host) -> Step:
    """What A and B replicate is what the inventory says, and nothing is lost with B's copies of it."""
    cluster = run.cluster
    return Step(
        kind("verify_data_on_a"),
        daisy,
        goal=a_has_everything(cluster),
        advice=_advice(cluster),
    )


@step("A5.5", "Let B's copies of replicated data follow A's", over=Over.DAISY)
def let_b_follow_a(run: Run, daisy: Host) -> Step:
    """Where A and B replicate data, B has declared its own copies worthless and gets A's."""
    cluster = run.cluster
    return Step(
        kind("let_b_follow_a"),
        daisy,
        goal=b_follows_a(cluster),
        requires=_safe_to_overwrite(run),
        action=_let_b_follow(cluster),
        waits=True,
        advice=_advice(cluster),
    )


@step("A5.10", "Synchronise replicated data from A to B", over=Over.DAISY, detached=True)
def synchronise_b(run: Run, daisy: Host) -> Step:
    """Where A and B replicate data, both are UpToDate and connected, A as Primary. Before B may take over (A5.8)."""
    cluster = run.cluster
    look = _on(cluster, cluster.controllers.a, LOOK)
    return Step(
        kind("synchronise_b"),
        daisy,
        goal=in_sync(cluster),
        requires=_safe_to_overwrite(run),
        action=f"""\
{_let_b_follow(cluster)}
missed=0 told=
while :; do
  seen=$({look} 2>&1); status=$?
  case "$status $seen" in
  0*waiting*) missed=$((missed + 1)) ;;
  0*) missed=0 ;;
  255*) missed=$((missed + 1)) ;;
  *) printf '%s\\n' "$seen" >&2; exit $status ;;
  esac
  test "$seen" = "$told" || printf '%s\\n' "$seen"
  told=$seen
  test $missed -lt {LOOKS_WITHOUT_ANSWER} || {{ echo 'A, or its connection to B, is gone' >&2; exit 4; }}
  test $status != 0 || printf '%s\\n' "$seen" | grep -qv ': in sync$' || break
  sleep {max(0.2, cluster.seconds(LOOK_EVERY)):g}
done""",
        advice=_advice(cluster),
    )


def _safe_to_overwrite(run: Run) -> tuple[Goal, ...]:
    cluster = run.cluster
    return (
        returned(run, cluster.controllers.b),
        a_is_active(cluster),
        a_has_everything(cluster),
    )

"""pcs 0.9 over Pacemaker 1.1: `move` leaves a preference and does not wait, and `crm_mon` has only its own XML.

The fakes answer as the real programs' sources and tests say (see data/README.md). What changes is noted in order, the
arrival of the float IP too.
"""

from __future__ import annotations

import pytest

from include.runbook.errors import CommandFailed, FactUnreadable, GoalNotReached, PreconditionFailed
from include.runbook.goals import CRM_MON, all_started, float_ip_on
from include.runbook.perform import judge, perform
from include.runbook.plan import hosts_of
from include.runbook.step import Run, kind

from .site import A, B, Site, ban, preference, resource_xml

PCS = """\
failed() {
  printf 'Error: error moving/banning/clearing resource\\nError performing operation: %s\\n' "$1" >&2
  printf 'Error performing operation: %s\\n\\n' "$2" >&2
  exit 1
}
known() { grep -q "uname=\\"$1\\"" "$SAYS/$HOST/nodes.xml" || failed "node '$1' is unknown" 'No such device or address'; }
add() { sed -i "s|<constraints>|<constraints>\\n$1|" "$SAYS"/*/constraints.xml; }
drop() { sed -i "/id=\\"$1\\"/d" "$SAYS"/*/constraints.xml; }
case "$1 $2" in
'resource ban')
  known "$4"
  add "<rsc_location id=\\"cli-ban-$3-on-$4\\" rsc=\\"$3\\" role=\\"Started\\" node=\\"$4\\" score=\\"-INFINITY\\"/>"
  echo "Warning: Creating location constraint cli-ban-$3-on-$4 with a score of -INFINITY for resource $3 on node $4." ;;
'resource move')
  known "$4"
  if grep -q "Started $4\\$" "$SAYS/$HOST/crm_mon.txt"
  then failed "$3 is already active on $4" 'Invalid argument'
  fi
  drop "cli-ban-$3-on-$4"; drop "cli-prefer-$3"
  add "<rsc_location id=\\"cli-prefer-$3\\" rsc=\\"$3\\" role=\\"Started\\" node=\\"$4\\" score=\\"INFINITY\\"/>"
  test -e "$SAYS/refuses-$4" || echo "3 $4" > "$SAYS/moving" ;;
'resource clear') sed -i '/id="cli-/d' "$SAYS"/*/constraints.xml ;;
'constraint remove')
  grep -q "id=\\"$3\\"" "$SAYS/$HOST/constraints.xml" || { echo "Error: Unable to find constraint - '$3'" >&2; exit 1; }
  drop "$3" ;;
'property set')
  case "$3 $4" in
  'maintenance-mode='*' ' | 'unmanaged='*' --force') sed -i "/name=\\"${3%=*}\\"/d" "$SAYS"/*/crm_config.xml ;;
  *) echo "Error: unknown cluster property: '${3%=*}', (use --force to override)" >&2; exit 1 ;;
  esac ;;
*) printf '\\nUsage: pcs %s [commands]...\\n' "$1"; exit 1 ;;
esac"""

CRM_MON_1_1 = """\
if test -e "$SAYS/moving"
then
  read -r looks to < "$SAYS/moving"
  if test "$looks" -gt 0
  then echo "$((looks - 1)) $to" > "$SAYS/moving"
  else
    rm "$SAYS/moving"
    for h in "$SAYS"/*/crm_mon.xml; do cp "$SAYS/active-$to.xml" "$h"; cp "$SAYS/active-$to.txt" "${h%.xml}.txt"; done
    echo "the float IP is on $to" >> "$SAYS/asked"
  fi
fi
all= file=txt
for option
do
  case "$option" in
  -1) ;;
  -r) all=1 ;;
  -f) ;;
  --as-xml) file=xml ;;
  *) printf "crm_mon: unrecognized option '%s'\\ncrm_mon - Provides a summary\\n" "$option" >&2; exit 1 ;;
  esac
done
if test -e "$SAYS/$HOST/crm_mon.fails"
then printf '\\nConnection to cluster failed: Transport endpoint is not connected\\n'; exit 107
fi
test "$all" || hide='s#<resource [^>]* active="false"[^>]*></resource>##g'
sed "$hide" "$SAYS/$HOST/crm_mon.$file\""""

PREFERS = "pcs constraint remove cli-prefer-lb_float_ip"


def do(name: str, run: Run, site: Site) -> bool:
    this = kind(name)
    return perform(this.make(run, hosts_of(this, run)[0]), site, run, print).acted


def constraints(site: Site) -> str:
    return (site.says / site.cluster.controllers.a.name / "constraints.xml").read_text()


def done(site: Site) -> list[str]:
    """Return what has happened, in order, without the host's name."""
    return [line.partition(": ")[2] or line for line in site.asked]


@pytest.fixture
def old(site: Site) -> Site:
    """A and B on 100 and online, B active, nothing constrained, and the programs of the old generation."""
    for host in (site.cluster.controllers.a, site.cluster.controllers.b):
        site.install(host, "100")
    site.pacemaker(active=B)
    site.records("pcs", PCS)
    site.program("crm_mon", CRM_MON_1_1)
    site.program("sleep", "exit 0")
    return site


# ---- A1 --------------------------------------------------------------------------------------------------------------


def test_the_float_ips_arrival_on_a_is_awaited_before_the_preference_is_taken_away(run: Run, old: Site) -> None:
    assert do("move_float_ip_to_a", run, old)
    assert done(old) == [f"pcs resource move lb_float_ip {A}", f"the float IP is on {A}", PREFERS]
    assert "cli-" not in constraints(old)


def test_an_a_that_is_active_already_is_not_moved_to_which_0_9_would_refuse(run: Run, old: Site) -> None:
    old.pacemaker(active=A)
    assert not do("move_float_ip_to_a", run, old)
    assert old.asked == []


def test_no_preference_for_a_is_left_where_a_does_not_take_over(run: Run, old: Site, impatient: None) -> None:
    (old.says / f"refuses-{A}").touch()
    with pytest.raises(GoalNotReached, match="A did not take over"):
        do("move_float_ip_to_a", run, old)
    assert "cli-" not in constraints(old)


def test_the_move_takes_a_ban_of_a_with_it_and_one_of_b_stays(run: Run, old: Site) -> None:
    old.pacemaker(active=B, constraints=(ban(A), ban(B)))
    assert do("move_float_ip_to_a", run, old)
    assert (f"cli-ban-lb_float_ip-on-{A}" in constraints(old), f"cli-ban-lb_float_ip-on-{B}" in constraints(old)) == (
        False,
        True,
    )


@pytest.mark.parametrize("mode", ["maintenance-mode", "unmanaged"])
def test_a_move_that_0_9_would_accept_without_moving_anything_is_not_given(run: Run, old: Site, mode: str) -> None:
    old.pacemaker(active=B, properties=(mode,))
    with pytest.raises(PreconditionFailed, match=f"{mode} is set"):
        do("move_float_ip_to_a", run, old)
    assert old.asked == []


# ---- A2, A5.8, A5.9 --------------------------------------------------------------------------------------------------


def test_b_is_banned_though_an_earlier_move_has_left_its_preference(run: Run, old: Site) -> None:
    old.pacemaker(active=A, constraints=(preference(A),))
    assert do("ban_float_ip_on_b", run, old)
    assert done(old) == [PREFERS, f"pcs resource ban lb_float_ip {B}"]


def test_a_clear_takes_bans_and_preferences_away_silently(run: Run, old: Site) -> None:
    old.pacemaker(active=A, constraints=(ban(B), preference(A)))
    assert do("clear_ban", run, old)
    assert "cli-" not in constraints(old)


def test_a_property_that_pacemaker_does_not_know_is_set_by_force(run: Run, old: Site) -> None:
    old.pacemaker(active=A, properties=("maintenance-mode", "unmanaged"))
    do("note_cluster_mode", run, old)
    assert do("leave_maintenance", run, old)
    assert done(old) == ["pcs property set maintenance-mode=false", "pcs property set unmanaged=false --force"]


# ---- A6.1 ------------------------------------------------------------------------------------------------------------


def test_a_switchover_waits_for_each_arrival_and_leaves_nothing_of_the_trip(run: Run, old: Site) -> None:
    old.pacemaker(active=A)
    assert do("switch_over_and_back", run, old)
    there = [f"pcs resource move lb_float_ip {B}", f"the float IP is on {B}", PREFERS]
    back = [f"pcs resource move lb_float_ip {A}", f"the float IP is on {A}", PREFERS]
    assert done(old) == there + back
    assert "cli-" not in constraints(old)


def test_a_switchover_that_does_not_reach_b_leaves_no_preference_for_b(run: Run, old: Site) -> None:
    """Otherwise the float IP would jump to B by itself, as soon as B can have it."""
    old.pacemaker(active=A)
    (old.says / f"refuses-{B}").touch()
    with pytest.raises(CommandFailed, match=f"lb_float_ip did not reach {B}"):
        do("switch_over_and_back", run, old)
    assert "cli-" not in constraints(old)


def test_no_switchover_begins_while_a_preference_is_left(run: Run, old: Site) -> None:
    old.pacemaker(active=A, constraints=(preference(A),))
    with pytest.raises(PreconditionFailed, match="no ban or preference is left on lb_float_ip"):
        do("switch_over_and_back", run, old)
    assert old.asked == []


# ---- crm_mon of 1.1 --------------------------------------------------------------------------------------------------


def test_the_status_is_read_in_the_old_form_where_the_new_one_is_unknown(run: Run, old: Site) -> None:
    a = run.cluster.controllers.a
    assert old.run(a, CRM_MON, 10).stdout.startswith('<crm_mon version="1.1.')
    assert not judge(float_ip_on(run.cluster, a), old).met


def test_a_resource_that_runs_nowhere_is_seen(run: Run, old: Site) -> None:
    old.pacemaker(active=A, more=resource_xml("db_fs", None))
    verdict = judge(all_started(run.cluster.controllers.a), old)
    assert (verdict.met, verdict.found) == (False, "not started: db_fs")


def test_a_stopped_cluster_is_not_read_as_one_without_resources(run: Run, old: Site) -> None:
    (old.says / run.cluster.controllers.a.name / "crm_mon.fails").touch()
    with pytest.raises(FactUnreadable):
        judge(all_started(run.cluster.controllers.a), old)


def test_the_words_of_a_stopped_cluster_are_told(run: Run, old: Site) -> None:
    (old.says / run.cluster.controllers.a.name / "crm_mon.fails").touch()
    with pytest.raises(FactUnreadable, match="Connection to cluster failed"):
        judge(all_started(run.cluster.controllers.a), old)

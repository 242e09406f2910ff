"""What each controller's own Pacemaker sees, compared: one view alone does not tell whether the other node obeys it.

Where the link between A and B is cut, each of them sees the other offline and may take the float IP itself. So whatever
relies on A being active reads B's view too. A B whose cluster is stopped, or that has none, contradicts nothing. A B that
Pacemaker runs on and that does not answer could hold anything, so nothing is decided then.
"""

from __future__ import annotations

from collections.abc import Sequence

from include.runbook.cluster import Cluster
from include.runbook.errors import FactUnreadable
from include.runbook.facts import ClusterStatus
from include.runbook.goals import CRM_MON, THIS_NODE, cluster_status, float_ip_on, node_name
from include.runbook.shell import Output
from include.runbook.step import Goal, Read, Verdict, all_of

NO_CLUSTER = "no cluster"
"""What `IF_RUNNING` prints, instead of a status, of a node on which Pacemaker does not run."""

IF_RUNNING = f"""\
if x=$( {CRM_MON} ); then printf '%s\\n' "$x"
elif s=$(systemctl is-active pacemaker.service 2>/dev/null); then
  echo "pacemaker.service is $s, yet crm_mon does not answer" >&2; exit 2
else echo '{NO_CLUSTER}'; fi"""


def one_view(cluster: Cluster) -> Goal:
    """B's own Pacemaker, where it runs, sees the same cluster and the float IP in the same place as A's does."""
    a, b = cluster.controllers.a, cluster.controllers.b

    def judge(outputs: Sequence[Output]) -> Verdict:
        seen, name = cluster_status(a, outputs[0]), node_name(a, outputs[1])
        if not outputs[2].ok:
            raise FactUnreadable(b.name, "crm_mon", outputs[2].tail or f"exit status {outputs[2].status}")
        if outputs[2].stdout.strip() == NO_CLUSTER:
            return Verdict(True, f"Pacemaker does not run on {b.name}: it claims nothing")
        by_b = cluster_status(b, outputs[2])
        flaw = _contradiction(cluster.float_ip_resource, seen, by_b, name)
        if flaw is None:
            return Verdict(True, f"{b.name} sees the same")
        return Verdict(
            False,
            f"{a.name} and {b.name} do not agree: {flaw}. Each may act on its own; nobody can tell from one side who is "
            f"active. Mend the link between them (compare /etc/corosync/corosync.conf and authkey, read `corosync-cfgtool "
            f"-s` on both), or stop the cluster on the one that must not be active: `pcs cluster stop` on {b.name}",
        )

    reads = (Read(a, CRM_MON), Read(a, THIS_NODE), Read(b, IF_RUNNING))
    return Goal(f"{b.name}'s own view of the cluster does not contradict that of {a.name}", reads, judge)


def a_is_active(cluster: Cluster) -> Goal:
    """A has the float IP, and B does not claim it."""
    a, b = cluster.controllers.a, cluster.controllers.b
    sentence = f"{cluster.float_ip_resource} is started on {a.name} only, and {b.name} does not claim it"
    return all_of(float_ip_on(cluster, a), one_view(cluster), sentence=sentence)


def b_is_active(cluster: Cluster) -> Goal:
    """B has the float IP, and A, where Pacemaker runs on it, does not claim it."""
    a, b = cluster.controllers.a, cluster.controllers.b

    def judge(outputs: Sequence[Output]) -> Verdict:
        if not outputs[0].ok:
            raise FactUnreadable(a.name, "crm_mon", outputs[0].tail or f"exit status {outputs[0].status}")
        if outputs[0].stdout.strip() == NO_CLUSTER:
            return Verdict(True, f"Pacemaker does not run on {a.name}: it claims nothing")
        by_a, name = cluster_status(a, outputs[0]), node_name(b, outputs[1])
        agrees = by_a.located(cluster.float_ip_resource) == (name,)
        return Verdict(agrees, f"{a.name} has {cluster.float_ip_resource} {_place(by_a, cluster.float_ip_resource)}")

    seen = Goal(f"{a.name} does not claim it", (Read(a, IF_RUNNING), Read(b, THIS_NODE)), judge)
    sentence = f"{cluster.float_ip_resource} is started on {b.name} only, and {a.name} does not claim it"
    return all_of(float_ip_on(cluster, b), seen, sentence=sentence)


def _contradiction(resource: str, by_a: ClusterStatus, by_b: ClusterStatus, a: str) -> str | None:
    """Say in what the two views differ; None where they do not. A node that is still joining has no view of its own yet."""
    if not set(by_b.online) - {a}:
        return None
    if a not in by_b.online:
        return f"B does not see A ({a}) online, and has {resource} {_place(by_b, resource)}; A has it {_place(by_a, resource)}"
    if by_a.located(resource) != by_b.located(resource):
        return f"A has {resource} {_place(by_a, resource)}, B has it {_place(by_b, resource)}"
    return None


def _place(status: ClusterStatus, resource: str) -> str:
    return f"on {', '.join(status.located(resource)) or 'no node'}"

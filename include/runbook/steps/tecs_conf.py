"""A4.3, A4.4, A5.1: the installer's answer file and network mappings, fetched from Daisy's data and adjusted.

The computes' round and B's round use the same two files, each leaving out other hosts; so each round fetches them anew.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from include.runbook.cluster import Cluster, Host
from include.runbook.container import daisys_file, where_daisy_runs
from include.runbook.goals import command_succeeds, returned
from include.runbook.remote_python import conf_edit, conf_edit_function
from include.runbook.shell import Output, quote
from include.runbook.step import Goal, Of, Over, Read, Run, Step, Verdict, all_of, any_of, kind, step

EXCLUDED = "general/EXCLUDE_SERVERS"
MAPPINGS = "general/CONFIG_NEUTRON_ML2_JSON_PATH"


def installed_conf(cluster: Cluster) -> str:
    """Return the path of the answer file that the installer is given, on the Daisy host."""
    return cluster.daisy.path(f"{cluster.paths.tecs_install}/tecs.conf")


def installed_mappings(cluster: Cluster) -> str:
    """Return the path of the mappings file that the answer file names, on the Daisy host."""
    return cluster.daisy.path(f"{cluster.paths.tecs_install}/mappings.json")


def hosts_returned(run: Run, hosts: Sequence[Host]) -> Goal:
    """Every one of the hosts is back: their round is over and must not be gone through again."""
    names = ", ".join(host.name for host in hosts)
    return all_of(*(returned(run, host) for host in hosts), sentence=f"{names} back on release {run.target}")


def _fetch(name: str, run: Run, daisy: Host, *, source: str, target: str, same: Goal, hosts: Sequence[Host]) -> Step:
    copied = f"cp -p {quote(source)} {quote(target)}.new"
    if run.cluster.daisy.container:
        # Its passwords are for nobody else, whatever the umask.
        copied = f"umask 077 && {where_daisy_runs(run.cluster, f'cat {quote(source)}')} > {quote(target)}.new"
    return Step(
        kind(name),
        daisy,
        goal=any_of(hosts_returned(run, hosts), same),
        proof=same,
        action=f"""\
mkdir -p "$(dirname {quote(target)})" || exit $?
{copied} && mv {quote(target)}.new {quote(target)}""",
        advice=f"Daisy's data of the cluster must be readable at {source}; see paths.tecs_data, daisy.cluster_id and "
        "daisy.container in the inventory.",
    )


def _fetch_tecs_conf(name: str, run: Run, daisy: Host, hosts: Sequence[Host]) -> Step:
    source, target = daisys_file(run.cluster, "tecs.conf"), installed_conf(run.cluster)
    compare = conf_edit("same", source, target, "--except", EXCLUDED, MAPPINGS)
    if run.cluster.daisy.container:
        compare = f"""\
copy=$(mktemp) || exit 2
trap 'rm -f "$copy"' EXIT
{where_daisy_runs(run.cluster, f"cat {quote(source)}")} > "$copy" || exit 2
{conf_edit_function()}
conf_edit same "$copy" {quote(target)} --except {EXCLUDED} {MAPPINGS}"""
    same = command_succeeds(f"{target} is Daisy's, but for the keys that are set next", daisy, compare)
    return _fetch(name, run, daisy, source=source, target=target, same=same, hosts=hosts)


def _fetch_mappings(name: str, run: Run, daisy: Host, hosts: Sequence[Host]) -> Step:
    source, target = daisys_file(run.cluster, "mappings.json"), installed_mappings(run.cluster)
    compare = f"cmp {quote(source)} {quote(target)}"
    if run.cluster.daisy.container:
        compare = f"{where_daisy_runs(run.cluster, f'cat {quote(source)}')} | cmp - {quote(target)}"
    same = command_succeeds(f"{target} is Daisy's", daisy, compare)
    return _fetch(name, run, daisy, source=source, target=target, same=same, hosts=hosts)


def _edit(name: str, run: Run, daisy: Host, excluded: Sequence[Host], hosts: Sequence[Host]) -> Step:
    target, edits = installed_conf(run.cluster), leaving_out(run.cluster, excluded)
    left_out = ", ".join(host.name for host in excluded)
    edited = command_succeeds(f"tecs.conf leaves out {left_out}", daisy, conf_edit("check", target, edits))
    return Step(
        kind(name),
        daisy,
        goal=any_of(hosts_returned(run, hosts), edited),
        proof=edited,
        requires=(names_no_stranger(run.cluster, target),),
        action=conf_edit("apply", target, edits),
        advice="The installer would reinstall a host that the inventory does not know. Add it to the inventory, or take it "
        "out of the cluster in Daisy.",
    )


def names_no_stranger(cluster: Cluster, conf: str) -> Goal:
    """Every host in the answer file's CONFIG_*_HOSTS is one of the inventory's.

    The installer reinstalls whatever stands there and is not left out; and only hosts that are known can be left out.
    """
    listed = f"sed -n 's/^CONFIG_[A-Z0-9_]*_HOSTS *= *//p' {quote(conf)} | tr -d \"'\\\"\" | tr ',' '\\n'"
    known = {name for node in cluster.nodes for name in (node.name, node.address)} | set(map(str, cluster.virtual_ips))

    def judge(outputs: Sequence[Output]) -> Verdict:
        named = {word.strip() for word in outputs[0].stdout.splitlines()} - {""}
        strangers = sorted(named - known)
        if not named:
            return Verdict(False, f"{conf} names no host at all: {outputs[0].tail or 'no CONFIG_*_HOSTS key'}")
        return Verdict(
            not strangers, f"unknown to the inventory: {', '.join(strangers)}" if strangers else "all are known"
        )

    sentence = f"every host in {conf} is in the inventory, so that it can be left out"
    return Goal(sentence, (Read(cluster.daisy, listed),), judge)


def leaving_out(cluster: Cluster, excluded: Sequence[Host]) -> str:
    """Return the edits, for `conf_edit`, that make the installer leave these hosts alone."""
    wanted = {EXCLUDED: cluster.exclude_list(*excluded), MAPPINGS: installed_mappings(cluster)}
    return json.dumps(
        [{"section": k.split("/")[0], "key": k.split("/")[1], "values": [value]} for k, value in wanted.items()]
    )


def all_but(run: Run, hosts: Sequence[Host]) -> list[Host]:
    names = {host.name for host in hosts}
    return [node for node in run.cluster.nodes if node.name not in names]


@step("A4.3", "Fetch the cluster's tecs.conf", over=Over.DAISY, of=Of.PENDING)
def fetch_tecs_conf(run: Run, daisy: Host) -> Step:
    """The answer file that Daisy made for the cluster lies where the installer is run."""
    return _fetch_tecs_conf("fetch_tecs_conf", run, daisy, run.computes)


@step("A4.3", "Fetch the cluster's mappings.json", over=Over.DAISY, of=Of.PENDING)
def fetch_mappings(run: Run, daisy: Host) -> Step:
    """The network mappings that Daisy made for the cluster lie beside it."""
    return _fetch_mappings("fetch_mappings", run, daisy, run.computes)


@step("A4.4", "Let tecs.conf leave out A, B and every other compute", over=Over.DAISY, of=Of.PENDING)
def edit_tecs_conf_for_computes(run: Run, daisy: Host) -> Step:
    """The installer will touch the computes of this batch and nothing else."""
    return _edit("edit_tecs_conf_for_computes", run, daisy, all_but(run, run.computes), run.computes)


@step("A5.1", "Fetch the cluster's tecs.conf for B", over=Over.DAISY)
def fetch_tecs_conf_for_b(run: Run, daisy: Host) -> Step:
    """As A4.3, for B's round."""
    return _fetch_tecs_conf("fetch_tecs_conf_for_b", run, daisy, [run.cluster.controllers.b])


@step("A5.1", "Fetch the cluster's mappings.json for B", over=Over.DAISY)
def fetch_mappings_for_b(run: Run, daisy: Host) -> Step:
    """As A4.3, for B's round."""
    return _fetch_mappings("fetch_mappings_for_b", run, daisy, [run.cluster.controllers.b])


@step("A5.1", "Let tecs.conf leave out A and every compute", over=Over.DAISY)
def edit_tecs_conf_for_b(run: Run, daisy: Host) -> Step:
    """The installer will touch B and nothing else."""
    b = run.cluster.controllers.b
    return _edit("edit_tecs_conf_for_b", run, daisy, all_but(run, [b]), [b])

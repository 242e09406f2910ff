"""A3: the installer of the release to go to, on the Daisy host and on every node where it uninstalls or upgrades."""

from __future__ import annotations

from include.runbook.cluster import Host
from include.runbook.custody import ssh_to
from include.runbook.goals import command_succeeds, returned
from include.runbook.shell import quote
from include.runbook.step import Goal, Over, Run, Step, all_of, any_of, kind, step


def _whole(run: Run, host: Host, path: str) -> Goal:
    """The file has the SHA-256 sum that the inventory states."""
    sum_of = run.cluster.releases[run.target].sha256
    found = f"sha256sum {quote(path)} && test \"$(sha256sum < {quote(path)} | cut -d' ' -f1)\" = {sum_of}"
    return command_succeeds(f"{path} on {host.name} has SHA-256 {sum_of[:12]}...", host, found)


def alone(host: Host, path: str) -> Goal:
    """No second installer lies beside it: the installer takes the first that it finds."""
    directory = path.rsplit("/", 1)[0]
    others = f"find {quote(directory)} -maxdepth 1 -name 'ZXTECS*.bin' ! -path {quote(path)}"
    command = (
        f'others=$({others}) || exit $?; test -z "$others" || {{ echo "beside it lies: "$others; exit 1; }}; echo alone'
    )
    return command_succeeds(f"{path} is the only installer in its folder on {host.name}", host, command)


def _set_others_aside(path: str) -> str:
    """Return the script that moves other installers out of the folder. They may be somebody's only copy."""
    return f"""\
find "$(dirname {quote(path)})" -maxdepth 1 -name 'ZXTECS*.bin' ! -path {quote(path)} | while read -r other; do
  aside="$(dirname {quote(path)})/aside"
  mkdir -p "$aside" && mv "$other" "$aside/" || exit 2
  echo "moved to $aside, because the installer takes the first bin that it finds: $other"
done || exit 2"""


@step("A3", "Stage the installer on the Daisy host", over=Over.DAISY)
def stage_bin_on_daisy(run: Run, daisy: Host) -> Step:
    """The installer of the release to go to lies whole and alone in a folder of its own, executable."""
    source = daisy.path(run.cluster.releases[run.target].bin)
    staged = daisy.path(run.staged_bin)
    return Step(
        kind("stage_bin_on_daisy"),
        daisy,
        goal=all_of(_whole(run, daisy, staged), alone(daisy, staged)),
        requires=(_whole(run, daisy, source),),
        action=f"""\
mkdir -p "$(dirname {quote(staged)})" || exit $?
{_set_others_aside(staged)}
cp -p {quote(source)} {quote(staged)}.new && chmod 755 {quote(staged)}.new && mv {quote(staged)}.new {quote(staged)}""",
        advice=f"Put the installer of release {run.target} whole at {source} on {daisy.name}, or correct its path or SHA-256 "
        "in the inventory.",
    )


@step("A3", "Stage the installer on each node", over=Over.NODES)
def stage_bin_on_node(run: Run, node: Host) -> Step:
    """The same installer lies whole on the node, where it will uninstall the bad release, or upgrade."""
    daisy = run.cluster.daisy
    here, there = daisy.path(run.staged_bin), node.path(run.staged_bin)
    put = f"""\
mkdir -p "$(dirname {quote(there)})" || exit $?
{_set_others_aside(there)}
cat > {quote(there)}.new && chmod 755 {quote(there)}.new && mv {quote(there)}.new {quote(there)}"""
    return Step(
        kind("stage_bin_on_node"),
        daisy,
        subject=node.name,
        goal=any_of(returned(run, node), all_of(_whole(run, node, there), alone(node, there))),
        requires=(_whole(run, daisy, here),),
        action=f"{ssh_to(run.cluster, node)} {quote(put)} < {quote(here)}",
        advice=f"See that {node.name} has room below {there.rsplit('/', 1)[0]} and that {daisy.name} reaches it by key.",
    )

"""Where Daisy runs in a container on its host: its files are read, and the installer is run, through the engine's `exec`."""

from __future__ import annotations

from include.runbook.cluster import Cluster
from include.runbook.goals import command_succeeds
from include.runbook.shell import quote
from include.runbook.step import Goal


def daisys_file(cluster: Cluster, name: str) -> str:
    """Return the path of a file of Daisy's data of the cluster, where Daisy itself sees it."""
    path = f"{cluster.paths.tecs_data}/{cluster.daisy.cluster_id}/{name}"
    return path if cluster.daisy.container else cluster.daisy.path(path)


def where_daisy_runs(cluster: Cluster, command: str) -> str:
    """Return the command as the Daisy host runs it where Daisy's own files are: in the container, if there is one."""
    container = cluster.daisy.container
    return f"{container.engine} exec {quote(container.name)} {command}" if container else command


def installer_runs_inside(cluster: Cluster) -> bool:
    """Whether the installer is run in Daisy's container."""
    container = cluster.daisy.container
    return container is not None and container.installer == "inside"


def same_inside(cluster: Cluster, *directories: str) -> Goal:
    """The directories are the very same in the container as on its host: what is laid there is what is run inside.

    Compared by device and inode, which a bind mount keeps and a copy does not.
    """

    def test(directory: str) -> str:
        identity = f"stat -c %d:%i {quote(directory)}"
        other = quote(f"{directory} is another directory in the container: mount the host's there")
        return f"""\
outside=$({identity}) && inside=$({where_daisy_runs(cluster, identity)}) || exit $?
test "$outside" = "$inside" || {{ echo {other}; exit 1; }}"""

    sentence = "the installer's directories are the same in Daisy's container and on its host"
    return command_succeeds(sentence, cluster.daisy, "\n".join([*map(test, directories), "echo the same"]))


def run_inside(cluster: Cluster, directory: str, command: str) -> str:
    """Return the script that runs the command in Daisy's container, and ends it there when the script is ended.

    The engine passes no signal on: what it was told to run goes on when its client is gone. So the process is known by a
    file in the directory, which the container and the host share.
    """
    pid = f"{directory}/installer.pid"
    inner = f"echo $$ > {quote(pid)} && cd {quote(directory)} && exec {command}"
    end = f'p=$(cat {quote(pid)}); kill -TERM -"$p" 2>/dev/null || kill -TERM "$p"'
    return f"""\
rm -f {quote(pid)}
trap {quote(where_daisy_runs(cluster, f"sh -c {quote(end)}"))} TERM
{where_daisy_runs(cluster, f"sh -c {quote(inner)}")}"""

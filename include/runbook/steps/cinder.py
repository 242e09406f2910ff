"""A5.4: cinder's back ends on B. The installer leaves LVM only, and `clean` takes the settings with it."""

from __future__ import annotations

from collections.abc import Sequence

from include.runbook.cluster import Host
from include.runbook.custody import folder, reinstalling_path, ssh_to
from include.runbook.goals import command_succeeds, returned
from include.runbook.shell import Output, quote
from include.runbook.step import Goal, Over, Read, Run, Step, Verdict, any_of, kind, step

DONE = "Operation cinder_conf is done"
"""The script's exit status means nothing; this line does."""


def _saved(run: Run) -> str:
    return f"{folder(run.cluster)}/saved/{run.cluster.controllers.b.name}/cinder.json"


def _script_dir(run: Run) -> str:
    return run.cluster.controllers.b.path(run.cluster.paths.storage_auto_config)


@step("A5.4", "Save B's cinder back-end settings before it is uninstalled", over=Over.DAISY)
def save_cinder_settings(run: Run, daisy: Host) -> Step:
    """`base/cinder.json` of B is on the Daisy host. A save that was made before B was taken down is never overwritten."""
    b, saved = run.cluster.controllers.b, _saved(run)
    source = f"{_script_dir(run)}/base/cinder.json"

    def judge(outputs: Sequence[Output]) -> Verdict:
        here, on_b = (o.stdout.split()[:1] for o in outputs[:2])
        # Once the reinstallation has begun, what lies on B is the installer's.
        met = bool(here) and (not on_b or here == on_b or outputs[2].ok)
        return Verdict(met, f"{saved} is {'the one to restore' if met else 'missing or another than on ' + b.name}")

    reads = (
        Read(daisy, f"sha256sum {quote(saved)}"),
        Read(b, f"sha256sum {quote(source)}"),
        Read(daisy, f"test -e {quote(reinstalling_path(run.cluster, b))}"),
    )
    equal = Goal(f"base/cinder.json of {b.name} is saved", reads, judge)
    return Step(
        kind("save_cinder_settings"),
        daisy,
        subject=b.name,
        goal=any_of(returned(run, b), equal),
        proof=equal,
        action=f"""\
umask 077
mkdir -p {quote(saved.rsplit("/", 1)[0])} || exit $?
{ssh_to(run.cluster, b)} {quote(f"cat {quote(source)}")} > {quote(saved)}.new || exit $?
test -s {quote(saved)}.new && mv {quote(saved)}.new {quote(saved)}""",
        advice=f"Without {source} B's cinder back ends cannot be restored after the reinstallation (A5.4). Find the file, "
        f"or put A's copy at {saved} on the Daisy host.",
    )


@step("A5.4", "Restore B's cinder back ends", over=Over.DAISY)
def restore_cinder_backends(run: Run, daisy: Host) -> Step:
    """cinder on B knows its back ends again, with the cinder management IP in the arrays' settings."""
    cluster = run.cluster
    b, saved, directory = cluster.controllers.b, _saved(run), _script_dir(run)
    noted = f"{directory}/base/.applied"
    on_b = f"""\
cd {quote(directory)} || exit $?
mkdir -p base && cat > base/cinder.json.new && mv base/cinder.json.new base/cinder.json || exit $?
out=$(python storage_auto_config.py cinder_conf {cluster.cinder_management_ip} 2>&1)
printf '%s\\n' "$out"
printf '%s\\n' "$out" | grep -q {quote(DONE)} || {{ echo 'cinder_conf did not report that it is done' >&2; exit 1; }}
printf '%s %s\\n' "$(sha256sum < base/cinder.json)" "$({cluster.probes.installed_at})" > {quote(noted)}"""
    applied = (
        f'test "$(cat {quote(noted)} 2>/dev/null)" = '
        f'"$(sha256sum < {quote(directory)}/base/cinder.json) $({cluster.probes.installed_at})" && '
        "echo 'cinder_conf was applied to these settings'"
    )
    untouched = command_succeeds(
        "B was not reinstalled by a rollback",
        daisy,
        f"test ! -e {quote(saved)} && echo 'nothing was saved, nothing is lost'",
    )
    goal = command_succeeds(f"cinder_conf was applied on {b.name} since it was installed", b, applied)
    return Step(
        kind("restore_cinder_backends"),
        daisy,
        subject=b.name,
        goal=any_of(untouched, goal),
        proof=goal,
        requires=(returned(run, b),),
        action=f"{ssh_to(cluster, b)} {quote(on_b)} < {quote(saved)}",
    )

"""U3: the failed state is documented before a rollback destroys it: logs and facts of every host, on the Daisy host.

Whatever cannot be had is named, and stops nothing. Configuration files are left out, and what looks like a secret in a log
is masked on the host itself, before it leaves it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from include.runbook.cluster import Cluster, Host
from include.runbook.custody import folder, quote_name, reinstalling_path, ssh_to
from include.runbook.goals import CRM_MON, cloud, command_succeeds, release_probe
from include.runbook.shell import Output, quote, side_by_side
from include.runbook.step import Goal, Over, Read, Run, Step, Verdict, any_of, kind, step
from include.runbook.steps.vms import ALL_VMS

LOGS = ("nova", "cinder", "neutron", "pacemaker", "cluster", "messages", "daisy")
"""What is taken of /var/log: files and folders whose names begin so."""

CLOUD_LISTS = (
    ALL_VMS,
    "openstack compute service list --long",
    "openstack hypervisor list --long",
    "openstack network agent list",
    "openstack volume service list",
)

UNITS = "'openstack-*' 'neutron-*' 'libvirtd*' 'corosync*' 'pacemaker*'"
"""The units whose states are told, as patterns."""

LOG_DAYS, LOG_FILES, LOG_BYTES = 2, 30, 256 * 1024
"""Of the files written to in two days, which hold any upgrade, the thirty newest; of each its end, some thousand lines."""

JOURNAL_HOURS = 6
"""Hours of the journal: a maintenance window of four, and what led to it."""

HOST_BYTES = 8 * 1024 * 1024
"""Bytes that are kept of one host before they are packed, to about a tenth: two hundred computes come to 200 MB."""

PART_SECONDS, HOST_SECONDS, ALL_SECONDS = 10, 60, 240
"""How long one command, one host, and all of them may take. A host that hangs must not hold up a rollback."""

ROOM_MIB = 1024
"""Free space (MiB) on the Daisy host below which nothing is saved: the rollback itself needs it."""

RUNS_KEPT = 10
"""Runs whose evidence is kept; that of older ones makes room."""

INDEX = "index.jsonl"

_SECRET = "pass(w(or)?d|phrase)|pwd|secret|token|api_?key|access_?key|private_?key"
_QUOTED = "'\\''"

MASKED = f"""\
sed -E -e '/-----BEGIN [A-Z ]*PRIVATE KEY-----/,/-----END [A-Z ]*PRIVATE KEY-----/d' \\
  -e 's/(<nvpair[^>]*name="[^"]*({_SECRET})[^"]*"[^>]*value=")[^"]*/\\1***/Ig' \\
  -e 's/(<nvpair[^>]*value=")[^"]*("[^>]*name="[^"]*({_SECRET}))/\\1***\\2/Ig' \\
  -e 's/([A-Za-z0-9_.-]*({_SECRET})[A-Za-z0-9_.-]*[\\\\"{_QUOTED}]*[[:space:]]*[=:][[:space:]]*)\
("[^"]*"|{_QUOTED}[^{_QUOTED}]*{_QUOTED}|\\\\*["{_QUOTED}]?[^][:space:],;&|"{_QUOTED}}}\\\\]+)/\\1***/Ig' \\
  -e 's/(\\bmysql[^|;&]*[[:space:]]-p)[^[:space:]]+/\\1***/g' \\
  -e 's/(--[A-Za-z0-9_.-]*({_SECRET})[A-Za-z0-9_.-]*[[:space:]]+)[^[:space:]]+/\\1***/Ig' \\
  -e 's/((Bearer|Basic) +)[A-Za-z0-9_.~+\\/=-]{{8,}}/\\1***/Ig' \\
  -e 's#([a-z][a-z0-9+.-]*://)[^/@[:space:]]+@#\\1***@#Ig'"""
"""Shell: what `redaction.py` does, as a filter for hosts that have no Python of today."""


def evidence_folder(run: Run) -> str:
    """Return where on the Daisy host this run's evidence lies."""
    return f"{folder(run.cluster)}/evidence/{quote_name(run.owner)}"


def evidence_hosts(run: Run) -> tuple[Host, ...]:
    """Return the hosts whose state this run destroys or explains. Computes that go in batches are those of their batches."""
    cluster = run.cluster
    if run.batch:
        return run.computes
    whole = (cluster.daisy, cluster.controllers.a, cluster.controllers.b)
    return whole if run.dag in ("rollback_cluster", "rollback_controller") else (*whole, *run.computes)


@step("U3", "Save logs and facts of the failed state", over=Over.DAISY, optional=True)
def save_evidence(run: Run, daisy: Host) -> Step:
    """What shows why the release failed is on the Daisy host before it is destroyed. A host that cannot be read is named."""
    hosts, here, doomed = evidence_hosts(run), evidence_folder(run), _taken_down_by(run)
    return Step(
        kind("save_evidence"),
        daisy,
        goal=_indexed(run, hosts) if not doomed else any_of(_indexed(run, hosts), _back(run, doomed)),
        proof=_indexed(run, hosts),
        action=f"""\
umask 077
mkdir -p {quote(here)} && cd {quote(here)} || exit 2
( cd .. && ls -1t | tail -n +{RUNS_KEPT + 1} | xargs -r -d '\\n' rm -rf -- )
end=$(($(date +%s) + {ALL_SECONDS}))
{_SAVED}
{_asked(run.cluster, hosts)}
du -sh .""",
        advice="The rollback goes on without it. What is still there can be saved by hand.",
    )


def _indexed(run: Run, hosts: Sequence[Host]) -> Goal:
    """The index names every host with what was saved of it, or why nothing was."""
    index = f"{evidence_folder(run)}/{INDEX}"

    def judge(outputs: Sequence[Output]) -> Verdict:
        entries = [_entry(line) for line in outputs[0].stdout.splitlines()]
        found = {str(entry["host"]): entry for entry in entries if "host" in entry}
        unnamed = [host.name for host in hosts if host.name not in found]
        if unnamed:
            return Verdict(False, f"not in {index}: {', '.join(unnamed)}")
        why = [f"{host.name} ({found[host.name]['why']})" for host in hosts if found[host.name].get("why")]
        told = f"{len(hosts) - len(why)} of {len(hosts)} hosts saved whole in {evidence_folder(run)}"
        return Verdict(True, f"WARNING: {told}; not, or not whole: {', '.join(why)}" if why else told)

    return Goal(f"{index} names every host", (Read(run.cluster.daisy, f"cat {quote(index)} 2>/dev/null"),), judge)


def _taken_down_by(run: Run) -> tuple[Host, ...]:
    """Return the hosts whose state the run itself destroys; those of a whole cluster's computes are its batches' matter."""
    if run.dag == "rollback_compute":
        return run.computes
    return (run.cluster.controllers.b,) if run.dag.startswith("rollback_") else ()


def _back(run: Run, hosts: Sequence[Host]) -> Goal:
    """Nothing is left to be destroyed. The Daisy host asks, so that a host that is gone is one that is not back."""
    cluster = run.cluster
    each = " &&\n".join(
        f"back {quote(reinstalling_path(cluster, host))} {ssh_to(cluster, host)} "
        f"{quote(release_probe(cluster, host).command)}"
        for host in hosts
    )
    asked = f"""\
back() {{
  test ! -e "$1" && shift && release=$(timeout {PART_SECONDS} "$@" < /dev/null 2>/dev/null) &&
    test "$release" = {quote(cluster.release_reports[run.target])} || {{ echo "there is something to be saved"; return 1; }}
}}
{each} &&
echo "every host that would be taken down is on release {run.target}\""""
    return command_succeeds(f"every host that would be taken down is back on {run.target}", cluster.daisy, asked)


def _entry(line: str) -> dict[str, object]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}


_SAVED = f"""\
# HOST COMMAND...: what COMMAND prints is packed as HOST's evidence, and the index says what became of it; once for a run
saved() {{
  host=$1; shift
  ! grep -q "^{{\\"host\\": \\"$host\\"," {INDEX} 2>/dev/null || return 0
  why=
  if test "$(date +%s)" -ge "$end"; then why='not asked: the time for all hosts was over'
  elif test "$(df -Pm . | awk 'NR == 2 {{ print $4 }}')" -lt {ROOM_MIB}; then why='not asked: no room on the Daisy host'
  else
    timeout {HOST_SECONDS} "$@" < /dev/null > "$host.txt.gz" 2> "$host.err"; status=$?
    case $status in
    0) ;;
    124) why='cut off after {HOST_SECONDS} s' ;;
    *) why="status $status: $(tail -n 1 "$host.err" | tr -c '[:alnum:] .,:@_/\\n-' ' ' | cut -c1-200)" ;;
    esac
    test -s "$host.txt.gz" || rm -f "$host.txt.gz"
    rm -f "$host.err"
  fi
  size=0; sum=; parts=
  if test -e "$host.txt.gz"; then
    size=$(wc -c < "$host.txt.gz"); sum=$(sha256sum < "$host.txt.gz" | cut -c1-64)
    parts=$(gunzip -c "$host.txt.gz" 2>/dev/null | sed -n 's/^==== //p' | tr -c '[:alnum:] ._/\\n-' ' ' | tr '\\n' ';')
  fi
  printf '{{"host": "%s", "at": "%s", "file": "%s", "size": %d, "sha256": "%s", "parts": "%s", "why": "%s"}}\\n' \\
    "$host" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "${{sum:+$host.txt.gz}}" "$size" "$sum" "$parts" "$why" >> {INDEX}
  echo "$host: $size bytes${{why:+, WARNING: $why}}"
}}"""


def _asked(cluster: Cluster, hosts: Sequence[Host]) -> str:
    """Return the lines that ask each host for its evidence. What is asked of several hosts is said once."""
    also = {host: "\n".join(f"part {quote(command)}" for command in _own(cluster, host)) or ":" for host in hosts}
    names = {commands: f"also_{number}" for number, commands in enumerate(dict.fromkeys(also.values()), 1)}
    asked = []
    for host, commands in also.items():
        at = "sh -c" if host == cluster.daisy else ssh_to(cluster, host)
        root = quote(f"root={quote(host.root)}; ")
        asked.append(f'saved {quote(host.name)} {at} {root}"${names[commands]}; $all"')
    defined = [f"{name}={quote(f'also() {{ {commands}; }}')}" for commands, name in names.items()]
    return "\n".join([f"all={quote(_OF_EACH)}", *defined, side_by_side(asked)])


def _own(cluster: Cluster, host: Host) -> list[str]:
    """Return the commands whose answers are of use from this host: those of the pair, and those of the cloud."""
    of_pair = [CRM_MON, "cibadmin --query", "pcs status --full"]
    if host == cluster.controllers.a:
        return [*of_pair, *(cloud(cluster, each) for each in CLOUD_LISTS)]
    return of_pair if host == cluster.controllers.b else []


# The facts come before the logs: the end may be cut off.
_OF_EACH = f"""\
LC_ALL=C; export LC_ALL
part() {{
  printf '\\n==== %s\\n' "$(printf '%s\\n' "$1" | head -n 1 | cut -c1-100)"
  timeout {PART_SECONDS} sh -c "$1" 2>&1 | tail -c {4 * LOG_BYTES}
}}
{{
for facts in uptime 'df -h' 'free -m' 'systemctl --failed --no-pager' \\
  "systemctl list-units --all --no-pager {UNITS}" 'rpm -qa | grep -i -e openstack -e tecs | sort'
do part "$facts"; done
also
part "journalctl --no-pager --since '-{JOURNAL_HOURS} hours'"
for name in {" ".join(LOGS)}; do
  find "$root/var/log/$name"* -maxdepth 2 -type f -mtime -{LOG_DAYS} ! -name '*.gz' ! -name '*.xz' -printf '%T@ %p\\n' 2>/dev/null
done | sort -rn | head -n {LOG_FILES} | cut -d' ' -f2- | while read -r log; do
  printf '\\n==== %s\\n' "$log"; tail -c {LOG_BYTES} "$log"
done
}} 2>&1 | {MASKED} | head -c {HOST_BYTES} | gzip -c"""
"""Shell, on a host below $root, that prints, packed, what is to be known of it; `also` is what only it can tell."""

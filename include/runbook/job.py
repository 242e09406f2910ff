"""Detached jobs: a long action that runs on a host by itself, started exactly once, watched from anywhere.

A job is a folder on its host, made by an atomic `mkdir` and named after the run and the step, so that a second start
attaches instead of starting. Losing the connection, the worker or the scheduler does not touch it.

    script   what runs            pid      process group, its start time and the host's boot id
    out      what it printed      rc       exit status, written last
    begun    when, s since boot   ended    when, s since boot
    stopped  why it was ended     seen     the failure has been reported; the next start begins anew
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum

from include.runbook.errors import FactUnreadable
from include.runbook.shell import Output, quote

CHUNK = 65536
"""Bytes of output that one look at a job returns at most, so that endless output cannot fill memory."""

START_GRACE = 15
"""Seconds after which a job folder without a process is called lost."""

KILL_GRACE = 5
"""Seconds that the processes of a job have to end after TERM, before they are killed."""


_UPTIME = "cut -d' ' -f1 /proc/uptime"
"""Prints the seconds since the host's boot. Its calendar clock may be set anew while a job runs, as after a reinstallation."""


class State(StrEnum):
    """Where a job stands."""

    NONE = "none"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"


@dataclass(frozen=True)
class Look:
    """One look at a job: its state, exit status or reason, whether its end was reported, and new output."""

    state: State
    detail: str
    seen: bool
    output: str
    offset: int

    @property
    def ended(self) -> bool:
        """True when nothing of the job runs any more (or nothing ever ran)."""
        return self.state is not State.RUNNING

    @property
    def reason(self) -> str:
        """Why the job is over, as a sentence."""
        return {
            State.NONE: "the job does not exist on the host",
            State.RUNNING: "still running",
            State.DONE: "exit status 0",
            State.FAILED: f"exit status {self.detail}",
            State.STOPPED: f"stopped: {self.detail}",
            State.LOST: "the job is gone without an exit status (was the host restarted, or the process killed?)",
        }[self.state]


def job_id(*parts: str) -> str:
    """Name the job of these parts (cluster, run, step, host): the same parts always give the same name."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def job_folder(state_dir: str, job: str) -> str:
    """Return the folder of `job` below the product's own folder on its host."""
    return f"{state_dir}/jobs/{job}"


def start(folder: str, script: str, limit: float) -> str:
    """Return the script that starts `script` as a job once, and ends it after `limit` seconds whoever watches.

    Prints `started`, or `attached` where the job is already there.
    """
    end = f"END-{hashlib.sha256(script.encode()).hexdigest()[:12]}"
    return f"""\
d={quote(folder)}
mkdir -p "$(dirname "$d")" || exit 2
if ! mkdir "$d" 2>/dev/null; then
  test -d "$d" || {{ echo "cannot make $d" >&2; exit 2; }}
  echo attached; exit 0
fi
# Half a script, on a full disk, must never run: then there is no job.
cat > "$d/script" <<'{end}' || {{ rm -r "$d"; exit 2; }}
{script}
{end}
cat > "$d/run" <<'{end}' || {{ rm -r "$d"; exit 2; }}
cd "$1" || exit 2
printf '%s %s %s\\n' "$$" "$(sed 's/.*) //' /proc/$$/stat | cut -d' ' -f20)" \\
  "$(cat /proc/sys/kernel/random/boot_id)" > pid.new && mv pid.new pid
# A stop that came before there was a pid to end: one of the two sees what the other wrote.
test ! -e stopped || exit 2
{_UPTIME} > begun
( sleep {max(1, round(limit))}; echo 'time limit of {max(1, round(limit))} s crossed' > stopped
  trap '' TERM; kill -TERM -$$; sleep {KILL_GRACE}; kill -KILL -$$ ) &
sh ./script
rc=$?
{_UPTIME} > ended
printf '%s\\n' "$rc" > rc.new && mv rc.new rc
trap '' TERM
kill -TERM -$$
{end}
setsid sh "$d/run" "$d" </dev/null >"$d/out" 2>&1 &
echo started
"""


def look(folder: str, offset: int) -> str:
    """Return the script that prints the job's state, then a line `--` with the number of bytes that follow, then so many
    bytes of its output from byte `offset` on."""
    return f"""\
d={quote(folder)}
seen=no; test -e "$d/seen" && seen=yes
alive() {{
  read -r pid since boot < "$d/pid" || return 1
  test "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" || return 1
  test "$since" = "$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f20)"
}}
if test ! -d "$d"; then echo "none $seen"
elif test -s "$d/rc"; then
  rc=$(cat "$d/rc"); if test "$rc" = 0; then echo "done $seen 0"; else echo "failed $seen $rc"; fi
elif test -s "$d/pid"; then
  if alive; then echo "running $seen"
  elif test -s "$d/rc"; then rc=$(cat "$d/rc"); if test "$rc" = 0; then echo "done $seen 0"; else echo "failed $seen $rc"; fi
  elif test -s "$d/stopped"; then echo "stopped $seen $(head -n 1 "$d/stopped")"
  else echo "lost $seen"; fi
elif test $(( $(date +%s) - $(stat -c %Y "$d") )) -lt {START_GRACE}; then echo "running $seen"
else echo "lost $seen"; fi
n=0; test ! -e "$d/out" || n=$(( $(wc -c < "$d/out") - {offset} ))
test $n -le {CHUNK} || n={CHUNK}
echo "-- $n"
test $n -le 0 || tail -c +{offset + 1} "$d/out" | head -c $n
"""


def read_look(output: Output, offset: int) -> Look:
    """Read what `look` printed; `offset` is the one it was asked with.

    The host counts the bytes: decoded text does not tell how many there were, since output need not be UTF-8.
    """
    head, _, rest = output.stdout.partition("\n-- ")
    count, _, text = rest.partition("\n")
    words = head.split(maxsplit=2)
    whole = output.status is not None and re.fullmatch("-?[0-9]{1,18}", count)
    if not whole or len(words) < 2 or words[0] not in {s.value for s in State}:
        raise FactUnreadable("the job's host", "look at a job", output.tail or "nothing")
    detail = words[2] if len(words) > 2 else ""
    return Look(State(words[0]), detail, words[1] == "yes", text, offset + max(0, int(count)))


def age(folder: str) -> str:
    """Return the script that prints how many seconds ago the job began."""
    since = f"{quote(folder)}/begun"
    return f"test -s {since} && awk -v now=\"$({_UPTIME})\" '{{ print now - $1; exit }}' {since}"


def read_age(output: Output) -> float:
    """Return what `age` printed; 0 where the job has not begun yet."""
    return max(0.0, _seconds(output.stdout))


def times(folder: str) -> str:
    """Return the script that prints when the job began and ended."""
    return f"cat {quote(folder)}/begun {quote(folder)}/ended"


def read_times(output: Output) -> float:
    """Return for how many seconds an ended job ran, from what `times` printed; 0 where it is not known.

    It is a measurement for the record: not having it must not turn a job that succeeded into one that failed.
    """
    words = output.stdout.split()
    return _seconds(words[1]) - _seconds(words[0]) if len(words) == 2 else 0.0


def _seconds(text: str) -> float:
    """Return the number of seconds that the text is; 0 for anything else, and for what no clock shows."""
    return float(text) if re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,12})?", text.strip()) else 0.0


def stop(folder: str, reason: str) -> str:
    """Return the script that ends every process of the job, TERM first, and records why."""
    return f"""\
d={quote(folder)}
test -d "$d" || exit 0
test -s "$d/rc" && exit 0
printf '%s\\n' {quote(reason)} > "$d/stopped"
read -r pid since boot < "$d/pid" || exit 0
test "$since" = "$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f20)" || exit 0
kill -TERM -"$pid" 2>/dev/null
n=0; while kill -0 -"$pid" 2>/dev/null && test $n -lt {5 * KILL_GRACE}; do sleep 0.2; n=$((n + 1)); done
kill -KILL -"$pid" 2>/dev/null
exit 0
"""


def mark_seen(folder: str) -> str:
    """Return the script that records that the job's end was reported to Airflow."""
    return f"test ! -d {quote(folder)} || : > {quote(folder)}/seen"


def retire(folder: str) -> str:
    """Return the script that puts an ended and reported job aside, so that the step may begin anew."""
    return f"""\
d={quote(folder)}
test -e "$d/seen" || {{ echo 'the job was not reported yet' >&2; exit 2; }}
n=1; while test -e "$d.$n"; do n=$((n + 1)); done
mv "$d" "$d.$n"
"""

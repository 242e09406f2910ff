"""Scripts for the Daisy host that keep known_hosts true: stale entries go, and only verified keys come in.

Daisy itself deletes the whole file and accepts any key. Here an entry is removed only for the hosts at hand, and what is
scanned is written down only if it equals the pinned key, or if the host is being reinstalled by this very run.
"""

from __future__ import annotations

from collections.abc import Sequence

from include.runbook.cluster import Cluster, Host
from include.runbook.custody import known_hosts_name, pins_path, reinstalling_path
from include.runbook.shell import quote

_SCAN = """\
# Prints "type key" of the host at $1 port $2, of the key type that is pinned for $3, or ed25519. Asked {looks} times at most.
scan() {{
  type=$(awk -v n="$3" '$1 == n {{ print $2; exit }}' {pins}); n=0
  while test $n -lt {looks}; do
    shown=$(ssh-keyscan -T 20 -p "$2" "$1" 2>/dev/null |
      awk -v t="${{type:-ssh-ed25519}}" '!/^#/ && $2 == t {{ print $2, $3; exit }}')
    test -z "$shown" || {{ echo "$shown"; return; }}
    n=$((n + 1)); sleep {pause:.2f}
  done
}}"""

LOOKS, LOOKS_AFTER_INSTALLATION = 3, 30
"""How often a host is asked for its key: a host that has just been installed may start sshd, or itself, once more."""

PAUSE = 2.0
"""Seconds between two such looks."""


def _scan(cluster: Cluster, looks: int) -> str:
    return _SCAN.format(pins=quote(pins_path(cluster)), looks=looks, pause=cluster.seconds(PAUSE))


def entries_true(cluster: Cluster, hosts: Sequence[Host]) -> str:
    """Return the test that is true while known_hosts holds, for every name of the hosts and for every virtual IP, the
    pinned key and no other."""
    known = quote(cluster.daisy.path(cluster.paths.known_hosts))
    pins = quote(pins_path(cluster))
    checks = [
        f"has {quote(name)} {quote(known_hosts_name(host))} || rc=1" for host in hosts for name in _names(cluster, host)
    ]
    active = quote(known_hosts_name(cluster.controllers.a))
    checks += [f"has {quote(name)} {active} || rc=1" for name in cluster.virtual_ips_known_hosts_names]
    return f"""\
rc=0
# $1: a name in known_hosts, $2: the name under which its key is pinned.
has() {{
  want=$(awk -v n="$2" '$1 == n {{ print $2, $3 }}' {pins} | sort -u)
  got=$(ssh-keygen -F "$1" -f {known} 2>/dev/null | awk '!/^#/ {{ print $2, $3 }}' | sort -u)
  test -n "$want" && test "$want" = "$got" && return 0
  if test -z "$got"; then echo "$1: no entry"; else echo "$1: a stale entry"; fi
  return 1
}}
{chr(10).join(checks)}
test $rc = 0 && echo "every entry is the pinned key"
exit $rc"""


def renew_entries(cluster: Cluster, hosts: Sequence[Host]) -> str:
    """Return the script that removes the hosts' and virtual IPs' entries and writes the keys they show, once these are
    seen to be the pinned ones. A host that shows another key stops it, and nothing is accepted."""
    known = quote(cluster.daisy.path(cluster.paths.known_hosts))
    pins = quote(pins_path(cluster))
    calls = []
    for host in hosts:
        names = " ".join(quote(name) for name in _names(cluster, host))
        calls.append(f"renew {quote(host.address)} {host.port} {quote(known_hosts_name(host))} {names} || exit $?")
    active = known_hosts_name(cluster.controllers.a)
    for address, name in zip(cluster.virtual_ips, cluster.virtual_ips_known_hosts_names, strict=True):
        calls.append(f"renew {quote(address)} {cluster.ssh.port} {quote(active)} {quote(name)} || exit $?")
    return f"""\
umask 077
mkdir -p "$(dirname {known})" && touch {known} || exit $?
test -z "$(tail -c 1 {known})" || echo >> {known} # a last line without an end would be joined to a new entry
{_scan(cluster, LOOKS)}
# $1 address, $2 port, $3 the name its key is pinned under, then every name to write in known_hosts.
renew() {{
  shown=$(scan "$1" "$2" "$3"); pinned=$(awk -v n="$3" '$1 == n {{ print $2, $3; exit }}' {pins})
  test -n "$shown" || {{ echo "$1 shows no SSH host key on port $2" >&2; return 1; }}
  test "$shown" = "$pinned" || {{ echo "$1 shows another host key than the one pinned for $3; nothing accepted" >&2; return 1; }}
  shift 3
  for name in "$@"; do
    ssh-keygen -R "$name" -f {known} >/dev/null 2>&1 || {{ echo "ssh-keygen -R $name failed" >&2; return 1; }}
    printf '%s %s\\n' "$name" "$shown" >> {known}
    echo "$name: pinned $(printf '%s %s\\n' "$name" "$shown" | ssh-keygen -l -f - | cut -d' ' -f2)"
  done
}}
{chr(10).join(calls)}"""


def repin_reinstalled(cluster: Cluster, hosts: Sequence[Host], looks: int = LOOKS_AFTER_INSTALLATION) -> str:
    """Return the script that accepts the keys which freshly installed hosts show, for those hosts only whose
    reinstallation is noted as under way, and says the old and the new fingerprint."""
    known = quote(cluster.daisy.path(cluster.paths.known_hosts))
    pins = quote(pins_path(cluster))
    calls = []
    for host in hosts:
        names = " ".join(quote(name) for name in _names(cluster, host))
        calls.append(
            f"test ! -e {quote(reinstalling_path(cluster, host))} || "
            f"repin {quote(host.address)} {host.port} {quote(known_hosts_name(host))} {names} || exit $?"
        )
    return f"""\
umask 077
{_scan(cluster, looks)}
repin() {{
  address=$1 port=$2 name=$3; shift 3
  shown=$(scan "$address" "$port" "$name"); pinned=$(awk -v n="$name" '$1 == n {{ print $2, $3; exit }}' {pins})
  test -n "$shown" || {{ echo "$address shows no SSH host key on port $port after its installation" >&2; return 1; }}
  test "$shown" = "$pinned" && return 0
  echo "$name has a new host key since its installation:"
  test -z "$pinned" || printf '%s %s\\n' "$name" "$pinned" | ssh-keygen -l -f - | sed 's/^/  old /'
  printf '%s %s\\n' "$name" "$shown" | ssh-keygen -l -f - | sed 's/^/  new /'
  awk -v n="$name" '$1 != n' {pins} > {pins}.new && printf '%s %s\\n' "$name" "$shown" >> {pins}.new && mv {pins}.new {pins} ||
    return 1
  for n in "$@"; do
    ssh-keygen -R "$n" -f {known} >/dev/null 2>&1; printf '%s %s\\n' "$n" "$shown" >> {known}
  done
}}
{chr(10).join(calls)}"""


def _names(cluster: Cluster, host: Host) -> tuple[str, ...]:
    return cluster.known_hosts_names(host)

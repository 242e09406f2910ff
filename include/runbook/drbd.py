"""What DRBD 8.4 says of the copies that the two controllers keep of the same data, and which of them may be the source.

Every resource has a role on its host and, for each of its volumes, a connection, a disk state and an identity: the
generations of data that this copy is and comes from (`drbdadm get-gi`). A copy may be overwritten only where nothing in
it can be missing on the other side; that is what the identities tell, also of a copy that is not in use.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from include.runbook.errors import FactUnreadable
from include.runbook.shell import Output, quote

SOURCE_LINKS = ("Connected", "WFConnection", "SyncSource", "PausedSyncS", "WFBitMapS")
"""Connections of a side that gives its data, or will when its peer comes."""

FOLLOWING_LINKS = ("Connected", "SyncTarget", "PausedSyncT", "WFBitMapT", "WFSyncUUID")
"""Connections of a side that has its peer's data, or is getting it."""

JUST_CREATED = "000000000000000"
"""The generation of new metadata is 4, and none is 0: no data yet."""

_UNCONFIGURED = re.compile(r"not allocated|unconfigured|not configured|no such resource|generic netlink family", re.I)
_NO_METADATA = re.compile(r"|.*no valid meta.?data.*", re.I)
_IDENTITY = re.compile(r"(?:[0-9A-F]{16}:){4}[01](?::[01])*")


@dataclass(frozen=True)
class Identity:
    """The data of one volume: its generation, those it comes from, and whether it is whole.

    Generations go without their last digit, in which DRBD notes whether the host was Primary.
    """

    generations: tuple[str, ...]
    consistent: bool

    @property
    def worthless(self) -> bool:
        """True when nothing can be lost with this copy: DRBD itself would never take it as a source."""
        return not self.consistent or self.generations[0] == JUST_CREATED


@dataclass(frozen=True)
class Replica:
    """One host's copy of a resource. `role` None: it is not configured there; `disks` are (own, peer's), per volume."""

    host: str
    resource: str
    role: str | None = None
    links: tuple[str, ...] = ()
    disks: tuple[tuple[str, str], ...] = ()
    identities: tuple[Identity, ...] = ()

    @property
    def shown(self) -> str:
        """The copy's state in DRBD's own words."""
        if self.role is None:
            return f"{self.resource} on {self.host} is not configured"
        disks = ", ".join("/".join(pair) for pair in self.disks)
        return f"{self.resource} on {self.host} is {self.role}, {', '.join(self.links)}, {disks}"


@dataclass(frozen=True)
class Replication:
    """What one host replicates: its resource files, and each resource."""

    host: str
    files: tuple[str, ...]
    replicas: tuple[Replica, ...]

    @property
    def resources(self) -> tuple[str, ...]:
        """The names of the resources."""
        return tuple(replica.resource for replica in self.replicas)

    def replica(self, resource: str) -> Replica:
        """Return the copy of a resource; one that the host does not know is not in use."""
        return next(
            (replica for replica in self.replicas if replica.resource == resource), Replica(self.host, resource)
        )


def state(drbd_d: str) -> str:
    """Return the command that prints all of a host's replication; `drbd_d` is the folder of its resource files."""
    return f"""\
ls -1 {quote(drbd_d)}/*.res 2>/dev/null | sed 's/^/file /'
command -v drbdadm >/dev/null 2>&1 || exit 0
names=$(drbdadm sh-resources 2>/dev/null) || {{ drbdadm sh-resources >&2; exit 2; }}
for r in $names; do
  echo "resource $r"
  for what in role cstate dstate get-gi; do
    said=$(drbdadm $what "$r" 2>/dev/null); status=$?
    test $status = 0 || test -n "$said" || said=$(drbdadm $what "$r" 2>&1)
    echo "$what $status" $said
  done
done"""


def parse_state(output: Output, *, source: str) -> Replication:
    """Read what `state` printed; raise FactUnreadable where DRBD answered in a way that is not known."""
    host, _, command = source.partition(": ")
    if not output.ok:
        raise FactUnreadable(host, command, output.tail or f"exit status {output.status}")
    files, replicas = [], []
    lines = output.stdout.splitlines()
    while lines:
        word, _, rest = lines.pop(0).partition(" ")
        if word == "file":
            files.append(rest)
        elif word == "resource" and len(lines) >= 4:
            try:
                replicas.append(_replica(host, rest, lines[:4]))
            except ValueError as problem:
                raise FactUnreadable(host, command, f"{rest}: {problem}") from None
            del lines[:4]
        else:
            raise FactUnreadable(host, command, f"{word} {rest}")
    return Replication(host, tuple(files), tuple(replicas))


def _replica(host: str, resource: str, lines: list[str]) -> Replica:
    answers: dict[str, tuple[int, str]] = {}
    for line in lines:
        what, number, words = (*line.split(" ", 2), "")[:3]
        answers[what] = (int(number), words)
    if set(answers) != {"role", "cstate", "dstate", "get-gi"}:
        raise ValueError(f"{', '.join(answers)}; expected role, cstate, dstate and get-gi")
    status, said = answers["get-gi"]
    if status and not _NO_METADATA.fullmatch(said):
        raise ValueError(f"get-gi: {said}")
    identities = () if status else tuple(map(_identity, said.split()))
    status, said = answers["role"]
    if _UNCONFIGURED.search(said):
        return Replica(host, resource, identities=identities)
    roles, links = set(said.split()), tuple(answers["cstate"][1].split())
    disks = tuple(_pair(word) for word in answers["dstate"][1].split())
    if status or answers["cstate"][0] or answers["dstate"][0] or len(roles) != 1 or not 0 < len(links) == len(disks):
        raise ValueError("; ".join(f"{what}: {told}" for what, (_, told) in answers.items()))
    return Replica(host, resource, "/".join(_pair(roles.pop())), links, disks, identities)


def _pair(word: str) -> tuple[str, str]:
    own, slash, peers = word.partition("/")
    if not slash:
        raise ValueError(f"{word!r}; expected two words of DRBD 8.4 with a slash between them")
    return own, peers


def _identity(word: str) -> Identity:
    if not _IDENTITY.fullmatch(word):
        raise ValueError(f"get-gi: {word!r}; expected four generations and flags")
    parts = word.split(":")
    return Identity(tuple(generation[:-1] for generation in parts[:4]), parts[4] == "1")


def keeps_from_being_source(replica: Replica) -> str | None:
    """Return why the copy cannot be what others are synchronised from; None where it can."""
    whole = all(own == "UpToDate" for own, _ in replica.disks)
    good = replica.role is not None and replica.role.startswith("Primary/")
    if good and whole and all(link in SOURCE_LINKS for link in replica.links):
        return None
    return f"{replica.shown}; a source is Primary, UpToDate, and connected or waiting for its peer"


def keeps_from_being_overwritten(replica: Replica, source: Replica) -> str | None:
    """Return what could be lost with the copy; None where all that it holds is, or was, in the source as well."""
    if replica.role is not None and not replica.role.startswith("Secondary/"):
        return f"{replica.shown}; a copy that is in use is not overwritten"
    had = {generation for identity in source.identities for generation in identity.generations}
    for identity in replica.identities:
        if not identity.worthless and identity.generations[0] not in had:
            return (
                f"{replica.shown}; it holds generation {identity.generations[0]}x, which {source.host} never had: "
                "it is newer, or the two have diverged"
            )
    return None


def keeps_from_following(replica: Replica, source: Replica) -> str | None:
    """Return why the copy does not get its data from the source; None where it does, or has all of it."""
    linked = replica.links and all(link in FOLLOWING_LINKS for link in replica.links)
    secondary = replica.role is not None and replica.role.startswith("Secondary/")
    given = all(link in SOURCE_LINKS and link != "WFConnection" for link in source.links)
    return None if linked and secondary and given else replica.shown


def keeps_from_being_in_sync(replica: Replica, source: Replica) -> str | None:
    """Return why the two copies are not the same; None where both sides say that they are."""
    whole = ("UpToDate", "UpToDate")
    same = all(pair == whole for each in (replica, source) for pair in each.disks)
    linked = all(link == "Connected" for each in (replica, source) for link in each.links)
    roles = (replica.role, source.role) == ("Secondary/Primary", "Primary/Secondary")
    return None if same and linked and roles else replica.shown

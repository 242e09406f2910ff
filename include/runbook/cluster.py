"""The inventory: what a cluster consists of, as one validated, unchangeable value.

Everything here may end up in a shell command on a host, so every text has a shape that it must match. Times are
measured in seconds of the runbook; `pace` shortens them for a lab.
"""

from __future__ import annotations

import ipaddress
import os
import re
import zoneinfo
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from croniter import croniter
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from include.runbook import nova_settings
from include.runbook.errors import InventoryError, RequestRefused
from include.runbook.inventory_text import InventoryText, KeyPath, dotted, read_inventory
from include.runbook.notice import Event

Problem = tuple[KeyPath, str]


def _shape(pattern: str, expected: str) -> Callable[[str], str]:
    """Return a validator that lets a text pass only if all of it matches the pattern."""
    shape = re.compile(pattern)

    def validated(text: str) -> str:
        if shape.fullmatch(text) is None:
            raise _unexpected(text, expected)
        return text

    return validated


def _unexpected(text: str, expected: str) -> PydanticCustomError:
    return PydanticCustomError(
        "unexpected", "{problem}", {"problem": f"{shown(text)}{_flaw(text)}; expected {expected}"}
    )


def _flaw(text: str) -> str:
    foreign = next((letter for letter in text if not letter.isascii()), None)
    if foreign is None:
        return " is not valid"
    name = "a full-width comma" if foreign == "\uff0c" else "a character outside ASCII"
    return f" holds {name}, '{foreign}' (U+{ord(foreign):04X})"


def shown(value: object) -> str:
    """Return the value as it would be written, at most 80 characters of it."""
    text = repr(value)
    return text if len(text) <= 80 else text[:76] + "...'"


def _address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        flaw = _flaw(text) if not text.isascii() else " is not an IP address"
        problem = f"{shown(text)}{flaw}; expected one such as 10.43.203.90"
        raise PydanticCustomError("unexpected", "{problem}", {"problem": problem}) from None
    if "%" in text:  # the scope of an IPv6 address is free text
        raise _unexpected(text, "an address without a scope")
    return str(address)


def _cron(text: str) -> str:
    if len(text.split()) != 5 or not croniter.is_valid(text):
        raise _unexpected(text, "a cron expression of five fields such as '0 6 * * *'")
    return text


def _time_zone(text: str) -> str:
    if text not in zoneinfo.available_timezones():
        raise _unexpected(text, "the name of a time zone such as Asia/Shanghai")
    return text


def _path(text: str) -> str:
    if re.fullmatch(r"/[A-Za-z0-9._/+@-]*", text) is None or ".." in text.split("/"):
        raise _unexpected(text, "an absolute path of letters, digits and . _ - + @, without '..'")
    return text


def _not_empty(computes: tuple[Compute, ...]) -> tuple[Compute, ...]:
    if not computes:
        raise PydanticCustomError("unexpected", "{problem}", {"problem": "lists nobody; expected at least one compute"})
    return computes


def _some(events: tuple[Event, ...]) -> tuple[Event, ...]:
    if not events:
        told = f"lists nothing; expected some of: {', '.join(Event)}"
        raise PydanticCustomError("unexpected", "{problem}", {"problem": told})
    return events


def _root(text: str) -> str:
    return _path(text).rstrip("/") if text else ""


_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
_NAME_EXPECTED = "letters, digits and . _ - (at most 63, a letter or digit first)"
_KEY_TYPES = r"(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-nistp(?:256|384|521))"

Name = Annotated[str, AfterValidator(_shape(_NAME, _NAME_EXPECTED))]
Address = Annotated[str, AfterValidator(_address)]
HostPath = Annotated[str, AfterValidator(_path)]
Root = Annotated[str, AfterValidator(_root)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
ConnectionId = Annotated[
    str, AfterValidator(_shape(r"[A-Za-z0-9_.-]+", "an Airflow connection id: letters, digits and . _ -"))
]
HostKey = Annotated[
    str, AfterValidator(_shape(rf"{_KEY_TYPES} [A-Za-z0-9+/]+={{0,2}}", "a public key such as 'ssh-ed25519 AAAA...'"))
]
Sha256 = Annotated[
    str, AfterValidator(_shape(r"[0-9A-Fa-f]{64}", "a SHA-256 sum of 64 hexadecimal digits")), AfterValidator(str.lower)
]
Uuid = Annotated[str, AfterValidator(_shape(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", "a UUID"))]
Line = Annotated[
    str,
    AfterValidator(
        _shape(r"[^\x00-\x1f\x7f\u0085\u2028\u2029]*\S[^\x00-\x1f\x7f\u0085\u2028\u2029]*", "one line of text")
    ),
]
CloudName = Annotated[
    str, AfterValidator(_shape(r"[A-Za-z0-9][A-Za-z0-9_.:+ -]{0,254}", "letters, digits, spaces and . _ : + -"))
]
_OPTION = r"[A-Za-z0-9_.:*-]+"
OptionPattern = Annotated[
    str, AfterValidator(_shape(f"{_OPTION}/{_OPTION}", "SECTION/KEY of nova.conf, with * for any letters"))
]
Cron = Annotated[str, AfterValidator(_cron)]
MailAddress = Annotated[
    str,
    AfterValidator(_shape(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,253}", "a mail address such as noc@example.org")),
]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
DatabaseName = Annotated[str, AfterValidator(_shape(r"[A-Za-z0-9_]{1,64}", "the name of a database"))]
MigrationNumber = Annotated[int, Field(strict=True, ge=0)]
Revision = Annotated[str, AfterValidator(_shape(r"[A-Za-z0-9_]{1,64}", "the name of an alembic revision"))]
CarriedRows = Mapping[OptionPattern, nova_settings.Rule]
NetworkMode = Literal["ovs", "dvs"]
StorageMode = Literal["share", "share_cluster", "local"]
DataSet = Literal["glance", "db", "dbbackup", "mongodb"]


class _Inventory(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ssh(_Inventory):
    """How hosts are reached unless a host says otherwise. `connection` is an Airflow connection id."""

    connection: ConnectionId
    port: Port = 22


class Host(_Inventory):
    """A machine reached by SSH. `root` is the directory that stands for "/" there; empty where files are at home."""

    name: Name
    address: Address
    connection: ConnectionId
    port: Port = 22
    host_key: HostKey | None = None
    root: Root = ""

    def path(self, path: str) -> str:
        """Return where the file with this absolute path really lies on the host; doubled slashes are written once."""
        return self.root + re.sub("/{2,}", "/", path)


class Container(_Inventory):
    """The container on the Daisy host in which Daisy runs.

    `installer`: where the bin runs. `inside` wants paths.tecs_install, paths.staging and the directory of paths.known_hosts
    to be the host's own in the container, under the same paths.
    """

    engine: Literal["docker", "podman"] = "docker"
    name: Name
    installer: Literal["outside", "inside"] = "outside"


AnyHost = TypeVar("AnyHost", bound=Host)


class Daisy(Host):
    """The host that deploys the cluster; controller A may be it. Its data lies in `<paths.tecs_data>/<cluster_id>`."""

    cluster_id: Uuid
    container: Container | None = None


class Compute(Host):
    """A compute node. `vnc_address` replaces the address name that is otherwise made from its own name."""

    network: NetworkMode = "ovs"
    vnc_address: Name | None = None


class Controllers(_Inventory):
    """The HA pair: `a` stays on the old release or returns to it first, `b` is reinstalled."""

    a: Host
    b: Host


class Release(_Inventory):
    """A TECS release: its installer, the sum that proves it whole, and what the release probe prints for it.

    `schemas`: for each database that counts, the newest migration that the release knows, or all revisions it knows.
    """

    bin: HostPath
    sha256: Sha256
    reports: Line
    schemas: Mapping[DatabaseName, MigrationNumber | tuple[Revision, ...]] = {}


class Databases(_Inventory):
    """Shell commands on the active controller: `client` takes SQL from its input and prints bare rows, `dump` a database."""

    client: Line = "mysql --batch --skip-column-names"
    dump: Line = "mysqldump --single-transaction --routines --events"


class Probes(_Inventory):
    """Shell commands that tell which release a node has, and since when. `installed_at` prints seconds since 1970."""

    release: Line = "rpm -q --qf '%{RELEASE}' openstack-nova-common"
    installed_at: Line = "rpm -q --qf '%{INSTALLTIME}' openstack-nova-common"


class VerificationVm(_Inventory):
    """What the VM is made of that proves the cloud works (A6.2)."""

    flavor: CloudName = "m1.tiny"
    image: CloudName = "cirros"
    network: CloudName = "none"


class Drain(_Inventory):
    """How VMs are moved off computes (A4.2).

    `parallel_per_compute` migrations at most run away from one compute, `parallel_per_batch` in all. `migration_limit` is
    how long (s) one may take, before the cluster's tolerance. `answer_limit` is how long (s, not shortened by the pace) a
    person is waited for. `migrate_across_releases` false: VMs go to computes of their own release only, until someone
    consents. The ratios are those of the computes' nova.conf: how far processors and memory are overcommitted.
    """

    parallel_per_compute: Annotated[int, Field(strict=True, ge=1)] = 2
    parallel_per_batch: Annotated[int, Field(strict=True, ge=1)] = 8
    migration_limit: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 120
    answer_limit: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3600
    migrate_across_releases: StrictBool = True
    cpu_allocation_ratio: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 16
    ram_allocation_ratio: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.5


class Validation(_Inventory):
    """When the cluster is validated by itself: a cron expression in a time zone; None: only when it is asked for."""

    schedule: Cron | None = None
    timezone: TimeZone = "UTC"


class Rehearsal(_Inventory):
    """When a scenario is rehearsed by itself on the cluster's embedded twin, which one, and how many times faster than real."""

    schedule: Cron | None = None
    timezone: TimeZone = "UTC"
    scenario: Literal["A", "B", "C"] = "A"
    pace: Annotated[float, Field(ge=1, le=1000)] = 200


class Notify(_Inventory):
    """Who is told of a run's events: by which of Airflow's notifiers, through which Airflow connection.

    `to` are the addresses of a mail; where a message of the other kinds goes, their connection says.
    """

    by: Literal["smtp", "http", "slack"]
    connection: ConnectionId
    to: tuple[MailAddress, ...] = ()
    events: Annotated[tuple[Event, ...], AfterValidator(_some)] = tuple(Event)


class Paths(_Inventory):
    """Where files lie on the hosts, before a host's `root` is put in front."""

    tecs_data: HostPath = "/var/lib/daisy/tecs/"
    tecs_install: HostPath = "/home/tecs_install"
    known_hosts: HostPath = "/root/.ssh/known_hosts"
    nova_conf: HostPath = "/etc/nova/nova.conf"
    openrc: HostPath = "/root/keystonerc_admin"
    state: HostPath = "/var/lib/tecs-rollback"
    staging: HostPath = "/home/tecs_update"
    storage_auto_config: HostPath = "/home/tecs_install/storage_auto_config"


def _carried(built_in: nova_settings.Table) -> Callable[[nova_settings.Table], nova_settings.Table]:
    """Return a validator that completes a site's rows by the built-in ones."""

    def completed(rows: nova_settings.Table) -> nova_settings.Table:
        if flaw := nova_settings.flaw_in(rows):
            raise PydanticCustomError("unexpected", "{problem}", {"problem": flaw})
        return nova_settings.completed(rows, built_in)

    return completed


def _budget(value: object) -> int | str:
    number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if number or (isinstance(value, str) and re.fullmatch("[0-9]{1,2}%", value)):
        return value  # type: ignore[return-value]  # one of the two, as was just seen
    told = f"{shown(value)} is not valid; expected a number of computes, or a share below 100%, such as 5%"
    raise PydanticCustomError("unexpected", "{problem}", {"problem": told})


class CarryOver(_Inventory):
    """What becomes of nova.conf's settings in a reinstallation (A4.7), by a compute's network mode.

    A site's rows come before the built-in ones of `nova_settings`. A setting that differs from before and that no row
    explains is reported, or stops the rollback of that compute before its services run with it.
    """

    ovs: Annotated[CarriedRows, AfterValidator(_carried(nova_settings.OVS))] = nova_settings.OVS
    dvs: Annotated[CarriedRows, AfterValidator(_carried(nova_settings.DVS))] = nova_settings.DVS
    unlisted_differences: Literal["report", "refuse"] = "report"

    def table(self, network: NetworkMode) -> nova_settings.Table:
        """Return the rows that hold for a compute of this network mode."""
        return self.dvs if network == "dvs" else self.ovs


_ON_DRBD: Mapping[DataSet, str] = {"glance": "glance", "db": "db", "dbbackup": "dbbackup"}
_REPLICATED: Mapping[StorageMode, Mapping[DataSet, str]] = {"share": {}, "share_cluster": _ON_DRBD, "local": _ON_DRBD}
"""Data set -> DRBD resource where the inventory does not say. What share_cluster replicates is an assumption."""


class Cluster(_Inventory):
    """One TECS site. Build it with `load_cluster` or `Cluster.model_validate`; both settle each host's defaults."""

    name: Name
    title: Line
    ssh: Ssh
    daisy: Daisy
    controllers: Controllers
    computes: Annotated[tuple[Compute, ...], AfterValidator(_not_empty)]
    virtual_ips: tuple[Address, ...] = ()
    float_ip_resource: Name = "lb_float_ip"
    use_dns: StrictBool = False
    storage: StorageMode
    replicated: Mapping[DataSet, Name] | None = None
    storage_network: Name | None = None
    cinder_management_ip: Address
    releases: Mapping[Name, Release]
    target_release: Name
    probes: Probes = Probes()
    databases: Databases = Databases()
    validation: Validation = Validation()
    rehearsal: Rehearsal = Rehearsal()
    notify: tuple[Notify, ...] = ()
    verification_vm: VerificationVm = VerificationVm()
    batch_size: Annotated[int, Field(strict=True, ge=1)] = 1
    canary: Annotated[int, Field(strict=True, ge=0)] = 1
    failure_budget: Annotated[int | str, BeforeValidator(_budget)] = 0
    drain: Drain = Drain()
    pace: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    tolerance: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.5
    soak: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1200
    carry_over: CarryOver = CarryOver()
    paths: Paths = Paths()

    @model_validator(mode="before")
    @classmethod
    def _settle_defaults(cls, raw: Any) -> Any:
        return _with_release_reports(_with_ssh_defaults(raw)) if isinstance(raw, Mapping) else raw

    @model_validator(mode="after")
    def _free_of_conflicts(self) -> Cluster:
        conflicts = list(_conflicts(self.model_dump()))
        if conflicts:
            told = "; ".join(f"{dotted(path)}: {problem}" for path, problem in conflicts)
            raise PydanticCustomError("conflict", "{problem}", {"problem": told})
        return self

    @property
    def nodes(self) -> tuple[Host, ...]:
        """The controllers and the computes, in the order of the inventory."""
        return (self.controllers.a, self.controllers.b, *self.computes)

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Every host of the cluster, the Daisy host first."""
        return (self.daisy, *self.nodes)

    def host(self, name: str) -> Host:
        """Return the host of that name; raise RequestRefused when the cluster has none."""
        return _named(name, self.hosts, f"host of cluster {self.name}")

    def compute(self, name: str) -> Compute:
        """Return the compute of that name; raise RequestRefused when the cluster has none."""
        return _named(name, self.computes, f"compute of cluster {self.name}")

    def release(self, name: str) -> Release:
        """Return the release of that name; raise RequestRefused when the inventory has none."""
        if name not in self.releases:
            known = ", ".join(self.releases)
            raise RequestRefused(f"{shown(name)} is not a release of cluster {self.name}; choose one of: {known}")
        return self.releases[name]

    @property
    def drbd_resources(self) -> tuple[str, ...]:
        """The DRBD resources that hold the data sets which A and B replicate; none where they share their disks (A5.10)."""
        chosen = _REPLICATED[self.storage] if self.replicated is None else self.replicated
        return tuple(dict.fromkeys(chosen.values()))

    @property
    def release_reports(self) -> dict[str, str]:
        """What the release probe prints for each release."""
        return {name: release.reports for name, release in self.releases.items()}

    def exclude_list(self, *hosts: Host) -> str:
        """Return EXCLUDE_SERVERS for these hosts, exactly as they stand in the CONFIG_*_HOSTS keys (A4.4, A5.1)."""
        return ",".join(host.name if self.use_dns else host.address for host in hosts)

    def known_hosts_names(self, host: Host) -> tuple[str, ...]:
        """Return the names under which the host can stand in Daisy's known_hosts (A4.6, A5.3)."""
        return tuple(_known_hosts_name(name, host.port) for name in (host.address, host.name))

    @property
    def virtual_ips_known_hosts_names(self) -> tuple[str, ...]:
        """The virtual IPs as they stand in known_hosts; the host key behind them changes at a switchover."""
        return tuple(_known_hosts_name(address, self.ssh.port) for address in self.virtual_ips)

    def failures_allowed(self, computes: int) -> int:
        """Return how many of so many computes may fail before a run that rolls them back stops."""
        if isinstance(self.failure_budget, int):
            return self.failure_budget
        return computes * int(self.failure_budget.removesuffix("%")) // 100

    def seconds(self, measured: float) -> float:
        """Return how many seconds the runbook's measured seconds take at this cluster's pace."""
        return measured / self.pace

    def vnc_address(self, compute: Compute) -> str:
        """Return what vncserver_proxyclient_address of the compute must be (A4.7)."""
        if compute.vnc_address is not None:
            return compute.vnc_address
        return compute.name if self.storage_network is None else f"{compute.name}.{self.storage_network}"


class Inventories(Mapping[str, Cluster]):
    """The inventories of some folders by their clusters' names, each read when it is asked for; a later folder wins.

    So a mistake in one site's file does not keep another site from being rolled back.
    """

    def __init__(self, *directories: Path) -> None:
        self._files = {file.stem: file for directory in directories for file in sorted(directory.glob("*.yaml"))}

    def __getitem__(self, name: str) -> Cluster:
        return load_cluster(self._files[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def _named(name: str, hosts: Sequence[AnyHost], what: str) -> AnyHost:
    for host in hosts:
        if host.name == name:
            return host
    raise RequestRefused(f"{shown(name)} is not a {what}; choose one of: {', '.join(host.name for host in hosts)}")


def _known_hosts_name(name: str, port: int) -> str:
    return name if port == 22 else f"[{name}]:{port}"


def _with_ssh_defaults(raw: Mapping[str, Any]) -> dict[str, Any]:
    ssh = raw.get("ssh")
    inherited = {key: ssh[key] for key in ("connection", "port") if key in ssh} if isinstance(ssh, Mapping) else {}

    def settled(host: Any) -> Any:
        return {**inherited, **host} if isinstance(host, Mapping) else host

    filled = dict(raw)
    if "daisy" in raw:
        filled["daisy"] = settled(raw["daisy"])
    if isinstance(raw.get("controllers"), Mapping):
        filled["controllers"] = {role: settled(host) for role, host in raw["controllers"].items()}
    if isinstance(raw.get("computes"), (list, tuple)):
        filled["computes"] = [settled(host) for host in raw["computes"]]
    return filled


def _with_release_reports(raw: dict[str, Any]) -> dict[str, Any]:
    releases = raw.get("releases")
    if not isinstance(releases, Mapping):
        return raw
    reported = {
        name: {"reports": name, **release} if isinstance(release, Mapping) else release
        for name, release in releases.items()
    }
    return {**raw, "releases": reported}


def _conflicts(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Tell what is wrong between keys that are each fine by themselves. Keys of an unexpected shape are passed over."""
    hosts = list(_hosts_in(raw))
    yield from _repeated("name", [((*path, "name"), host.get("name")) for path, host in hosts])
    addresses = [((*path, "address"), host.get("address")) for path, host in hosts]
    virtual_ips = raw.get("virtual_ips")
    if isinstance(virtual_ips, (list, tuple)):
        addresses += [(("virtual_ips", index), address) for index, address in enumerate(virtual_ips)]
    yield from _repeated("address", addresses)
    releases, target = raw.get("releases"), raw.get("target_release")
    if isinstance(releases, Mapping) and isinstance(target, str) and target not in releases:
        known = ", ".join(map(str, releases)) or "none is listed"
        yield ("target_release",), f"{shown(target)} is not under releases; expected one of: {known}"
    if isinstance(releases, Mapping):
        yield from _same_reports(releases)
    storage, replicated = raw.get("storage"), raw.get("replicated")
    if storage == "share" and replicated:
        yield ("replicated",), "names DRBD resources, but storage share replicates nothing; expected no such key"
    if storage in ("share_cluster", "local") and isinstance(replicated, Mapping) and not replicated:
        yield ("replicated",), f"names nobody, but storage is {storage}; expected one DRBD resource, or storage share"
    notify = raw.get("notify")
    if isinstance(notify, (list, tuple)):
        yield from _misaddressed(notify)


def _same_reports(releases: Mapping[str, Any]) -> Iterator[Problem]:
    told_by: dict[str, str] = {}
    for name, release in releases.items():
        printed = release.get("reports", name) if isinstance(release, Mapping) else None
        if isinstance(printed, str) and told_by.setdefault(printed, name) != name:
            other = f"is what release {told_by[printed]} reports too"
            yield ("releases", name, "reports"), f"{shown(printed)} {other}; expected a text that tells them apart"


def _misaddressed(notify: Sequence[Any]) -> Iterator[Problem]:
    for index, each in enumerate(notify):
        by, to = (each.get("by"), each.get("to")) if isinstance(each, Mapping) else (None, None)
        if by == "smtp" and not to:
            yield ("notify", index, "to"), "names nobody; expected the mail addresses that smtp sends to"
        if by in ("http", "slack") and to:
            yield (
                ("notify", index, "to"),
                f"means nothing to {by}, whose connection says where to; expected no such key",
            )


def _hosts_in(raw: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    controllers, computes = raw.get("controllers"), raw.get("computes")
    places: list[tuple[KeyPath, Any]] = [(("daisy",), raw.get("daisy"))]
    if isinstance(controllers, Mapping):
        places += [(("controllers", role), controllers.get(role)) for role in ("a", "b")]
    if isinstance(computes, (list, tuple)):
        places += [(("computes", index), compute) for index, compute in enumerate(computes)]
    for path, host in places:
        if isinstance(host, Mapping):
            yield path, host


def _repeated(what: str, found: Sequence[tuple[KeyPath, Any]]) -> Iterator[Problem]:
    first: dict[str, KeyPath] = {}
    for path, value in found:
        if not isinstance(value, str):
            continue
        earlier = first.setdefault(value, path)
        if earlier == path or (path, earlier) == (("controllers", "a", "address"), ("daisy", "address")):
            continue
        expected = f"expected another {what} for every host"
        if earlier == ("daisy", "address") and path[0] in ("controllers", "computes"):
            expected = "this host is reinstalled, so it cannot be the Daisy host; of the nodes only A can"
        if path[:2] == ("controllers", "b") and earlier[:2] == ("controllers", "a"):
            expected = "A and B must be two hosts"
        yield path, f"{shown(value)} is already the {what} at {dotted(earlier)}; {expected}"


def clusters_directory() -> Path:
    """Return the directory of the inventories: TECS_CLUSTERS, or include/clusters of this project."""
    chosen = os.environ.get("TECS_CLUSTERS")
    return Path(chosen) if chosen else Path(__file__).resolve().parent.parent / "clusters"


def load_cluster(path: Path) -> Cluster:
    """Return the cluster that the file describes; raise InventoryError with file, line and key of every problem."""
    try:
        read = read_inventory(path.read_text(encoding="utf-8"))
    except OSError as refused:
        raise InventoryError(f"{path}: cannot be read: {refused.strerror}") from None
    except UnicodeDecodeError as refused:
        raise InventoryError(f"{path.name}: not UTF-8 at byte {refused.start}; expected a UTF-8 text file") from None
    problems = read.problems
    if not problems and not isinstance(read.values, dict):
        problems = [(1, "expected keys and values of a cluster, such as 'name: lab'")]
    if not problems:
        try:
            cluster = Cluster.model_validate(read.values)
        except ValidationError as refused:
            problems = [(read.line_of(at), f"{dotted(at)}: {told}") for at, told in _problems(refused, read)]
        else:
            if cluster.name == path.stem:
                return cluster
            told = f"name: {shown(cluster.name)} differs from the file's name; expected {shown(path.stem)}"
            problems = [(read.line_of(("name",)), told)]
    raise InventoryError("\n".join(f"{path.name}:{line}: {told}" for line, told in sorted(problems)))


def _problems(refused: ValidationError, read: InventoryText) -> Iterator[Problem]:
    for error in refused.errors(include_url=False):
        # The key of a mapping has its own, artificial last part: releases, 100, [key].
        path = tuple(part for part in error["loc"] if part != "[key]")
        inherited = path[-1:] in (("connection",), ("port",)) and path[0] != "ssh" and path not in read.lines
        if error["type"] != "conflict" and not inherited:
            yield path, _told(error, path)
    yield from _conflicts(read.values)


def _told(error: ErrorDetails, path: KeyPath) -> str:
    kind, found, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "unexpected":
        return str(context["problem"])
    if kind == "missing":
        return "is missing; expected a value"
    if kind == "extra_forbidden":
        return f"unknown key; expected one of: {', '.join(_keys_at(path[:-1]))}"
    if kind in ("literal_error", "enum"):
        return f"{shown(found)} is not one of the choices; expected {context['expected']}"
    if kind == "string_type" and isinstance(found, (int, float)):
        return f"{shown(found)} is a number; expected text: write it in quotes"
    expected = error["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return f"{shown(found)} is not valid; expected {expected}"


def _keys_at(path: KeyPath) -> Sequence[str]:
    """Return the keys that the inventory knows at this place."""
    if path[:1] == ("controllers",) and len(path) > 1:
        return list(Host.model_fields)
    if path == ("daisy", "container"):
        return list(Container.model_fields)
    return list((_MODELS[path[0]] if path else Cluster).model_fields)


_MODELS: Mapping[str | int, type[BaseModel]] = {
    "ssh": Ssh,
    "daisy": Daisy,
    "controllers": Controllers,
    "computes": Compute,
    "releases": Release,
    "probes": Probes,
    "databases": Databases,
    "validation": Validation,
    "rehearsal": Rehearsal,
    "notify": Notify,
    "verification_vm": VerificationVm,
    "drain": Drain,
    "carry_over": CarryOver,
    "paths": Paths,
}

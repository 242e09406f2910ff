"""The lab's hosts, and what can be done to them: begin a scenario, reinstall a node, cut the power or a cable."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from include.cluster_lab import host_services, node_files, site
from include.cluster_lab.audits import Journal
from include.cluster_lab.base_tree import CACHE
from include.cluster_lab.cloud import Cloud
from include.cluster_lab.daisy_files import lay_out_daisy
from include.cluster_lab.faults import Pending, kind_of
from include.cluster_lab.host import Host
from include.cluster_lab.keys import make_key, public_text
from include.cluster_lab.likeness import PLAYED, likeness
from include.cluster_lab.pacemaker import lay_cluster, make_cluster, start_cluster
from include.cluster_lab.site import CLOUD, CONTROLLERS, DAISY, HOSTS, A, B, releases_of
from include.lab.errors import LabError

DISTURBED = "disturbed"
"""A file in a host's run directory while a fault may concern its SSH commands."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How the lab behaves. `pace` shortens the stand-ins' times only; `honest`: the bin's exit status tells failures."""

    state: Path
    scenario: str = "A"
    transport: str = "udpu"
    pace: float = 60
    honest: bool = False
    self_maintenance: bool = True
    with_cloud: bool = True


class Lab:
    """The hosts of one site, and the truth about what was done to them."""

    def __init__(self, options: Options, base: Path, cloud_layers: tuple[Path, ...], disk: str, say: Say) -> None:
        self.options = options
        self.journal = Journal(options.state / "journal.jsonl")
        self.pending = Pending()
        self.half_installed: set[str] = set()
        self._say = say
        self._disk = disk
        self._cluster_files = _cluster_files(base, options.transport)
        self._world = likeness(options.state)
        self._changing = threading.RLock()
        self.hosts = {
            each.name: Host(
                each,
                options.state,
                (*cloud_layers, base) if each is CLOUD else (base,),
                (disk,) if each in CONTROLLERS else (),
            )
            for each in HOSTS
            if options.with_cloud or each is not CLOUD
        }
        self.cloud = Cloud(self.hosts, say) if options.with_cloud else None
        self._keys = {name: options.state / "keys" / name for name in self.hosts}
        for name, path in self._keys.items():
            make_key(path, name)
        make_key(options.state / "keys/daisys-own", f"root@{DAISY.name}")
        make_key(options.state / "id_ed25519", "operator@lab")
        self._stale = make_key(options.state / "keys/stale", "stale")

    @property
    def a(self) -> Host:
        """The controller that stays on, or returns first to, the old release."""
        return self.hosts[A.name]

    @property
    def b(self) -> Host:
        """The controller that is reinstalled."""
        return self.hosts[B.name]

    @property
    def host_keys(self) -> dict[str, str]:
        """Each host's SSH host key at the beginning of a scenario."""
        return {name: public_text(path) for name, path in self._keys.items()}

    def start(self) -> None:
        """The scenario has begun on fresh hosts, the cloud's too."""
        if self.cloud is not None:
            cloud_host = self.hosts[CLOUD.name]
            cloud_host.remake()
            self._lay_identity(cloud_host, self._keys[CLOUD.name])
            # It takes longest: it boots while the others' trees are made.
            cloud_host.power_on()
        self.begin(self.options.scenario)

    def begin(self, scenario: str) -> None:
        """Every node and Daisy are made anew as the scenario finds them, with the SSH host keys of the first beginning."""
        releases = releases_of(scenario)
        with self._changing:
            self.options = replace(self.options, scenario=scenario)
            self.forget_faults()
            self.half_installed.clear()
            played = [self.hosts[each.name] for each in PLAYED]
            self._say(f"making and booting {len(played)} hosts")
            for host in played:
                host.power_loss()
            _at_once(lambda host: self._lay_out(host, releases.get(host.site.name)), played)
            for host in self.hosts.values():
                host.join_cable()
            _at_once(Host.power_on, self.hosts.values())
            _at_once(Host.wait_for_sshd, self.hosts.values())
            for host in played:
                host_services.start_unenabled(host)
            if not self._cluster_files.exists():
                self._say("making the cluster of A and B")
                make_cluster(self.a, self.b, self.options.transport, self._cluster_files)
            for host in (self.a, self.b):
                node_files.lay_node_lists(self._world, host)
            self._say("starting the cluster of A and B")
            active = self.b if scenario == "A" else self.a
            start_cluster(self.a, self.b, self._disk, active=active, ban=scenario in ("A", "B", "C"))
            if self.cloud is not None:
                self._say("waiting for the cloud")
                self.cloud.start()
                self.cloud.begin()
            # sshd answers before the last unit of a busy host is up.
            _at_once(host_services.wait_for_services, played)
            self.journal.begin()
            self.journal.record("", "lab", ["begin", scenario], f"scenario {scenario} begins")

    def reinstall(self, name: str, release: str) -> None:
        """The node is a fresh installation of the release: new tree, new SSH host key, no cluster's files; it is up."""
        with self._changing:
            host = self.hosts[name]
            try:
                host.power_off()
            except LabError as slow:
                self.journal.record(name, "lab", ["power off"], str(slow))
            key = self.options.state / "keys" / f"{name}.{self.journal.installs[name]['installed'] + 1}"
            make_key(key, name)
            host.remake()
            self._lay_identity(host, key)
            node_files.lay_installed(self._world, host, release, self.cloud)
            if host.site in CONTROLLERS and self.options.self_maintenance and self.options.scenario in ("A", "B"):
                node_files.lay_maintenance_habit(host)
            host.power_on()
            host.wait_for_sshd()
            host_services.start_unenabled(host)
            self.half_installed.discard(name)
            self.journal.installs[name]["installed"] += 1
            self.journal.record(name, "installer", ["reinstall", release], f"release {release} installed, new host key")

    def fault(self, fault: dict[str, Any]) -> None:
        """The fault is in force; LabError when its form is wrong or it cannot be done."""
        kind = kind_of(fault)
        self.journal.record(str(fault.get("host", "")), "fault", [kind], f"ordered: {fault}")
        match kind:
            case "clear":
                self.forget_faults()
            case "host":
                self._disturb(self.hosts[fault["host"]], fault["do"], float(fault.get("seconds", 0)))
            case _:
                self.pending.add(fault)
                self.mark_disturbed()

    def mark_disturbed(self) -> None:
        """Each host knows whether its SSH sessions have to ask for faults."""
        for name, host in self.hosts.items():
            mark = host.run_directory / DISTURBED
            if self.pending.concern(name):
                mark.touch()
            else:
                mark.unlink(missing_ok=True)

    def forget_faults(self) -> None:
        """No fault is pending."""
        self.pending.clear()
        self.mark_disturbed()

    def _disturb(self, host: Host, action: str, seconds: float) -> None:
        with self._changing:
            match action:
                case "down":
                    host.power_loss()
                case "up":
                    host.power_on()
                    host.wait_for_sshd()
                case "cut":
                    host.cut_cable()
                case "slow":
                    host.slow_cable(seconds)
                case "join":
                    host.join_cable()

    def _lay_out(self, host: Host, release: str | None) -> None:
        host.remake()
        self._lay_identity(host, self._keys[host.site.name])
        if release is not None:
            node_files.lay_installed(self._world, host, release, self.cloud)
            node_files.lay_in_service(self._world, host, self.cloud)
            if host.site in CONTROLLERS and self._cluster_files.exists():
                lay_cluster(host, self._cluster_files)
        else:
            own = self.options.state / "keys/daisys-own"
            lay_out_daisy(self._world, host, own, self.host_keys, self._stale)

    def _lay_identity(self, host: Host, key: Path) -> None:
        accepted = [public_text(self.options.state / name) for name in ("id_ed25519", "keys/daisys-own")]
        node_files.lay_identity(host, key, accepted)


def _cluster_files(base: Path, transport: str) -> Path:
    """Where the files of the cluster are kept that pcs made: it needs half a minute for them, and they never change."""
    told_by = (base.name.encode(), transport.encode(), Path(str(site.__file__)).read_bytes())
    return CACHE / f"cluster-{hashlib.sha256(b'/'.join(told_by)).hexdigest()[:12]}"


def lay_programs(state: Path) -> None:
    """What the hosts' stand-ins are made of lies in the state directory, from where each host has it."""
    here = Path(__file__).parent
    target = state / "programs"
    include = target / "include"
    shutil.copytree(here / "programs", include / "cluster_lab/programs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(here.parent / "lab", include / "lab", ignore=shutil.ignore_patterns("__pycache__"))
    for package in (here.parent, here):
        shutil.copy(package / "__init__.py", include / package.relative_to(here.parent) / "__init__.py")
    shutil.copy(here / "tree_recipe.py", include / "cluster_lab/tree_recipe.py")
    for name in ("launch", "ssh-session"):
        shutil.move(include / "cluster_lab/programs" / name, target / name)


def _at_once(do: Callable[[Host], None], hosts: Iterable[Host]) -> None:
    """Do it to every host side by side; the first failure is raised when all have ended."""
    with ThreadPoolExecutor(len(HOSTS)) as pool:
        for doing in [pool.submit(do, host) for host in hosts]:
            doing.result()

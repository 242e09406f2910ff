"""lab-installer, to which every stand-in for ZTE's bin hands over.

Emulated: `conf_file <absolute tecs.conf>` on the Daisy host, with Packstack's stages, progress files and last line,
real OpenSSH to every host that tecs.conf names, the password prompt at which it hangs when a host key is unknown or
changed, and an exit status that means nothing; `clean`, `uninstall` (asks on standard input) and `upgrade` on a node;
the self-extracting archive's check of itself. Anything else prints help and ends with status 1.
Not emulated: Puppet, packages, the interactive menu, plugging of networks and share disks.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from include.lab.answer_file import asked_hosts, read_answers
from include.lab.installation import begin_removal, begin_upgrade, finish_upgrade, remove
from include.lab.installer_bin import bin_bytes
from include.lab.programs.standin import Here, Refused
from include.lab.world import Machine, World

COMPUTES_TAKE = 200.0
CONTROLLER_TAKES = 675.0
CLEAN_TAKES = {"compute": 120.0, "controller": 215.0}
STAGES_BEFORE = (
    ("Setting up ssh keys", 0.02),
    ("Preparing servers", 0.06),
    ("Adding pre install manifest entries", 0.02),
    ("Adding AMQP manifest entries", 0.02),
    ("Adding Keystone manifest entries", 0.02),
    ("Adding Glance Keystone manifest entries", 0.02),
    ("Adding Cinder manifest entries", 0.02),
    ("Adding Nova manifest entries", 0.02),
    ("Adding Neutron manifest entries", 0.02),
    ("Adding post install manifest entries", 0.02),
)
MANIFESTS = ("prescript", "nova", "neutron", "ceilometer", "postscript")
SUCCESS = " **** Installation completed successfully ******"
KEY_PROBLEM = re.compile(r"host key verification failed|permission denied|no .* host key is known", re.IGNORECASE)
HELP = """\
usage: {name} [conf_file <absolute path of tecs.conf> | upgrade | uninstall | clean]
  conf_file   install the hosts of the configuration file
  upgrade     upgrade this host
  uninstall   uninstall this host, after a question
  clean       uninstall this host without questions"""


class InstallationFailed(Exception):
    """The installer stops; the message is its Error line."""


def main(here: Here, argv: list[str]) -> int:
    """Do what the bin was asked; `argv` begins with the release and the path of the bin itself."""
    release, own_path, arguments = argv[1], Path(argv[3]).absolute(), argv[4:]
    _check_archive(release, own_path)
    match arguments:
        case ["conf_file", conf] if conf.startswith("/"):
            return Installation(here, release, own_path, Path(conf)).run()
        case ["clean"]:
            return _clean(here, argv)
        case ["uninstall"]:
            print("Are you sure to uninstall TECS? [y/n]: ", end="", flush=True)
            return _clean(here, argv) if sys.stdin.readline().strip().lower() in ("y", "yes") else 0
        case ["upgrade"]:
            return _upgrade(here, release, argv)
    print(HELP.format(name=own_path.name))
    return 1


def _check_archive(release: str, own_path: Path) -> None:
    if own_path.read_bytes() != bin_bytes(release):
        raise Refused("Error in MD5 checksums: the archive is corrupt or incomplete", 2)


def _clean(here: Here, argv: list[str]) -> int:
    with here.changing() as world:
        machine = world.machines[here.host]
        if machine.release is None:
            print("TECS is not installed on this host, nothing to clean.")
            return 0
        print(f"Begin to clean TECS {machine.release} on {machine.name} ...", flush=True)
        begin_removal(world, machine)
        world.record(here.host, "installer", argv, "clean begun")
    here.wait(CLEAN_TAKES.get(machine.role, 0.0) / 2)
    print("Removing packages ...", flush=True)
    here.wait(CLEAN_TAKES.get(machine.role, 0.0) / 2)
    with here.changing() as world:
        remove(world, world.machines[here.host])
        world.record(here.host, "installer", argv, "cleaned")
    print("Clean TECS finished.")
    return 0


def _upgrade(here: Here, release: str, argv: list[str]) -> int:
    with here.changing() as world:
        machine = world.machines[here.host]
        if machine.release is None:
            print("TECS is not installed on this host, nothing to upgrade.")
            return 0
        print(f"Begin to upgrade {machine.name} from {machine.release} to {release} ...", flush=True)
        begin_upgrade(world, machine, release)
        world.record(here.host, "installer", argv, "upgrade begun")
        broken = world.take_fault("upgrade", host=here.host) is not None
    here.wait(CONTROLLER_TAKES if machine.role == "controller" else COMPUTES_TAKE)
    if broken:
        print("Error: Failed to apply puppet manifest: exit status 1")
        return 0
    with here.changing() as world:
        finish_upgrade(world, world.machines[here.host])
        world.record(here.host, "installer", argv, f"upgraded to {release}")
    print("Upgrade TECS finished.")
    return 0


class Installation:
    """One run of `conf_file` on the Daisy host."""

    def __init__(self, here: Here, release: str, own_path: Path, conf: Path) -> None:
        self._here = here
        self._release = release
        self._own_path = own_path
        self._conf = conf
        self._fault = ""
        self._factor = 1.0
        self._cluster_id = ""

    def run(self) -> int:
        """Install; the status is 0 whatever happens, unless the lab or a fault says otherwise."""
        with self._here.changing() as world:
            if world.machines[self._here.host].role != "daisy":
                raise Refused("Error: conf_file runs on the Daisy host only")
            self._enter(world)
            honest = world.installer_status == "honest"
        print(f"Welcome to Installer setup utility\n\nUsing {self._conf}\n", flush=True)
        try:
            self._install()
        except InstallationFailed as failure:
            print(f"\nError: {failure}", flush=True)
            return 1 if honest and self._fault != "fail_exit_0" else 0
        finally:
            with self._here.changing() as world:
                if world.installer_pid == os.getpid():
                    world.installer_pid = None
        print(f"\n{SUCCESS}", flush=True)
        return 1 if self._fault == "succeed_exit_1" else 0

    def _enter(self, world: World) -> None:
        running = world.installer_pid is not None and _is_installer(world.installer_pid)
        if running:
            world.violate("two installers at once", self._here.host, f"process {world.installer_pid} still ran")
            raise Refused("Error: another installation is running", 0 if world.installer_status == "zero" else 1)
        world.installer_pid = os.getpid()
        world.installer_started += 1
        fault = world.take_fault("installer") or {}
        self._fault = str(fault.get("installer", ""))
        self._factor = float(fault.get("factor", 5)) if self._fault == "slow" else 1.0
        world.record(self._here.host, "installer", ["conf_file", str(self._conf)], f"release {self._release} begun")

    def _install(self) -> None:
        hosts = self._hosts_asked()
        targets = self._targets(hosts)
        takes = (
            CONTROLLER_TAKES if any(each.role == "controller" for each in targets) else COMPUTES_TAKE
        ) * self._factor
        print("Installing:", flush=True)
        progress = self._progress_files(targets)
        for title, share in STAGES_BEFORE:
            self._here.wait(takes * share)
            _print_stage(title)
        if self._fault == "password_prompt":
            _ask_password(hosts[0])
        for host in hosts:
            self._reach(host)
        if self._fault == "fail_exit_0":
            raise InstallationFailed("Failed to apply puppet manifest: exit status 1")
        if self._fault == "garbage":
            sys.stdout.buffer.write(b"\xb3\xf6\xb4\xed\xff\xfe\x00\x1b[2J\x1b[31m" * 200 + b"\r\n")
        _print_stage("Copying Puppet modules and manifests")
        self._apply(targets, progress, takes * 0.74)
        _print_stage("Applying Puppet manifests")
        self._here.wait(takes * 0.02)
        half = self._fault == "half_install"
        for machine in targets:
            if not half:
                self._on_node(machine, "finish")
        if half:
            raise InstallationFailed(f"Failed to start openstack-nova-compute on {targets[0].address}: unit not found")
        _print_stage("Finalizing")

    def _hosts_asked(self) -> list[str]:
        bins = sorted(
            path.name for path in self._own_path.parent.iterdir() if re.fullmatch(r"ZXTECS.*\.bin", path.name)
        )
        if len(bins) > 1:
            raise InstallationFailed(f"more than one installer in {self._own_path.parent}: {', '.join(bins)}")
        try:
            answers = read_answers(self._conf)
        except OSError as problem:
            raise InstallationFailed(f"{self._conf} not found: {problem.strerror}") from problem
        mappings = answers.get("CONFIG_NEUTRON_ML2_JSON_PATH", "")
        if mappings and not Path(mappings).is_file():
            raise InstallationFailed(f"{mappings} not found (CONFIG_NEUTRON_ML2_JSON_PATH)")
        self._cluster_id = answers.get("CLUSTER_ID", "")
        return asked_hosts(answers)

    def _targets(self, hosts: list[str]) -> list[Machine]:
        with self._here.changing() as world:
            nodes = world.controllers + world.computes
            targets = [each for each in nodes if each.address in hosts or each.name in hosts]
            for machine in targets:
                if machine.release not in (None, self._release):
                    world.violate("installed over another release", machine.name, f"still on {machine.release}")
                    raise InstallationFailed(
                        f"TECS {machine.release} is still installed on {machine.address}, clean it first"
                    )
            if not targets:
                raise InstallationFailed("no host is left to install; see EXCLUDE_SERVERS")
            return targets

    def _progress_files(self, targets: list[Machine]) -> Path:
        """What Daisy reads progress from: a file named after the cluster, whose first line is the run directory."""
        root = os.environ["HOME"].removesuffix("/root")
        run = Path(f"{root}/var/tmp/packstack/{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
        manifests = run / "manifests"
        manifests.mkdir(parents=True)
        for machine in targets:
            for name in MANIFESTS:
                (manifests / f"{machine.address}_{name}.pp").write_text(f"# {name}\n")
        (run.parent / self._cluster_id).write_text(f"{run}\n")
        return manifests

    def _apply(self, targets: list[Machine], manifests: Path, seconds: float) -> None:
        for number, name in enumerate(MANIFESTS):
            if number == 1:
                for machine in targets:
                    self._on_node(machine, "packages")
            if number == 2 and self._fault == "hang":
                _for_ever()
            for machine in targets:
                print(f"Applying {machine.address}_{name}.pp", flush=True)
            self._here.wait(seconds / len(MANIFESTS))
            for machine in targets:
                (manifests / f"{machine.address}_{name}.pp.log").write_text("Notice: Finished catalog run\n")
                print(f"{f'{machine.address}_{name}.pp:':<53}[ DONE ]", flush=True)

    def _reach(self, host: str) -> None:
        answer = self._ssh(host, "true")
        if answer.returncode == 0:
            return
        if KEY_PROBLEM.search(answer.stderr):
            _ask_password(host)
        raise InstallationFailed(f"cannot reach {host}: {answer.stderr.strip()}")

    def _on_node(self, machine: Machine, phase: str) -> None:
        with self._here.changing() as world:
            name = machine.name if world.use_dns else machine.address
        answer = self._ssh(name, f"lab-node-installer {phase} {self._release}")
        if answer.returncode != 0:
            raise InstallationFailed(f"{phase} on {name} ended with {answer.returncode}: {answer.stderr.strip()}")

    def _ssh(self, host: str, command: str) -> subprocess.CompletedProcess[str]:
        # OpenSSH finds the home directory in passwd, not in $HOME: naming every file works in both isolations.
        ssh = Path(os.environ["HOME"]) / ".ssh"
        identities = [
            part for key in ("id_ed25519", "id_rsa") if (ssh / key).exists() for part in ("-i", str(ssh / key))
        ]
        with self._here.changing() as world:
            named = world.machines.get(host)
            port = next(
                (each.port for each in world.machines.values() if host in (each.name, each.address)), world.virtual_port
            )
            resolves = world.names_resolve
        alias = f"[{host}]:{port}" if port != 22 else host
        resolved = (
            [] if named is None or resolves else ["-o", f"HostName={named.address}", "-o", f"HostKeyAlias={alias}"]
        )
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "10",
            "GlobalKnownHostsFile": "/dev/null",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(ssh / "known_hosts"),
        }
        set_options = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        target = ["-p", str(port), f"root@{host}", command]
        line = ["ssh", "-F", "/dev/null", *identities, *set_options, *resolved, *target]
        return subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def _print_stage(title: str) -> None:
    print(f"{title:<53}[ DONE ]", flush=True)


def _ask_password(host: str) -> None:
    print(f"root@{host}'s password: ", end="", flush=True)
    _for_ever()


def _for_ever() -> None:
    while True:
        signal.pause()


def _is_installer(pid: int) -> bool:
    try:
        return b"conf_file" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False

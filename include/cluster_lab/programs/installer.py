"""lab-installer, to which every stand-in for ZTE's bin hands over.

Emulated: `conf_file <absolute tecs.conf>` on the Daisy host, with Packstack's stages, progress files and last line,
real OpenSSH to every host that tecs.conf names, the password prompt at which it hangs when a host key is unknown or
changed, and an exit status that means nothing; `clean`, `uninstall` (asks on standard input) and `upgrade` on a node;
the self-extracting archive's check of itself. Anything else prints help and ends with status 1.
An installed node begins anew: the lab powers it off, makes its whole tree again with new SSH host keys, and boots it.
Not emulated: Puppet, packages other than one rpm, the interactive menu, plugging of networks and share disks; a real
installation keeps the node's operating system and its other files.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from include.cluster_lab.programs.director import Line, Refused, ask, hold
from include.cluster_lab.programs.node_installer import install, installed_release, remove
from include.lab import cinder_files
from include.lab.answer_file import asked_hosts, read_answers
from include.lab.installation import CLUSTER_FILES, OUTLIVING_UNITS
from include.lab.installer_bin import bin_bytes
from include.lab.programs.installer import (
    CLEAN_TAKES,
    COMPUTES_TAKE,
    CONTROLLER_TAKES,
    HELP,
    KEY_PROBLEM,
    MANIFESTS,
    STAGES_BEFORE,
    SUCCESS,
    InstallationFailed,
)

RUNS = Path("/var/tmp/packstack")
SSH = [
    "ssh",
    *("-o", "BatchMode=yes"),
    *("-o", "ConnectTimeout=10"),
    *("-o", "LogLevel=ERROR"),
    *("-o", "StrictHostKeyChecking=yes"),
]
CLUSTER_KEYS = ("/etc/corosync/authkey", "/etc/pacemaker/authkey", "/var/lib/pcsd/known-hosts")
STATEFUL = ("/etc/nova", "/var/lib/pacemaker/cib")


def main(argv: list[str]) -> int:
    """Do what the bin was asked; `argv` begins with --release, the release, --bin and the path of the bin itself."""
    release, own_path, arguments = argv[1], Path(argv[3]).absolute(), argv[4:]
    if own_path.read_bytes() != bin_bytes(release):
        print("Error in MD5 checksums: the archive is corrupt or incomplete", file=sys.stderr)
        return 2
    try:
        return _do(release, own_path, arguments, argv)
    except Refused as refusal:
        print(f"Error: {refusal}", flush=True)
        return 1 if ask("settings")["honest"] else 0


def _do(release: str, own_path: Path, arguments: list[str], argv: list[str]) -> int:
    match arguments:
        case ["conf_file", conf] if conf.startswith("/"):
            return Installation(release, own_path, Path(conf)).run()
        case ["clean"]:
            return _clean(argv)
        case ["uninstall"]:
            print("Are you sure to uninstall TECS? [y/n]: ", end="", flush=True)
            return _clean(argv) if sys.stdin.readline().strip().lower() in ("y", "yes") else 0
        case ["upgrade"]:
            return _upgrade(release, argv)
    print(HELP.format(name=own_path.name))
    return 1


def _clean(argv: list[str]) -> int:
    found = installed_release()
    if not found:
        print("TECS is not installed on this host, nothing to clean.")
        return 0
    node = ask("clean_begun", argv=argv, release=found)
    print(f"Begin to clean TECS {found} on {node['host']} ...", flush=True)
    _stop_services()
    time.sleep(CLEAN_TAKES[node["role"]] / 2 / node["pace"])
    print("Removing packages ...", flush=True)
    time.sleep(CLEAN_TAKES[node["role"]] / 2 / node["pace"])
    remove()
    for name in (*CLUSTER_FILES, *CLUSTER_KEYS):
        Path("/", name).unlink(missing_ok=True)
    for folder in STATEFUL:
        if Path(folder).exists():
            shutil.rmtree(folder)
    cinder_files.remove(Path("/"))
    ask("cleaned", argv=argv)
    print("Clean TECS finished.")
    return 0


def _stop_services() -> None:
    for unit in ("pacemaker", "corosync"):
        subprocess.run(["systemctl", "stop", unit], check=True)
    listing = ["systemctl", "list-unit-files", "--no-legend", "openstack*", "neutron*", "pcsd.service"]
    found = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.splitlines()
    units = [line.split()[0] for line in found if line.split()[0].removesuffix(".service") not in OUTLIVING_UNITS]
    subprocess.run(["systemctl", "disable", "--now", "--quiet", *units], check=True)


def _upgrade(release: str, argv: list[str]) -> int:
    node = ask("settings")
    print(f"Begin to upgrade {node['host']} to {release} ...", flush=True)
    time.sleep((CONTROLLER_TAKES if node["role"] == "controller" else COMPUTES_TAKE) / node["pace"])
    install(release)
    ask("journal", program="installer", argv=argv, effect=f"upgraded to {release}")
    print("Upgrade TECS finished.")
    return 0


class Installation:
    """One run of `conf_file` on the Daisy host."""

    def __init__(self, release: str, own_path: Path, conf: Path) -> None:
        self._release = release
        self._own_path = own_path
        self._conf = conf
        self._line: Line | None = None
        self._given: dict[str, Any] = {}
        self._fault = ""
        self._pace = 1.0

    def run(self) -> int:
        """Install; the status is 0 whatever happens, unless the lab or a fault says otherwise."""
        # Kept open: the director knows by it that this installer lives, however it ends.
        self._line, self._given = hold("installation", conf=str(self._conf), release=self._release)
        self._fault = self._given["fault"].get("installer", "")
        self._pace = self._given["pace"]
        if self._fault == "slow":
            self._pace /= float(self._given["fault"].get("factor", 5))
        print(f"Welcome to Installer setup utility\n\nUsing {self._conf}\n", flush=True)
        try:
            self._install()
        except InstallationFailed as failure:
            print(f"\nError: {failure}", flush=True)
            return 1 if self._given["honest"] and self._fault != "fail_exit_0" else 0
        finally:
            self._line.close()
        print(f"\n{SUCCESS}", flush=True)
        return 1 if self._fault == "succeed_exit_1" else 0

    def _install(self) -> None:
        answers = self._answers()
        hosts = asked_hosts(answers)
        targets = [node for node in self._given["nodes"] if node["address"] in hosts or node["name"] in hosts]
        if not targets:
            raise InstallationFailed("no host is left to install; see EXCLUDE_SERVERS")
        controllers = any(node["role"] == "controller" for node in targets)
        takes = CONTROLLER_TAKES if controllers else COMPUTES_TAKE
        print("Installing:", flush=True)
        manifests = self._progress_files(answers.get("CLUSTER_ID", ""), targets)
        for title, share in STAGES_BEFORE:
            self._wait(takes * share)
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
        self._apply(targets, manifests, takes * 0.74)
        _print_stage("Applying Puppet manifests")
        if self._fault == "half_install":
            address = targets[0]["address"]
            raise InstallationFailed(f"Failed to start openstack-nova-compute on {address}: unit not found")
        for node in targets:
            try:
                ask("reinstall", node=node["name"], release=self._release)
            except Refused as refusal:
                raise InstallationFailed(f"{node['address']}: {refusal}") from refusal
        _print_stage("Finalizing")

    def _answers(self) -> dict[str, str]:
        folder = self._own_path.parent
        bins = sorted(path.name for path in folder.iterdir() if re.fullmatch(r"ZXTECS.*\.bin", path.name))
        if len(bins) > 1:
            raise InstallationFailed(f"more than one installer in {folder}: {', '.join(bins)}")
        try:
            answers = read_answers(self._conf)
        except OSError as problem:
            raise InstallationFailed(f"{self._conf} not found: {problem.strerror}") from problem
        mappings = answers.get("CONFIG_NEUTRON_ML2_JSON_PATH", "")
        if mappings and not Path(mappings).is_file():
            raise InstallationFailed(f"{mappings} not found (CONFIG_NEUTRON_ML2_JSON_PATH)")
        return answers

    def _progress_files(self, cluster_id: str, targets: list[dict[str, str]]) -> Path:
        """What Daisy reads progress from: a file named after the cluster, whose first line is the run directory."""
        run = RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6}"
        manifests = run / "manifests"
        manifests.mkdir(parents=True)
        for node in targets:
            for name in MANIFESTS:
                (manifests / f"{node['address']}_{name}.pp").write_text(f"# {name}\n")
        (RUNS / cluster_id).write_text(f"{run}\n")
        return manifests

    def _apply(self, targets: list[dict[str, str]], manifests: Path, seconds: float) -> None:
        for number, name in enumerate(MANIFESTS):
            if number == 1:
                for node in targets:
                    self._lay_packages(node["address"])
            if number == 2 and self._fault == "hang":
                _for_ever()
            for node in targets:
                print(f"Applying {node['address']}_{name}.pp", flush=True)
            self._wait(seconds / len(MANIFESTS))
            for node in targets:
                manifest = f"{node['address']}_{name}.pp"
                (manifests / f"{manifest}.log").write_text("Notice: Finished catalog run\n")
                print(f"{manifest + ':':<53}[ DONE ]", flush=True)

    def _lay_packages(self, address: str) -> None:
        answer = _ssh(address, f"lab-node-installer packages {self._release}")
        if answer.returncode != 0:
            raise InstallationFailed(f"packages on {address}: {answer.stderr.strip().splitlines()[-1:]}")

    def _reach(self, host: str) -> None:
        answer = _ssh(host, "true")
        if answer.returncode == 0:
            return
        if KEY_PROBLEM.search(answer.stderr):
            _ask_password(host)
        raise InstallationFailed(f"cannot reach {host}: {answer.stderr.strip()}")

    def _wait(self, seconds: float) -> None:
        time.sleep(seconds / self._pace)


def _ssh(host: str, command: str) -> subprocess.CompletedProcess[str]:
    line = [*SSH, f"root@{host}", command]
    return subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def _print_stage(title: str) -> None:
    print(f"{title:<53}[ DONE ]", flush=True)


def _ask_password(host: str) -> None:
    print(f"root@{host}'s password: ", end="", flush=True)
    _for_ever()


def _for_ever() -> None:
    while True:
        time.sleep(3600)

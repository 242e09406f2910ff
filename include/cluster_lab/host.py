"""One host: a tree of its own, a network namespace with a cable to the bridge, a control group, systemd as PID 1."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from include.cluster_lab import commands, traces
from include.cluster_lab.delay_line import DelayLine
from include.cluster_lab.site import SiteHost
from include.lab.errors import LabError

NETMASK = 24
CAPABILITIES = "CAP_NET_ADMIN,CAP_NET_RAW,CAP_SYS_NICE,CAP_IPC_LOCK"
"""Beyond what nspawn gives: Pacemaker moves addresses, Corosync wants real-time priority and locked memory."""

RUN_DIRECTORY = "/run/tecs-lab"
"""In the host: the director's socket, and `disturbed` while a fault may concern the host's SSH commands."""

PROGRAMS = "/usr/lib/tecs-lab"
"""In the host: the stand-ins."""

BOOTED_WITHIN = 90.0
OFF_WITHIN = 40.0
POLL = 0.05
LOOKS = 20
ENVIRONMENT = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}


class Host:
    """A host of the lab; `layers` are the read-only trees below its own files, the topmost first."""

    def __init__(self, site: SiteHost, state: Path, layers: Sequence[Path], devices: Sequence[str] = ()) -> None:
        self.site = site
        self.tree = state / "hosts" / site.name
        self.cut = False
        self.late = 0.0
        self._delay_line: DelayLine | None = None
        self._state = state
        self._layers = tuple(layers)
        self._devices = tuple(devices)
        self._own = state / "layers" / site.short
        self._group = f"{traces.CGROUP}/{site.short}"
        self._namespace = traces.PREFIX + site.short
        self._container: subprocess.Popen[bytes] | None = None
        self._leader = 0

    @property
    def run_directory(self) -> Path:
        """This machine's side of the host's /run/tecs-lab."""
        return traces.RUN / "hosts" / self.site.short

    @property
    def running(self) -> bool:
        """Whether the host's PID 1 lives."""
        return self._container is not None and self._container.poll() is None and Path(f"/proc/{self._leader}").exists()

    def remake(self) -> None:
        """The host, which is off, has a tree without any file of its own."""
        if self.running:
            raise LabError(f"{self.site.name} is on; its tree cannot be made anew")
        if self.tree.is_mount():
            commands.run(["umount", str(self.tree)])
        if self._own.exists():
            shutil.rmtree(self._own)
        upper, work = self._own / "upper", self._own / "work"
        for directory in (upper, work, self.tree):
            directory.mkdir(parents=True, exist_ok=True)
        upper.chmod(0o755)
        lower = ":".join(str(layer) for layer in self._layers)
        # volatile: nothing is flushed to the disk for the sake of a tree that nobody wants back after a crash.
        options = f"volatile,lowerdir={lower},upperdir={upper},workdir={work}"
        commands.run(["mount", "-t", "overlay", "overlay", "-o", options, str(self.tree)])

    def in_tree(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program on the host's files alone, whether the host is on or off: it sees no process of the host."""
        line = ["chroot", str(self.tree), *argv]
        return commands.run(line, check=check, env=ENVIRONMENT, where=f"the tree of {self.site.name}")

    def power_on(self) -> None:
        """The host boots; returns when its PID 1 lives. A host that is on stays as it is."""
        if self.running:
            return
        self._lay_cable()
        self.run_directory.mkdir(parents=True, exist_ok=True)
        # Without a group of their own, every host's systemd would take the same one and its services collide.
        boot = traces.in_group(self._group, self._nspawn())
        log = self._state / "console" / f"{self.site.short}.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as console:
            self._container = subprocess.Popen(
                boot,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._leader = self._await_leader(log)
        for device in self._devices:
            # Not bound in: Pacemaker's Filesystem agent unmounts whatever is mounted under the device's name.
            number = Path(device).stat().st_rdev
            self.run("mknod", "--mode=600", device, "b", str(os.major(number)), str(os.minor(number)))

    def wait_for_sshd(self, within: float = BOOTED_WITHIN) -> None:
        """The host's sshd greets; LabError when it does not in time."""
        deadline = time.monotonic() + within
        while not self._greets():
            if not self.running:
                raise LabError(f"{self.site.name} has gone off while it booted; see {self._state}/console")
            if time.monotonic() > deadline:
                raise LabError(
                    f"sshd of {self.site.name} does not answer within {within:g} s; see {self._state}/console"
                )
            time.sleep(POLL)

    def run(
        self, *argv: str, stdin: str = "", check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on the host as root, past its network; LabError when it fails, unless `check` is false."""
        if not self.running:
            raise LabError(f"{self.site.name} is off")
        enter = [
            "nsenter",
            f"--target={self._leader}",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--root",
            "--wd=/",
        ]
        line = [*enter, "--", *argv]
        return commands.run(line, stdin=stdin, check=check, timeout=timeout, env=ENVIRONMENT, where=self.site.name)

    def power_off(self) -> None:
        """The host has shut down in order; LabError when it does not in time (it is dead then)."""
        if not self.running or self._container is None:
            self._clear_away()
            return
        # nspawn passes this on as the signal by which systemd powers off.
        self._container.terminate()
        try:
            self._container.wait(OFF_WITHIN)
        except subprocess.TimeoutExpired as expired:
            raise LabError(f"{self.site.name} did not shut down within {OFF_WITHIN:g} s and was killed") from expired
        finally:
            self._clear_away()

    def power_loss(self) -> None:
        """The host is dead, in the middle of whatever it did; its addresses are gone with it."""
        if self.running:
            os.kill(self._leader, signal.SIGKILL)
        self._clear_away()

    def cut_cable(self) -> None:
        """Nobody reaches the host and it reaches nobody, until the cable is joined again; it goes on running."""
        self.cut = True
        self._plug()

    def slow_cable(self, seconds: float) -> None:
        """What the host sends arrives so many seconds late, until the cable is joined again."""
        self.cut, self.late = False, seconds
        self._plug()

    def join_cable(self) -> None:
        """The host is on the network again, and what it sends arrives at once."""
        self.cut, self.late = False, 0.0
        self._plug()

    def holds(self, address: str) -> bool:
        """Whether the address is on one of the host's interfaces, by the kernel's word."""
        for _ in range(LOOKS):
            shown = commands.run(["ip", "-n", self._namespace, "-4", "-o", "address", "show"], check=False)
            if shown.returncode == 0:
                return f" {address}/" in shown.stdout
            if self._namespace not in traces.namespaces():
                return False  # A host that is off has no namespace, and holds nothing.
            time.sleep(POLL)  # It may be on its way out of this world.
        raise LabError(f"the addresses of {self.site.name} cannot be read: {shown.stderr.strip()}")

    def _lay_cable(self) -> None:
        traces.remove_namespace(self._namespace)
        name = self._namespace
        commands.run(["ip", "netns", "add", name])
        commands.run(["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name])
        commands.run(["ip", "-n", name, "link", "set", "lo", "up"])
        commands.run(["ip", "-n", name, "link", "set", "eth0", "up"])
        commands.run(["ip", "-n", name, "address", "add", f"{self.site.address}/{NETMASK}", "dev", "eth0"])
        commands.run(["ip", "link", "set", name, "up"])
        self._plug()

    def _plug(self) -> None:
        self._end_delay()
        if self._namespace not in traces.links():
            return
        if self.late and not self.cut:
            self._delay_line = DelayLine(self._namespace, traces.BRIDGE, self.late)
            self._delay_line.start()
        else:
            where = ["nomaster"] if self.cut else ["master", traces.BRIDGE]
            commands.run(["ip", "link", "set", self._namespace, *where, "arp", "on"])

    def _end_delay(self) -> None:
        if self._delay_line is not None:
            self._delay_line.end()
            self._delay_line = None

    def _nspawn(self) -> list[str]:
        return [
            "systemd-nspawn",
            "--quiet",
            "--boot",
            f"--directory={self.tree}",
            f"--machine={self._namespace}",
            f"--hostname={self.site.name}",
            "--register=no",
            "--keep-unit",
            "--resolv-conf=off",
            "--timezone=off",
            "--console=read-only",
            f"--network-namespace-path=/run/netns/{self._namespace}",
            f"--capability={CAPABILITIES}",
            f"--bind={self.run_directory}:{RUN_DIRECTORY}",
            f"--bind-ro={self._state}/programs:{PROGRAMS}",
        ]

    def _await_leader(self, log: Path) -> int:
        assert self._container is not None
        deadline = time.monotonic() + BOOTED_WITHIN
        while time.monotonic() < deadline and self._container.poll() is None:
            for pid in traces.pids_in(self._group):
                if _is_first_process(pid):
                    return pid
            time.sleep(POLL)
        last = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
        self._container.kill()
        raise LabError(f"{self.site.name} does not boot; see {log}:\n{last}")

    def _greets(self) -> bool:
        try:
            with socket.create_connection((self.site.address, 22), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _clear_away(self) -> None:
        self._end_delay()
        traces.remove_group(self._group)
        if self._container is not None:
            self._container.wait(OFF_WITHIN)
        self._container, self._leader = None, 0
        traces.remove_namespace(self._namespace)


def _is_first_process(pid: int) -> bool:
    """Whether the process is the PID 1 of a namespace right below ours, and is systemd already."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return False
    numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
    return len(numbers) == 2 and numbers[1] == "1" and name == "systemd"

"""Two virtual machines with Debian's kernel and its DRBD 8.4, which need neither KVM nor anything installed.

Everything comes from Debian's packages, unpacked below `CACHE`: QEMU, the kernel, drbd-utils and busybox. A guest's only
program is a shell that takes commands from a serial line, so that what runs there is the text that was sent, byte by byte.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CACHE = Path("/var/cache/tecs-cluster-lab/drbd")
NAMES = ("node-a", "node-b")
DISK_MIB = 6
BOOT_LIMIT = 180.0
"""Seconds in which a guest has to answer; without KVM it needs about ten."""

GUEST_PACKAGES = ("drbd-utils", "busybox-static")
MODULES = (
    *("virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"),
    *("failover", "net_failover", "virtio_net", "crc32c_generic", "libcrc32c", "lru_cache", "drbd"),
)
PROGRAMS = ("sbin/drbdadm", "sbin/drbdsetup", "sbin/drbdmeta", "lib/drbd/drbdadm-84", "lib/drbd/drbdsetup-84")

INIT = """\
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /var/lock /var/lib/drbd /var/run/drbd /usr/bin /usr/sbin /sbin
/bin/busybox --install -s
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
for word in $(cat /proc/cmdline); do case $word in guest=*) name=${word#guest=};; address=*) address=${word#address=};; esac; done
hostname "$name"
for module in virtio_pci virtio_blk virtio_net crc32c_generic drbd; do modprobe $module; done
ip link set lo up; ip link set eth0 up; ip addr add "$address/24" dev eth0
stty -F /dev/ttyS1 raw -echo
exec </dev/ttyS1 >/dev/ttyS1 2>/dev/console
echo ready
while read -r request input; do
  printf '%s' "$request" | base64 -d > /tmp/request
  printf '%s' "${input#=}" | base64 -d > /tmp/input
  sh /tmp/request >/tmp/out 2>/tmp/err </tmp/input; status=$?
  printf '%s %s %s\\n' "$status" "$(base64 /tmp/out | tr -d '\\n')=" "$(base64 /tmp/err | tr -d '\\n')="
done
"""


class NoGuests(Exception):
    """What a guest needs is not to be had on this machine; the message says what is missing."""


@dataclass(frozen=True)
class Said:
    """What a command in a guest left."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Packages:
    """What the guests are made of: Debian's packages unpacked below `tree`, the kernel, the initial file system."""

    tree: Path
    kernel: Path
    initramfs: Path


def prepare() -> Packages:
    """Return the guests' parts, made once and kept in `CACHE`."""
    packages = (*GUEST_PACKAGES, _kernel_package())
    tree = CACHE / hashlib.sha256(" ".join(packages).encode()).hexdigest()[:12]
    if not (tree / "complete").exists():
        _unpack(packages, tree)
    image = tree / f"initramfs-{hashlib.sha256(INIT.encode()).hexdigest()[:12]}"
    if not image.exists():
        _pack(tree, image)
    return Packages(tree, next(tree.glob("boot/vmlinuz-*")), image)


def _kernel_package() -> str:
    told = subprocess.run(["apt-cache", "depends", "linux-image-amd64"], capture_output=True, text=True, check=False)
    for line in told.stdout.splitlines():
        if "Depends: linux-image-" in line:
            return line.split()[-1]
    raise NoGuests("apt-cache knows no kernel package linux-image-amd64")


def _unpack(packages: tuple[str, ...], tree: Path) -> None:
    debs = tree.with_suffix(".debs")
    shutil.rmtree(tree, ignore_errors=True)
    (debs / "partial").mkdir(parents=True, exist_ok=True)
    # QEMU's libraries that this machine lacks come along; nothing is installed.
    get = ["apt-get", "-qq", "-y", "--no-install-recommends", "--download-only", "-o", f"Dir::Cache::archives={debs}"]
    own = ["-o", "APT::Sandbox::User=root"]
    for command in ([*get, *own, "install", "qemu-system-x86"], ["apt-get", "-qq", *own, "download", *packages]):
        done = subprocess.run(command, cwd=debs, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NoGuests(f"{' '.join(command)}: {done.stderr.strip()}")
    for deb in debs.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(deb), str(tree)], check=True)
    shutil.rmtree(debs)
    (tree / "complete").touch()


def _pack(tree: Path, image: Path) -> None:
    root = image.with_suffix(".root")
    shutil.rmtree(root, ignore_errors=True)
    release = next(tree.glob("lib/modules/*")).name
    modules = f"lib/modules/{release}"
    for directory in ("bin", modules, "etc/drbd.d", "lib/drbd", "sbin", "lib64"):
        (root / directory).mkdir(parents=True)
    shutil.copy(tree / "bin/busybox", root / "bin/busybox")
    found = {module.stem: module for module in tree.glob("lib/modules/*/kernel/**/*.ko")}
    for name in MODULES:
        shutil.copy(found[name], root / modules / f"{name}.ko")
    subprocess.run([str(tree / "bin/busybox"), "depmod", "-b", str(root), release], check=True)
    libraries: set[str] = set()
    for program in PROGRAMS:
        shutil.copy(tree / program, root / program)
        told = subprocess.run(["ldd", str(tree / program)], capture_output=True, text=True, check=True).stdout
        libraries |= {word for line in told.splitlines() for word in line.split() if word.startswith("/")}
    for library in libraries:
        (root / library.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, root / library.lstrip("/"))
    (root / "etc/drbd.conf").write_text('include "drbd.d/*.res";\n')
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    packed = subprocess.run(
        [str(tree / "bin/busybox"), "cpio", "-o", "-H", "newc"],
        cwd=root,
        input=names.encode(),
        capture_output=True,
        check=True,
    )
    image.with_suffix(".new").write_bytes(packed.stdout)
    image.with_suffix(".new").rename(image)
    shutil.rmtree(root)


@dataclass
class Guest:
    """A running virtual machine: `run` gives a command to its shell."""

    name: str
    address: str
    line: socket.socket
    rest: bytes = field(default=b"")

    def run(self, script: str, stdin: bytes = b"", limit: float = 180) -> Said:
        """Run a script by the guest's shell; `limit` in seconds."""
        self.line.settimeout(limit)
        self.line.sendall(base64.b64encode(script.encode()) + b" =" + base64.b64encode(stdin) + b"\n")
        status, out, err = self.read_line().split()
        return Said(int(status), _decoded(out), _decoded(err))

    def read_line(self) -> str:
        """The next line that the guest says."""
        while b"\n" not in self.rest:
            more = self.line.recv(65536)
            if not more:
                raise RuntimeError(f"guest {self.name} is gone")
            self.rest += more
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode()


def _decoded(word: str) -> str:
    return base64.b64decode(word[:-1]).decode(errors="replace")


def boot(work: Path) -> Iterator[tuple[Guest, Guest]]:
    """Run two guests whose network is one cable, and end them; disks, cable and serial lines lie in `work`."""
    packages = prepare()
    guests: list[Guest] = []
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number, name in enumerate(NAMES, 1):
            with (work / f"{name}.disk").open("wb") as empty:
                empty.truncate(DISK_MIB << 20)
            processes.append(subprocess.Popen(_command(packages, work, number), env=_environment(packages.tree)))
        for number, (name, process) in enumerate(zip(NAMES, processes, strict=True), 1):
            guests.append(Guest(name, _address(number), _line(work / f"{name}.line", process)))
        for guest in guests:
            while guest.read_line().strip() != "ready":
                pass
        yield guests[0], guests[1]
    finally:
        for guest in guests:
            guest.line.close()
        for process in processes:
            process.kill()
            process.wait()


def _line(path: Path, process: subprocess.Popen[bytes]) -> socket.socket:
    ends = time.monotonic() + 20
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(BOOT_LIMIT)
    while line.connect_ex(str(path)) != 0:
        if process.poll() is not None or time.monotonic() > ends:
            raise NoGuests(f"QEMU did not start (status {process.poll()})")
        time.sleep(0.05)
    return line


def _address(number: int) -> str:
    return f"10.77.0.{number}"


def _environment(tree: Path) -> dict[str, str]:
    libraries = f"{tree}/usr/lib/x86_64-linux-gnu:{tree}/lib/x86_64-linux-gnu"
    return {**os.environ, "LD_LIBRARY_PATH": libraries, "QEMU_MODULE_DIR": f"{tree}/usr/lib/x86_64-linux-gnu/qemu"}


def _command(packages: Packages, work: Path, number: int) -> list[str]:
    name, other = NAMES[number - 1], NAMES[2 - number]
    share = packages.tree / "usr/share"
    return [
        # Guests end with the tests, also where these are killed.
        *("setpriv", "--pdeathsig", "KILL"),
        str(packages.tree / "usr/bin/qemu-system-x86_64"),
        *("-L", str(share / "seabios"), "-L", str(share / "qemu")),
        *("-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256", "-smp", "1"),
        *("-nodefaults", "-no-reboot", "-display", "none"),
        *("-kernel", str(packages.kernel), "-initrd", str(packages.initramfs)),
        *("-append", f"console=ttyS0 quiet panic=-1 guest={name} address={_address(number)}"),
        *("-serial", f"file:{work}/{name}.console"),
        *("-chardev", f"socket,id=line,path={work}/{name}.line,server=on,wait=off", "-serial", "chardev:line"),
        *("-drive", f"file={work}/{name}.disk,if=none,id=disk,format=raw", "-device", "virtio-blk-pci,drive=disk"),
        "-netdev",
        f"dgram,id=cable,local.type=unix,local.path={work}/{name}.cable,remote.type=unix,remote.path={work}/{other}.cable",
        *("-device", f"virtio-net-pci,netdev=cable,mac=52:54:00:00:00:{number:02x},romfile="),
    ]

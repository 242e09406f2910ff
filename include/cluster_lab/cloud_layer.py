"""The control plane's state before its first start, made once and cached: databases, keys, catalog, image and flavor.

It is a read-only layer over the hosts' base tree, for the host `cloud` alone. It is made in namespaces of its own, with
no network but loopback, so its ports meet nobody's: `layers` starts this module there as a program.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from include.cluster_lab import cloud_files, cloud_rest, cloud_services
from include.cluster_lab.base_tree import CACHE
from include.cluster_lab.cloud_files import CLOUD, DATABASE_USER, DATABASES, PASSWORD, REGION, database_url
from include.cluster_lab.cloud_rest import CloudRest
from include.cluster_lab.cloud_services import GLANCE, KEYSTONE, NOVA_API, PORTS
from include.cluster_lab.commands import run
from include.lab.errors import LabError

PROJECT_ROOT = Path(__file__).resolve().parents[2]
BUILT_WITHIN = 600.0
STARTS_WITHIN = 90.0
ENDS_WITHIN = 30.0
IMAGE = "cirros"
FLAVOR = "m1.tiny"
CATALOG = {
    "nova": ("compute", "/v2.1"),
    "placement": ("placement", ""),
    "glance": ("image", ""),
    "neutron": ("network", ""),
}
INTERFACES = ("admin", "internal", "public")
DATABASE_STEPS = {
    "keystone": ("keystone-manage db_sync",),
    "glance": ("glance-manage db_sync",),
    "placement": ("placement-manage db sync",),
    "nova": (
        "nova-manage api_db sync",
        f"nova-manage cell_v2 map_cell0 --database_connection {database_url('nova', 'nova_cell0')}",
        "nova-manage cell_v2 create_cell --name cell1",
        "nova-manage db sync",
    ),
    "neutron": (
        "neutron-db-manage --config-file /etc/neutron/neutron.conf "
        "--config-file /etc/neutron/plugins/ml2/ml2_conf.ini upgrade head",
    ),
}
"""User -> the commands that make the tables of its databases. Different users' run side by side."""


def layers(base: Path, say: Callable[[str], None]) -> tuple[Path, ...]:
    """The layers that the host `cloud` has above `base`, built first if this machine has none of this name."""
    layer = CACHE / f"cloud-{_fingerprint(base)}"
    CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (CACHE / "cloud-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not layer.exists():
            started = time.monotonic()
            say(f"preparing the cloud's databases in {layer}: about a minute, this once")
            _build(base, layer)
            say(f"the cloud's databases are ready after {time.monotonic() - started:.0f} s")
    return (layer,)


def _fingerprint(base: Path) -> str:
    sources = (Path(__file__), *(Path(str(each.__file__)) for each in (cloud_files, cloud_rest, cloud_services)))
    return hashlib.sha256(b"\0".join([base.name.encode(), *(path.read_bytes() for path in sources)])).hexdigest()[:12]


def _build(base: Path, layer: Path) -> None:
    for leftover in CACHE.glob("cloud-building-*"):
        shutil.rmtree(leftover)
    building = Path(tempfile.mkdtemp(prefix="cloud-building-", dir=CACHE))
    upper, work, tree = building / "upper", building / "work", building / "tree"
    for directory in (upper, work, tree):
        directory.mkdir(mode=0o755)
    log = CACHE / "cloud-build.log"
    namespaces = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
    program = [sys.executable, "-m", "include.cluster_lab.cloud_layer", *map(str, (base, upper, work, tree))]
    with log.open("w") as output:
        try:
            subprocess.run(
                [*namespaces, *program],
                cwd=PROJECT_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=BUILT_WITHIN,
                check=True,
            )
        except subprocess.SubprocessError as failed:
            tail = log.read_text(errors="replace")[-1500:]
            told = f"the cloud's databases cannot be prepared ({failed}); the end of {log}:\n{tail}"
            raise LabError(told) from failed
    upper.rename(layer)
    shutil.rmtree(building)


class _Tree:
    """The tree under construction: programs run in it as the users that they will run as."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def run(self, user: str, command: str, *, stdin: str = "", env: dict[str, str] | None = None) -> None:
        """A program, given without shell syntax, has succeeded."""
        run(self._line(user, command), stdin=stdin, timeout=BUILT_WITHIN, env=_environment(env), where="cloud's tree")

    def succeeds(self, user: str, command: str) -> bool:
        """Tell whether a program succeeds."""
        return run(self._line(user, command), check=False, env=_environment(None)).returncode == 0

    @contextmanager
    def running(self, user: str, command: str) -> Iterator[None]:
        """The server runs inside this context, and has ended in good order after it."""
        server = subprocess.Popen(self._line(user, command), stdin=subprocess.DEVNULL, env=_environment(None))
        try:
            yield
        finally:
            server.terminate()
            server.wait(ENDS_WITHIN)

    def _line(self, user: str, command: str) -> list[str]:
        return ["chroot", f"--userspec={user}:{user}", str(self._root), *command.split()]


def _environment(more: dict[str, str] | None) -> dict[str, str]:
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", **(more or {})}


def _prepare(base: Path, upper: Path, work: Path, root: Path) -> None:
    """Whatever is made once is in `upper`. Runs in namespaces of its own, which take the mounts with them."""
    run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={base},upperdir={upper},workdir={work}", str(root)])
    run(["mount", "-t", "proc", "proc", str(root / "proc")])
    for directory in ("run", "tmp", "dev/shm"):
        run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(root / directory)])
    run(["ip", "link", "set", "lo", "up"])
    socket.sethostname(CLOUD)
    (root / "run/hosts").write_text(f"127.0.0.1 localhost {CLOUD}\n")
    run(["mount", "--bind", str(root / "run/hosts"), str(root / "etc/hosts")])
    cloud_files.lay_out_control_plane(root)
    (root / "run/mysqld").mkdir()
    (root / "run/mysqld").chmod(0o777)
    tree = _Tree(root)
    with tree.running("mysql", "/usr/sbin/mariadbd"):
        _make_databases(tree)
        _make_accounts(tree)
        with ExitStack() as running:
            for service in (KEYSTONE, GLANCE, NOVA_API):
                running.enter_context(tree.running(service.user, service.command))
            _fill(CloudRest("127.0.0.1"))


def _make_databases(tree: _Tree) -> None:
    """Every service's tables are there."""
    deadline = time.monotonic() + STARTS_WITHIN
    while not tree.succeeds("root", "mariadb-admin ping"):
        if time.monotonic() > deadline:
            raise LabError(f"cloud's tree: mariadbd does not answer within {STARTS_WITHIN:.0f} s")
        time.sleep(cloud_rest.POLL)
    statements = [f"create user {user}@localhost identified via unix_socket;" for user in DATABASES]
    for user, names in DATABASES.items():
        for name in names:
            statements.append(f"create database {name} character set utf8; grant all on {name}.* to {user}@localhost;")
    rights = "select, show view, trigger, event, lock tables, process"
    statements.append(f"grant {rights} on *.* to {DATABASE_USER}@'%' identified by '{PASSWORD}';")
    tree.run("root", "mariadb", stdin="\n".join(statements))

    def make_tables(user: str) -> None:
        for command in DATABASE_STEPS[user]:
            tree.run(user, command)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make_tables, DATABASE_STEPS))


def _make_accounts(tree: _Tree) -> None:
    """Keystone has its keys, the administrator, and itself in the catalog."""
    for what in ("fernet_setup", "credential_setup"):
        tree.run("root", f"keystone-manage {what} --keystone-user keystone --keystone-group keystone")
    url = f"http://{CLOUD}:{PORTS['keystone']}/v3"
    urls = " ".join(f"--bootstrap-{interface}-url {url}" for interface in INTERFACES)
    command = f"keystone-manage bootstrap {urls} --bootstrap-region-id {REGION}"
    tree.run("keystone", command, env={"OS_BOOTSTRAP_PASSWORD": PASSWORD})


def _fill(rest: CloudRest) -> None:
    """The services have accounts and stand in the catalog; there are an image and a flavor for VMs."""
    deadline = time.monotonic() + STARTS_WITHIN
    for service in ("keystone", "glance", "nova"):
        rest.wait_until_open(service, deadline)
    project = rest.ask("POST", "keystone", "/v3/projects", {"project": {"name": "service", "domain_id": "default"}})
    project_id = project["project"]["id"]
    roles = rest.get("keystone", "/v3/roles?name=admin")["roles"]
    for name, (kind, path) in CATALOG.items():
        account = {"name": name, "domain_id": "default", "password": PASSWORD}
        user = rest.ask("POST", "keystone", "/v3/users", {"user": account})["user"]["id"]
        rest.ask("PUT", "keystone", f"/v3/projects/{project_id}/users/{user}/roles/{roles[0]['id']}")
        service = rest.ask("POST", "keystone", "/v3/services", {"service": {"name": name, "type": kind}})["service"]
        for interface in INTERFACES:
            endpoint = {"service_id": service["id"], "interface": interface, "region_id": REGION}
            endpoint["url"] = f"http://{CLOUD}:{PORTS[name]}{path}"
            rest.ask("POST", "keystone", "/v3/endpoints", {"endpoint": endpoint})
    image = {"name": IMAGE, "disk_format": "raw", "container_format": "bare", "visibility": "public"}
    image_id = rest.ask("POST", "glance", "/v2/images", image)["id"]
    content = {"Content-Type": "application/octet-stream"}
    rest.ask("PUT", "glance", f"/v2/images/{image_id}/file", os.urandom(1024), **content)
    flavor = {"name": FLAVOR, "ram": 64, "vcpus": 1, "disk": 1}
    rest.ask("POST", "nova", "/v2.1/flavors", {"flavor": flavor})


if __name__ == "__main__":
    _prepare(*map(Path, sys.argv[1:]))

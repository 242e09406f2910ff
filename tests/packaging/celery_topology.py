"""The deployment of docker-compose.yaml as plain processes on the loopback, carrying out scenario C to its end.

``python -m tests.packaging.celery_topology``

Commands, settings and health checks are read from docker-compose.yaml; only addresses and folders are those of this
machine. PostgreSQL and Redis are throw-away servers in a temporary folder. In the middle of the run the worker is
killed with all its children, as a container is that runs out of memory, and started again, as the restart policy does.
"""

from __future__ import annotations

import argparse
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import psutil
import yaml

from console.airflow_api import Airflow, Run, TaskInstance
from console.errors import ApiError
from console.processes import MEMBER_VARIABLE, descendants, end, members
from console.stack import free_port
from include.lab.client import LabClient
from include.lab.topology import make_inventory
from tests.packaging.composition import PROJECT, Service, image_environment, services

NETWORK = "127.150"
SITE = "celery"
DAG = "rollback_compute"
KILLED_DURING = "A4.6_install_computes"
LONG_RUNNING = ("api-server", "scheduler", "dag-processor", "triggerer", "worker")
START_LIMIT = 240
"""Seconds within which every service must say that it is healthy; about 60 on two cores."""
RUN_LIMIT = 600
"""Seconds within which the run must end."""


class TopologyError(Exception):
    """A service did not start, or the run did not end as it should; the message says which and why."""


@dataclass(frozen=True)
class Figures:
    """What one run of scenario C on the deployment's services came to. Times are seconds."""

    services_healthy: float
    wall: float
    tasks: int
    skipped: int
    tries_of_killed_step: int
    installs: dict[str, int]
    violations: list[str]
    releases: dict[str, str]


def wanting() -> list[str]:
    """What this machine lacks for the topology, each with the command that brings it; empty when all is there."""
    lacks = []
    if shutil.which("redis-server") is None or shutil.which("redis-cli") is None:
        lacks.append("redis-server: apt-get install redis-server")
    if _postgres_programs() is None:
        lacks.append("PostgreSQL's server: apt-get install postgresql")
    elif os.getuid() == 0 and _postgres_user() is None:
        lacks.append("the user postgres, since PostgreSQL refuses to run as root: apt-get install postgresql")
    if shutil.which("curl") is None:
        lacks.append("curl, which the health checks call: apt-get install curl")
    if find_spec("celery") is None:
        command = f"{sys.executable} -m pip install -r requirements-celery.txt -c constraints.txt"
        lacks.append(f"Airflow's Celery provider for this Python: {command}")
    return lacks


@dataclass
class Topology:
    """The services of the composition as processes under one folder, found again by a mark in their environment."""

    folder: Path
    ports: dict[str, int]
    password: str
    services: dict[str, Service]
    say: Callable[[str], None]
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @classmethod
    def plan(cls, folder: Path, say: Callable[[str], None]) -> Topology:
        """The services as they are to run here: with new secrets, free ports, and folders below `folder`."""
        password = secrets.token_hex(12)
        given = {
            "POSTGRES_PASSWORD": secrets.token_hex(16),
            "REDIS_PASSWORD": secrets.token_hex(16),
            "AIRFLOW_FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "AIRFLOW_JWT_SECRET": secrets.token_hex(64),
            "AIRFLOW_API_SECRET_KEY": secrets.token_hex(32),
            "AIRFLOW_ADMIN_PASSWORD": password,
            "TECS_CLUSTERS_FOLDER": str(folder / "lab" / "clusters"),
        }
        ports = {name: free_port(0) for name in ("postgres", "redis", "api-server", "scheduler")}
        topology = cls(folder, ports, password, {}, say)
        topology.services = {name: topology._here(service) for name, service in services(given).items()}
        return topology

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['api-server']}"

    def airflow(self) -> Airflow:
        """A session of the REST API as the admin whose password the composition was given."""
        return Airflow(self.url, "admin", self.password)

    def start(self, name: str) -> None:
        """The service's own command runs; its output goes to a log of its name."""
        self._spawn(name, self.services[name].command)

    def finish(self, name: str) -> None:
        """The service's own command has ended well. Raises TopologyError with its last output otherwise."""
        self.start(name)
        if self.started[name].wait(timeout=START_LIMIT) != 0:
            raise TopologyError(f"{name} failed:\n{self.tail(name)}")

    def await_healthy(self, name: str) -> None:
        """The service's own health check says that it is healthy. Raises TopologyError when it dies or takes too long."""
        ends = time.monotonic() + START_LIMIT
        while self._call(self.services[name].health, self.services[name].environment) != 0:
            if self.started[name].poll() is not None:
                raise TopologyError(f"{name} ended with {self.started[name].returncode}:\n{self.tail(name)}")
            if time.monotonic() > ends:
                raise TopologyError(f"{name} is not healthy after {START_LIMIT} s:\n{self.tail(name)}")
            time.sleep(0.5)
        self.say(f"  {name} is healthy")

    def kill(self, name: str) -> int:
        """The service and all its children are gone at once, without a chance to clean up; returns how many they were."""
        process = psutil.Process(self.started[name].pid)
        doomed = [process, *descendants(process)]
        for one in doomed:
            one.kill()
        psutil.wait_procs(doomed, timeout=5)
        self.started[name].wait(timeout=5)
        return len(doomed)

    def airflow_command(self, *arguments: str) -> None:
        """One `airflow` command beside the services has succeeded."""
        command = [sys.executable, "-m", "airflow", *arguments]
        environment = self.services["scheduler"].environment
        done = subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise TopologyError(f"airflow {' '.join(arguments)} failed:\n{(done.stdout + done.stderr)[-2000:]}")

    def start_postgres(self) -> None:
        """A new PostgreSQL listens on the loopback with the composition's user, database and password."""
        programs, owner = _postgres_programs(), _postgres_user() if os.getuid() == 0 else None
        assert programs is not None
        data, passwords = self.folder / "postgres", self.folder / "postgres-password"
        wished = self.services["postgres"].environment
        passwords.write_text(wished["POSTGRES_PASSWORD"])
        for path in (passwords, data):
            data.mkdir(mode=0o700, exist_ok=True)
            if owner is not None:
                os.chown(path, owner.pw_uid, owner.pw_gid)
        initdb = [programs / "initdb", "--pgdata", data, "--username", wished["POSTGRES_USER"], "--encoding", "UTF8"]
        initdb += ["--auth", "scram-sha-256", "--pwfile", passwords, "--no-sync"]
        as_owner = {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid}
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd="/", **as_owner)  # type: ignore[call-overload]
        server = [programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(self.ports["postgres"]), "-k", ""]
        self._spawn("postgres", [str(word) for word in server], **as_owner)
        connect = {**wished, "PGPASSWORD": wished["POSTGRES_PASSWORD"], "PGHOST": "127.0.0.1"}
        connect |= {"PGPORT": str(self.ports["postgres"]), "PGUSER": wished["POSTGRES_USER"]}
        ends = time.monotonic() + 60
        while self._call([str(programs / "createdb"), wished["POSTGRES_DB"]], connect) != 0:
            if time.monotonic() > ends:
                raise TopologyError(f"PostgreSQL does not answer:\n{self.tail('postgres')}")
            time.sleep(0.2)

    def tail(self, name: str) -> str:
        """The last lines that the service printed."""
        return "\n".join(self._log(name).read_text(errors="replace").splitlines()[-25:])

    def stop(self) -> None:
        """No process of the topology is left."""
        servers = [self.started.pop(name) for name in ("postgres", "redis") if name in self.started]
        end(members(str(self.folder)), patience=15)
        for server in servers:
            # last, so that the others could say goodbye; an immediate end, since the data is thrown away
            server.kill() if server.args == "redis" else server.send_signal(3)
            server.wait(timeout=20)

    def _here(self, service: Service) -> Service:
        """The service with this machine's addresses and folders in the place of the containers'."""
        return Service(
            service.name,
            tuple(self._at_home(word) for word in service.command),
            self._environment() | {name: self._at_home(text) for name, text in service.environment.items()},
            tuple(self._at_home(word) for word in service.health),
        )

    def _at_home(self, text: str) -> str:
        for theirs, ours in (
            ("@postgres:5432", f"@127.0.0.1:{self.ports['postgres']}"),
            ("@redis:6379", f"@127.0.0.1:{self.ports['redis']}"),
            ("redis-server -", f"redis-server - --bind 127.0.0.1 --port {self.ports['redis']}"),
            ("redis-cli", f"redis-cli -p {self.ports['redis']}"),
            ("http://api-server:8080", self.url),
            ("http://localhost:8080", self.url),
            ("localhost:8974", f"127.0.0.1:{self.ports['scheduler']}"),
            ("/opt/airflow/clusters", str(self.folder / "lab" / "clusters")),
            ("/opt/airflow/login", str(self.folder / "login")),
            ("/opt/airflow/records", str(self.folder / "records")),
            ("/opt/airflow", str(PROJECT)),
        ):
            text = text.replace(theirs, ours)
        return text

    def _environment(self) -> dict[str, str]:
        """What the image and its container give: folders, addresses, the search path, the host's name."""
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOSTNAME": socket.gethostname(),
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            MEMBER_VARIABLE: str(self.folder),
            # Airflow and Celery set their processes' titles, which by default overwrites the mark above
            "SPT_NOENV": "1",
            "AIRFLOW_HOME": str(self.folder / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.ports["api-server"]),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST": "127.0.0.1",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(self.ports["scheduler"]),
        } | {name: self._at_home(text) for name, text in image_environment().items()}

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _spawn(self, name: str, command: Sequence[str], **as_user: int) -> None:
        with self._log(name).open("ab") as output:
            self.started[name] = subprocess.Popen(
                command,
                env=self.services[name].environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **as_user,  # type: ignore[call-overload]
            )

    def _call(self, command: Sequence[str], environment: dict[str, str]) -> int:
        done = subprocess.run(
            command, env=environment, cwd="/", capture_output=True, stdin=subprocess.DEVNULL, check=False
        )
        return done.returncode


def carry_out(folder: Path, pace: float, kill_worker: bool, say: Callable[[str], None]) -> Figures:
    """Scenario C has run on the deployment's services in `folder`; nothing of it is left running.

    Raises TopologyError when a service does not become healthy or the run does not succeed.
    """
    topology = Topology.plan(folder, say)
    begun = time.monotonic()
    try:
        with _lab(folder, pace) as lab:
            say(f"Starting the services of docker-compose.yaml as processes; logs in {folder}")
            _start(topology, lab)
            healthy = time.monotonic() - begun
            with topology.airflow() as airflow:
                return _run(topology, lab, airflow, healthy, kill_worker)
    finally:
        topology.stop()


def _start(topology: Topology, lab: LabClient) -> None:
    (topology.folder / "login").mkdir()
    topology.start_postgres()
    topology.start("redis")
    topology.await_healthy("redis")
    topology.finish("init")
    for name in LONG_RUNNING:
        topology.start(name)
    for name in LONG_RUNNING:
        topology.await_healthy(name)
    # into Airflow's database, encrypted, where a deployment keeps its connections
    topology.airflow_command("connections", "import", str(lab.state_dir / "connections.json"))


def _run(topology: Topology, lab: LabClient, airflow: Airflow, healthy: float, kill_worker: bool) -> Figures:
    _until(START_LIMIT, "the DAG was read", lambda: any(dag.dag_id == DAG for dag in airflow.dags()))
    compute = next(name for name, host in lab.state()["hosts"].items() if host["role"] == "compute")
    if kill_worker:
        # the step's first command stays unanswered long enough for the worker to be killed while it waits
        lab.fault({"ssh": {"match": "install_computes on"}, "do": "delay", "seconds": 15})
    run = airflow.trigger(DAG, "celery-1", {"cluster": SITE, "computes": [compute]})
    topology.say(f"{DAG} runs for {compute}")
    if kill_worker:
        _until(RUN_LIMIT, f"{KILLED_DURING} ran", lambda: _task(airflow, run, KILLED_DURING).state == "running")
        killed = topology.kill("worker")
        topology.say(f"  the worker was killed during {KILLED_DURING} with its children: {killed} processes")
        topology.start("worker")
    _until(RUN_LIMIT, "the run ended", lambda: airflow.run(run.dag_id, run.run_id).finished)
    return _figures(lab, airflow, airflow.run(run.dag_id, run.run_id), healthy)


def _figures(lab: LabClient, airflow: Airflow, run: Run, healthy: float) -> Figures:
    tasks = airflow.task_instances(run.dag_id, run.run_id)
    if run.state != "success" or run.start is None or run.end is None:
        failed = [task for task in tasks if task.state == "failed"]
        told = [f"{task.task_id}: {' '.join(airflow.failure(run.dag_id, run.run_id, task))}" for task in failed]
        raise TopologyError(f"the run ended as {run.state}:\n" + "\n".join(told))
    truth = lab.state()
    return Figures(
        services_healthy=healthy,
        wall=(run.end - run.start).total_seconds(),
        tasks=len(tasks),
        skipped=sum(task.state == "skipped" for task in tasks),
        tries_of_killed_step=_task(airflow, run, KILLED_DURING).try_number,
        installs={name: count["installed"] for name, count in truth["installs"].items()},
        violations=truth["violations"],
        releases={name: host["release"] for name, host in truth["hosts"].items() if host["role"] != "daisy"},
    )


def _task(airflow: Airflow, run: Run, task_id: str) -> TaskInstance:
    return next(task for task in airflow.task_instances(run.dag_id, run.run_id) if task.task_id == task_id)


def _until(limit: float, what: str, holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + limit
    while True:
        try:
            if holds():
                return
        except ApiError as error:
            if time.monotonic() > ends:
                raise TopologyError(f"{limit:.0f} s passed before {what}: {error}") from error
        if time.monotonic() > ends:
            raise TopologyError(f"{limit:.0f} s passed before {what}")
        time.sleep(0.2)


@contextmanager
def _lab(folder: Path, pace: float) -> Iterator[LabClient]:
    inventory = folder / f"{SITE}.yaml"
    inventory.write_text(yaml.safe_dump(make_inventory(SITE, network=NETWORK), sort_keys=False))
    with LabClient.start(inventory, folder / "lab", "--scenario", "C", "--pace", f"{pace:g}") as lab:
        yield lab


def _postgres_programs() -> Path | None:
    """The folder of PostgreSQL's server programs, the newest where there are several; Debian keeps them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    return Path(on_path).resolve().parent if on_path else None


def _postgres_user() -> pwd.struct_passwd | None:
    return next((user for user in pwd.getpwall() if user.pw_name == "postgres"), None)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry scenario C out and print the figures; 0 when it succeeded, 1 when not, 2 when this machine lacks something."""
    parser = argparse.ArgumentParser(prog="python -m tests.packaging.celery_topology", description=__doc__)
    parser.add_argument("--pace", type=float, default=100, help="times faster than real that the lab lives")
    parser.add_argument("--keep-worker", action="store_true", help="do not kill the worker in the middle")
    options = parser.parse_args(argv)
    lacks = wanting()
    if lacks:
        print("Missing on this machine:", *lacks, sep="\n  ", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="tecs-celery-", dir="/tmp"))
    # the user of PostgreSQL must reach its folder
    folder.chmod(0o711)
    try:
        figures = carry_out(folder, options.pace, not options.keep_worker, print)
    except TopologyError as error:
        print(f"{error}\nLogs stay in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    for name, value in vars(figures).items():
        print(f"{name.replace('_', ' '):22} {f'{value:.1f} s' if isinstance(value, float) else value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

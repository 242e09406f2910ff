"""The embedded stack: PostgreSQL, Airflow and, if wanted, the lab, under one state folder and on the loopback only.

``python -m console.stack up | down | status | env``
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import hashlib
import json
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from console.airflow_api import Airflow, Dag, ImportProblem
from console.airflow_settings import PROJECT, Place, Secrets, airflow_environment
from console.database import forget_dead_server, start_database, stop_database
from console.errors import ApiError, ConsoleError, StackError
from console.processes import MEMBER_VARIABLE, ProcessRecord, descendants, end, members
from console.supervision import Program, Supervisor

USER = "admin"
DEFAULT_STATE = PROJECT / ".run"
DEFAULT_PORT = 8080
START_LIMIT = 180
"""Seconds within which Airflow must be healthy and must have read its DAGs; 30 on two cores."""
AIRFLOW_PROGRAMS = {
    "api-server": ("api-server",),
    # task logs are read from the local files, so the log servers, which bind every interface, are left out
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}

PARSE_LIMIT = 2.0
"""Seconds between the reading of a DAG file and the time that Airflow gives for it, at most."""
HEALTHY_COMPONENTS = frozenset({"metadatabase", "scheduler", "dag_processor", "triggerer"})

Say = Callable[[str], None]


@dataclass(frozen=True)
class LabRequest:
    """A fresh lab: the inventory that it plays, the scenario in whose starting state it begins, and its pace.

    ``pace`` says how many times faster than the runbook's times the lab lives; None: as the inventory says.
    """

    inventory: Path
    scenario: str
    pace: float | None = None


@dataclass(frozen=True)
class Running:
    """A stack that answers: where, as whom, and where its lab keeps its files."""

    url: str
    user: str
    password: str
    state: Path
    lab: Path | None

    def airflow(self) -> Airflow:
        """A session of the REST API with this stack."""
        return Airflow(self.url, self.user, self.password)


@dataclass(frozen=True)
class _Memory:
    """What one command remembers for the next, in ``stack.json``."""

    port: int
    sockets: str
    database: str
    postgres: ProcessRecord
    supervisor: ProcessRecord
    fingerprint: str
    with_lab: bool
    started: float

    @classmethod
    def read(cls, file: Path) -> _Memory | None:
        if not file.exists():
            return None
        found = json.loads(file.read_text())
        found["postgres"] = ProcessRecord(**found["postgres"])
        found["supervisor"] = ProcessRecord(**found["supervisor"])
        return cls(**found)


class Stack:
    """One embedded stack, known by its state folder.

    `labs` holds `clusters/` and `connections.json` of labs that run by themselves, beside the stack.
    """

    def __init__(
        self,
        state: Path = DEFAULT_STATE,
        dags: Path = PROJECT / "dags",
        say: Say = print,
        labs: Path | None = None,
    ) -> None:
        self.state = state.resolve()
        self._labs = labs.resolve() if labs else None
        self.dags = dags.resolve()
        self._say = say
        self._memory_file = self.state / "stack.json"

    def up(self, lab: LabRequest | None = None, port: int = DEFAULT_PORT) -> Running:
        """Airflow answers, its DAGs are read, and a fresh lab runs if one was asked for.

        A live stack of the same code is used again; any other is ended first. Raises StackError with what failed.
        """
        with self._alone():
            memory = self._living()
            if memory is None or memory.fingerprint != self._fingerprint(lab is not None):
                self._end()
                memory = self._start_base(port, lab is not None)
            supervisor = self._supervisor(memory)
            read_since = 0.0
            if lab is not None:
                known = self._lab_clusters()
                read_since = time.time()
                self._start_lab(supervisor, lab)
            self._migrate(memory)
            if lab is not None:
                self._await_lab(supervisor)
                read_since = self._end_of_gap(known, read_since, memory)
            for program in AIRFLOW_PROGRAMS:
                if supervisor.states().get(program) not in ("RUNNING", "STARTING"):
                    supervisor.start_program(program)
            self._await_airflow(supervisor, memory)
            self._await_dags(memory, read_since)
            return self._running(memory)

    def down(self) -> None:
        """No process of this stack is left; its database and logs stay. Nothing happens where nothing runs."""
        if not self.state.exists():
            return
        with self._alone():
            self._end()

    def running(self) -> Running:
        """How to reach the stack that is up. Raises StackError where none is."""
        memory = self._living()
        if memory is None:
            raise StackError(f"No stack is running in {self.state}. Start one with: make up")
        return self._running(memory)

    def environment(self) -> dict[str, str]:
        """Airflow's settings for commands beside the running stack, such as ``airflow dags list-import-errors``."""
        memory = self._living()
        if memory is None:
            raise StackError(f"No stack is running in {self.state}. Start one with: make up")
        return airflow_environment(self._place(memory.port, memory.database, memory.with_lab), self._secrets())

    def states(self) -> dict[str, str]:
        """The state of each supervised program by name; empty where no stack runs."""
        memory = self._living()
        return self._supervisor(memory).states() if memory else {}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.state.mkdir(parents=True, exist_ok=True)
        with (self.state / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(f"Another command is starting or ending the stack in {self.state}.") from None
            # not inherited: supervisord must not keep the lock
            yield

    def _living(self) -> _Memory | None:
        memory = _Memory.read(self._memory_file)
        if memory and memory.postgres.process() and memory.supervisor.process():
            return memory
        return None

    def _place(self, port: int, database: str, with_lab: bool) -> Place:
        return Place(self.state, self.dags, port, database, self.state / "lab" if with_lab else self._labs)

    def _running(self, memory: _Memory) -> Running:
        place = self._place(memory.port, memory.database, memory.with_lab)
        return Running(place.url, USER, self._secrets().admin_password, self.state, place.lab)

    def _supervisor(self, memory: _Memory) -> Supervisor:
        return Supervisor(self.state, Path(memory.sockets) / "supervisor.sock", PROJECT)

    def _start_base(self, port: int, with_lab: bool) -> _Memory:
        self._say("Starting PostgreSQL")
        data = self.state / "postgres"
        forget_dead_server(data)
        database, postgres = start_database(data)
        port = free_port(port)
        sockets = self._sockets()
        place = self._place(port, database, with_lab)
        self._write_passwords(place)
        supervisor = Supervisor(self.state, sockets / "supervisor.sock", PROJECT)
        supervisor.configure(airflow_programs())
        environment = self._process_environment(place)
        record = supervisor.start(environment)
        memory = _Memory(
            port, str(sockets), database, postgres, record, self._fingerprint(with_lab), with_lab, time.time()
        )
        self._memory_file.write_text(json.dumps(asdict(memory), indent=1))
        return memory

    def _process_environment(self, place: Place) -> dict[str, str]:
        # settings of another Airflow in the caller's shell must not leak into this one
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
        own = {
            MEMBER_VARIABLE: str(self.state),
            # Airflow sets its processes' titles, which by default overwrites the environment that tells whose they are
            "SPT_NOENV": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }
        return inherited | own | airflow_environment(place, self._secrets())

    def _secrets(self) -> Secrets:
        file = self.state / "secrets.json"
        if not file.exists():
            made = Secrets(
                admin_password=secrets.token_urlsafe(12),
                jwt_secret=secrets.token_urlsafe(64),
                fernet_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            )
            write_private(file, json.dumps(asdict(made)))
        return Secrets(**json.loads(file.read_text()))

    def _write_passwords(self, place: Place) -> None:
        place.home.mkdir(exist_ok=True)
        write_private(place.passwords, json.dumps({USER: self._secrets().admin_password}))

    def _sockets(self) -> Path:
        """A folder whose path leaves room for a socket's name: the system allows 107 bytes in all."""
        if len(str(self.state)) < 80:
            return self.state
        return Path(tempfile.mkdtemp(prefix="tecs-", dir="/tmp"))

    def _migrate(self, memory: _Memory) -> None:
        done = self.state / "migrated"
        wanted = version("apache-airflow")
        if done.exists() and done.read_text() == wanted:
            return
        self._say("Preparing Airflow's database")
        environment = self._process_environment(self._place(memory.port, memory.database, memory.with_lab))
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        result = subprocess.run(
            command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        if result.returncode != 0:
            raise StackError(f"Airflow's database could not be prepared:\n{(result.stdout + result.stderr)[-2000:]}")
        done.write_text(wanted)

    def _start_lab(self, supervisor: Supervisor, lab: LabRequest) -> None:
        self._say(f"Starting a fresh lab in the starting state of scenario {lab.scenario}")
        supervisor.configure([*airflow_programs(), lab_program(self.state / "lab", lab)])
        if "lab" in supervisor.states():
            supervisor.stop_program("lab")
        # the lab makes its own folder anew; only its old ready mark must not be taken for the new one
        (self.state / "lab" / "ready.json").unlink(missing_ok=True)
        supervisor.replace("lab")
        supervisor.start_program("lab")

    def _await_lab(self, supervisor: Supervisor) -> None:
        deadline = time.monotonic() + START_LIMIT
        while not (self.state / "lab" / "ready.json").exists():
            self._refuse_dead(supervisor, ["lab"])
            if time.monotonic() > deadline:
                raise StackError(f"The lab is not ready after {START_LIMIT} s. Its log: {supervisor.logs / 'lab.log'}")
            time.sleep(0.1)

    def _await_airflow(self, supervisor: Supervisor, memory: _Memory) -> None:
        running = self._running(memory)
        self._say(f"Starting Airflow at {running.url}")
        deadline = time.monotonic() + START_LIMIT
        told: set[str] = set()
        with running.airflow() as airflow:
            while True:
                self._refuse_dead(supervisor, list(AIRFLOW_PROGRAMS))
                healthy = _healthy_since(airflow, memory.started)
                for component in sorted(healthy - told):
                    self._say(f"  {component.replace('_', ' ')} is healthy")
                told |= healthy
                missing = HEALTHY_COMPONENTS - healthy
                if not missing:
                    airflow.warm_up(max(1.0, deadline - time.monotonic()))
                    return
                if time.monotonic() > deadline:
                    raise StackError(
                        f"Airflow is not healthy after {START_LIMIT} s: {', '.join(sorted(missing))}. "
                        f"Its logs: {supervisor.logs}"
                    )
                time.sleep(0.2)

    def _lab_clusters(self) -> set[str]:
        return {file.name for file in (self.state / "lab" / "clusters").glob("*.yaml")}

    def _end_of_gap(self, known: set[str], began: float, memory: _Memory) -> float:
        """The time (epoch seconds) after which DAGs must be read to know the lab's clusters; 0 where any reading does.

        While the lab was made anew its inventories were gone: a live DAG processor may have read the DAGs just then.
        """
        now = time.time()
        if self._lab_clusters() != known:
            return now
        with self._running(memory).airflow() as airflow:
            try:
                read = [dag.read_at.timestamp() for dag in airflow.dags()]
            except ApiError:
                # Airflow is not up yet: it will read the DAGs with the lab there
                return 0.0
        return now if any(moment >= began - PARSE_LIMIT for moment in read) else 0.0

    def _await_dags(self, memory: _Memory, read_since: float) -> None:
        # what an earlier start, or an earlier version of the file, left in the database is not yet the present DAG
        wanted = {
            str(file.relative_to(self.dags)): max(memory.started, file.stat().st_mtime, read_since)
            for file in dag_files(self.dags)
        }
        deadline = time.monotonic() + START_LIMIT
        with self._running(memory).airflow() as airflow:
            while True:
                dags = [dag for dag in airflow.dags() if _is_read(dag, wanted)]
                problems = [problem for problem in airflow.import_problems() if _is_read(problem, wanted)]
                missing = wanted.keys() - {dag.file for dag in dags} - {problem.file for problem in problems}
                if not missing:
                    break
                if time.monotonic() > deadline:
                    raise StackError(f"Airflow has not read these DAG files after {START_LIMIT} s: {sorted(missing)}")
                time.sleep(0.2)
        if problems:
            told = "\n".join(f"{problem.file}:\n{problem.message}" for problem in problems)
            raise StackError(f"Airflow is up, but could not read these DAG files:\n{told}")
        self._say(f"  DAGs: {', '.join(sorted(dag.dag_id for dag in dags)) or 'none'}")

    def _refuse_dead(self, supervisor: Supervisor, names: Sequence[str]) -> None:
        states = supervisor.states()
        for name in names:
            if states.get(name) in ("FATAL", "EXITED"):
                raise StackError(f"{name} ended right after its start. Its last lines:\n{supervisor.log_tail(name)}")

    def _end(self) -> None:
        memory = _Memory.read(self._memory_file)
        left = members(str(self.state))
        server = memory.supervisor.process() if memory else None
        if memory is not None and server is not None:
            self._say("Ending Airflow and the lab")
            # children may outlive supervisord or leave its group: they are listed while their parents still live
            left = list({*left, *descendants(server)} - {server})
            with suppress(StackError):
                # a supervisord that does not answer is ended by pid below
                self._supervisor(memory).stop_all()
            end([server], patience=60)
        stubborn = end([process for process in left if process.is_running()], patience=10)
        if stubborn:
            raise StackError(f"These processes did not end: {', '.join(str(process.pid) for process in stubborn)}")
        if memory is not None:
            if memory.postgres.process():
                self._say("Ending PostgreSQL")
            stop_database(memory.postgres)
            if Path(memory.sockets) != self.state:
                shutil.rmtree(memory.sockets, ignore_errors=True)
            self._memory_file.unlink()

    def _fingerprint(self, with_lab: bool) -> str:
        """Changes with whatever the long-lived processes read only once, at their start."""
        settings = f"{self.dags} {with_lab} {self._labs} {version('apache-airflow')}"
        digest = hashlib.sha256(settings.encode())
        files = [PROJECT / "console" / "airflow_settings.py"]
        for folder in ("config", "include/runbook", "plugins"):
            files += sorted((PROJECT / folder).rglob("*.py"))
        for file in files:
            digest.update(str(file).encode() + b"\0" + file.read_bytes())
        return digest.hexdigest()


def airflow_programs() -> list[Program]:
    """Airflow's four components as supervised programs."""
    return [
        Program(name, (sys.executable, "-m", "airflow", *arguments)) for name, arguments in AIRFLOW_PROGRAMS.items()
    ]


def lab_program(folder: Path, lab: LabRequest) -> Program:
    """The lab as a supervised program; it is not restarted, since it would begin again in its starting state."""
    command = (
        *(sys.executable, "-m", "include.lab", "up"),
        *("--inventory", str(lab.inventory)),
        *("--state", str(folder)),
        *("--scenario", lab.scenario),
        *(("--pace", f"{lab.pace:g}") if lab.pace is not None else ()),
    )
    return Program("lab", command, restarts=False)


def dag_files(folder: Path) -> list[Path]:
    """The files that Airflow will read as DAGs, by its own rule: they mention both "dag" and "airflow"."""
    found = []
    for file in sorted(folder.rglob("*.py")):
        text = file.read_text(errors="replace").lower()
        if "dag" in text and "airflow" in text:
            found.append(file)
    return found


def free_port(wanted: int) -> int:
    """The wanted TCP port where it is free on the loopback, otherwise another that is."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            # a port just left by an earlier server counts as free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StackError("No TCP port is free on 127.0.0.1.")


def write_private(file: Path, text: str) -> None:
    """The file holds the text and only its owner may read it, at no time anyone else."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)


def _healthy_since(airflow: Airflow, start: float) -> set[str]:
    """The components that gave a sign of life after ``start``; Airflow itself counts those of an earlier start, too."""
    try:
        health = airflow.health()
    except ApiError:
        return set()
    return {
        name
        for name, part in health.items()
        if part.healthy and (part.heartbeat is None or part.heartbeat.timestamp() >= start)
    }


def _is_read(entry: Dag | ImportProblem, wanted: Mapping[str, float]) -> bool:
    return entry.file in wanted and entry.read_at.timestamp() >= wanted[entry.file]


def arguments() -> argparse.ArgumentParser:
    """The command line of ``python -m console.stack``."""
    parser = argparse.ArgumentParser(prog="python -m console.stack", description="The embedded Airflow stack.")
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, help="state folder (default: .run)")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the stack, or use the live one")
    up.add_argument("--dags", type=Path, default=PROJECT / "dags", help="DAG folder (default: dags)")
    up.add_argument("--port", type=int, default=DEFAULT_PORT, help="port of UI and API; another if it is taken")
    up.add_argument("--lab", action="store_true", help="with a fresh lab")
    up.add_argument("--labs", type=Path, help="folder with clusters/ and connections.json of a lab that runs by itself")
    up.add_argument("--scenario", default="A", choices=("A", "B", "C"), help="the lab's starting state (default: A)")
    up.add_argument("--pace", type=float, help="times faster than real that the lab lives (default: its inventory's)")
    up.add_argument("--inventory", type=Path, default=PROJECT / "include" / "clusters" / "lab.yaml")
    commands.add_parser("down", help="end every process of the stack")
    commands.add_parser("status", help="what runs, and where")
    commands.add_parser("env", help='print the settings for a shell: eval "$(python -m console.stack env)"')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of the stack; 0 where it did its work, 1 with a message on stderr otherwise."""
    options = arguments().parse_args(argv)
    try:
        if options.command == "up":
            lab = LabRequest(options.inventory, options.scenario, options.pace) if options.lab else None
            running = Stack(options.state, options.dags, labs=options.labs).up(lab, options.port)
            print(f"Airflow: {running.url}  user: {running.user}  password: {running.password}")
        elif options.command == "down":
            Stack(options.state).down()
        elif options.command == "status":
            running = Stack(options.state).running()
            print(f"Airflow: {running.url}  user: {running.user}  password: {running.password}")
            for name, state in Stack(options.state).states().items():
                print(f"  {name:15} {state}")
        else:
            for name, value in Stack(options.state).environment().items():
                print(f"export {name}={shlex.quote(value)}")
    except ConsoleError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

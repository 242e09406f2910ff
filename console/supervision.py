"""The long-lived processes of a stack under supervisord: each restarted when it dies, all ended together."""

from __future__ import annotations

import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from console.errors import StackError
from console.processes import ProcessRecord


@dataclass(frozen=True)
class Program:
    """One supervised process. ``restarts``: it may be started again when it ends by itself."""

    name: str
    command: Sequence[str]
    restarts: bool = True


@dataclass(frozen=True)
class Supervisor:
    """supervisord for one stack: its configuration and logs in ``folder``, its control socket at ``socket``."""

    folder: Path
    socket: Path
    directory: Path

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def configure(self, programs: Sequence[Program]) -> None:
        """The configuration file names these programs; a running supervisord knows of it after ``replace``."""
        self.logs.mkdir(parents=True, exist_ok=True)
        (self.folder / "supervisord.conf").write_text(self._configuration(programs))

    def start(self, environment: Mapping[str, str]) -> ProcessRecord:
        """supervisord runs in the background and answers; its programs wait for ``start_program``."""
        pid_file = self.folder / "supervisord.pid"
        pid_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.folder / "supervisord.conf")]
        done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StackError(f"supervisord did not start: {done.stdout}{done.stderr}")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self.socket.exists() and pid_file.exists() and pid_file.read_text().strip():
                record = ProcessRecord.of(int(pid_file.read_text()))
                if record is not None:
                    return record
            time.sleep(0.05)
        raise StackError(f"supervisord did not answer within 10 s. Its log: {self.logs / 'supervisord.log'}")

    def start_program(self, name: str) -> None:
        """The program has been started; whether it stays up is told by ``states``."""
        self._call("startProcess", name, False)

    def stop_program(self, name: str) -> None:
        """The program and its process group have ended; nothing happens if it does not run."""
        if self.states().get(name) in ("RUNNING", "STARTING", "BACKOFF"):
            self._call("stopProcess", name)

    def stop_all(self) -> None:
        """Every program has ended; all are told at once, where supervisord's own end takes them one after another."""
        self._call("stopAllProcesses")

    def replace(self, name: str) -> None:
        """A stopped program is known by its present configuration, whether it was known before or not."""
        self._call("reloadConfig")
        if name in self.states():
            self._call("removeProcessGroup", name)
        self._call("addProcessGroup", name)

    def states(self) -> dict[str, str]:
        """Each program's state in supervisord's words: RUNNING, STARTING, BACKOFF, STOPPED, EXITED, FATAL."""
        return {entry["name"]: entry["statename"] for entry in self._call("getAllProcessInfo")}

    def log_tail(self, name: str, lines: int = 15) -> str:
        """The last lines that the program printed."""
        log = self.logs / f"{name}.log"
        text = log.read_text(errors="replace") if log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as server:
            try:
                return getattr(server.supervisor, method)(*arguments)
            except xmlrpc.client.Fault as fault:
                raise StackError(f"supervisord refused {method} {arguments}: {fault.faultString}") from fault
            except OSError as error:
                raise StackError(f"supervisord does not answer at {self.socket}: {error}") from error

    def _configuration(self, programs: Sequence[Program]) -> str:
        sections = [
            f"[unix_http_server]\nfile={_literal(self.socket)}\nchmod=0700\n",
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n",
            f"[supervisord]\nlogfile={_literal(self.logs / 'supervisord.log')}\n"
            f"pidfile={_literal(self.folder / 'supervisord.pid')}\n"
            f"childlogdir={_literal(self.logs)}\ndirectory={_literal(self.directory)}\nsilent=true\n",
        ]
        for program in programs:
            command = " ".join(f'"{_literal(word)}"' for word in program.command)
            sections.append(
                f"[program:{program.name}]\ncommand={command}\nautostart=false\n"
                f"autorestart={'true' if program.restarts else 'false'}\n"
                f"startretries={'3' if program.restarts else '0'}\nstartsecs=3\n"
                "killasgroup=true\nstopwaitsecs=10\n"
                f"redirect_stderr=true\nstdout_logfile={_literal(self.logs / (program.name + '.log'))}\n"
                "stdout_logfile_maxbytes=20MB\nstdout_logfile_backups=1\n"
            )
        return "\n".join(sections)


def _literal(text: object) -> str:
    """The text as supervisord's configuration needs it, where a percent sign begins an expansion."""
    return str(text).replace("%", "%%")

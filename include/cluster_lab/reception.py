"""What the lab is asked over its sockets: by the stand-ins on a host, and by the client on this machine."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from include.cluster_lab import traces
from include.cluster_lab.lab import Lab
from include.cluster_lab.likeness import PLAYED
from include.cluster_lab.site import FLOAT_IP, FLOAT_RESOURCE, HOSTS, SiteHost
from include.cluster_lab.truth import truth
from include.lab.errors import LabError

CLIENT_SOCKET = traces.RUN / "director.sock"
Request = dict[str, Any]
Answer = dict[str, Any]


class Refusal(Exception):
    """The asker is told no, and why."""


class Reception:
    """Answers requests about one lab."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._servers: list[socketserver.BaseServer] = []
        self._installing = threading.Lock()
        self._by_client: dict[str, Callable[[Request], Answer]] = {
            "state": lambda _: truth(lab),
            "fault": self._fault,
            "begin": self._begin,
        }
        self._by_host: dict[str, Callable[[SiteHost, Request], Answer]] = {
            "settings": lambda host, _: self._settings(host),
            "disturbance": self._disturbance,
            "packages": self._packages,
            "reinstall": self._reinstall,
            "clean_begun": self._clean_begun,
            "cleaned": self._cleaned,
            "violation": self._violation,
            "journal": self._journal,
        }

    def open(self) -> None:
        """Requests are answered: those of each host at its own socket, by which it is known, and the client's."""
        for host in PLAYED:
            folder = self._lab.hosts[host.name].run_directory
            folder.mkdir(parents=True, exist_ok=True)
            self._listen(folder / "director.sock", host)
        self._listen(CLIENT_SOCKET, None)

    def close(self) -> None:
        """Nothing is answered any more."""
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def _listen(self, path: Path, asker: SiteHost | None) -> None:
        reception = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                # Whoever asked may be killed at any time, with its host: that is its own affair.
                with contextlib.suppress(OSError):
                    reception._serve(asker, self)

        path.unlink(missing_ok=True)
        server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        if asker is not None:
            path.chmod(0o666)  # For every login of the host; of this machine, root alone enters the folder above.
        server.daemon_threads = True
        self._servers.append(server)
        threading.Thread(target=server.serve_forever, name=f"requests-{path.parent.name}", daemon=True).start()

    def _serve(self, asker: SiteHost | None, connection: socketserver.StreamRequestHandler) -> None:
        request: Request = json.loads(connection.rfile.readline())
        if asker is not None and request["do"] == "installation":
            self._accompany_installation(asker, request, connection)
            return
        try:
            if asker is None:
                answer = self._by_client[request["do"]](request)
            else:
                answer = self._by_host[request["do"]](asker, request)
        except (Refusal, LabError) as refusal:
            answer = {"refused": str(refusal)}
        except KeyError as missing:
            answer = {"refused": f"the request {request} is not complete or not known: {missing}"}
        _reply(connection, answer)

    def _accompany_installation(
        self, host: SiteHost, request: Request, connection: socketserver.StreamRequestHandler
    ) -> None:
        """The installer lives as long as its connection is open, whichever way it ends."""
        journal = self._lab.journal
        if host.role != "daisy":
            _reply(connection, {"refused": "conf_file runs on the Daisy host only"})
        elif not self._installing.acquire(blocking=False):
            journal.violate("two installers at once", host.name, "another installer still ran")
            _reply(connection, {"refused": "another installation is running"})
        else:
            try:
                journal.installer_runs += 1
                argv = ["conf_file", str(request["conf"])]
                journal.record(host.name, "installer", argv, f"release {request['release']} begun")
                nodes = [
                    {"name": each.name, "address": each.address, "role": each.role}
                    for each in PLAYED
                    if each.role != "daisy"
                ]
                fault = self._lab.pending.take_installer() or {}
                _reply(connection, {**self._settings(host), "fault": fault, "nodes": nodes})
                connection.rfile.read()
            finally:
                self._installing.release()

    def _settings(self, host: SiteHost) -> Answer:
        options = self._lab.options
        return {"host": host.name, "role": host.role, "pace": options.pace, "honest": options.honest}

    def _disturbance(self, host: SiteHost, request: Request) -> Answer:
        fault = self._lab.pending.take_ssh(host.name, request["text"])
        self._lab.mark_disturbed()
        if fault is not None:
            self._lab.journal.record(host.name, "fault", [fault["do"]], f"disturbed: {request['text'].strip()[:120]}")
        return {"fault": fault}

    def _packages(self, host: SiteHost, request: Request) -> Answer:
        found, release = request["found"], request["release"]
        if found not in ("", release):
            self._lab.journal.violate("installed over another release", host.name, f"still on {found}")
            raise Refusal(f"TECS {found} is still installed on {host.address}, clean it first")
        self._lab.half_installed.add(host.name)
        self._lab.journal.record(host.name, "installer", ["packages", release], f"packages of release {release}")
        return {}

    def _reinstall(self, host: SiteHost, request: Request) -> Answer:
        node = request["node"]
        if host.role != "daisy" or node not in {each.name for each in HOSTS if each.role in ("controller", "compute")}:
            raise Refusal(f"{host.name} cannot have {node} installed")
        self._lab.reinstall(node, request["release"])
        return {}

    def _clean_begun(self, host: SiteHost, request: Request) -> Answer:
        lab = self._lab
        if host.role == "controller" and lab.hosts[host.name].holds(FLOAT_IP):
            lab.journal.violate("clean on the active controller", host.name, f"{host.node} held {FLOAT_RESOURCE}")
        if host.role == "compute" and lab.cloud is not None and (vms := lab.cloud.vms_on(host.name)):
            lab.journal.violate("uninstalled under VMs", host.name, ", ".join(vms))
        lab.half_installed.add(host.name)
        lab.journal.record(host.name, "installer", request["argv"], f"clean of release {request['release']} begun")
        return self._settings(host)

    def _cleaned(self, host: SiteHost, request: Request) -> Answer:
        self._lab.journal.installs[host.name]["uninstalled"] += 1
        self._lab.half_installed.discard(host.name)
        self._lab.journal.record(host.name, "installer", request["argv"], "cleaned")
        return {}

    def _violation(self, host: SiteHost, request: Request) -> Answer:
        self._lab.journal.violate(request["audit"], host.name, request["detail"])
        return {}

    def _journal(self, host: SiteHost, request: Request) -> Answer:
        self._lab.journal.record(host.name, request["program"], request["argv"], request["effect"])
        return {}

    def _fault(self, request: Request) -> Answer:
        self._lab.fault(request["fault"])
        return {}

    def _begin(self, request: Request) -> Answer:
        self._lab.begin(request["scenario"])
        return {}


def _reply(connection: socketserver.StreamRequestHandler, answer: Answer) -> None:
    connection.wfile.write(json.dumps(answer).encode() + b"\n")
    connection.wfile.flush()

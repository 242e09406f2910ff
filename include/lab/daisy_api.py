"""A stand-in for Daisy's REST API, on loopback: it tells of the lab's cluster as the real one would, quirks included.

Emulated: GET of /v1/clusters, /v1/clusters/{id}, /v1/nodes, /v1/nodes/{id}, /v1/roles/detail, /v1/service_disk/list and
/v1/cinder_volume/list; pages by `limit` and `marker`, shorter than asked for; errors as JSON; a second cluster, of which
entries come along in every list though only the first one's were asked for. Not emulated: everything that changes
something, other resources, sorting.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from include.lab.world import Machine, World

FOREIGN_CLUSTER_ID = "0b0e3a52-5a0c-4c0f-9d6e-2f6a1c8f7e11"
FOREIGN_HOST = "host-of-another-cluster"
ARRAY_LOGIN = "array-login-of-the-lab"
"""What the API tells of a disk array's login; it must turn up nowhere."""

Edit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Spoilt:
    """An answer that is not what it should be. `delay` is in seconds; `pieces` are sent `delay` apart after the headers."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    pieces: tuple[bytes, ...] = ()
    delay: float = 0


class DaisyApi:
    """Serves while its `with` block runs. `page` is the most entries that a list returns at a time."""

    def __init__(self, world: World, page: int = 2) -> None:
        self.page = page
        self.requests: list[str] = []
        self.spoilt: dict[str, Spoilt] = {}
        self.edits: dict[str, Edit] = {}
        self.answers = dict(_answers(world))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        """The address of the API, without a path."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str, query: Mapping[str, str]) -> Spoilt:
        """The answer to a GET, whole or spoilt."""
        if path in self.spoilt:
            return self.spoilt[path]
        if path not in self.answers:
            return _json(
                {"error": {"code": 404, "title": "Not Found", "message": "The resource could not be found."}}, 404
            )
        found = json.loads(json.dumps(self.answers[path]))
        key, entries = next(iter(found.items()))
        if isinstance(entries, list):
            ids = [entry["id"] for entry in entries]
            if query.get("marker") and query["marker"] not in ids:
                return _json({"error": {"code": 400, "title": "Bad Request", "message": "Invalid marker"}}, 400)
            begin = ids.index(query["marker"]) + 1 if query.get("marker") else 0
            found[key] = entries[begin : begin + min(self.page, int(query.get("limit", "25")))]
        if path in self.edits:
            self.edits[path](found)
        return _json(found)


def node_id(host: str) -> str:
    """The id that Daisy has given to a host."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, host))


def _json(found: Any, status: int = 200) -> Spoilt:
    return Spoilt(status, {"Content-Type": "application/json; charset=UTF-8"}, json.dumps(found).encode())


def _handler_of(api: DaisyApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            api.requests.append(self.path)
            answer = api.answer(asked.path, dict(parse_qsl(asked.query)))
            if not answer.pieces:
                time.sleep(answer.delay)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                self.wfile.write(answer.body)
                for piece in answer.pieces:
                    time.sleep(answer.delay)
                    self.wfile.write(piece)
                    self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # a client need not listen to the end

        def log_message(self, format: str, *arguments: object) -> None:
            """Requests are kept in `requests`; nothing is printed."""

    return Handler


# ---- what Daisy knows --------------------------------------------------------------------------------------------------


def _answers(world: World) -> Iterator[tuple[str, dict[str, Any]]]:
    nodes = {node_id(machine.name): _node(world, machine) for machine in (*world.controllers, *world.computes)}
    foreign = _foreign_node(world)
    cluster = {"id": world.cluster_id, "name": world.site, "use_dns": int(world.use_dns), "nodes": list(nodes)}
    other = {"id": FOREIGN_CLUSTER_ID, "name": "other", "use_dns": 0, "nodes": [foreign["id"]]}
    # As the real one does in its list: what one cluster has is told of the next one too.
    yield "/v1/clusters", {"clusters": [cluster, {**other, "nodes": [*nodes, foreign["id"]]}]}
    yield f"/v1/clusters/{world.cluster_id}", {"cluster": cluster}
    yield f"/v1/clusters/{FOREIGN_CLUSTER_ID}", {"cluster": other}
    yield "/v1/nodes", {"nodes": [foreign, *nodes.values()]}
    for node in (foreign, *nodes.values()):
        yield f"/v1/nodes/{node['id']}", {"host": node}
    yield "/v1/roles/detail", {"roles": [*_roles(world), _foreign_role()]}
    role_id = node_id("role CONTROLLER_HA")
    services = ("glance", "db", "db_backup", "mongodb")
    disks = [{"id": node_id(f"disk {name}"), "service": name, "disk_location": "share"} for name in services]
    stray = {"id": node_id("stray"), "role_id": _foreign_role()["id"]}
    yield (
        "/v1/service_disk/list",
        {"disk_meta": [{**stray, "disk_location": "local"}, *({**disk, "role_id": role_id} for disk in disks)]},
    )
    volume = {"volume_driver": "KS3200_IPSAN", "management_ips": "10.43.177.1,10.43.177.2", "user_pwd": ARRAY_LOGIN}
    yield "/v1/cinder_volume/list", {"disk_meta": [stray, {"id": node_id("volume"), "role_id": role_id, **volume}]}


def _node(world: World, machine: Machine) -> dict[str, Any]:
    roles = ["CONTROLLER_HA", "CONTROLLER_LB"] if machine.role == "controller" else ["COMPUTER"]
    management = [{"name": name, "ip": machine.address, "vswitch_type": ""} for name in ("MANAGEMENT", "STORAGE")]
    private = [{"name": "physnet1", "ip": "", "vswitch_type": machine.network}]
    return {
        "id": node_id(machine.name),
        "name": machine.name,
        "status": "with-role",
        "role": roles,
        "cluster": world.site,
        "interfaces": [
            {"name": "enp3s0f0", "type": "ether", "assigned_networks": management},
            {"name": "enp129s0f1", "type": "ether", "assigned_networks": private},
            {"name": "enp129s0f2", "type": "ether", "assigned_networks": []},
        ],
    }


def _foreign_node(world: World) -> dict[str, Any]:
    stranger = Machine(FOREIGN_HOST, "compute", "127.9.9.9", 22, "ovs", "")
    return {**_node(world, stranger), "cluster": "other"}


def _roles(world: World) -> Iterator[dict[str, Any]]:
    first = world.virtual_ips[0] if world.virtual_ips else ""
    public = world.virtual_ips[1] if len(world.virtual_ips) > 1 else ""
    for name in ("CONTROLLER_HA", "CONTROLLER_LB", "COMPUTER"):
        role = {"id": node_id(f"role {name}"), "name": name, "cluster_id": world.cluster_id}
        yield {
            **role,
            "vip": first if name != "COMPUTER" else "",
            "public_vip": public if name == "CONTROLLER_HA" else "",
            "glance_vip": None,
            "db_vip": None,
            "mongodb_vip": None,
        }


def _foreign_role() -> dict[str, Any]:
    role = {"id": node_id("foreign role"), "name": "CONTROLLER_HA", "cluster_id": FOREIGN_CLUSTER_ID}
    return {**role, "vip": "127.9.9.100", "public_vip": ""}

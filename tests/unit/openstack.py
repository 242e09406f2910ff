"""The fake `openstack` of the unit tests: the few commands that the steps send, on two JSON files below $SAYS.

A migration ends before its command does, unless the VM has a `Fate`: `hangs` until it is aborted, `gives up` after it was
taken, or the words with which Nova refuses it.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
from pathlib import Path
from typing import Any

SAYS = Path(os.environ["SAYS"])


FLAVORS = [
    {"ID": "1", "Name": "small", "RAM": 512, "VCPUs": 1, "Properties": {}},
    {"ID": "2", "Name": "large", "RAM": 16384, "VCPUs": 8, "Properties": ""},
    {"ID": "3", "Name": "pinned", "RAM": 4096, "VCPUs": 4, "Properties": "hw:cpu_policy='dedicated', hw:x='y'"},
    {"ID": "4", "Name": "huge", "RAM": 4096, "VCPUs": 4, "Properties": {"hw:mem_page_size": "1GB"}},
    {"ID": "5", "Name": "device", "RAM": 4096, "VCPUs": 4, "Properties": {"pci_passthrough:alias": "gpu:1"}},
]


def hypervisors(servers: list[dict[str, Any]], services: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Computes of 8 processors and 16 GB, with their full names, as hypervisors have them."""
    rows = []
    for service in services:
        here = [s for s in servers if s["Host"] == service["Host"]]
        used = [f for s in here for f in FLAVORS if f["Name"] == s.get("Flavor Name", "small")]
        figures = {"vCPUs Used": sum(f["VCPUs"] for f in used), "Memory MB Used": sum(f["RAM"] for f in used)}
        rows.append({"Hypervisor Hostname": f"{service['Host']}.site", "vCPUs": 8, "Memory MB": 16384, **figures})
    return rows


def main(words: list[str]) -> int:  # noqa: PLR0911, PLR0912, PLR0915  a case for each command
    if (SAYS / "cloud-is-down").exists():
        sys.stderr.write("Unable to establish connection to keystone\n")
        return 1
    if os.environ.get("OS_PASSWORD") != "secret":
        sys.stderr.write("Missing value auth-url required for auth plugin password\n")
        return 1
    with (SAYS / "asked").open("a") as asked:
        if "list" not in words:
            asked.write(f"{os.environ['HOST']}: openstack {' '.join(words)}\n")
    parser = argparse.ArgumentParser(prog="openstack")
    for option in ("--all-projects", "--all", "--long", "--live-migration", "--wait", "--enable", "--disable"):
        parser.add_argument(option, action="store_true")
    for option in (
        "-f",
        "--host",
        "--limit",
        "--server",
        "--service",
        "-c",
        "--disable-reason",
        "--os-compute-api-version",
        "--flavor",
        "--image",
        "--nic",
    ):
        parser.add_argument(option)
    parser.add_argument("words", nargs="*")
    asked_for = parser.parse_intermixed_args(words)
    servers, services = (json.loads((SAYS / f"{name}.json").read_text()) for name in ("servers", "services"))
    match asked_for.words:
        case ["server", "list"]:
            if (SAYS / "list-fails").exists():
                sys.stderr.write("Internal Server Error\n")
                return 1
            wanted = [s for s in servers if asked_for.host in (None, s["Host"])]
            value = "\n".join(f"{s['ID']} {s['Host']}" for s in wanted)
            print(value if asked_for.f == "value" else json.dumps(wanted))
        case ["compute", "service", "list"]:
            print(json.dumps([s for s in services if asked_for.host in (None, s["Host"])]))
        case ["compute", "service", "set", host, "nova-compute"]:
            for service in services:
                if service["Host"] == host:
                    service["Status"] = "disabled" if asked_for.disable else "enabled"
                    service["Disabled Reason"] = asked_for.disable_reason
        case ["server", "migrate", id]:
            server = next(s for s in servers if s["ID"] == id)
            fate = server.get("Fate")
            if server["Status"] != "ACTIVE" or fate not in (None, "hangs", "gives up"):
                sys.stderr.write(f"{fate or f'Cannot migrate {id} while it is in status ' + server['Status']}\n")
                return 1
            if fate == "hangs":
                server["Status"] = "MIGRATING"
            elif fate is None:
                free = [s["Host"] for s in services if s["Host"] != server["Host"] and s["Status"] == "enabled"]
                server["Host"] = asked_for.host or free[0]
        case ["server", "migration", "list"]:
            if (SAYS / "old-client").exists():
                sys.stderr.write("openstack: 'server migration list' is not an openstack command.\n")
                return 2
            under_way = [s for s in servers if s["ID"] == asked_for.server and s["Status"] == "MIGRATING"]
            print(json.dumps([{"Id": 7, "Status": "running", "Server UUID": s["ID"]} for s in under_way]))
        case ["server", "migration", "abort", id, "7"]:
            next(s for s in servers if s["ID"] == id)["Status"] = "ACTIVE"
        case ["hypervisor", "list"]:
            print(json.dumps(hypervisors(servers, services)))
        case ["flavor", "list"]:
            print(json.dumps(FLAVORS))
        case ["server", "create", name]:
            if (SAYS / "no-valid-host").exists():
                servers.append({"ID": "new", "Name": name, "Status": "ERROR", "Host": None})
                (SAYS / "servers.json").write_text(json.dumps(servers))
                sys.stderr.write("Error creating server: No valid host was found\n")
                return 1
            servers.append({"ID": "new", "Name": name, "Status": "ACTIVE", "Host": services[0]["Host"]})
        case ["server", "delete", id]:
            servers = [s for s in servers if s["ID"] != id]
        case _:
            sys.stderr.write(f"openstack: not a known command: {words}\n")
            return 2
    (SAYS / "servers.json").write_text(json.dumps(servers))
    (SAYS / "services.json").write_text(json.dumps(services))
    return 0


with (SAYS / "cloud.lock").open("w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    status = main(sys.argv[1:])
sys.exit(status)

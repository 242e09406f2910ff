"""The fake `openstack` of the unit tests: the few commands that the steps send, on two JSON files below $SAYS."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
from pathlib import Path

SAYS = Path(os.environ["SAYS"])


def main(words: list[str]) -> int:  # noqa: PLR0912  a case for each command
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
    for option in ("--all-projects", "--long", "--live-migration", "--wait", "--enable", "--disable"):
        parser.add_argument(option, action="store_true")
    for option in (
        "-f",
        "--host",
        "--service",
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
            print(json.dumps([s for s in servers if asked_for.host in (None, s["Host"])]))
        case ["compute", "service", "list"]:
            print(json.dumps([s for s in services if asked_for.host in (None, s["Host"])]))
        case ["compute", "service", "set", host, "nova-compute"]:
            for service in services:
                if service["Host"] == host:
                    service["Status"] = "disabled" if asked_for.disable else "enabled"
                    service["Disabled Reason"] = asked_for.disable_reason
        case ["server", "migrate", id]:
            server = next(s for s in servers if s["ID"] == id)
            if server["Status"] != "ACTIVE":
                sys.stderr.write(f"Cannot migrate {id} while it is in status {server['Status']}\n")
                return 1
            server["Host"] = next(s["Host"] for s in services if s["Host"] != server["Host"])
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

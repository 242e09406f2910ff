"""A site below a folder: its hosts' scripts run in a real shell, with small programs in the place of the real ones.

A fake program knows on which host it runs by $HOST, and finds what it is to say in the folder $SAYS/<host>. It writes
what it was asked into $SAYS/asked, and fails for an option that it does not know, as the real one would.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from include.runbook.cluster import Cluster, Host
from include.runbook.custody import reinstalling_path
from include.runbook.errors import RunbookError
from include.runbook.perform import judge
from include.runbook.shell import Output
from include.runbook.step import Goal, Verdict

A, B = "pcmk_a", "pcmk_b"
"""The controllers' names in Pacemaker, which are not those of the inventory."""

RPM = """\
test "$1 $2" = '-q --qf' && test "$4" = openstack-nova-common || { echo "rpm: unknown: $*" >&2; exit 1; }
release=$(cat "$SAYS/$HOST/release" 2>/dev/null) || { echo 'package openstack-nova-common is not installed'; exit 1; }
case "$3" in
'%{RELEASE}') printf %s "$release" ;;
'%{INSTALLTIME}') cat "$SAYS/$HOST/installed_at" ;;
*) exit 1 ;;
esac"""

SSH = """\
while :; do
  case "$1" in
  -o) case "$2" in
      BatchMode=yes | StrictHostKeyChecking=yes | UserKnownHostsFile=* | GlobalKnownHostsFile=/dev/null | ConnectTimeout=*) ;;
      *) echo "ssh: bad option $2" >&2; exit 255 ;;
      esac; shift 2 ;;
  -p | -i) shift 2 ;;
  -*) echo "ssh: unknown option $1" >&2; exit 255 ;;
  *) break ;;
  esac
done
host=$(cat "$SAYS/address/${1#root@}") || { echo "ssh: no host at $1" >&2; exit 255; }
test ! -e "$SAYS/$host/down" || { echo "ssh: connect to host $1: Connection refused" >&2; exit 255; }
shift
HOST=$host exec sh -c "$*\""""

SAY_FILE = """\
test ! -e "$SAYS/$HOST/{file}.fails" || {{ echo '{name}: cannot connect' >&2; exit 102; }}
cat "$SAYS/$HOST/{file}\""""

CRM_MON = """\
case "$*" in
'-1') file=crm_mon.txt ;;
'-1 -r -f --as-xml') file=crm_mon.xml ;;
*) echo "crm_mon: unrecognized option" >&2; exit 22 ;;
esac
test ! -e "$SAYS/$HOST/crm_mon.fails" || { echo 'crm_mon: Connection refused' >&2; exit 102; }
cat "$SAYS/$HOST/$file\""""

CIBADMIN = """\
test "$1 $2" = '--query --scope' || exit 64
cat "$SAYS/$HOST/$3.xml\""""


PCS = """\
case "$1 $2" in
'resource ban') line="<rsc_location id=\\"cli-ban-$3-on-$4\\" rsc=\\"$3\\" node=\\"$4\\" score=\\"-INFINITY\\"/>" ;;
'resource move')
  test -e "$SAYS/active-$4.xml" || { echo "Error: Node '$4' does not appear to exist in configuration" >&2; exit 1; }
  test ! -e "$SAYS/refuses-$4" || exit 0
  for h in "$SAYS"/*/crm_mon.xml; do cp "$SAYS/active-$4.xml" "$h"; cp "$SAYS/active-$4.txt" "${h%.xml}.txt"; done
  test ! -e "$SAYS/pcs-0.9" || line="<rsc_location id=\\"cli-prefer-$3\\" rsc=\\"$3\\" node=\\"$4\\" score=\\"INFINITY\\"/>" ;;
'resource clear') sed -i '/id="cli-/d' "$SAYS"/*/constraints.xml ;;
'constraint remove') sed -i "/id=\\"$3\\"/d" "$SAYS"/*/constraints.xml ;;
'property set')
  test "${3%=*}" != unmanaged || test "$4" = --force || { echo "Error: invalid cluster property option" >&2; exit 1; }
  sed -i "/name=\\"${3%=*}\\"/d" "$SAYS"/*/crm_config.xml
  pair="<nvpair id=\\"p-${3%=*}\\" name=\\"${3%=*}\\" value=\\"${3#*=}\\"/>"
  sed -i "s|^</cluster_property_set>|$pair\\n&|" "$SAYS"/*/crm_config.xml ;;
'cluster start') for h in "$SAYS"/*/crm_mon.xml; do sed -i 's/online="false"/online="true"/' "$h"; done ;;
*) echo "Usage: pcs ..." >&2; exit 1 ;;
esac
test -z "$line" || sed -i "s|<constraints>|<constraints>\\n$line|" "$SAYS"/*/constraints.xml"""


class Site:
    """The hosts of a cluster. `asked` holds every call of a fake program that changes something."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.says, self.bin = cluster, folder / "says", folder / "bin"
        (self.says / "address").mkdir(parents=True)
        self.bin.mkdir()
        for host in cluster.hosts:
            (self.says / host.name).mkdir()
            (self.says / "address" / host.address).write_text(host.name)
        for name, text in {
            "rpm": RPM,
            "ssh": SSH,
            "crm_mon": CRM_MON,
            "cibadmin": CIBADMIN,
            "crm_node": SAY_FILE.format(name="crm_node", file="name"),
        }.items():
            self.program(name, text)
        self.program("python3", f'exec {sys.executable} -S "$@"')
        self.records("pcs", PCS)
        self.records("openstack-service")
        for node in cluster.nodes:
            self.install(node, "101")

    def run(self, host: Host, script: str, timeout: float) -> Output:
        environment = os.environ | {
            "HOST": host.name,
            "SAYS": str(self.says),
            "PATH": f"{self.bin}:{os.environ['PATH']}",
        }
        done = subprocess.run(
            ["sh", "-c", script],
            capture_output=True,
            timeout=max(timeout, 30),  # a loaded machine is slow; what a limit does is not tested by these hosts
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        return Output(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))

    def program(self, name: str, text: str) -> None:
        """Put a program in the place of the real one, on every host."""
        file = self.bin / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)

    def records(self, name: str, text: str = "") -> None:
        """Put a program in the place of the real one that notes how it was called, then does what `text` says."""
        self.program(name, f'echo "$HOST: {name} $*" >> "$SAYS/asked"\n{text}')

    @property
    def asked(self) -> list[str]:
        file = self.says / "asked"
        return file.read_text().splitlines() if file.exists() else []

    def install(self, host: Host, release: str | None, at: int = 1000) -> None:
        """Say which release the host's packages are of, and since when."""
        for name, text in {"release": release, "installed_at": str(at)}.items():
            file = self.says / host.name / name
            if release is None:
                file.unlink(missing_ok=True)
            else:
                file.write_text(str(text))

    def note_reinstallation(self, host: Host) -> None:
        """Say that the host's reinstallation has begun and is not proven."""
        note = Path(reinstalling_path(self.cluster, host))
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()

    def write(self, host: Host, path: str, content: str | bytes) -> Path:
        """Write a file on a host, at the path that it has for the cluster."""
        file = Path(host.path(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    def pacemaker(
        self,
        *,
        active: str | None = A,
        online: tuple[str, ...] = (A, B),
        constraints: tuple[str, ...] = (),
        properties: tuple[str, ...] = (),
        failed: bool = False,
        more: str = "",
        troubles: str = "",
    ) -> None:
        """Say what Pacemaker's programs show on both controllers; `constraints` are lines of XML, `properties` name=word."""
        xml = status_xml(active=active, online=online, failed=failed, more=more, troubles=troubles)
        nodes = "".join(f'<node id="{n}" uname="{name}"/>\n' for n, name in enumerate((A, B), 1))
        text = status_text(active) if active else ""
        words = [(name, word or "true") for name, _, word in (each.partition("=") for each in properties)]
        pairs = "".join(f'<nvpair id="p-{name}" name="{name}" value="{word}"/>\n' for name, word in words)
        for name in (A, B):
            (self.says / f"active-{name}.xml").write_text(status_xml(active=name, online=online, more=more))
            (self.says / f"active-{name}.txt").write_text(status_text(name))
        for host, name in ((self.cluster.controllers.a, A), (self.cluster.controllers.b, B)):
            self.tell(host, "name", name)
            self.tell(host, "crm_mon.xml", xml)
            self.tell(host, "crm_mon.txt", text)
            self.tell(host, "nodes.xml", f"<nodes>{nodes}</nodes>")
            self.tell(host, "constraints.xml", f"<constraints>\n{chr(10).join(constraints)}\n</constraints>")
            config = f'<cluster_property_set id="cib-bootstrap-options">\n{pairs}</cluster_property_set>'
            self.tell(host, "crm_config.xml", f"<crm_config>{config}</crm_config>")

    def tell(self, host: Host, file: str, text: str) -> None:
        """Write what a fake program says on a host."""
        (self.says / host.name / file).write_text(text + "\n")

    def cloud(self, *, servers: list[dict[str, Any]], services: list[dict[str, Any]]) -> None:
        """Say which VMs and nova-compute services the cloud has; `openstack` moves, enables and disables them."""
        (self.says / "servers.json").write_text(json.dumps(servers))
        (self.says / "services.json").write_text(json.dumps(services))
        self.program("openstack", f'exec {sys.executable} -I -S {Path(__file__).with_name("openstack.py")} "$@"')
        openrc = self.write(self.cluster.controllers.a, self.cluster.paths.openrc, "export OS_PASSWORD=secret\n")
        assert openrc.exists()

    def databases(self, host: Host, schemas: dict[str, dict[str, list[str]]] | None = None) -> None:
        """Say that the database answers on the host, with these databases; by default as release 100 of the example has them."""
        default = {
            name: {"alembic_version": list(known)} if isinstance(known, tuple) else {"migrate_version": [str(known)]}
            for name, known in self.cluster.releases["100"].schemas.items()
        }
        self.tell(host, "schemas.json", json.dumps(schemas or default))
        for name in ("mysql", "mysqldump"):
            self.program(name, f'exec {sys.executable} -I -S {Path(__file__).with_name("mysql.py")} {name} "$@"')

    def seen(self, file: str) -> list[dict[str, Any]]:
        """Read back `servers` or `services` as the fake cloud has them now."""
        read: list[dict[str, Any]] = json.loads((self.says / f"{file}.json").read_text())
        return read


def ban(node: str, resource: str = "lb_float_ip") -> str:
    """Return the constraint that `pcs resource ban` makes."""
    return f'<rsc_location id="cli-ban-{resource}-on-{node}" rsc="{resource}" node="{node}" score="-INFINITY"/>'


def preference(node: str, resource: str = "lb_float_ip") -> str:
    """Return the constraint that `pcs resource move` of pcs 0.9 leaves."""
    return f'<rsc_location id="cli-prefer-{resource}" rsc="{resource}" node="{node}" score="INFINITY"/>'


def status_xml(
    *,
    active: str | None = A,
    online: tuple[str, ...] = (A, B),
    failed: bool = False,
    more: str = "",
    troubles: str = "",
) -> str:
    """Return what `crm_mon -1 -r -f --as-xml` of Pacemaker 1.1 prints for the two controllers."""
    flags = 'standby="false" maintenance="false" pending="false"'
    nodes = "".join(f'<node name="{n}" online="{str(n in online).lower()}" {flags}/>' for n in (A, B))
    resources = resource_xml("lb_float_ip", active, failed=failed) + resource_xml("haproxy", active) + more
    return f'<crm_mon version="1.1.13"><nodes>{nodes}</nodes><resources>{resources}</resources>{troubles}</crm_mon>'


def failed_action(operation: str, node: str, reason: str = "unknown error") -> str:
    """Return what crm_mon prints of an operation that failed on a node."""
    return f'<failures><failure op_key="{operation}" node="{node}" exitstatus="{reason}" exitcode="1"/></failures>'


def fail_count(resource: str, node: str, count: str, threshold: str = "3") -> str:
    """Return what crm_mon prints of a resource that has failed on a node."""
    history = f'<resource_history id="{resource}" migration-threshold="{threshold}" fail-count="{count}"/>'
    return f'<node_history><node name="{node}">{history}</node></node_history>'


def status_text(active: str) -> str:
    """Return the line about the float IP of what `crm_mon -1` prints."""
    return f" lb_float_ip\t(ocf::heartbeat:IPaddr2):\tStarted {active}\n"


def resource_xml(name: str, node: str | None, *, failed: bool = False) -> str:
    """Return one resource as crm_mon prints it."""
    active = str(node is not None).lower()
    where = f'<node name="{node}" id="1" cached="false"/>' if node else ""
    state = f'role="Started" active="{active}" managed="true" failed="{str(failed).lower()}"'
    return f'<resource id="{name}" resource_agent="ocf::heartbeat:IPaddr2" {state}>{where}</resource>'


def judged(site: Site, goal: Goal) -> Verdict:
    """Return how the goal is found on the site; a site that cannot be read does not meet it."""
    try:
        return judge(goal, site)
    except RunbookError as error:
        return Verdict(False, str(error))

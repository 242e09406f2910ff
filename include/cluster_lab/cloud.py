"""The lab's cloud: real Keystone, Nova, Placement, Glance and Neutron, with a hypervisor that only pretends.

What it does not emulate: in TECS the control plane runs on the controllers. Here it has a host of its own, `cloud`, so
that it outlives their reinstallation; the controllers have the real `openstack` client and the administrator's
credentials. nova-compute is Debian's whatever release of TECS a compute is said to have; it is the rpm that differs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from include.cluster_lab import cloud_files
from include.cluster_lab.cloud_files import DATABASES
from include.cluster_lab.cloud_layer import FLAVOR, IMAGE
from include.cluster_lab.cloud_rest import POLL, CloudRest
from include.cluster_lab.cloud_services import NOVA_API, PORTS
from include.cluster_lab.host import Host
from include.cluster_lab.site import CLOUD, COMPUTES
from include.lab.errors import LabError

STARTS_WITHIN = 150.0
BEGINS_WITHIN = 120.0
VMS_PER_COMPUTE = 2


class Cloud:
    """The cloud of the lab's hosts, which are given by their names."""

    def __init__(self, hosts: Mapping[str, Host], say: Callable[[str], None]) -> None:
        self._computes = [compute.name for compute in COMPUTES]
        self._say = say
        self._host = hosts[CLOUD.name]
        self._rest = CloudRest(hosts[CLOUD.name].site.address)

    def lay_down_controller(self, host: Host) -> None:
        """The controller, which is off, can use the `openstack` client."""
        cloud_files.lay_down_client(host.tree)

    def lay_down_compute(self, host: Host) -> None:
        """The compute, which is off, has what an installation leaves: nova-compute with a fresh nova.conf."""
        cloud_files.lay_down_nova_compute(host.tree, host.site.address)

    def lay_out_compute(self, host: Host) -> None:
        """The compute, which has nova-compute, has the site's own settings in nova.conf as well."""
        text = cloud_files.tuned_nova_conf(host.site.name, host.site.address, host.site.network)
        cloud_files.write_nova_conf(host.tree, text)

    def start(self) -> None:
        """The cloud, whose hosts have booted, can be used: its APIs answer and it sees every compute up."""
        started, since = time.monotonic(), datetime.now(UTC)
        for service in PORTS:
            self._rest.wait_until_open(service, started + STARTS_WITHIN)
        # Keystone and Neutron make themselves ready at the first request; Nova has less patience than this client.
        self._await("a first answer of Keystone and Neutron", self._answers, STARTS_WITHIN)
        # A compute that has just been made anew would count as up by its predecessor's last sign of life.
        self._await("a sign of life of every compute", lambda: self._heard_since(since), STARTS_WITHIN)
        self._say(f"the cloud is ready after {time.monotonic() - started:.0f} s")

    def begin(self) -> None:
        """Each compute, all of which are up, is enabled and has its own ACTIVE VMs; there is no other VM."""
        for service in self._services():
            if service["status"] != "enabled":
                self._rest.ask("PUT", "nova", f"/v2.1/os-services/{service['id']}", {"status": "enabled"})
        for vm in self.vms():
            self._rest.ask("DELETE", "nova", f"/v2.1/servers/{vm['id']}")
        self._await("every VM deleted", lambda: not self.vms(), BEGINS_WITHIN)
        image = self._rest.get("glance", f"/v2/images?name={IMAGE}")["images"][0]["id"]
        flavors = self._rest.get("nova", "/v2.1/flavors")["flavors"]
        flavor = next(each["id"] for each in flavors if each["name"] == FLAVOR)
        wanted = {_vm_name(host, number): host for number in range(VMS_PER_COMPUTE) for host in self._computes}
        for name, host in wanted.items():
            # The zone with a host's name leaves the scheduler no choice.
            server = {"name": name, "imageRef": image, "flavorRef": flavor, "networks": "none"}
            server["availability_zone"] = f"nova:{host}"
            self._rest.ask("POST", "nova", "/v2.1/servers", {"server": server})
        self._await(f"{len(wanted)} VMs ACTIVE, each on its own compute", lambda: self._have(wanted), BEGINS_WITHIN)

    def let_nova_api_fail(self, fails: bool) -> None:
        """Nova's API does not answer, or does so again."""
        self._host.run("systemctl", "stop" if fails else "start", NOVA_API.unit)

    def schemas(self) -> dict[str, int | list[str]]:
        """The version of every database: alembic's revisions, or the newest migration where a database has none."""
        names = ", ".join(f"'{name}'" for names in DATABASES.values() for name in names)
        tables = "('alembic_version', 'migrate_version')"
        which = f"select table_schema, table_name from information_schema.tables where table_name in {tables}"
        found: dict[str, int | list[str]] = {}
        for line in self._sql(f"{which} and table_schema in ({names}) order by table_name desc").splitlines():
            database, table = line.split()
            column = "version" if table == "migrate_version" else "version_num"
            if rows := self._sql(f"select {column} from {database}.{table}").split():
                found[database] = int(rows[0]) if table == "migrate_version" else rows
        return found

    def vms(self) -> list[dict[str, str]]:
        """Every VM's id, name, host (empty: none yet) and status; LabError when the cloud does not tell."""
        servers = self._rest.get("nova", "/v2.1/servers/detail?all_tenants=1")["servers"]
        return [
            {
                "id": server["id"],
                "name": server["name"],
                "host": server["OS-EXT-SRV-ATTR:host"] or "",
                "status": server["status"],
            }
            for server in servers
        ]

    def vms_on(self, host: str) -> list[str]:
        """The names of the VMs on a compute."""
        return [vm["name"] for vm in self.vms() if vm["host"] == host]

    def scheduling(self) -> dict[str, tuple[bool, str | None]]:
        """Of each compute, whether the scheduler may use it, and if not, why not."""
        return {each["host"]: (each["status"] == "enabled", each["disabled_reason"]) for each in self._services()}

    def up(self) -> set[str]:
        """The computes whose nova-compute the cloud has heard of lately, and on which it can place VMs."""
        # A new nova-compute stands among the services some seconds before the scheduler may use it.
        found = self._rest.get("nova", "/v2.1/os-hypervisors")["hypervisors"]
        return {each["hypervisor_hostname"] for each in found if each["state"] == "up"}

    def _sql(self, query: str) -> str:
        return self._host.run("mariadb", "--batch", "--skip-column-names", "--execute", query).stdout

    def _answers(self) -> bool:
        try:
            self._rest.get("neutron", "/v2.0/networks")
        except LabError as not_yet:
            self._say(str(not_yet))
            return False
        return True

    def _services(self) -> list[dict[str, Any]]:
        services: list[dict[str, Any]] = self._rest.get("nova", "/v2.1/os-services?binary=nova-compute")["services"]
        return services

    def _have(self, wanted: Mapping[str, str]) -> bool:
        vms = self.vms()
        if failed := [vm["name"] for vm in vms if vm["status"] == "ERROR"]:
            raise LabError(f"cloud: {', '.join(failed)} cannot be created; read `journalctl` on the host cloud")
        return {vm["name"]: vm["host"] for vm in vms if vm["status"] == "ACTIVE"} == wanted

    def _heard_since(self, moment: datetime) -> bool:
        told = {each["host"]: each["updated_at"] for each in self._services() if each["updated_at"]}
        heard = {host for host, at in told.items() if datetime.fromisoformat(f"{at}+00:00") > moment}
        return heard & self.up() >= set(self._computes)

    def _await(self, what: str, reached: Callable[[], bool], within: float) -> None:
        deadline = time.monotonic() + within
        while not reached():
            if time.monotonic() > deadline:
                raise LabError(
                    f"cloud: expected {what} within {within:.0f} s; computes up: {', '.join(sorted(self.up())) or 'none'}; "
                    f"VMs: {self.vms()}; read `journalctl` on the host cloud and on the computes"
                )
            time.sleep(POLL)


def _vm_name(host: str, number: int) -> str:
    return f"vm-{host.removeprefix('host-')}-{number + 1}"

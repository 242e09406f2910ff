"""The truth about the site, read from the real programs, in the form of the embedded lab's `state`."""

from __future__ import annotations

from typing import Any

from include.cluster_lab.host import Host
from include.cluster_lab.host_services import services
from include.cluster_lab.lab import Lab
from include.cluster_lab.likeness import PLAYED
from include.cluster_lab.pacemaker import view
from include.cluster_lab.programs.node_installer import PACKAGE
from include.cluster_lab.site import CONTROLLERS, FLOAT_IP


def truth(lab: Lab) -> dict[str, Any]:
    """The truth of now, as JSON values; LabError when a program does not tell."""
    scheduling = lab.cloud.scheduling() if lab.cloud is not None else {}
    controllers = [lab.hosts[site.name] for site in CONTROLLERS]
    cluster = view(controllers)
    holders = [host.site.name for host in controllers if host.holds(FLOAT_IP)]
    return {
        "hosts": {site.name: _host(lab, lab.hosts[site.name], scheduling) for site in PLAYED},
        "cluster": {
            "online": [site.name for site in CONTROLLERS if site.node in cluster.online],
            "active": holders[0] if len(holders) == 1 else None,
            "float_ip_on": holders,
            "constraints": list(cluster.constraints),
            "maintenance": cluster.properties.get("maintenance-mode") == "true",
            "properties": cluster.properties,
        },
        "vms": lab.cloud.vms() if lab.cloud is not None else [],
        "installs": lab.journal.installs,
        "installer_runs": lab.journal.installer_runs,
        "faults": lab.pending.listed(),
        "violations": lab.journal.violations,
    }


def release_of(host: Host) -> str | None:
    """The release that rpm tells, whether the host is on or off; None without the package."""
    query = ("rpm", "--query", "--queryformat", "%{RELEASE}", PACKAGE)
    found = host.in_tree(*query, check=False)
    return found.stdout if found.returncode == 0 else None


def _host(lab: Lab, host: Host, scheduling: dict[str, tuple[bool, str | None]]) -> dict[str, Any]:
    enabled, reason = scheduling.get(host.site.name, (True, None))
    release = release_of(host)
    return {
        "role": host.site.role,
        "address": host.site.address,
        "release": release,
        "complete": release is not None and host.site.name not in lab.half_installed,
        "down": not host.running,
        "scheduling": enabled,
        "disabled_reason": reason,
        "services": services(host),
    }

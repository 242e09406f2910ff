"""These hosts as the embedded lab would hold them, so that both labs lay down the same texts.

Only what never changes is taken from it: names, roles, addresses. The truth of this lab is in its hosts.
"""

from __future__ import annotations

from pathlib import Path

from include.cluster_lab.site import CONNECTION, FLOAT_IP, FLOAT_RESOURCE, HOSTS, NAME, PUBLIC_IP, SiteHost, inventory
from include.lab.databases import in_service
from include.lab.start_states import new_world
from include.lab.topology import DEFAULT_CLUSTER_ID, GOOD_RELEASE, Site
from include.lab.topology import SiteHost as EmbeddedHost
from include.lab.world import Machine, World

PLAYED = tuple(host for host in HOSTS if host.role != "cloud")
SSH_PORT = 22


def likeness(state: Path) -> World:
    """The site as the embedded lab's texts want to see it; its trees are this lab's, `state`/hosts/<name>."""
    keys = {host.name: "" for host in HOSTS}
    site = Site(
        name=NAME,
        inventory=inventory(keys),
        hosts=tuple(EmbeddedHost(host.name, host.role, host.address, SSH_PORT, host.network) for host in PLAYED),
        virtual_ips=(FLOAT_IP, PUBLIC_IP),
        virtual_port=SSH_PORT,
        cluster_id=DEFAULT_CLUSTER_ID,
        connection=CONNECTION,
        resource=FLOAT_RESOURCE,
        use_dns=False,
        pace=1,
        bins={},
        target_release=GOOD_RELEASE,
        schemas=in_service({}),
    )
    return new_world(site, state, "0.11", names_resolve=True)


def machine_of(world: World, host: SiteHost) -> Machine:
    """The host as the embedded lab's texts want to see it."""
    return world.machines[host.name]

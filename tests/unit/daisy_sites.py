"""The embedded lab's cluster as Daisy would tell of it, by its API and by its files."""

from __future__ import annotations

from pathlib import Path

from include.lab.answer_file import mappings_json, tecs_conf
from include.lab.start_states import new_world
from include.lab.topology import make_inventory, read_site
from include.lab.world import World


def lab_world(state: Path, *, use_dns: bool = False) -> World:
    """A site of two controllers and three computes, the last of them with DVS. Nothing of it is on disk."""
    inventory = make_inventory(computes=3) | {"use_dns": use_dns}
    return new_world(read_site(inventory), state, "0.11", names_resolve=True)


def write_files(world: World, folder: Path) -> tuple[Path, Path, Path]:
    """Write tecs.conf, mappings.json and a hosts file as they lie on the Daisy host; return their paths."""
    conf, mappings, hosts = folder / "tecs.conf", folder / "mappings.json", folder / "hosts"
    conf.write_bytes(tecs_conf(world, "/var/lib/daisy/tecs//x/mappings.json"))
    mappings.write_bytes(mappings_json(world))
    nodes = [f"{host.address} {host.name} {host.name}.STORAGE" for host in (*world.controllers, *world.computes)]
    hosts.write_text("\n".join(["127.0.0.1 localhost localhost4", "# made by Daisy", *nodes]) + "\n")
    return conf, mappings, hosts

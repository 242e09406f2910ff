"""cibadmin. Emulated: --query (-Q), whole or by --scope (-o) constraints, crm_config, nodes or resources.

Not emulated: every change, XPath, the status section.
"""

from __future__ import annotations

from include.lab.cluster_view import CLONES, PRIMITIVES
from include.lab.programs.standin import Here, Refused
from include.lab.world import World

SCOPES = ("crm_config", "nodes", "resources", "constraints")
NOT_RUNNING = {"0.11": ("Could not connect to the CIB", 102), "0.9": ("Signon to CIB failed", 107)}
SCHEMAS = {"0.11": ("3.16.1", "pacemaker-3.9"), "0.9": ("3.0.10", "pacemaker-2.3")}


def main(here: Here, argv: list[str]) -> int:
    """Print the configuration or one section of it."""
    scope = _asked_scope(argv)
    with here.changing() as world:
        if not world.machines[here.host].runs("pacemaker"):
            signon, status = NOT_RUNNING[world.pcs]
            message = f"{signon}: Transport endpoint is not connected"
            raise Refused(f"{message}\nInit failed, could not perform requested operations", status)
        sections = {name: section(world, name) for name in SCOPES}
        features, schema = SCHEMAS[world.pcs]
    if scope:
        print("\n".join(sections[scope]))
        return 0
    print(f'<cib crm_feature_set="{features}" validate-with="{schema}" epoch="42" num_updates="0" admin_epoch="0">')
    print("  <configuration>")
    for lines in sections.values():
        print("\n".join("    " + line for line in lines))
    print("  </configuration>\n  <status/>\n</cib>")
    return 0


def _asked_scope(argv: list[str]) -> str | None:
    words = [
        part for argument in argv for part in (argument.split("=", 1) if argument.startswith("--") else [argument])
    ]
    match words:
        case ["--query" | "-Q"] | ["-l", "-Q"] | ["--local", "--query"]:
            return None
        case ["--query" | "-Q", "--scope" | "-o", scope] | ["--scope" | "-o", scope, "--query" | "-Q"] if (
            scope in SCOPES
        ):
            return scope
    raise Refused(f"cibadmin: the lab emulates --query with --scope {' | '.join(SCOPES)}, not: {' '.join(argv)}", 64)


def section(world: World, name: str) -> list[str]:
    """The lines of one section of the configuration."""
    if name == "constraints":
        inner = [
            f'<rsc_location id="{each.id}" rsc="{world.resource}" role="Started" node="{each.node}" '
            f'score="{each.score}"/>'
            for each in world.constraints
        ]
    elif name == "crm_config":
        pairs = {
            "have-watchdog": "false",
            "dc-version": "2.1.5-a3f44794f94" if world.pcs == "0.11" else "1.1.13-10.el7-44eb2dd",
            "cluster-infrastructure": "corosync",
            "cluster-name": "tecs",
            **world.properties,
        }
        inner = ['<cluster_property_set id="cib-bootstrap-options">']
        inner += [
            f'  <nvpair id="cib-bootstrap-options-{key}" name="{key}" value="{value}"/>' for key, value in pairs.items()
        ]
        inner += ["</cluster_property_set>"]
    elif name == "nodes":
        inner = [f'<node id="{number}" uname="{each.node}"/>' for number, each in enumerate(world.controllers, 1)]
    else:
        plain = [(world.resource, "ocf::heartbeat:IPaddr2"), *PRIMITIVES]
        inner = [_primitive(resource, agent) for resource, agent in plain]
        for clone, resource, agent in CLONES:
            inner += [f'<clone id="{clone}">', "  " + _primitive(resource, agent), "</clone>"]
    return [f"<{name}>", *("  " + line for line in inner), f"</{name}>"] if inner else [f"<{name}/>"]


def _primitive(resource: str, agent: str) -> str:
    kind, *provider, name = agent.replace("::", ":").split(":")
    owner = f' provider="{provider[0]}"' if provider else ""
    return f'<primitive id="{resource}" class="{kind}"{owner} type="{name}"/>'

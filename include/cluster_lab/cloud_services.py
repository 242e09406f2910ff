"""The programs of the control plane: which user runs each, and how. One process each: memory is short."""

from __future__ import annotations

from dataclasses import dataclass

PORTS = {"keystone": 5000, "nova": 8774, "placement": 8778, "glance": 9292, "neutron": 9696}
"""The TCP port of each API."""

UWSGI = (
    "/usr/bin/uwsgi_python3 --http-socket 0.0.0.0:{port} --wsgi-file {program} --need-app --die-on-term "
    "--processes 1 --enable-threads --threads 8 --buffer-size 65535 --rem-header Content-Length"
)


@dataclass(frozen=True)
class Service:
    """One program: `command` is an absolute command line without shell syntax."""

    name: str
    user: str
    command: str

    @property
    def unit(self) -> str:
        """The name of its systemd unit."""
        return f"lab-{self.name}.service"

    @property
    def unit_text(self) -> str:
        """Its systemd unit."""
        return (
            f"[Unit]\nDescription={self.name} of the lab's cloud\nAfter=mariadb.service\n\n"
            f"[Service]\nUser={self.user}\nExecStart={self.command}\nRestart=on-failure\nRestartSec=1\n"
            # They give way to the message queue, for which they wait, and to the other hosts' programs.
            "Nice=5\nTimeoutStopSec=5\n\n[Install]\nWantedBy=multi-user.target\n"
        )


KEYSTONE = Service(
    "keystone", "keystone", UWSGI.format(port=PORTS["keystone"], program="/usr/bin/keystone-wsgi-public")
)
GLANCE = Service("glance-api", "glance", "/usr/bin/glance-api --config-file /etc/glance/glance-api.conf")
# Nova's and Neutron's APIs do not run under uwsgi, as Debian would have it: with threads, an answer on the message queue
# does not reach the thread that waits for it ("cannot switch to a different thread", or a minute's timeout).
NOVA_API = Service("nova-api", "nova", "/usr/bin/nova-api --config-file /etc/nova/nova.conf")
SERVICES = (
    Service("nova-conductor", "nova", "/usr/bin/nova-conductor --config-file /etc/nova/nova.conf"),
    KEYSTONE,
    Service("placement-api", "placement", UWSGI.format(port=PORTS["placement"], program="/usr/bin/placement-api")),
    Service("nova-scheduler", "nova", "/usr/bin/nova-scheduler --config-file /etc/nova/nova.conf"),
    NOVA_API,
    GLANCE,
    Service(
        "neutron-server",
        "neutron",
        "/usr/bin/neutron-server --config-file /etc/neutron/neutron.conf "
        "--config-file /etc/neutron/plugins/ml2/ml2_conf.ini",
    ),
)
"""All but the database and the message queue, which Debian's own units run."""

"""Secrets that nothing else can contain, planted where a site has its own, and the search for them in what was written."""

from __future__ import annotations

import base64
import gzip
import os
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, quote_plus

import asyncssh
import psycopg2


def made() -> str:
    """Return a new secret. Its plus sign is another one in a URL, so that the quoted form is looked for, too."""
    return f"canary+{secrets.token_hex(8)}"


def forms(secret: str) -> Iterator[bytes]:
    """Yield every form in which the secret may have been written: as it is, quoted for a URL, in hex, in base64."""
    plain = secret.encode()
    yield plain
    yield quote(secret, safe="").encode()
    yield quote_plus(secret).encode()
    yield plain.hex().encode()
    # In a longer text the letters of base64 depend on where the secret begins; those at its ends on its neighbours.
    for shift, start in enumerate((0, 2, 3)):
        coded = base64.b64encode(bytes(shift) + plain)[start : (shift + len(plain)) * 8 // 6]
        yield coded
        yield coded.translate(bytes.maketrans(b"+/", b"-_"))


class Canaries:
    """Planted secrets by what each of them is, and the search for all of them at once."""

    def __init__(self, planted: Mapping[str, str]) -> None:
        self.planted = dict(planted)
        self._named = {form: name for name, secret in planted.items() for form in forms(secret)}
        self._pattern = re.compile(b"|".join(map(re.escape, sorted(self._named, key=len, reverse=True))))

    def __getitem__(self, name: str) -> str:
        return self.planted[name]

    def found_in(self, data: bytes) -> list[str]:
        """Return what each secret is that these bytes hold, packed or not, and between what it first stands."""
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        found: dict[str, str] = {}
        for each in self._pattern.finditer(data):
            around = data[max(0, each.start() - 200) : each.end() + 50]
            found.setdefault(self._named[each[0]], around.decode(errors="replace"))
        return [f"{name}: {around!r}" for name, around in sorted(found.items())]

    def in_files(self, folder: Path) -> Iterator[tuple[Path, str]]:
        """Yield each file below the folder that holds a secret, with what is found in it. Links are not followed."""
        for where, _, names in os.walk(folder):
            for file in (Path(where, name) for name in names):
                if file.is_file() and not file.is_symlink():
                    yield from ((file, told) for told in self.found_in(file.read_bytes()))

    def in_database(self, address: str) -> Iterator[tuple[str, str]]:
        """Yield each table of the PostgreSQL database that holds a secret, with what is found in it."""
        with psycopg2.connect(re.sub(r"^postgresql\+\w+:", "postgresql:", address)) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
            tables = [table for (table,) in cursor.fetchall()]
            assert {"xcom", "rendered_task_instance_fields", "dag_run", "log"} <= set(tables), tables
            for table in tables:
                cursor.execute(f'SELECT one::text FROM "{table}" AS one')
                # What is kept as bytes is shown in hex, which is one of the forms.
                text = "\n".join(row for (row,) in cursor.fetchall())
                yield from ((table, told) for told in self.found_in(text.encode()))


class ProcessLists:
    """While the block lasts, what everybody on this machine could see of every process: its arguments."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> ProcessLists:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            for process in Path("/proc").glob("[0-9]*"):
                # It may have ended just now.
                with suppress(OSError):
                    self.seen.add((process / "cmdline").read_bytes())


PLANTED = (
    "the password of the SSH connection",
    "the passphrase of the SSH key",
    "a setting of the SSH connection that nobody reads",
    "the path of the webhook",
    "the OpenStack password",
    "a password of nova.conf",
    "the database password in nova.conf",
    "the message queue password in nova.conf",
    "a password of cinder.conf",
    "the database password in cinder.conf",
    "a password of tecs.conf",
    "a password in a log",
    "a database password in a log",
    "a token in a log",
    "a password that a failed step prints",
    "a database password that a failed step prints",
)


def plant_in_connections(canaries: Canaries, own: Mapping[str, Any], told: int) -> dict[str, Any]:
    """Return the lab's own connection with secrets in it, and webhooks: one at this port, and one that does not answer."""
    ((connection_id, connection),) = own.items()
    extra = dict(connection["extra"])
    key = asyncssh.read_private_key(extra.pop("key_file"))
    passphrase = canaries["the passphrase of the SSH key"]
    # One round: this key protects nothing, and it is read for every session.
    text = key.export_private_key(passphrase=passphrase, rounds=1, ignore_few_rounds=True).decode()
    extra |= {"private_key": text, "private_key_passphrase": passphrase}
    extra["note"] = canaries["a setting of the SSH connection that nobody reads"]
    path = canaries["the path of the webhook"]
    return {
        connection_id: connection | {"password": canaries["the password of the SSH connection"], "extra": extra},
        "tecs-hook": {"conn_type": "http", "host": f"http://127.0.0.1:{told}/services/{path}"},
        "tecs-dead-hook": {"conn_type": "http", "host": f"http://127.0.0.1:9/services/{path}"},
    }


def plant_on_hosts(canaries: Canaries, hosts: Path) -> None:
    """Put secrets into the files where hosts have their own, and into a log of Nova's. `hosts`: their trees."""

    def url(name: str, scheme: str, user: str) -> str:
        return f"{scheme}://{user}:{quote(canaries[name], safe='')}@127.0.0.1/{user}"

    nova = (
        f"\n[canaries]\nadmin_password={canaries['a password of nova.conf']}\n"
        f"connection={url('the database password in nova.conf', 'mysql', 'nova')}\n"
        f"transport_url={url('the message queue password in nova.conf', 'rabbit', 'nova')}\n"
    )
    cinder = (
        f"\n[canaries]\nsan_password={canaries['a password of cinder.conf']}\n"
        f"connection={url('the database password in cinder.conf', 'mysql', 'cinder')}\n"
    )
    openstack = f"export OS_PASSWORD='{canaries['the OpenStack password']}'\n"
    tecs = f"\nCONFIG_KEYSTONE_ADMIN_PW = {canaries['a password of tecs.conf']}\n"
    log = (
        f"WARNING option password={canaries['a password in a log']} is deprecated\n"
        f"ERROR {url('a database password in a log', 'mysql', 'nova')} has gone away\n"
        f"DEBUG Authorization: Bearer {canaries['a token in a log']}\n"
    )
    for pattern, text in (
        ("*/etc/nova/nova.conf", nova),
        ("*/etc/cinder/cinder.conf", cinder),
        ("*/root/keystonerc_admin", openstack),
        ("daisy/**/tecs.conf", tecs),
    ):
        files = list(hosts.glob(pattern))
        assert files, f"no host has {pattern}"
        for file in files:
            with file.open("a") as kept:
                kept.write(text)
    for nova_conf in hosts.glob("*/etc/nova/nova.conf"):
        file = nova_conf.parents[2] / "var/log/nova/canaries.log"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(log)

"""What is taken out of commands and of their output before it is kept."""

from __future__ import annotations

import time

import pytest

from include.runbook.errors import CommandFailed, InventoryError
from include.runbook.redaction import masked
from include.runbook.shell import last_lines

SECRETS = (
    "export OS_PASSWORD=hunter2",
    "export OS_PASSWORD='hunter2 or so'",
    'rabbit_password = "hunter2"',
    '{"auth": {"password": "hunter2"}}',
    "{'admin_token': 'hunter2'}",
    '"{\\"password\\": \\"hunter2\\"}"',
    'password = "hunter2',
    "mysql -u root -phunter2 nova",
    "mysqldump --password=hunter2 nova",
    "openstack --os-password hunter2 server list",
    "connection = mysql+pymysql://nova:hunter2@db/nova",
    "https://hunter2@git.example.org/x",
    "X-Auth-Token: hunter2",
    "Authorization: Bearer hunter2hunter2",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----",
    "-----BEGIN RSA PRIVATE KEY-----\nhunter2 and cut off",
)


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_masked_by_its_name_or_by_its_form(text: str) -> None:
    assert "hunter2" not in masked(text)
    assert "***" in masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "ssh -o BatchMode=yes -p 22 root@10.0.0.1 'mkdir -p /var/lib'",
        "pcs resource ban lb_float_ip node-b",
        "cp -p /home/a.bin /home/b.bin",
        "mysql -p nova",
        "http://10.0.0.1:5000/v3",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert masked(text) == text


def test_a_hostile_output_costs_no_time() -> None:
    begun = time.process_time()
    for text in ("password" * 20_000, "a" * 100_000, "mysql " * 5_000, "--secret" * 5_000, "x://" * 20_000):
        masked(text)
    assert time.process_time() - begun < 5


def test_no_failure_repeats_a_secret_that_a_host_has_printed() -> None:
    told = str(CommandFailed("A4.7", "host-1", "repair", 1, "login with password=hidden refused", "mend it"))
    assert "password=*** refused" in told
    assert "hidden" not in told
    assert last_lines("a line\nmysql://nova:hidden@host/nova") == "a line\nmysql://***@host/nova"


def test_what_is_wrong_with_a_key_of_an_inventory_stays_readable() -> None:
    assert str(InventoryError("x.yaml:3: databases.password: unknown key")).endswith("password: unknown key")

"""The search that the tests of secrets rely on finds what it is for."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.canaries import Canaries, made

WAYS = {
    "as it is": lambda secret: f"a line with {secret} in it",
    "in a URL": lambda secret: f"mysql://nova:{quote(secret, safe='')}@127.0.0.1/nova",
    "in JSON": lambda secret: json.dumps({"found": f'"{secret}"'}),
    "in base64": lambda secret: base64.b64encode(f"nova:{secret}".encode()).decode(),
    "in base64, one letter later": lambda secret: base64.b64encode(f"admin:{secret}!".encode()).decode(),
    "in base64, two letters later": lambda secret: base64.b64encode(f"cinder:{secret}?x".encode()).decode(),
    "in base64 for a URL": lambda secret: base64.urlsafe_b64encode(f"??>{secret}".encode()).decode(),
    "in hex": lambda secret: secret.encode().hex(),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_is_found_and_named(way: str, tmp_path: Path) -> None:
    canaries = Canaries({"a password": made(), "another": made()})
    written = WAYS[way](canaries["a password"]).encode()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/log").write_bytes(written)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(written))
    (tmp_path / "innocent").write_text("canary+0123456789abcdef")
    found = sorted((file.name, told.split(":")[0]) for file, told in canaries.in_files(tmp_path))
    assert found == [("log", "a password"), ("packed.gz", "a password")]

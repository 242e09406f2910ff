"""The bill of materials is CycloneDX and whole; a known vulnerability fails the audit, and a service out of reach is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.receivers import serving

pytest.importorskip("pip_audit", reason="pip-audit is not installed: make tools")

from console import audit


class Osv(BaseHTTPRequestHandler):
    """Knows one vulnerability, of jinja2."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = asked["package"]["name"] == "jinja2"
        affected = {"package": asked["package"], "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "99.1"}]}]}
        vuln = {"id": "GHSA-test", "aliases": ["CVE-2026-1"], "summary": "a hole", "affected": [affected]}
        body = json.dumps({"vulns": [vuln]} if known else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def osv() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Osv)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}/v1/query"


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bill of a small product, in a folder of this test."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# what it asks for\njinja2==3.1.6\nhttpx==0.28.1  # and what that asks for\n")
    monkeypatch.setattr(audit, "BILL", tmp_path / "run/sbom.cdx.json")
    monkeypatch.setattr(audit, "REQUIREMENTS", requirements)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_the_bill_names_every_package_that_is_needed_with_its_version_and_what_it_needs(osv: str) -> None:
    audit.main(["--osv", osv])
    bill = json.loads(audit.BILL.read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    purls = {part["purl"] for part in bill["components"]}
    assert "pkg:pypi/jinja2@3.1.6" in purls
    assert {purl.split("/")[1].split("@")[0] for purl in purls} >= {"markupsafe", "httpcore", "h11", "certifi"}
    needs = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    assert [name.split("==")[0] for name in needs["jinja2==3.1.6"]] == ["markupsafe"]


def test_a_known_vulnerability_fails_the_audit_and_is_told_with_its_fix(
    osv: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.main(["--osv", osv]) == 1
    assert "VULNERABLE: jinja2 3.1.6: CVE-2026-1, GHSA-test; fixed in 99.1" in capsys.readouterr().out


def test_a_vulnerability_that_was_reviewed_is_told_with_the_reason_and_fails_nothing(
    osv: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "REVIEWED", {"CVE-2026-1": "templates are the project's own"})
    assert audit.main(["--osv", osv]) == 0
    assert "templates are the project's own" in capsys.readouterr().out


def test_a_service_that_cannot_be_reached_is_told_loudly_and_fails_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert audit.main(["--osv", "http://127.0.0.1:9/v1/query"]) == 0
    told = capsys.readouterr()
    assert "WARNING: NOT AUDITED" in told.err
    assert "Audited:" not in told.out
    assert audit.BILL.exists()


def test_a_mirror_that_knows_nothing_of_vulnerabilities_is_asked_once_and_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def ask(pins: list[str], osv: str | None) -> list[dict[str, str]]:
        asked.append(pins)
        return [{"name": pin, "skip_reason": f"{pin} could not be audited"} for pin in pins]

    monkeypatch.setattr(audit, "ask", ask)
    assert audit.main([]) == 0
    assert "NOT AUDITED" in capsys.readouterr().err
    assert [len(pins) for pins in asked] == [1]


def test_a_package_that_is_not_installed_is_named(tmp_path: Path) -> None:
    requirements = tmp_path / "other.txt"
    requirements.write_text("no-such-package-here==1\n")
    with pytest.raises(audit.ConsoleError, match="no-such-package-here==1 is not installed"):
        audit.installed(requirements)

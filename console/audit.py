"""What the product consists of, as a bill of materials (CycloneDX), and whether a vulnerability of any of it is known.

``python -m console.audit [--osv URL]``
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from console.airflow_settings import PROJECT
from console.errors import ConsoleError

REQUIREMENTS = PROJECT / "requirements.txt"
BILL = PROJECT / ".run/sbom.cdx.json"

REVIEWED: Mapping[str, str] = {}
"""Vulnerabilities that somebody has looked at and that do not concern the product, by their id, each with the reason."""

AUDIT_LIMIT = 90.0
"""Seconds after which the vulnerability service is taken for unreachable: a package is asked for in tenths of one."""


class AuditNotMade(ConsoleError):
    """The vulnerability service could not be asked, so nothing is known."""


@dataclass(frozen=True)
class Finding:
    """A known vulnerability of an installed package."""

    package: str
    version: str
    names: tuple[str, ...]
    fixed_in: tuple[str, ...]

    @property
    def reviewed(self) -> str:
        """Why it does not concern the product; empty where nobody has said so."""
        return next((REVIEWED[name] for name in self.names if name in REVIEWED), "")

    def __str__(self) -> str:
        fix = f"fixed in {', '.join(self.fixed_in)}" if self.fixed_in else "there is no fix yet"
        return f"{self.package} {self.version}: {', '.join(self.names)}; {fix}"


def installed(requirements: Path) -> dict[str, Distribution]:
    """Return every installed package that the requirements ask for, themselves or through others, by its name."""
    lines = (line.split("#")[0].strip() for line in requirements.read_text(encoding="utf-8").splitlines())
    wanted = [Requirement(line) for line in lines if line]
    found: dict[str, Distribution] = {}
    asked: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        requirement = wanted.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in asked:
            continue
        asked.add((name, extras))
        try:
            found[name] = distribution(requirement.name)
        except PackageNotFoundError:
            raise ConsoleError(f"{requirement} is not installed. Install it with: make tools") from None
        wanted += needed(found[name], extras)
    return dict(sorted(found.items()))


def needed(package: Distribution, extras: frozenset[str] = frozenset()) -> list[Requirement]:
    """Return what a package asks for on this machine, with these of its extras."""
    every = [Requirement(line) for line in package.requires or ()]
    worlds = [{"extra": extra} for extra in ("", *sorted(extras))]
    return [each for each in every if each.marker is None or any(each.marker.evaluate(world) for world in worlds)]


def bill_of(packages: Mapping[str, Distribution]) -> str:
    """Return the bill of materials of these packages as CycloneDX 1.6."""
    product = Component(name="tecs-rollback", type=ComponentType.APPLICATION, bom_ref="tecs-rollback")
    parts = {name: _part(name, package) for name, package in packages.items()}
    bom = Bom(components=parts.values())
    bom.metadata.component = product
    for name, package in packages.items():
        names = {canonicalize_name(requirement.name) for requirement in needed(package)}
        bom.register_dependency(parts[name], [parts[each] for each in sorted(names & parts.keys())])
    bom.register_dependency(product, parts.values())
    return str(JsonV1Dot6(bom).output_as_string(indent=1))


def _part(name: str, package: Distribution) -> Component:
    told = [*package.metadata.get_all("License-Expression", []), *package.metadata.get_all("License", []), ""]
    # Some packages have the whole text of their license there.
    first = told[0].strip().partition("\n")[0]
    return Component(
        name=name,
        version=package.version,
        type=ComponentType.LIBRARY,
        purl=PackageURL("pypi", name=name, version=package.version),
        bom_ref=f"{name}=={package.version}",
        licenses=[DisjunctiveLicense(name=first)] if first else [],
    )


def audit(packages: Mapping[str, Distribution], osv: str | None = None) -> tuple[list[Finding], list[str]]:
    """Return the known vulnerabilities of the packages, and which packages the service does not know.

    pip-audit asks PyPI, or the OSV service at an address. Raises AuditNotMade where it cannot be asked.
    """
    pins = [f"{name}=={package.version}" for name, package in packages.items()]
    # A service that is out of reach, or a mirror that has no such service, is found out by one package, not by all.
    for answer in ask(pins[:1], osv):
        if "skip_reason" in answer:
            raise AuditNotMade(answer["skip_reason"])
    answers = ask(pins, osv)
    findings = [_finding(each, known) for each in answers for known in each.get("vulns", ())]
    return findings, [f"{each['name']}: {each['skip_reason']}" for each in answers if "skip_reason" in each]


def ask(pins: Sequence[str], osv: str | None) -> list[dict[str, Any]]:
    """Return what pip-audit says of each of these packages."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pins.txt")
        file.write_text("".join(f"{pin}\n" for pin in pins))
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(file), "--no-deps", "--disable-pip"]
        command += ["--format", "json", "--progress-spinner", "off", "--timeout", "10"]
        command += ["--vulnerability-service", "osv", "--osv-url", osv] if osv else []
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=AUDIT_LIMIT, check=False)
        except subprocess.TimeoutExpired:
            raise AuditNotMade(f"no answer within {AUDIT_LIMIT:.0f} s") from None
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        raise AuditNotMade((done.stderr.strip().splitlines() or ["pip-audit has said nothing"])[-1]) from None


def _finding(package: Mapping[str, Any], known: Mapping[str, Any]) -> Finding:
    names = (known["id"], *known.get("aliases", ()))
    return Finding(package["name"], package["version"], names, tuple(known.get("fix_versions", ())))


def main(argv: Sequence[str] | None = None) -> int:
    """Write the bill and audit it; 1 when a vulnerability is known that nobody has reviewed."""
    parser = argparse.ArgumentParser(prog="python -m console.audit", description=__doc__)
    parser.add_argument("--osv", help="ask the OSV service at this address, such as a mirror, and not PyPI")
    arguments = parser.parse_args(argv)
    packages = installed(REQUIREMENTS)
    BILL.parent.mkdir(exist_ok=True)
    BILL.write_text(bill_of(packages), encoding="utf-8")
    print(f"The bill of materials: {BILL}, {len(packages)} packages")
    try:
        findings, unknown = audit(packages, arguments.osv)
    except AuditNotMade as why:
        print(f"WARNING: NOT AUDITED, no vulnerability is known or excluded: {why}", file=sys.stderr)
        return 0
    for line in unknown:
        print(f"WARNING: not audited: {line}", file=sys.stderr)
    for finding in findings:
        print(f"reviewed: {finding} ({finding.reviewed})" if finding.reviewed else f"VULNERABLE: {finding}")
    open_ones = [finding for finding in findings if not finding.reviewed]
    print(f"Audited: {len(packages) - len(unknown)} packages, {len(open_ones)} vulnerabilities to be dealt with")
    return 1 if open_ones else 0


if __name__ == "__main__":
    sys.exit(main())
